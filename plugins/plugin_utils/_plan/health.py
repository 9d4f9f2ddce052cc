# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on each GPU, from the fact ``amd_health`` and the limits of the catalog. Nothing is asked of a
host here."""

from __future__ import annotations

import dataclasses
import typing as t

from . import health_evidence, health_siblings
from .facts_health import AmdHealth, GpuHealth
from .health_checks import Evidence
from .health_evidence import Verdict
from .host import Host

SEVERITIES = {"ok": "ok", "watch": "warn", "drain": "fail", "replace": "fail"}
# Reasons for which a file is not there on a GPU that is well.
EXPECTED_REASONS = (
    "is missing",
    "is not supported",
    "is not shown",
    "is empty",
    "sleeps",
    "sits in no",
    "driven by",
)
# Values that a host may well not show, and that are no sign of its health.
UNIMPORTANT = (
    "serial_number",
    "vbios",
    "fw_version",
    "link.",
    "xgmi.",
    "ras.events",
    "replay_count",
    "all",
    "sensors",
    "power.",
    "links",
    "busy_percent",
)


@dataclasses.dataclass(frozen=True)
class HealthPlan:
    """The verdicts, in the order of the GPUs."""

    gpus: list[Verdict]


def section(host: Host) -> HealthPlan | None:
    """Verdicts and findings, where the state of the GPUs was read."""
    facts = host.health
    if facts is None:
        return None
    limits = host.catalog.health
    cases = health_evidence.cases(host.gpu_facts, facts, limits)
    found = health_evidence.of_gpus(host.gpu_facts, facts, limits)
    health_siblings.check_count(host)
    health_siblings.check_equal(host, cases)
    _add_findings(host, found, health_evidence.of_no_gpu(facts, limits))
    _add_unread(host, facts)
    return HealthPlan([health_evidence.verdict(one, found[one.gpu["index"]]) for one in cases])


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
        for name, reason in _troubling(gpu):
            reasons.setdefault(f"{name} {reason}", []).append(str(gpu["index"]))
    if reasons:
        seen = "; ".join(f"GPU {', '.join(gpus)}: {what}" for what, gpus in reasons.items())
        host.findings.add("health.unread", seen, "files that can be read")


def _troubling(gpu: GpuHealth) -> list[tuple[str, str]]:
    return [
        (name, reason)
        for name, reason in gpu["unread"].items()
        if not any(words in reason for words in EXPECTED_REASONS) and not name.startswith(UNIMPORTANT)
    ]
