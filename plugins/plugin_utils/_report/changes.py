# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is another one than in the last run: counters that rose, versions, and what is not as planned any
more. Why it matters stands in the catalog (health.yml)."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import Findings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import (
    Change,
    Finding,
    Record,
    Seen,
)

Vars = t.Mapping[str, t.Any]
ERRORS = ("uncorrectable", "deferred", "correctable")
# Of these an APU tells how often they lowered its clocks, and not of how many samples.
HEAT = ("prochot", "thm_core", "thm_gfx", "thm_soc")
# Counters of the board itself: these outlive a boot.
LASTING = "bad_pages"
RESETS = ("reset", "reset_failed", "vram_lost", "lost")
GIB = 1 << 30
MOST = 40


def seen(record: Record, facts: Vars, variables: Vars, before: Record | None) -> Seen:
    """What this run saw; what it did not look at stays as it was."""
    old = before["seen"] if before else None
    health: Vars = facts.get("amd_health") or {}
    drift = _drift(variables, bool(record["failure"]))
    if old is not None and drift is None and old["compared"]:
        drift = old["drift"]
    # A run that does not read the state of the GPUs knows what the one before read, up to the next boot.
    kept = old if not health and old is not None and old["boot_id"] == record["boot_id"] else None
    return Seen(
        boot_id=record["boot_id"],
        versions={**(old["versions"] if old and not health else {}), **_versions(record, health)},
        counters=kept["counters"] if kept else _counters(health),
        health=bool(health) or bool(kept and kept["health"]),
        compared=drift is not None,
        drift=drift or {},
        brought=_brings(variables, bool(record["failure"]))
        or bool(old and old["brought"] and not record["teardown"]),
    )


def drifted(
    host: str, variables: Vars, before: Record | None, known: dict[str, t.Any], told: bool
) -> list[Finding]:
    """The finding that a host which a run had brought to its plan is not there any more. ``known``: the known
    issues of the catalog; ``told``: what is wrong with its servers is told already."""
    drift = _drift(variables, failed=False) if "fleet_compared" in variables else None
    if before is None or not before["seen"]["brought"]:
        return []
    roles = {role: reason for role, reason in (drift or {}).items() if not (told and role == "serve")}
    if not roles:
        return []
    findings = Findings(host, known, variables.get("plan_accept") or [])
    seen_now = "; ".join(f"{role}: {reason}" for role, reason in roles.items())
    findings.add("host.drift", seen_now, "nothing left to do for any role", host=host)
    return t.cast("list[Finding]", [dataclasses.asdict(each) for each in findings.sorted()])


def _brings(variables: Vars, failed: bool) -> bool:
    """Whether this run changes the host and did not fail."""
    brought = "unchanged" in (variables.get("plan_compared") or {})
    return brought and not failed and not variables.get("ansible_check_mode")


def _drift(variables: Vars, failed: bool) -> dict[str, str] | None:
    """Roles that have something to do, where that was asked after the last change; None where it was not."""
    looked = variables.get("fleet_compared") or {}
    if isinstance(looked.get("reasons"), dict):
        return {str(role): str(reason) for role, reason in looked["reasons"].items()}
    return {} if _brings(variables, failed) else None


def _versions(record: Record, health: Vars) -> dict[str, str]:
    """By kind and name; where GPUs differ, all that there are."""
    driver = record["driver"]
    gpus = [gpu for gpu in health.get("gpus") or [] if "all" not in gpu["unread"]]
    found = {
        "os": record["os"],
        "kernel": record["kernel"],
        "driver": " ".join(str(driver[key]) for key in ("source", "release") if driver.get(key)),
        "rocm": record["rocm"],
        "memory": f"{round(record['memory_bytes'] / GIB)} GiB" if record["memory_bytes"] else "",
        "gpus": str(record["gpu_count"] or len(record["gpu_list"]) or ""),
        "gpu_memory": _each(f"{each['memory_bytes'] // GIB} GiB" for each in record["gpu_list"]),
        "partitions": ", ".join(record["partition_modes"]),
        "vbios": _each(gpu["vbios"] for gpu in gpus),
        "link_width": _each(_lanes(gpu) for gpu in gpus),
        "power": _each(f"{gpu['power']['cap']} W" if gpu["power"]["cap"] else None for gpu in gpus),
    }
    for part in sorted({part for gpu in gpus for part in gpu["firmware"]}):
        found[f"firmware {part}"] = _each(gpu["firmware"].get(part) for gpu in gpus)
    return {name: value for name, value in found.items() if value}


def _each(values: t.Iterable[str | None]) -> str:
    return ", ".join(sorted({value for value in values if value}))


def _lanes(gpu: Vars) -> str | None:
    """The width alone: an idle link runs slower to save power."""
    widths = [hop["width"] for hop in gpu["links"] if hop["width"]]
    return f"x{min(widths)}" if widths else None


def _counters(health: Vars) -> dict[str, int]:
    """By kind, GPU and block; what is 0 is left out."""
    found: dict[str, int] = {}
    for gpu in health.get("gpus") or []:
        address, metrics = gpu["pci_address"], gpu["metrics"] or {}
        for block, counts in ((gpu["ras"] or {}).get("blocks") or {}).items():
            for kind in ERRORS:
                found[f"{kind}|{address}|{block}"] = counts[kind] or 0
        pages = gpu["bad_pages"] or {}
        found[f"{LASTING}|{address}|"] = sum(
            pages.get(name) or 0 for name in ("retired", "pending", "failed")
        )
        for kind in ("nonfatal", "fatal"):
            found[f"link|{address}|{kind} errors"] = gpu["pcie_errors"][kind] or 0
        found[f"link|{address}|replays"] = max(gpu["replay_count"] or 0, metrics.get("pcie_replay") or 0)
        found[f"link|{address}|recoveries"] = metrics.get("pcie_l0_to_recovery") or 0
        for cause, count in _heat(metrics).items():
            found[f"heat|{address}|{cause}"] = count
        found[f"records|{address}|"] = (gpu["records"] or {}).get("fatal") or 0
    for line in health.get("log") or []:
        if line["kind"] in RESETS:
            found[f"resets|{line['gpu'] or ''}|{line['kind'].replace('_', ' ')}"] = line["count"]
    return {name: count for name, count in found.items() if count}


def _heat(metrics: Vars) -> dict[str, int]:
    residencies: Vars = metrics.get("residencies") or {}
    return {
        cause: residencies[cause]
        for cause in HEAT
        if residencies.get(cause) and not residencies["accumulation"]
    }


def of(record: Record, before: Record | None, reasons: Vars) -> list[Change]:
    """``reasons``: the part ``changes`` of health.yml. A first run has nothing to compare with."""
    now, old = record["seen"], record["last"]
    if before is None or not old["versions"] or not record["known_at"]:
        return []
    found = [*_risen(record, now, old, reasons), *_other(now, old, reasons), *_drifted(now, old, reasons)]
    order = ("fail", "warn", "ok")
    return sorted(found, key=lambda each: order.index(each["severity"]))[:MOST]


def _change(kind: str, what: str, before: str, now: str, reasons: Vars) -> Change:
    known = reasons[kind]
    return Change(
        kind=kind, what=what, before=before, now=now, why=known["why"], severity=known["severity"]
    )  # fmt: skip


def _risen(record: Record, now: Seen, old: Seen, reasons: Vars) -> t.Iterator[Change]:
    if not (now["health"] and old["health"]):
        return
    places = {each["pci"]: f"GPU {each['index']}" for each in record["gpu_list"]}
    for name, count in now["counters"].items():
        kind, address, detail = name.split("|")
        known = old["counters"].get(name, 0)
        # Counters begin anew with a boot, and with a driver that was loaded again.
        since = known if kind == LASTING or (now["boot_id"] == old["boot_id"] and count >= known) else 0
        if count > since:
            what = f"{places.get(address, 'the host')}: {reasons[kind]['name']}"
            yield _change(kind, f"{what} ({detail})" if detail else what, str(since), str(count), reasons)


def _other(now: Seen, old: Seen, reasons: Vars) -> t.Iterator[Change]:
    firmware = []
    for name, value in now["versions"].items():
        kind, _space, part = name.partition(" ")
        known = old["versions"].get(name)
        if known is None or known == value:
            continue
        if kind == "firmware":
            firmware.append((part, known, value))
        else:
            yield _change(kind, reasons[kind]["name"], known, value, reasons)
    if firmware:
        what = f"{reasons['firmware']['name']} ({', '.join(part for part, _old, _new in firmware[:6])})"
        yield _change("firmware", what, _each({each[1] for each in firmware[:6]}),
                      _each({each[2] for each in firmware[:6]}), reasons)  # fmt: skip
    if now["boot_id"] and old["boot_id"] and now["boot_id"] != old["boot_id"]:
        yield _change("boot", reasons["boot"]["name"], "", "", reasons)


def _drifted(now: Seen, old: Seen, reasons: Vars) -> t.Iterator[Change]:
    if now["compared"] and old["compared"]:
        for role, reason in now["drift"].items():
            known = old["drift"].get(role, "as planned")
            if known != reason:
                yield _change("drift", f"{reasons['drift']['name']} ({role})", known, reason, reasons)


def sentence(change: Change) -> str:
    """In one line."""
    if not change["before"] and not change["now"]:
        return change["what"]
    return f"{change['what']}: {change['before'] or 'nothing'}, now {change['now']}"
