# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of one host, made from the variables of this host alone: ansible-pull and slices of a job
work."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import reboot
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import accepted, changes, deployed, serving
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import (
    BY_FINDINGS,
    Endpoint,
    Finding,
    Gpu,
    Past,
    Record,
    Run,
    count,
    empty,
    state,
)

Vars = t.Mapping[str, t.Any]
KEPT_RUNS = 30
# Fields that a run which could not look at the host takes over from the last one that could.
KNOWN = (
    "os", "kernel", "memory_bytes", "driver", "rocm", "profile", "title", "gpus", "gpu_list", "gfx",
    "gpu_count",
    "partition_modes", "partitions",
    "usable_bytes", "settings", "deployed", "acceptance",
)  # fmt: skip


def of_host(host: str, variables: Vars, run: Run, address: str = "", before: Record | None = None) -> Record:
    """What this run says about the host. ``before`` is its stored record."""
    plan: Vars = variables.get("plan_host") or {}
    facts: Vars = variables.get("ansible_facts") or {}
    rocm: Vars = facts.get("amd_rocm") or {}
    system: Vars = facts.get("amd_host") or {}
    gpus: Vars = facts.get("amd_gpus") or {}
    record = empty(host)
    record["at"], record["run"], record["command"] = run.at, run.id, run.command
    record["inventory"], record["asked"] = run.inventory, True
    record["local"] = variables.get("ansible_connection") == "local"
    record["os"] = (system.get("os") or {}).get("name") or ""
    record["kernel"] = (system.get("kernel") or {}).get("release") or ""
    record["memory_bytes"] = system.get("memory_bytes") or 0
    record["driver"] = dict(rocm.get("driver") or {})
    record["rocm"] = rocm.get("version") or ""
    record["profile"] = plan.get("profile") or ""
    record["title"] = plan.get("title") or ""
    record["gpus"] = plan.get("gpus") or ""
    health = _health(plan, variables)
    record["gpu_list"] = [_gpu(gpu, health) for gpu in gpus.get("gpus") or []]
    record["gfx"] = list(gpus.get("gfx") or [])
    record["gpu_count"] = gpus.get("count") or 0
    record["partition_modes"] = sorted(
        {gpu["mode"].replace("/", "_") for gpu in record["gpu_list"] if gpu["mode"]}
    )
    record["partitions"] = gpus.get("partition_count") or 0
    record["usable_bytes"] = sum(
        gpu.get("usable_bytes") or 0 for gpu in gpus.get("gpus") or [] if gpu.get("supported")
    )
    record["settings"] = list(plan.get("settings") or [])
    record["deployed"] = deployed.components(
        plan, system, variables.get("serve_installed_wheels"), before["deployed"] if before else []
    )
    record["boot_id"] = str((system.get("boot") or {}).get("id") or "")
    record["teardown"] = bool(variables.get("fleet_teardown"))
    record["reboot"] = _reboot(plan, facts, variables) or _still_pending(record, before)
    record["endpoints"] = serving.endpoints(plan, variables, address or host)
    known = _catalog(variables)
    servers = serving.found(host, variables, record["reboot"])
    drift = changes.drifted(host, variables, before, known.known_issues, told=bool(servers))
    found: list[Finding] = [*(plan.get("findings") or []), *servers, *drift]
    put_right = applied(variables)
    record["findings"] = [each for each in found if each.get("mended_by") not in put_right]
    record["applied"] = [each for each in found if each.get("mended_by") in put_right]
    record["mended"] = _mended(found, variables)
    record["acceptance"] = accepted.of(facts)
    record["failure"] = _failure(str(variables.get("fleet_failure") or ""), record["findings"])
    record["known_at"] = run.at if system else ""
    if not system:
        _take_over(record, before)
    record["history"] = _history(record, before)
    record["seen"] = changes.seen(record, facts, variables, before)
    if before is not None:
        # A run that writes the record twice compares with the run before it, both times.
        record["last"] = before["last"] if before["run"] == record["run"] else before["seen"]
    record["changes"] = changes.of(record, before, known.health["changes"])
    return record


def _catalog(variables: Vars) -> Catalog:
    """What the inventory says of it counts, unless it does not fit."""
    try:
        return Catalog(variables.get("plan_catalog") or {})
    except CatalogError:
        return Catalog({})


def applied(variables: Vars) -> set[str]:
    """The roles that did their work in this run, where no step of it failed."""
    if variables.get("ansible_check_mode") or variables.get("fleet_failure"):
        return set()
    devices, removed = variables.get("devices_applied"), variables.get("rocm_removed")
    done = {
        "devices": isinstance(devices, dict) and not devices.get("failed") and not devices.get("skipped"),
        "rocm": isinstance(removed, dict) and bool(removed.get("changed")),
        "kernel": "kernel_reboot_required" in variables,
    }
    return {role for role, did in done.items() if did}


def _mended(found: list[Finding], variables: Vars) -> list[Finding]:
    """What was wrong before and is gone from a plan that was made after it: the host was looked at again."""
    now = {finding["id"] for finding in found}
    return [each for each in variables.get("fleet_findings_before") or [] if each["id"] not in now]


def _reboot(plan: Vars, facts: Vars, variables: Vars) -> list[str]:
    """Why a reboot is needed: what the roles asked for, or what shows without them."""
    if variables.get("fleet_rebooted"):
        return []
    return reboot.asked(variables) or reboot.waiting(plan, facts)


def _still_pending(record: Record, before: Record | None) -> list[str]:
    """After a second teardown in the same boot: what was taken back is gone from the host's files, and still
    runs."""
    if before is None or not (record["teardown"] and before["teardown"]):
        return []
    return before["reboot"] if record["boot_id"] and record["boot_id"] == before["boot_id"] else []


def _health(plan: Vars, variables: Vars) -> dict[t.Any, Vars]:
    """The verdict on each GPU: what somebody set, or what the plan says where the state was read."""
    judged = variables.get("fleet_gpu_health") or (plan.get("health") or {}).get("gpus") or []
    return {each.get("index"): each for each in judged}


def _gpu(gpu: Vars, health: t.Mapping[t.Any, Vars]) -> Gpu:
    seen = health.get(gpu.get("index"), gpu)
    return Gpu(
        index=int(gpu.get("index") or 0),
        name=str(gpu.get("product") or gpu.get("pci_id") or "GPU"),
        gfx=str(gpu.get("gfx") or ""),
        pci=str(gpu.get("pci_address") or gpu.get("bdf") or ""),
        memory_bytes=int(gpu.get("usable_bytes") or 0),
        partitions=int(gpu.get("partitions") or 0),
        mode="/".join(str(gpu[key]) for key in ("compute_partition", "memory_partition") if gpu.get(key)),
        verdict=seen.get("verdict"),
        evidence=str(seen.get("evidence") or ""),
    )


def _failure(text: str, findings: list[Finding]) -> str:
    """Why the host was stopped, in one sentence. Findings speak for themselves and are named only."""
    named = [each["id"] for each in findings if each["severity"] == "fail" and f"[{each['id']}]" in text]
    return f"{BY_FINDINGS} {', '.join(dict.fromkeys(named))}" if named else text


def _take_over(record: Record, before: Record | None) -> None:
    """The host was not looked at: what is known of it is older, and says so."""
    if before is None:
        return
    new, old = t.cast("dict[str, t.Any]", record), t.cast("dict[str, t.Any]", before)
    for key in KNOWN:
        if not new[key] or new[key] == accepted.NONE:
            new[key] = old[key]
    record["known_at"] = before["known_at"] or before["at"]
    if not record["endpoints"]:
        record["endpoints"] = [unasked(each) for each in before["endpoints"]]


def unasked(endpoint: Endpoint) -> Endpoint:
    """The endpoint as far as it is known, when nobody asked it in this run."""
    return {
        **endpoint, "answered": None, "text": "", "reason": "", "waited_seconds": None,
        "time_to_first_token_ms": None, "time_per_output_token_ms": None,
    }  # fmt: skip


def _history(record: Record, before: Record | None) -> list[Past]:
    """The runs so far, this one last; one entry for a run, however often it wrote the record."""
    past = list(before["history"]) if before else []
    if before and past and before["run"] == record["run"]:
        past.pop()
    now = Past(
        at=record["at"],
        command=record["command"],
        state=state(record),
        fail=count(record, "fail"),
        warn=count(record, "warn"),
    )
    return [*past, now][-KEPT_RUNS:]
