# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the GPUs of one host, by the rules of the catalog. The planner says it as findings, the
collector of the role monitor as metrics: both judge here. The collector runs on hosts, where neither the
catalog nor YAML is."""

from __future__ import annotations

import dataclasses
import statistics
import typing as t

from . import health_checks, health_siblings
from .health_checks import Case, Evidence

if t.TYPE_CHECKING:
    from .facts_gpu import AmdGpus, Gpu
    from .facts_health import AmdHealth, GpuHealth, LogEntry

ORDER = ("ok", "watch", "drain", "replace")
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
    "metrics.",
    "ras.events",
    "replay_count",
    "records",
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
class Judged:
    """The GPUs of a host with what is wrong with each, and what the log says of none of them."""

    cases: list[Case]
    found: dict[int, list[Evidence]]
    of_no_gpu: list[Evidence]

    @property
    def verdicts(self) -> list[Verdict]:
        return [_verdict(one, self.found[one.gpu["index"]]) for one in self.cases]


def judge(gpus: AmdGpus, facts: AmdHealth, rules: t.Mapping[str, t.Any]) -> Judged:
    """``rules``: the part ``health`` of the catalog."""
    health = {each["index"]: each for each in facts["gpus"]}
    cases = [
        health_checks.case(gpu, health[gpu["index"]], facts, rules)
        for gpu in gpus["gpus"]
        if gpu["index"] in health
    ]
    found = {one.gpu["index"]: _evidence(one, facts, gpus["kfd"] == "present") for one in cases}
    for index, evidence in health_siblings.unlike(cases).items():
        found[index] += evidence
    for index, evidence in _hotter(cases).items():
        found[index] += evidence
    return Judged(cases, found, _of_no_gpu(facts, cases, rules))


def troubling(gpu: GpuHealth) -> list[tuple[str, str]]:
    """Values of a GPU that could not be read though they should, each with the reason."""
    return [
        (name, reason)
        for name, reason in gpu["unread"].items()
        if not any(words in reason for words in EXPECTED_REASONS) and not name.startswith(UNIMPORTANT)
    ]


def _evidence(one: Case, facts: AmdHealth, in_kfd: bool) -> list[Evidence]:
    lines = _lines(one.gpu, facts, alone=len(facts["gpus"]) == 1)
    if one.gpu["driver"] != "amdgpu":
        return []
    found = health_checks.of(one, [entry["kind"] for entry in lines])
    if in_kfd:
        found += health_checks.not_in_kfd(one)
    return [*found, *_of_log(lines, one.catalog)]


def _lines(gpu: Gpu, facts: AmdHealth, alone: bool) -> list[LogEntry]:
    return [
        entry
        for entry in facts["log"] or []
        if entry["gpu"] == gpu["pci_address"] or (alone and entry["gpu"] is None)
    ]


def _of_log(lines: t.Sequence[LogEntry], rules: t.Mapping[str, t.Any]) -> list[Evidence]:
    found = []
    for entry in lines:
        rule = rules["log"].get(entry["kind"])
        if rule:
            many = (
                f"{entry['count']} lines of the kernel log, the latest"
                if entry["count"] > 1
                else "kernel log"
            )
            seen = f"{many}: {entry['line']}"
            found.append(
                Evidence(
                    rule["finding"],
                    rule["verdict"],
                    seen,
                    "no such line",
                    rules["source"],
                    rule["action"],
                    f"log_{entry['kind']}",
                )  # fmt: skip
            )
    return found


def _of_no_gpu(facts: AmdHealth, cases: t.Sequence[Case], rules: t.Mapping[str, t.Any]) -> list[Evidence]:
    """Lines that name none of several GPUs."""
    if len(cases) == 1:
        return []
    return _of_log([entry for entry in facts["log"] or [] if entry["gpu"] is None], rules)


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
