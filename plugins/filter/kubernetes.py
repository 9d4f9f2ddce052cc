# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of Kubernetes out of a plan. The documentation is in the YAML file beside this one."""

from __future__ import annotations

import dataclasses
import importlib.util
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.filter.plan import FACTS
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import kubernetes_objects as made
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.plan import NoPlan

# A pod that the kubelet reads from a file of the node.
MIRROR = "kubernetes.io/config.mirror"
VENDOR = "amd.com/"


def kubernetes_objects(facts: t.Mapping[str, t.Any], wants: dict[str, t.Any], host: str) -> dict[str, t.Any]:
    seen, plan = planner.whole(plain({name: facts.get(name, {}) for name in FACTS}), plain(wants), host)
    if isinstance(plan, NoPlan) or seen is None:
        reasons = " ".join(sentence(dataclasses.asdict(finding)) for finding in plan.findings)
        raise AnsibleFilterError(f"amdgpu.fleet.kubernetes_objects: there is no plan for {host}. {reasons}")
    if plan.kubernetes is None:
        raise AnsibleFilterError(
            f"amdgpu.fleet.kubernetes_objects: {host} is not handed over. Set serve_kind to kubernetes for "
            "it in the inventory."
        )
    return dataclasses.asdict(made.objects(seen, plan))


def collections_missing(names: t.Sequence[str]) -> list[str]:
    return [name for name in names if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"ansible_collections.{name}") is not None
    except ModuleNotFoundError:
        return False


def pods_left(pods: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    found = []
    for pod in pods:
        metadata = pod["metadata"]
        owners = [owner.get("kind") for owner in metadata.get("ownerReferences") or []]
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if not ended and MIRROR not in (metadata.get("annotations") or {}) and "DaemonSet" not in owners:
            found.append(f"{metadata.get('namespace', 'default')}/{metadata['name']}")
    return sorted(found)


def node_devices(nodes: t.Sequence[t.Mapping[str, t.Any]], name: str) -> str:
    node = next((node for node in nodes if node["metadata"]["name"] == name), {})
    offered = (node.get("status") or {}).get("allocatable") or {}
    return ",".join(
        sorted(each for each, count in offered.items() if each.startswith(VENDOR) and str(count) != "0")
    )


def node_lacks(nodes: t.Sequence[t.Mapping[str, t.Any]], wanted: t.Mapping[str, int]) -> list[str]:
    if not nodes:
        return ["the cluster does not know it"]
    status = nodes[0].get("status") or {}
    ready = any(
        each.get("type") == "Ready" and each.get("status") == "True"
        for each in status.get("conditions") or []
    )
    offered = status.get("allocatable") or {}
    short = [
        f"it offers {offered.get(name, 0)} of {count} {name}"
        for name, count in wanted.items()
        if int(offered.get(name, 0)) < int(count)
    ]
    return [*([] if ready else ["it is not ready"]), *short]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "kubernetes_objects": kubernetes_objects,
            "collections_missing": collections_missing,
            "node_devices": node_devices,
            "node_lacks": node_lacks,
            "pods_left": pods_left,
        }
