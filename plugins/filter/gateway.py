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

# What an instance is asked whether it works says what it is for, where the inventory has that.
TASKS = {
    **dict.fromkeys(("embed", "score", "classify", "pooling"), "pooling"),
    "transcription": "transcription",
    "completion": "generate",
}
# Options of llama.cpp's server.
POOLS = ("embedding", "embeddings", "rerank", "reranking")
ALIASES = ("served-model-name", "alias")


def _options(instance: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    options = instance.get("options")
    found = options if isinstance(options, t.Mapping) else {}
    return {str(name).replace("_", "-"): value for name, value in found.items()}


def _task(instance: t.Mapping[str, t.Any]) -> str | None:
    """What an instance says that it is for; ``None`` where its model alone decides."""
    options = _options(instance)
    pools = any(options.get(name) in values for name, values in POOLING.items())
    if pools or any(options.get(name) is True for name in POOLS):
        return "pooling"
    return TASKS.get(str(instance.get("probe")), "generate" if options.get("runner") == "generate" else None)


def _names(instance: t.Mapping[str, t.Any]) -> list[str]:
    """The names that clients ask an instance for: its own, those of its adapters, and further models of
    llama.cpp's router."""
    options = _options(instance)
    told = next((options[name] for name in ALIASES if options.get(name)), None)
    folder = str(instance.get("model") or "").rstrip("/").rpartition("/")[2]
    own = told or instance.get("served_name") or folder
    names = [str(name) for name in own] if isinstance(own, list) else [str(own).removesuffix(".gguf")]
    adapters = options.get("lora-modules") or []
    for each in adapters if isinstance(adapters, list) else [adapters]:
        names.append(str(each.get("name")) if isinstance(each, t.Mapping) else str(each).partition("=")[0])
    models = options.get("models")
    return [*names, *(map(str, models) if isinstance(models, t.Mapping) else ())]


def replicas(
    hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Any], instance: str = ""
) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = []
    names: list[list[str]] = []
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
            task = _task(each)
            more = {"task": task} if task else {}
            found.append({"name": name, "address": address, "port": port, **more})
            names.append(_names(each))
    # Of one model, whatever a request names is theirs.
    if any(each != names[0] for each in names):
        return [{**each, "models": models} for each, models in zip(found, names)]
    return found


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"replicas": replicas}
