# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted servers in the record: their endpoints, and what is wrong with those that were looked at."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import Findings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Endpoint, Finding

Vars = t.Mapping[str, t.Any]
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, never listened on


def endpoints(plan: Vars, variables: Vars, address: str) -> list[Endpoint]:
    """One entry for each instance that answers requests, with what was measured if it was asked."""
    serve: Vars = plan.get("serve") or {}
    probes = _probes(variables)
    status = {each["name"]: each for each in _status(variables)}
    return [
        _endpoint(instance, probes.get(instance["name"]), status.get(instance["name"]), address)
        for instance in serve.get("instances") or []
        if not instance.get("worker")
    ]


def _endpoint(instance: Vars, probe: Vars | None, status: Vars | None, address: str) -> Endpoint:
    # Where another host reaches it: nowhere on loopback; an address that stands for all is none to ask.
    name = address if instance["host"] in EVERYWHERE else instance["address"]
    answered: bool | None = None
    if probe is not None:
        answered = True
    elif status is not None:
        answered = status["verdict"] == "ok"
    measured: Vars = probe or (status or {}).get("completion") or {}
    return Endpoint(
        name=instance["name"],
        url=instance["url"],
        target=f"{name}:{instance['port']}" if instance["exposed"] else None,
        unit=instance["unit"],
        model=instance["served_name"],
        engine=str(instance["engine"]),
        kind=str(instance["kind"]),
        version=str(instance["version"]),
        variant=str(instance["variant"]),
        gpus=list(instance.get("gpus") or []),
        memory=dict(instance.get("memory") or {}),
        answered=answered,
        text=str(measured.get("text") or ""),
        reason=str((status or {}).get("reason") or ""),
        waited_seconds=(probe or {}).get("waited_seconds"),
        time_to_first_token_ms=measured.get("time_to_first_token_ms"),
        time_per_output_token_ms=measured.get("time_per_output_token_ms"),
    )


def _probes(variables: Vars) -> dict[str, Vars]:
    """The answers of the probe that ends a rollout, by instance."""
    results = (variables.get("__serve_probes") or {}).get("results") or []
    return {
        result["item"]["name"]: result
        for result in results
        if isinstance(result.get("item"), dict) and "waited_seconds" in result and not result.get("failed")
    }


def _status(variables: Vars) -> list[Vars]:
    """What a look at all servers showed. Where the role serve looked and not all were well, it asked them one
    by one afterwards."""
    if "fleet_serving" in variables:
        return (variables["fleet_serving"] or {}).get("servers") or []
    seen = (variables.get("__serve_seen") or {}).get("servers") or []
    return seen if all(each["verdict"] == "ok" for each in seen) else []


def found(host: str, variables: Vars, reboot: list[str]) -> list[Finding]:
    """What is wrong with the servers that were looked at, in the words of the catalog."""
    servers = [each for each in _status(variables) if each["verdict"] != "ok" or each.get("other_version")]
    if not servers:
        return []
    try:
        known = Catalog(variables.get("plan_catalog") or {}).known_issues
    except CatalogError:
        known = Catalog({}).known_issues
    findings = Findings(host, known, variables.get("plan_accept") or [])
    for server in servers:
        _add(findings, server, bool(reboot))
    return t.cast("list[Finding]", [dataclasses.asdict(each) for each in findings.sorted()])


def _add(findings: Findings, server: Vars, reboot: bool) -> None:
    verdict, seen, expected = server["verdict"], server["reason"], server["expected"]
    unit, instance = server["unit"], server["name"]
    if verdict == "ok":
        findings.add("serve.other_version", server["version"], server["wanted_version"], instance=instance)
    elif verdict == "down" and reboot:
        findings.add("serve.waits", seen, expected, instance=instance)
    elif verdict == "down":
        findings.add("serve.down", seen, expected, instance=instance, unit=unit)
    elif verdict == "absent":
        findings.add("serve.absent", seen, expected, instance=instance)
    elif verdict == "restarting":
        findings.add("serve.restarting", seen, expected, instance=instance, unit=unit)
    elif verdict == "starting":
        findings.add("serve.starting", seen, expected, instance=instance, unit=unit)
    elif verdict == "other_model":
        findings.add("serve.other_model", seen, expected, instance=instance)
    else:
        findings.add("serve.deaf", seen, expected, instance=instance, unit=unit)
