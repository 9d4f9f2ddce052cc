# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what was found serves a GPU.

Nothing is guessed: where something could not be read that might have the code, the answer is "not known".
"""

from __future__ import annotations

import dataclasses
import typing as t

from . import targets
from .told import MOST_SETS, Code, Required

SERVED, MISSING, MISMATCH, UNKNOWN = "served", "missing", "mismatch", "not_known"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How one GPU is served."""

    gfx: str
    # served, missing, mismatch or not_known.
    verdict: str
    # exact, generic, family, mismatch or not known; the worst where several libraries are needed.
    how: str | None
    target: str | None
    # Libraries that have code, and none for this GPU.
    lacking: list[str]
    reason: str


def judge(code: Code, gfx: str, xnack: bool) -> Verdict:
    if code["required"]:
        return _of_required(code["required"], gfx, xnack)
    ways = [(targets.best(each["targets"], gfx, xnack), each) for each in code["sets"]]
    lacking = [name for (_target, how), each in ways for name in each["names"] if how is None]
    target, how = targets.best([found for (found, _how), _set in ways if found], gfx, xnack)
    if how in (targets.EXACT, targets.BY_GENERIC, targets.BY_FAMILY):
        return Verdict(gfx, SERVED, how, target, lacking, "")
    if not code["complete"] or len(code["sets"]) == MOST_SETS:
        why = code["reasons"][0] if code["reasons"] else "there is more code than is told here"
        return Verdict(gfx, UNKNOWN, how, target, lacking, why)
    return _without(code, gfx, (target, how), lacking)


def _without(code: Code, gfx: str, way: tuple[str | None, str | None], lacking: list[str]) -> Verdict:
    target, how = way
    if how == targets.UNKNOWN:
        return Verdict(gfx, UNKNOWN, how, target, lacking, f"{target} is compiled when it is loaded")
    if how == targets.MISMATCH:
        return Verdict(gfx, MISMATCH, how, target, lacking, f"it has code for {target} alone")
    if code["libraries"]:
        every = targets.in_order(target for each in code["sets"] for target in each["targets"])
        reason = f"it has code for {', '.join(every) or 'no GPU'}"
    elif code["nvidia"]:
        reason = "it has code for GPUs of NVIDIA alone"
    else:
        reason = "it has no code for GPUs"
    return Verdict(gfx, MISSING, None, None, lacking, reason)


def _of_required(required: t.Sequence[Required], gfx: str, xnack: bool) -> Verdict:
    """Each of them has to have it."""
    served = (targets.EXACT, targets.BY_GENERIC, targets.BY_FAMILY)
    ways = [(targets.best(each["targets"], gfx, xnack), each) for each in required]
    without = [(way, each) for way, each in ways if way[1] not in served]
    certain = [(way, each) for way, each in without if each["unread"] is None and way[1] != targets.UNKNOWN]
    lacking = [each["path"] for _way, each in certain]
    if certain:
        (target, how), each = certain[0]
        has = ", ".join(each["targets"]) or "no GPU"
        word = MISMATCH if all(way[1] == targets.MISMATCH for way, _each in certain) else MISSING
        return Verdict(gfx, word, how, target, lacking, f"{each['path']} has code for {has}")
    if without:
        (target, how), each = without[0]
        why = each["unread"] or f"has {target}, which is compiled when it is loaded"
        return Verdict(gfx, UNKNOWN, how, target, [], f"{each['path']}: {why}")
    (target, how), _each = max(ways, key=lambda way: served.index(str(way[0][1])))
    return Verdict(gfx, SERVED, how, target, [], "")
