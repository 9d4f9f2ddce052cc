# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of an instance of vLLM: what its profile sets, what the inventory asks for, and what its
release reads of that."""

from __future__ import annotations

import re
import typing as t

from ... import model
from ...catalog import version_key
from ...host import Host
from ...wants import INVENTORY
from ..protocol import Together
from . import history
from .builds import VllmBuild
from .checkpoint import Vllm
from .nodes import environment as of_nodes
from .recipe_use import Used

VISIBLE = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
# The cache volume outlives the container. A service over a virtual environment has folders of systemd.
KEPT = "/root/.cache/vllm"
CACHES = {
    "TRITON_CACHE_DIR": f"{KEPT}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{KEPT}/inductor",
    "FLYDSL_RUNTIME_CACHE_DIR": f"{KEPT}/flydsl",
}
AITER, AITER_CACHE = "VLLM_ROCM_USE_AITER", "AITER_JIT_DIR"
BOOLEAN = {"true": "1", "false": "0"}


def asked_of(instance: Vllm) -> dict[str, t.Any]:
    """What the inventory asks for."""
    return {**instance.host.wants.vllm_environment, **instance.server.environment}


def of_instance(instance: Vllm, nodes: Together | None, used: Used) -> dict[str, str]:
    """Every variable with its value; the inventory beats the recipe, and that the profile. A ``null`` of the
    inventory takes one away."""
    host, build = instance.host, instance.build
    environment = {**_of_profile(instance, nodes is not None), **used.environment}
    environment |= {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    if instance.container:
        environment |= CACHES
    needed = model.tokenizer_files(host, instance.path)
    staged = host.wants.model_tiktoken_directory
    if needed and staged:
        environment[needed["variable"]] = staged
        instance.note("environment", f"{needed['variable']}={staged}", needed["reason"], needed["source"])
    if nodes:
        environment |= of_nodes(instance, nodes)
    asked = asked_of(instance)
    aiter = _is_on(str(asked.get(AITER, environment.get(AITER))))
    if instance.container and aiter and AITER_CACHE not in asked:
        reason = (
            "what AITER compiles outlives the container; the unit fills the folder first, for an empty one "
            "can hang the start"
        )
        source = host.catalog.vllm["other_environment"][AITER_CACHE]["source"]
        folder = f"{KEPT}/aiter-{build.version}-{build.variant}"
        environment[AITER_CACHE] = folder
        instance.note("environment", f"{AITER_CACHE}={folder}", reason, source)
    for name, value in asked.items():
        if value is None:
            environment.pop(name, None)
            continue
        text = str(int(value)) if isinstance(value, bool) else str(value)
        check_variable(host, build, name, text)
        environment[name] = text
        instance.note("environment", f"{name}={text}", "asked for", INVENTORY)
    return environment


def _of_profile(instance: Vllm, several_hosts: bool) -> dict[str, str]:
    """What the profile of the GPU sets for this build, as far as the release reads it."""
    build, serving = instance.build, instance.serving
    parts = [serving.get("environment", {})]
    if not instance.container:
        parts.append(serving.get("environment_bare_metal", {}))
    if instance.devices.number > 1 or several_hosts:
        parts.append(serving.get("environment_multi_gpu", {}))
    environment = {}
    for name, entry in (pair for part in parts for pair in part.items()):
        if not build.matches(entry.get("when", {})):
            continue
        if _unread(instance.host, build, name):
            reason = f"not set: vLLM {build.version} does not read it"
            instance.note("environment", name, reason, "vLLM source distributions")
            continue
        environment[name] = str(entry["value"])
        instance.note("environment", f"{name}={entry['value']}", entry["reason"], entry["source"])
    folder = build.known.get("python_path")
    if folder and not instance.container:
        # The image has this folder on its path; wheels alone do not.
        path = f"{build.venv}/lib/python{build.known['python']}/site-packages/{folder}"
        environment["PYTHONPATH"] = path
        reason = "vLLM finds the GPUs through the amdsmi module in it"
        instance.note("environment", f"PYTHONPATH={path}", reason, build.source)
    return environment


def aiter_cache(environment: dict[str, str]) -> str:
    """The folder to fill. It must lie in the volume: files elsewhere go with the container that fills it."""
    folder = environment.get(AITER_CACHE, "")
    return folder if folder.startswith(f"{KEPT}/") else ""


def _is_on(value: str) -> bool:
    return BOOLEAN.get(value.lower(), value) == "1"


def same(first: t.Any, second: t.Any) -> bool:
    """Whether two values mean the same to vLLM, which reads true and 1 alike."""
    one, other = (BOOLEAN.get(str(value).lower(), str(value).lower()) for value in (first, second))
    return one == other


def _span(host: Host, name: str) -> tuple[str | None, str | None] | None:
    """The first and the last release that reads a variable of vLLM; ``None`` where no release does."""
    return history.variable_span(host.catalog, name)


def _unread(host: Host, build: VllmBuild, name: str) -> bool:
    span, version = _span(host, name), version_key(build.version)
    if span is None:
        return False
    return bool(
        (span[0] and version < version_key(str(span[0]))) or (span[1] and version > version_key(str(span[1])))
    )


def check_variable(host: Host, build: VllmBuild, name: str, value: str | None = None) -> None:
    """A ``VLLM_*`` name must be one that this release reads, with a value it takes; another one must not be
    forbidden by the catalog."""
    vllm = host.catalog.vllm
    entry = vllm["environment"].get(name, {})
    known = entry or vllm["other_environment"].get(name, {})
    if known.get("advice") in ("never", "build"):
        why = f"this is known of it: {known['meaning'].rstrip('.')}"
        wanted = "a server without it" if known["advice"] == "never" else "a variable with an effect"
        host.findings.add("vllm.environment", name, wanted, severity="warn", why=why, remedy=f"Remove {name}")
        return
    if not name.startswith("VLLM_"):
        return
    span = _span(host, name)
    if span is None:
        remedy = f"Remove {name}, or correct its name"
    elif not _unread(host, build, name):
        if value is not None:
            expected = history.variable_refuses(host.catalog, name, value, build.version)
            if expected:
                host.findings.add("vllm.environment_value", f"{name}={value}", expected, name=name)
        return
    elif span[0] and version_key(build.version) < version_key(str(span[0])):
        remedy = f"Remove {name}: it came with vLLM {span[0]}"
    elif entry.get("replacement"):
        remedy = f"Use {entry['replacement']} instead"
    else:
        remedy = f"Remove {name}: {span[1]} was the last to read it"
    why = "vLLM ignores it with a line in the log, so it would have no effect"
    host.findings.add(
        "vllm.environment", f"{name} with vLLM {build.version}", "a variable it reads", why=why, remedy=remedy
    )


def check_visible(instance: Vllm, environment: dict[str, str]) -> None:
    """The unit shows an instance its own devices only, and ROCm counts those it sees: from 0."""
    devices = instance.devices.number
    for name in VISIBLE:
        numbers = [int(number) for number in re.findall(r"[0-9]+", environment.get(name, ""))]
        if devices and any(number >= devices for number in numbers):
            instance.host.findings.add(
                "serve.visible",
                f"{name}={environment[name]} for {instance.name}",
                f"numbers below {devices}",
                why="the unit gives the instance its own devices alone, and ROCm counts what it sees",
                remedy=f"Remove {name} from the environment of the instance {instance.name}; gpus and "
                "partitions say which devices it has",
            )
