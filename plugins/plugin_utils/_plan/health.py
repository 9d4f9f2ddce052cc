# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on each GPU, from the fact ``amd_health`` and the limits of the catalog. Nothing is asked of a
host here."""

from __future__ import annotations

import dataclasses
import typing as t

from .facts_health import AmdHealth
from .health_checks import Evidence
from .health_judge import Verdict, judge, troubling
from .health_siblings import check_count, check_equal
from .host import Host

SEVERITIES = {"ok": "ok", "watch": "warn", "drain": "fail", "replace": "fail"}


@dataclasses.dataclass(frozen=True)
class HealthPlan:
    """The verdicts, in the order of the GPUs."""

    gpus: list[Verdict]


def section(host: Host) -> HealthPlan | None:
    """Verdicts and findings, where the state of the GPUs was read."""
    facts = host.health
    if facts is None:
        return None
    judged = judge(host.gpu_facts, facts, host.catalog.health)
    check_count(host)
    check_equal(host, judged.cases)
    _add_findings(host, judged.found, judged.of_no_gpu)
    _add_unread(host, facts)
    return HealthPlan(judged.verdicts)


def _add_findings(
    host: Host, found: t.Mapping[int, t.Sequence[Evidence]], others: t.Sequence[Evidence]
) -> None:
    """One finding for each kind and severity, with all GPUs that have it."""
    groups: dict[tuple[str, str], list[tuple[str, Evidence]]] = {}
    for index, evidence in found.items():
        for each in evidence:
            groups.setdefault((each.finding, SEVERITIES[each.verdict]), []).append((f"GPU {index}: ", each))
    for each in others:
        groups.setdefault((each.finding, SEVERITIES[each.verdict]), []).append(("", each))
    for (identifier, severity), entries in groups.items():
        # Findings about GPUs that start and about the log are made elsewhere.
        if identifier.startswith("health."):
            host.findings.add_by_rule(
                identifier,
                "; ".join(f"{place}{each.seen}" for place, each in entries),
                "; ".join(dict.fromkeys(each.limit for _place, each in entries)),
                severity,
                ". ".join(dict.fromkeys(each.action for _place, each in entries)),
            )


def _add_unread(host: Host, facts: AmdHealth) -> None:
    """What is there and cannot be read must not pass for well."""
    reasons: dict[str, list[str]] = {}
    for gpu in facts["gpus"]:
        for name, reason in troubling(gpu):
            reasons.setdefault(f"{name} {reason}", []).append(str(gpu["index"]))
    if reasons:
        seen = "; ".join(f"GPU {', '.join(gpus)}: {what}" for what, gpus in reasons.items())
        host.findings.add("health.unread", seen, "files that can be read")
