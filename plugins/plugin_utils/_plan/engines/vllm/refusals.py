# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not work with a GPU and a release of vLLM, whatever else is right: rules of the profiles,
attention backends, quantizations."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import environment as variables
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import history
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm.builds import Build

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host


def check(
    host: Host,
    build: Build,
    gfx: str,
    serving: dict[str, t.Any],
    options: dict[str, t.Any],
    environment: dict[str, str],
    wanted: dict[str, t.Any],
) -> None:
    """Hold one instance on GPUs of the architecture ``gfx`` to all of it."""
    for rule in serving.get("refuse", []):
        condition = rule["when"]
        values = options if "option" in condition else environment
        name = condition.get("option") or condition["environment"]
        value = values.get(name)
        if value is not None and _applies(condition, value) and build.matches(condition):
            _refuse(host, wanted, name, f"{name}={value} on {gfx}", rule["severity"], rule["reason"])
    _check_backend(host, build, gfx, options, environment, wanted)
    _check_quantization(host, build, gfx, options, wanted)


def _refuse(host: Host, wanted: dict[str, t.Any], name: str, seen: str, severity: str, why: str) -> None:
    remedy = f"Change {name} of the instance {wanted['name']}"
    host.findings.add(
        "vllm.refused",
        seen,
        "a value that works there",
        severity=severity,
        why=why.rstrip("."),
        remedy=remedy,
    )


def _applies(condition: dict[str, t.Any], value: t.Any) -> bool:
    if "above" in condition:
        return isinstance(value, int) and value > condition["above"]
    if "in" in condition:
        return any(variables.same(value, entry) for entry in condition["in"])
    if "equals" in condition:
        return variables.same(value, condition["equals"])
    return bool(condition.get("present"))


def _check_backend(
    host: Host,
    build: Build,
    gfx: str,
    options: dict[str, t.Any],
    environment: dict[str, str],
    wanted: dict[str, t.Any],
) -> None:
    """An attention backend that the release has, with kernels for the GPU; and kernels of AITER only where
    AITER has some."""
    known = host.catalog.vllm["attention_backends"]
    backend = _backend(options)
    aiter = known["by_gfx"].get(gfx, {}).get("aiter", False)
    if backend:
        name, entry = backend.upper(), known["names"].get(backend.upper())
        first = host.catalog.vllm["attention_history"].get(backend.upper(), {}).get("first")
        if entry is None:
            why = f"vLLM has {', '.join(known['names'])}"
            _refuse(host, wanted, "attention-backend", f"attention-backend={backend}", "fail", why)
        elif first and version_key(build.version) < version_key(first):
            seen = f"attention-backend={backend} with vLLM {build.version}"
            _refuse(host, wanted, "attention-backend", seen, "fail", f"it came with {first}")
        elif entry.get("aiter") and not aiter:
            why = f"{name} is made of AITER's kernels, which need CDNA 3 or later; the engine stops at start"
            _refuse(host, wanted, "attention-backend", f"attention-backend={backend} on {gfx}", "fail", why)
    for option in ("moe-backend", "linear-backend"):
        if "aiter" in str(options.get(option, "")).lower() and not aiter:
            _refuse(
                host,
                wanted,
                option,
                f"{option}={options[option]} on {gfx}",
                "fail",
                "AITER has no kernels for this GPU",
            )


def _backend(options: dict[str, t.Any]) -> str | None:
    """The attention backend, whichever way it is asked for."""
    given = options.get("attention-backend")
    config = options.get("attention-config")
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except ValueError:
            config = None
    given = given or (config.get("backend") if isinstance(config, dict) else None)
    return str(given) if given and str(given).lower() != "auto" else None


def _check_quantization(
    host: Host, build: Build, gfx: str, options: dict[str, t.Any], wanted: dict[str, t.Any]
) -> None:
    """What the weights are quantized with, held against the release and the GPU. Options are refused by the
    profile."""
    there, given, known = (
        host.rocm["paths"].get(wanted["path"], {}),
        wanted["model_config"],
        host.catalog.vllm["quantization"],
    )
    method = options.get("quantization") or (
        _model.quantization(given) if given else there.get("quantization")
    )
    scales = _model.fp8_scales(given) if given else there.get("fp8_scales")
    removed = known["removed"].get(method)
    span = history.quantization_span(host.catalog, method) if method else None
    remedy = (
        f"Take the model of the instance {wanted['name']} in another quantization, for example AWQ or GPTQ"
    )
    if removed and span and span[1] and version_key(build.version) > version_key(span[1]):
        why = f"vLLM {span[1]} was the last to load it on ROCm"
        remedy = f"Take the model in another quantization: {removed['replacement']}"
        host.findings.add("vllm.quantization", method, "one that this release loads", why=why, remedy=remedy)
        return
    if method and not removed and not history.quantization_known(host.catalog, method, build.version):
        loaded = history.quantizations(host.catalog, build.version)
        why = f"vLLM {build.version} loads {', '.join(loaded)} on ROCm"
        severity = "fail" if loaded else "warn"
        host.findings.add(
            "vllm.quantization", method, "one that vLLM loads", severity=severity, why=why, remedy=remedy
        )
        return
    support = known["by_gfx"].get(gfx, {})
    if str(options.get("kv-cache-dtype", "")).startswith("fp8") and support.get("kv_cache_fp8") == "limited":
        why = "few attention backends read a cache in FP8 on this GPU"
        _refuse(
            host,
            wanted,
            "kv-cache-dtype",
            f"kv-cache-dtype={options['kv-cache-dtype']} on {gfx}",
            "warn",
            why,
        )
    if "quantization" in options:
        return
    name = f"fp8_per_{scales}" if scales else str(method)
    works, first = support.get(name), support.get(f"{name}_first")
    if works == "yes" and first and version_key(build.version) < version_key(first):
        works = "no"
    if works in ("no", "slow"):
        why = (
            f"vLLM {build.version} has no kernels for it there"
            if works == "no"
            else "it runs without kernels of its own, slowly"
        )
        severity = "fail" if works == "no" else "warn"
        seen, expected = f"weights in {name} on {gfx}", "a quantization with kernels for this GPU"
        host.findings.add("vllm.quantization", seen, expected, severity=severity, why=why, remedy=remedy)
