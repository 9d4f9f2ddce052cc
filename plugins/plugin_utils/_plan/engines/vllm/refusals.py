# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not work with a GPU and a release of vLLM, whatever else is right: rules of the profiles,
attention backends, quantizations."""

from __future__ import annotations

import dataclasses
import typing as t

from ...catalog import version_key
from . import checkpoint, history
from . import environment as variables
from .checkpoint import Vllm


@dataclasses.dataclass(frozen=True)
class Launched:
    """What an instance is about to be started with, held to what its GPU and release can."""

    instance: Vllm
    options: dict[str, t.Any]
    environment: dict[str, str]

    def refuse(self, name: str, seen: str, why: str, severity: str = "fail") -> None:
        """Say that a value cannot work."""
        self.instance.host.findings.add(
            "vllm.refused",
            seen,
            "a value that works there",
            severity=severity,
            why=why.rstrip("."),
            remedy=f"Change {name} of the instance {self.instance.name}",
        )


def check(launched: Launched) -> None:
    """Hold one instance on GPUs to the rules of its profile, to attention backends and quantizations."""
    gfx = launched.instance.gfx
    for rule in launched.instance.serving.get("refuse", []):
        condition = rule["when"]
        values: t.Mapping[str, t.Any] = launched.options if "option" in condition else launched.environment
        name = condition.get("option") or condition["environment"]
        value = values.get(name)
        if condition.get("nodes") is False and launched.instance.server.nodes:
            continue
        if value is not None and _applies(condition, value) and launched.instance.build.matches(condition):
            launched.refuse(name, f"{name}={value} on {gfx}", rule["reason"], rule["severity"])
    _check_sparse(launched)
    _check_quantization(launched)


def _applies(condition: dict[str, t.Any], value: t.Any) -> bool:
    if "above" in condition:
        return isinstance(value, int) and value > condition["above"]
    if "in" in condition:
        return any(variables.same(value, entry) for entry in condition["in"])
    if "equals" in condition:
        return variables.same(value, condition["equals"])
    return bool(condition.get("present"))


def _check_sparse(launched: Launched) -> None:
    """Attention that picks the tokens it looks at has one backend on ROCm, of AITER's kernels. vLLM itself
    finds out when it runs."""
    gfx, found = launched.instance.gfx, checkpoint.shape(launched.instance)
    known = launched.instance.host.catalog.vllm["attention_backends"]["by_gfx"]
    picks = found and (found.get("index") or found.get("uncounted") == "index_topk")
    if picks and not known.get(gfx, {}).get("aiter", False):
        why = "its sparse attention has AITER's kernels alone, which need CDNA 3 or later"
        launched.refuse("model", f"{launched.instance.server.model} (index_topk) on {gfx}", why)


class Unloadable(t.NamedTuple):
    """Why weights in a quantization cannot be served, or not well."""

    seen: str | None
    expected: str
    severity: str | None
    why: str
    remedy: str


def _check_quantization(launched: Launched) -> None:
    """What the weights are quantized with, held against the release and the GPU."""
    unloadable = _release_lacks(launched)
    if unloadable is None:
        _check_cache_format(launched)
        # Options are refused by the profile.
        unloadable = _packed(launched)
    if unloadable is None:
        unloadable = None if "quantization" in launched.options else _gpu_lacks(launched)
    if unloadable:
        launched.instance.host.findings.add(
            "vllm.quantization",
            unloadable.seen,
            unloadable.expected,
            severity=unloadable.severity,
            why=unloadable.why,
            remedy=unloadable.remedy,
        )


def _packed(launched: Launched) -> Unloadable | None:
    """Integers of so many bits (GPTQ, AWQ): vLLM ends with others, or finds no kernel of ROCm."""
    instance, version = launched.instance, launched.instance.build.version
    rules, shape = instance.host.catalog.vllm["quantization"]["packed"], checkpoint.shape(instance) or {}
    bits, method = shape.get("weight_bits"), str(checkpoint.quantization(instance))
    if not bits or method not in rules:
        return None
    old = method == "gptq" and version_key(version) < version_key(rules["gptq_first"])
    sides = "asymmetric " if shape.get("asymmetric") else ""
    if not old and (bits not in rules[method] or sides):
        known = f"{' and '.join(map(str, rules[method]))} bits" + (", symmetric" if method == "gptq" else "")
        why = f"vLLM {version} loads {method.upper()} of {known}"
        seen = f"{sides}weights of {bits} bits in {method}"
        return Unloadable(seen, "a quantization that it loads", "fail", why, _another(launched))
    kind = str(launched.options.get("dtype", "auto"))
    half = (shape.get("dtype") if kind == "auto" else kind) in ("float16", "half")
    group = shape.get("quant_group")
    if bits == 8 and group and group not in rules["groups_of_8"] and not half and not shape.get("experts"):
        why = f"its kernel on ROCm computes groups of {group} in float16 alone"
        remedy = f"Set dtype in options of the instance {instance.name} to float16"
        return Unloadable(f"weights of 8 bits in groups of {group}", "float16", "fail", why, remedy)
    return None


def _another(launched: Launched) -> str:
    name = launched.instance.name
    return f"Take the model of the instance {name} in another quantization, for example AWQ or GPTQ"


def _release_lacks(launched: Launched) -> Unloadable | None:
    instance, version = launched.instance, launched.instance.build.version
    catalog = instance.host.catalog
    method = launched.options.get("quantization") or checkpoint.quantization(instance)
    if not method:
        return None
    removed = catalog.vllm["quantization"]["removed"].get(method)
    _first, last = history.quantization_span(catalog, method) or (None, None)
    if removed and last and version_key(version) > version_key(last):
        why = f"vLLM {last} was the last to load it on ROCm"
        remedy = f"Take the model in another quantization: {removed['replacement']}"
        return Unloadable(method, "one that this release loads", None, why, remedy)
    if removed or history.quantization_known(catalog, method, version):
        return None
    loaded = history.quantizations(catalog, version)
    why = f"vLLM {version} loads {', '.join(loaded)} on ROCm"
    severity = "fail" if loaded else "warn"
    return Unloadable(method, "one that vLLM loads", severity, why, _another(launched))


def _check_cache_format(launched: Launched) -> None:
    gfx = launched.instance.gfx
    support = launched.instance.host.catalog.vllm["quantization"]["by_gfx"].get(gfx, {})
    kind = str(launched.options.get("kv-cache-dtype", ""))
    rules = launched.instance.serving.get("refuse", [])
    told = any(rule["when"].get("option") == "kv-cache-dtype" for rule in rules)
    if kind.startswith("fp8") and support.get("kv_cache_fp8") == "limited" and not told:
        why = "few attention backends read a cache in FP8 on this GPU"
        launched.refuse("kv-cache-dtype", f"kv-cache-dtype={kind} on {gfx}", why, "warn")


def _gpu_lacks(launched: Launched) -> Unloadable | None:
    instance = launched.instance
    support = instance.host.catalog.vllm["quantization"]["by_gfx"].get(instance.gfx, {})
    scales = checkpoint.fp8_scales(instance)
    kept = (checkpoint.shape(instance) or {}).get("weight_format")
    name = f"fp8_per_{scales}" if scales else str(kept or checkpoint.quantization(instance))
    works, first = support.get(name), support.get(f"{name}_first")
    version = instance.build.version
    if works == "yes" and first and version_key(version) < version_key(first):
        works = "no"
    if works not in ("no", "slow"):
        return None
    why = "it runs without kernels of its own, slowly"
    if works == "no":
        why = f"vLLM {version} has no kernels for it there"
    severity = "fail" if works == "no" else "warn"
    seen, expected = f"weights in {name} on {instance.gfx}", "a quantization with kernels for this GPU"
    return Unloadable(seen, expected, severity, why, _another(launched))
