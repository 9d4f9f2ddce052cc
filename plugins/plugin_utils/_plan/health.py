# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on each GPU, from the fact ``amd_health`` and the limits of the catalog. Nothing is asked of a
host here."""

from __future__ import annotations

import dataclasses
import statistics
import typing as t

from . import health_checks, health_siblings
from .facts import Gpu
from .facts_health import AmdHealth, GpuHealth, LogEntry
from .health_checks import Case, Evidence
from .host import Host

ORDER = ("ok", "watch", "drain", "replace")
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
class Verdict:
    """What is to be done with a GPU."""

    index: int
    # ok, watch, drain or replace; null where nothing of it could be read.
    verdict: str | None
    evidence: str
    reasons: list[Evidence] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class HealthPlan:
    """The verdicts, in the order of the GPUs."""

    gpus: list[Verdict]


def section(host: Host) -> HealthPlan | None:
    """Verdicts and findings, where the state of the GPUs was read."""
    facts = host.health
    if facts is None:
        return None
    cases = _cases(host, facts)
    found = {one.gpu["index"]: _evidence(one, facts, host) for one in cases}
    for index, evidence in health_siblings.unlike(cases).items():
        found[index] += evidence
    for index, evidence in _hotter(cases).items():
        found[index] += evidence
    health_siblings.check_count(host)
    health_siblings.check_equal(host, cases)
    _add_findings(host, found, _of_no_gpu(facts, cases, host))
    _add_unread(host, facts)
    return HealthPlan([_verdict(one, found[one.gpu["index"]]) for one in cases])


def _cases(host: Host, facts: AmdHealth) -> list[Case]:
    health = {each["index"]: each for each in facts["gpus"]}
    catalog = host.catalog.health
    return [
        health_checks.case(gpu, health[gpu["index"]], facts, catalog)
        for gpu in host.gpu_facts["gpus"]
        if gpu["index"] in health
    ]


def _evidence(one: Case, facts: AmdHealth, host: Host) -> list[Evidence]:
    lines = _lines(one.gpu, facts, alone=len(facts["gpus"]) == 1)
    if one.gpu["driver"] != "amdgpu":
        return []
    found = health_checks.of(one, [entry["kind"] for entry in lines])
    if host.gpu_facts["kfd"] == "present":
        found += health_checks.not_in_kfd(one)
    return [*found, *_of_log(lines, host)]


def _lines(gpu: Gpu, facts: AmdHealth, alone: bool) -> list[LogEntry]:
    return [
        entry
        for entry in facts["log"] or []
        if entry["gpu"] == gpu["pci_address"] or (alone and entry["gpu"] is None)
    ]


def _of_log(lines: t.Sequence[LogEntry], host: Host) -> list[Evidence]:
    known, source = host.catalog.health["log"], host.catalog.health["source"]
    found = []
    for entry in lines:
        rule = known.get(entry["kind"])
        if rule:
            seen = f"{entry['count']} lines of the kernel log, the latest: {entry['line']}"
            found.append(
                Evidence(rule["finding"], rule["verdict"], seen, "no such line", source, rule["action"])
            )
    return found


def _of_no_gpu(facts: AmdHealth, cases: t.Sequence[Case], host: Host) -> list[Evidence]:
    """Lines that name none of several GPUs."""
    if len(cases) == 1:
        return []
    return _of_log([entry for entry in facts["log"] or [] if entry["gpu"] is None], host)


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


def _verdict(one: Case, evidence: list[Evidence]) -> Verdict:
    reason = one.health["unread"].get("all")
    if reason and not evidence:
        return Verdict(one.gpu["index"], None, reason)
    worst = max((each.verdict for each in evidence), key=ORDER.index, default="ok")
    text = "; ".join(f"{each.seen} (limit: {each.limit})" for each in evidence if each.verdict == worst)
    return Verdict(one.gpu["index"], worst, text, evidence)


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
