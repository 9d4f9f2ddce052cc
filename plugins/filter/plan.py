# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters around the planner. Their documentation is in the YAML files beside this one."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner, quadlet, serve
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import normalize
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.secrets_check import fault
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import WantsError

FACTS = ("amd_gpus", "amd_rocm", "amd_host")
NO_QUESTIONS: dict[str, t.Any] = {
    "ports": [],
    "paths": [],
    "images": [],
    "search_paths": [],
    "programs": [],
    "user": "",
    "network": False,
}


def plan(
    facts: t.Mapping[str, t.Any], wants: dict[str, t.Any], host: str, unreachable: str = ""
) -> dict[str, t.Any]:
    # Of all that a host says, only these facts are read.
    found = {name: facts.get(name, {}) for name in FACTS} if isinstance(facts, Mapping) else {"facts": facts}
    for name, value in {**found, "wants": wants}.items():
        if not isinstance(value, dict):
            raise AnsibleFilterError(
                f"amdgpu.fleet.plan: {name} must be a mapping, not {type(value).__name__}."
            )
    if not unreachable:
        for name, value in found.items():
            if not value:
                raise AnsibleFilterError(
                    f"amdgpu.fleet.plan: the fact {name} is missing. Run amdgpu.fleet.host_facts first."
                )
    if isinstance(facts.get("amd_health"), Mapping):
        found["amd_health"] = facts["amd_health"]
    return planner.plan(plain(found), plain(wants), host, unreachable)


def plan_questions(wants: dict[str, t.Any]) -> dict[str, t.Any]:
    try:
        normalized = normalize(plain(wants))
        return serve.questions(normalized, Catalog(normalized.plan_catalog))
    except (WantsError, CatalogError):
        # The plan reports it as a finding, with everything else it finds.
        return NO_QUESTIONS


def container_unit(text: str, release: str | None, plan_catalog: dict[str, t.Any] | None = None) -> str:
    try:
        return quadlet.for_podman(text, release, Catalog(plan_catalog).podman["quadlet"])
    except (quadlet.QuadletError, CatalogError) as error:
        raise AnsibleFilterError(f"amdgpu.fleet.container_unit: {error}.") from error


def inventory_nodes(
    instances: t.Any, groups: t.Mapping[str, t.Sequence[str]], hostvars: t.Mapping[str, t.Any]
) -> dict[str, list[dict[str, str]]]:
    found = {}
    # What is written wrong is skipped: the plan reports it as a finding, with everything else it finds.
    given = (
        [instance.get("nodes") for instance in instances if isinstance(instance, dict)]
        if isinstance(instances, list)
        else []
    )
    for group in dict.fromkeys(nodes for nodes in given if nodes and isinstance(nodes, str)):
        members = []
        for name in groups.get(group, []):
            address = hostvars[name].get("serve_node_address") or hostvars[name].get("ansible_host") or name
            members.append({"name": str(name), "address": str(address)})
        found[str(group)] = members
    return found


def sentences(findings: list[dict[str, t.Any]], severities: t.Sequence[str] = ("fail",)) -> list[str]:
    return [sentence(finding) for finding in findings if finding["severity"] in severities]


def failure_reason(result: dict[str, t.Any]) -> str:
    failed = [
        item for item in result.get("results") or [] if isinstance(item, dict) and item.get("failed")
    ] or [result]
    reasons = []
    for item in failed:
        text = item.get("msg") or "no reason given"
        text = "; ".join(str(part) for part in text) if isinstance(text, list) else str(text).strip()
        details = str(item.get("stderr") or item.get("module_stderr") or "").strip().splitlines()
        reasons.append(f"{text} {details[-1]}" if details and details[-1] not in text else text)
    return _harmless.text("; ".join(dict.fromkeys(reasons)))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "plan": plan,
            "plan_questions": plan_questions,
            "container_unit": container_unit,
            "inventory_nodes": inventory_nodes,
            "sentences": sentences,
            "secret_fault": fault,
            "failure_reason": failure_reason,
        }
