# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers behind a gateway, from the inventory. The documentation is in the YAML file beside this one."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import servers
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm.tasks import POOLING
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.serve import LOOPBACK


def _pools(instance: t.Mapping[str, t.Any]) -> bool:
    """Whether the options of an instance say that it gives vectors, classes or scores."""
    options = instance.get("options")
    return isinstance(options, t.Mapping) and any(
        options.get(name) in values for name, values in POOLING.items()
    )


def replicas(
    hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Any], instance: str = ""
) -> list[dict[str, t.Any]]:
    found = []
    groups = hostvars[hosts[0]].get("groups", {}) if hosts and hosts[0] in hostvars else {}
    for host in hosts:
        try:
            instances = hostvars[host]["serve_instances"]
        except KeyError as error:
            raise AnsibleFilterError(
                f"amdgpu.fleet.replicas: the inventory has no {error.args[0]} for {host}."
            ) from error
        try:
            entries = [each for each in instances if not instance or each["name"] == instance]
            chosen = [
                {"port": 8000, **server, "name": str(server["name"])}
                for each in entries
                for server in servers(each)
            ]
            ports = [int(each["port"]) for each in chosen]
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise AnsibleFilterError(
                f"amdgpu.fleet.replicas: serve_instances of {host} is not a list of instances, each with a "
                f"name and numbers as port and "
                "count. Correct it in the inventory."
            ) from error
        if not chosen:
            raise AnsibleFilterError(
                f"amdgpu.fleet.replicas: {host} has no instance {instance or 'at all'} in serve_instances."
            )
        for each, port in zip(chosen, ports):
            together = groups.get(str(each.get("nodes") or "")) or [host]
            if host != together[0]:
                continue  # it computes for the first host of its group, which answers
            address = each.get("host") or LOOPBACK[0]
            if address in LOOPBACK and len(hosts) > 1:
                raise AnsibleFilterError(
                    f"amdgpu.fleet.replicas: the instance {each['name']} of {host} listens on {address}, "
                    f"where a gateway "
                    "on another host cannot reach it. Give it host, an address of its host."
                )
            name = host if len(chosen) == 1 else f"{host}.{each['name']}"
            task = {"task": "pooling"} if _pools(each) else {}
            found.append({"name": name, "address": address, "port": port, **task})
    return found


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"replicas": replicas}
