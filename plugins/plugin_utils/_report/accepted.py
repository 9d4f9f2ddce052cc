# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host passed, for the report: of this run, or as the host remembers it."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import (
    Acceptance,
    Record,
    no_acceptance,
)

Vars = t.Mapping[str, t.Any]
WORDS = {"pass": "PASS", "fail": "FAIL", "incomplete": "INCOMPLETE"}
NONE = no_acceptance()


def of(facts: Vars) -> Acceptance:
    """``facts``: those of the run; a record that it made is newer than what was read before it."""
    made = facts.get("amd_acceptance")
    if made:
        tests = made["tests"]
        return Acceptance(
            level=made["level"],
            verdict=made["verdict"],
            finished=made["finished"],
            failed=[test["name"] for test in tests if test["verdict"] in ("fail", "error")],
            warnings=sum(len(test["warnings"]) for test in tests),
            changed=[],
        )
    known = (facts.get("amd_host") or {}).get("acceptance")
    if not isinstance(known, dict):
        return no_acceptance()
    warnings = known.get("warnings")
    return Acceptance(
        level=str(known.get("level") or ""),
        verdict=str(known.get("verdict") or ""),
        finished=str(known.get("finished") or ""),
        failed=_texts(known.get("failed")),
        warnings=warnings if isinstance(warnings, int) else 0,
        changed=_texts(known.get("changed")),
    )


def _texts(value: t.Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def word(record: Record) -> str:
    """In one word and the level; a pass of something else is none."""
    known = record["acceptance"]
    if not known["verdict"]:
        return "-"
    said = WORDS.get(known["verdict"], "INCOMPLETE")
    return f"{'OUTDATED' if known['changed'] and said == 'PASS' else said} {known['level'].replace('_', '-')}"


def sentence(record: Record) -> str:
    """For the page of the host."""
    known = record["acceptance"]
    if not known["verdict"]:
        return ""
    parts = [f"{word(record)}, {known['finished'][:10]}"]
    parts += [f"failed: {', '.join(known['failed'])}"] if known["failed"] else []
    parts += [f"other since: {', '.join(known['changed'])}"] if known["changed"] else []
    parts += [f"figures to look at: {known['warnings']}"] if known["warnings"] else []
    return "; ".join(parts)
