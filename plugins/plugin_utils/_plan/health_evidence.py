# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence against each GPU of one host, and the verdict: facts and limits of the catalog in, no more.

Nodes of a cluster judge themselves with this file, so it needs the standard library alone, and imports no
section of the plan.
"""

from __future__ import annotations

import dataclasses
import statistics
import typing as t

from . import health_checks, health_siblings
from .facts_gpu import AmdGpus, Gpu
from .facts_health import AmdHealth, LogEntry
from .health_checks import Case, Evidence

ORDER = ("ok", "watch", "drain", "replace")
# health.yml of the catalog.
Limits = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to be done with a GPU."""

    index: int
    # ok, watch, drain or replace; null where nothing of it could be read.
    verdict: str | None
    evidence: str
    reasons: list[Evidence] = dataclasses.field(default_factory=list)


def cases(gpus: AmdGpus, facts: AmdHealth, limits: Limits) -> list[Case]:
    """Each GPU with all that is known of it."""
    health = {each["index"]: each for each in facts["gpus"]}
    return [
        health_checks.case(gpu, health[gpu["index"]], facts, limits)
        for gpu in gpus["gpus"]
        if gpu["index"] in health
    ]


def of_gpus(gpus: AmdGpus, facts: AmdHealth, limits: Limits) -> dict[int, list[Evidence]]:
    """The evidence against each GPU, by its index."""
    known = cases(gpus, facts, limits)
    found = {one.gpu["index"]: _evidence(one, facts, limits, gpus["kfd"] == "present") for one in known}
    for index, evidence in health_siblings.unlike(known).items():
        found[index] += evidence
    for index, evidence in _hotter(known).items():
        found[index] += evidence
    return found


def of_no_gpu(facts: AmdHealth, limits: Limits) -> list[Evidence]:
    """Lines that name none of several GPUs."""
    if len(facts["gpus"]) == 1:
        return []
    return _of_log([entry for entry in facts["log"] or [] if entry["gpu"] is None], limits)


def verdict(one: Case, evidence: list[Evidence]) -> Verdict:
    reason = one.health["unread"].get("all")
    if reason and not evidence:
        return Verdict(one.gpu["index"], None, reason)
    worst = max((each.verdict for each in evidence), key=ORDER.index, default="ok")
    text = "; ".join(f"{each.seen} (limit: {each.limit})" for each in evidence if each.verdict == worst)
    return Verdict(one.gpu["index"], worst, text, evidence)


def _evidence(one: Case, facts: AmdHealth, limits: Limits, kfd: bool) -> list[Evidence]:
    lines = _lines(one.gpu, facts, alone=len(facts["gpus"]) == 1)
    if one.gpu["driver"] != "amdgpu":
        return []
    found = health_checks.of(one, [entry["kind"] for entry in lines])
    if kfd:
        found += health_checks.not_in_kfd(one)
    return [*found, *_of_log(lines, limits)]


def _lines(gpu: Gpu, facts: AmdHealth, alone: bool) -> list[LogEntry]:
    return [
        entry
        for entry in facts["log"] or []
        if entry["gpu"] == gpu["pci_address"] or (alone and entry["gpu"] is None)
    ]


def _of_log(lines: t.Sequence[LogEntry], limits: Limits) -> list[Evidence]:
    known, source = limits["log"], limits["source"]
    found = []
    for entry in lines:
        rule = known.get(entry["kind"])
        if rule:
            seen = f"{entry['count']} lines of the kernel log, the latest: {entry['line']}"
            found.append(
                Evidence(rule["finding"], rule["verdict"], seen, "no such line", source, rule["action"])
            )
    return found


def _hotter(cases: t.Sequence[Case]) -> dict[int, list[Evidence]]:
    """GPUs under load that are much hotter than others of their kind under load."""
    hot: dict[str | None, dict[int, tuple[Case, int]]] = {}
    for one in cases:
        degrees = [
            each["celsius"] for each in one.health["temperatures"] if each["name"] in ("junction", "edge")
        ]
        known = [each for each in degrees if each is not None]
        if known and not one.idle:
            hot.setdefault(one.gpu["pci_id"], {})[one.gpu["index"]] = (one, max(known))
    found = {}
    for group in hot.values():
        if len(group) < 3:
            continue
        middle = statistics.median(degrees for _one, degrees in group.values())
        for index, (one, own) in group.items():
            limit = one.limit("temperature_unlike")
            if own > middle + limit:
                seen = f"{own} degrees, its siblings have {middle:.0f}"
                found[index] = [one.evidence("temperature_unlike", seen, f"at most {limit:g} above them")]
    return found
