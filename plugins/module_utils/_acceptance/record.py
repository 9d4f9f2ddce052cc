# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a host: what it passed, and what that holds for. The planner reads its summary."""

from __future__ import annotations

import time
import typing as t

from .._tree import Tree
from . import binding, state
from .testing import GOOD, STAMP

Values = t.Dict[str, t.Any]
# Verdicts on the state of a GPU that take it out of service.
UNWELL = ("drain", "replace")
LEVELS = ("quick", "full", "burn_in")


def make(root: str, options: Values) -> Values:
    """Of what is remembered, what counts for this level now."""
    tree = Tree(root)
    kept = state.load(state.folder(root))
    bound = binding.of(tree)
    tests = [_health(options["health"])] + [
        _of_test(each, kept["tests"].get(each["name"]), binding.digest(bound), options["plan"])
        for each in options["tests"]
    ]
    # A result that is taken over is as old as it was.
    times = [each.get("finished_at") for each in tests if each["verdict"] in GOOD]
    at = min((each for each in times if isinstance(each, int) and each), default=int(time.time()))
    return {
        "schema": state.SCHEMA,
        "level": options["level"],
        "verdict": verdict(tests),
        "finished": time.strftime(STAMP, time.gmtime(at)),
        "finished_at": at,
        "boot_id": tree.word("proc/sys/kernel/random/boot_id"),
        "binding": bound,
        "plan": options["plan"],
        "versions": options["versions"],
        "tests": tests,
    }


def _of_test(asked: Values, result: t.Any, bound: str, plan: str) -> Values:
    if isinstance(result, dict) and result.get("binding") == bound and result.get("plan") == plan:
        kept = {key: value for key, value in result.items() if key not in ("spec", "plan", "binding")}
        return {**kept, "optional": asked["optional"]}
    return {
        "name": asked["name"], "title": asked["title"], "verdict": "skip", "optional": asked["optional"],
        "reasons": [asked["skipped"] or "it was not run"], "warnings": [], "metrics": {}, "thresholds": [],
        "seconds": 0.0, "command": [], "log": "", "started": "", "finished": "",
    }  # fmt: skip


def _health(verdicts: t.Sequence[Values]) -> Values:
    """Links, memory and errors as the verdicts on the GPUs have them."""
    unwell = [
        f"GPU {each.get('index')}: {each.get('evidence')}"
        for each in verdicts
        if each.get("verdict") in UNWELL
    ]
    warned = [
        f"GPU {each.get('index')}: {each.get('evidence')}"
        for each in verdicts
        if each.get("verdict") in ("watch", None)
    ]
    return {
        "name": "health", "title": "Links, memory and errors of every GPU", "optional": not verdicts,
        "verdict": "fail" if unwell else "pass" if verdicts else "skip",
        "reasons": unwell or ([] if verdicts else ["there is no GPU"]), "warnings": warned, "metrics": {},
        "thresholds": [], "seconds": 0.0, "command": [], "log": "", "started": "", "finished": "",
    }  # fmt: skip


def verdict(tests: t.Sequence[Values]) -> str:
    """pass, fail, or incomplete: a test that belongs to the level was not run, or nobody can tell."""
    found = [each["verdict"] for each in tests]
    if "fail" in found:
        return "fail"
    open_ones = [each for each in tests if each["verdict"] not in GOOD and not each["optional"]]
    if "error" in found or open_ones or not any(each in GOOD for each in found):
        return "incomplete"
    return "pass"
