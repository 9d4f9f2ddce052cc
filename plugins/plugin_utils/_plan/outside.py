# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan would still fetch from outside of a closed network."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import model as models

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host


def check(host: Host, sections: dict[str, t.Any]) -> None:
    """Find what this plan would fetch from outside although there is a mirror. What an inventory gives by
    itself is inside."""
    wants, mirror = host.wants, host.wants["plan_mirror"]
    if not any(mirror.values()):
        return
    for role in ("driver", "rocm"):
        for part, key in (("uri", "repository_uri"), ("key_url", "repository_key_url")):
            if sections[role]["repository"] and not mirror["url"] and not wants[f"{role}_{key}"]:
                _outside(host, sections[role]["repository"][part], f"plan_mirror.url or {role}_{key}")
    vllm, model = sections["serve"], sections["model"]
    if vllm.get("kind") == "venv" and not vllm["venv_present"] and not wants["vllm_pip_arguments"]:
        if not mirror["pip_index"]:
            _outside(
                host,
                f"{', '.join(vllm['packages'])} from pip's index",
                "plan_mirror.pip_index or vllm_pip_arguments",
            )
        if not mirror["url"] and vllm["pip_arguments"]:
            _outside(host, vllm["pip_arguments"].split()[-1], "plan_mirror.url or vllm_pip_arguments")
    inside = mirror["registry"] or wants["vllm_image_archive"] or wants["vllm_image"]
    if vllm.get("container") and not vllm["image_present"] and not inside:
        _outside(host, vllm["image_source"], "plan_mirror.registry, vllm_image or vllm_image_archive")
    hub = [source["model"] for source in model["fetch"] if source["kind"] == "hub"]
    if hub and not model["endpoint"]:
        _outside(
            host, f"{', '.join(hub)} from the public Hub", "plan_mirror.hub or an archive in model_sources"
        )
    installed = hub and host.rocm["environments"].get(model["client"], {}).get("python")
    if hub and not installed and not mirror["pip_index"] and not wants["model_pip_arguments"]:
        _outside(
            host,
            f"{model['client_package']} from pip's index",
            "plan_mirror.pip_index or model_pip_arguments",
        )
    for instance in vllm["instances"]:
        needed = models.tokenizer_files(host, instance["model"])
        if needed and needed["variable"] not in instance["environment"]:
            _outside(
                host,
                f"{', '.join(needed['files'])} of the tokenizer of {instance['name']}",
                "model_tiktoken_directory",
            )


def _outside(host: Host, what: str, variables: str) -> None:
    host.findings.add("mirror.outside", what, "only what the mirror or an archive has", variables=variables)
