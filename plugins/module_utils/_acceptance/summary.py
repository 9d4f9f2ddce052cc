# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the planner must know of a record: a few words, not its figures."""

from __future__ import annotations

import time
import typing as t

from .._tree import Tree
from . import binding, state

MOST = 12


def of(tree: Tree) -> dict[str, t.Any] | None:
    """Null where there is no record, or none that is whole."""
    place = f"{state.FOLDER}/{state.RECORD}"
    data = tree.raw(place)
    if data is None:
        return None
    found = state.document(data)
    if found is None:
        tree.problem(place, "is no record of acceptance tests")
        return None
    listed = found.get("tests")
    tests = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    failed = [str(each.get("name"))[:60] for each in tests if each.get("verdict") in ("fail", "error")]
    warnings = [each["warnings"] for each in tests if isinstance(each.get("warnings"), list)]
    bound = found.get("binding")
    return {
        "level": str(found.get("level"))[:20],
        "verdict": str(found.get("verdict"))[:20],
        "finished": str(found.get("finished"))[:20],
        "age_hours": _hours(found.get("finished_at")),
        "plan": str(found.get("plan"))[:64],
        "failed": failed[:MOST],
        "warnings": sum(map(len, warnings)),
        "changed": binding.changed(bound if isinstance(bound, dict) else {}, binding.of(tree))[:MOST],
    }


def _hours(at: t.Any) -> int | None:
    if isinstance(at, bool) or not isinstance(at, int):
        return None
    return max(int(time.time()) - at, 0) // 3600
