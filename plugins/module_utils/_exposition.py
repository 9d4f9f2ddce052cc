# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of GPUs and probes as text that node_exporter reads (the format of Prometheus).

The role monitor puts this file on hosts, beside the collector that a timer runs. The names stand in the
catalog too (monitoring.yml), with what they mean; a test holds the two to each other.
"""

from __future__ import annotations

import re
import typing as t

COUNTER = "_total"
VERDICTS = ("ok", "watch", "drain", "replace", "unknown")
# What the table gpu_metrics counts, as causes for which clocks were lowered.
CAUSES = (
    "prochot", "ppt", "socket_thm", "vr_thm", "hbm_thm", "spl", "fppt", "sppt", "thm_core", "thm_gfx",
    "thm_soc",
)  # fmt: skip
LONGEST = 200
# Nothing that a terminal or a page would obey.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Facts of a GPU as gpu_facts and gpu_health have them; one of a judged GPU.
Facts = t.Mapping[str, t.Any]


class Page:
    """Samples by name, in the order in which names came."""

    def __init__(self, meaning: t.Mapping[str, str]) -> None:
        self._meaning = meaning
        self._families: dict[str, dict[str, float]] = {}

    def add(self, name: str, value: t.Any, labels: t.Mapping[str, t.Any] | None = None) -> None:
        """What is not known (``None``) is no sample: a 0 would be read as well."""
        if value is None:
            return
        shown = ",".join(f'{key}="{escaped(text)}"' for key, text in (labels or {}).items())
        self._families.setdefault(name, {})[f"{{{shown}}}" if shown else ""] = float(value)

    def text(self) -> str:
        lines = []
        for name, samples in self._families.items():
            lines.append(f"# HELP {name} {self._meaning.get(name, name)}")
            lines.append(f"# TYPE {name} {'counter' if name.endswith(COUNTER) else 'gauge'}")
            lines += [f"{name}{labels} {value:.15g}" for labels, value in samples.items()]
        return "".join(f"{line}\n" for line in lines)


def escaped(text: t.Any) -> str:
    """A label's value. Files of a host stand in it: one line, of a length that Prometheus stores."""
    plain = UNPRINTABLE.sub("\ufffd", "" if text is None else str(text))[:LONGEST]
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def of_gpu(page: Page, gpu: Facts, health: Facts) -> None:
    """All numbers of one GPU. ``gpu``: as gpu_facts has it, ``health``: as gpu_health has it."""
    own = {"gpu": gpu["index"], "pci": gpu["pci_address"]}
    names = ("product", "gfx", "driver")
    page.add("amdgpu_fleet_gpu_info", 1, {
        **own, **{name: gpu[name] for name in names},
        "serial": health["serial_number"], "vbios": health["vbios"],
    })  # fmt: skip
    page.add("amdgpu_fleet_gpu_asleep", health["asleep"], own)
    busy = health["busy_percent"]
    page.add("amdgpu_fleet_gpu_busy_ratio", None if busy is None else busy / 100, own)
    page.add("amdgpu_fleet_gpu_power_watts", health["power"]["watts"], own)
    page.add("amdgpu_fleet_gpu_power_cap_watts", health["power"]["cap"], own)
    for sensor in health["temperatures"]:
        labels = {**own, "sensor": sensor["name"]}
        page.add("amdgpu_fleet_gpu_temperature_celsius", sensor["celsius"], labels)
        page.add("amdgpu_fleet_gpu_temperature_critical_celsius", sensor["critical"], labels)
    for clock, megahertz in health["clocks"].items():
        hertz = None if megahertz is None else megahertz * 1_000_000
        page.add("amdgpu_fleet_gpu_clock_hertz", hertz, {**own, "clock": clock})
    _errors(page, own, health)
    _links(page, own, health)
    _throttling(page, own, health)


def _errors(page: Page, own: dict[str, t.Any], health: Facts) -> None:
    ras, pages = health["ras"], health["bad_pages"]
    if ras:
        for block, counts in ras["blocks"].items():
            for kind, count in counts.items():
                page.add("amdgpu_fleet_gpu_ras_errors_total", count, {**own, "block": block, "kind": kind})
        page.add("amdgpu_fleet_gpu_fatal_events_total", ras["fatal_events"], own)
    if pages:
        for state in ("retired", "pending", "failed"):
            page.add("amdgpu_fleet_gpu_bad_pages", pages[state], {**own, "state": state})


def _links(page: Page, own: dict[str, t.Any], health: Facts) -> None:
    for hop in health["links"]:
        labels = {**own, "device": hop["device"]}
        page.add("amdgpu_fleet_gpu_link_width", hop["width"], labels)
        page.add("amdgpu_fleet_gpu_link_width_max", hop["max_width"], labels)
    for kind, count in health["pcie_errors"].items():
        page.add("amdgpu_fleet_gpu_link_errors_total", count, {**own, "kind": kind})
    metrics, replays = health["metrics"] or {}, health["replay_count"]
    known = [count for count in (replays, metrics.get("pcie_replay")) if count is not None]
    page.add("amdgpu_fleet_gpu_link_replays_total", max(known, default=None), own)
    page.add("amdgpu_fleet_gpu_link_recoveries_total", metrics.get("pcie_l0_to_recovery"), own)
    xgmi = health["xgmi"] or {}
    for state in ("up", "down"):
        page.add("amdgpu_fleet_gpu_xgmi_links", xgmi.get(f"links_{state}"), {**own, "state": state})


def _throttling(page: Page, own: dict[str, t.Any], health: Facts) -> None:
    counts = (health["metrics"] or {}).get("residencies") or {}
    for cause in CAUSES:
        name = "amdgpu_fleet_gpu_throttled_samples_total"
        page.add(name, counts.get(cause), {**own, "cause": cause})
    page.add("amdgpu_fleet_gpu_samples_total", counts.get("accumulation"), own)


def of_memory(page: Page, gpu: Facts, used: int, total: int) -> None:
    own = {"gpu": gpu["index"], "pci": gpu["pci_address"]}
    page.add("amdgpu_fleet_gpu_memory_bytes", total, own)
    page.add("amdgpu_fleet_gpu_memory_used_bytes", used, own)


def of_verdict(page: Page, gpu: Facts, verdict: str | None) -> None:
    """Each verdict is a series, so that none is missing while another holds."""
    own = {"gpu": gpu["index"], "pci": gpu["pci_address"]}
    for name in VERDICTS:
        page.add("amdgpu_fleet_gpu_verdict", name == (verdict or "unknown"), {**own, "verdict": name})


def of_evidence(page: Page, gpu: Facts | None, evidence: t.Any, accepted: t.Collection[str]) -> None:
    """A rule that is broken. What the inventory accepts is watched and nothing else, as the doctor has it."""
    verdict = evidence.verdict
    if evidence.finding in accepted:
        if verdict == "watch":
            return
        verdict = "watch"
    page.add("amdgpu_fleet_gpu_evidence", 1, {
        "gpu": gpu["index"] if gpu else "", "pci": gpu["pci_address"] if gpu else "",
        "rule": evidence.rule, "finding": evidence.finding, "verdict": verdict,
        "expected": evidence.limit, "seen": evidence.seen,
    })  # fmt: skip


def of_log(page: Page, lines: t.Sequence[Facts] | None) -> None:
    counts: dict[tuple[str, str], int] = {}
    for line in lines or ():
        key = (line["kind"], line["gpu"] or "")
        counts[key] = counts.get(key, 0) + line["count"]
    for (kind, address), count in counts.items():
        page.add("amdgpu_fleet_kernel_log_lines", count, {"kind": kind, "pci": address})


def of_probe(page: Page, told: t.Any) -> None:
    """What the timer of an instance wrote about its last completion. A process that talks to the engine wrote
    it: nothing in it is believed but numbers and names."""
    if not isinstance(told, dict) or not all(isinstance(told.get(key), str) for key in ("unit", "model")):
        return
    own = {"unit": told["unit"], "model": told["model"]}
    page.add("amdgpu_fleet_probe_success", told.get("success") is True, own)
    for name in ("timestamp_seconds", "interval_seconds", "seconds", "first_token_seconds"):
        value = told.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            page.add(f"amdgpu_fleet_probe_{name}", value, own)
