# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of an instance in the plan: what is asked for, put into the terms of ``fit``, and what is said
about the result."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import fit

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

GIB = fit.GIB
KV_SPACE = "VLLM_CPU_KVCACHE_SPACE"
# AMD gives the memory of a host for its platforms of several GPUs, not for a machine with one or two of them.
PLATFORM_GPUS = 4
# MemTotal leaves out what the firmware and the kernel keep.
KEPT_BY_THE_SYSTEM = 0.03


class Unknown(ValueError):
    """Why nothing can be said; for people."""


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def of_instance(
    host: Host,
    rocm: bool,
    version: str,
    wanted: dict[str, t.Any],
    options: dict[str, t.Any],
    environment: dict[str, str],
    gpus: list[dict[str, t.Any]],
    there: int,
) -> dict[str, t.Any]:
    """The table of one instance, with its finding and the lines that the plan shows."""
    rules = host.catalog.vllm["memory"]
    model = _model_of(host, wanted)
    try:
        settings = _settings(host, rocm, version, wanted, model, options, environment, gpus, there)
        found = fit.table(model, settings, rules, cpu=not rocm)
        if model.weights_bytes is None:
            there = host.rocm["paths"].get(wanted["path"], {}).get("exists")
            where = "the folder has no weights" if there else "the model is not on the host"
            remedy = "weights_gib and model_config of the instance would tell"
            found["reason"] = f"{where}; {remedy}"
    except Unknown as error:
        found, settings = {"verdict": "unknown", "reason": str(error), "devices": 0}, None
    if settings:
        _findings(host, wanted, found, settings, model, there if rocm else 0)
        if rocm:
            _ceiling(host, wanted, found, settings, model)
    value, reason = _words(found, rocm)
    host.note(
        "serve",
        f"{wanted['name']} memory",
        value,
        reason,
        rules["source"] if found.get("weights_bytes") is not None else None,
    )
    return found


def _model_of(host: Host, wanted: dict[str, t.Any]) -> fit.Model:
    """What the inventory says beats what lies on the disk."""
    there, given = host.rocm["paths"].get(wanted["path"], {}), wanted["model_config"]
    return fit.Model(
        weights_bytes=int(wanted["weights_gib"] * GIB) or there.get("weights_bytes"),
        shape=_model.shape(given) if given else there.get("shape"),
        quantization=_model.quantization(given) if given else there.get("quantization"),
    )


def _number(options: dict[str, t.Any], name: str, default: int) -> int:
    value = options.get(name)
    number = default if value is None else fit.tokens_of(value)
    if number is None:
        raise Unknown(f"{name}={value} is not a number")
    return number


def _share(options: dict[str, t.Any], default: float) -> float:
    value = options.get("gpu-memory-utilization", options.get("device-memory-utilization", default))
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share <= 1:
        raise Unknown(f"gpu-memory-utilization={value} is not a number above 0 and up to 1")
    return share


def _settings(
    host: Host,
    rocm: bool,
    version: str,
    wanted: dict[str, t.Any],
    model: fit.Model,
    options: dict[str, t.Any],
    environment: dict[str, str],
    gpus: list[dict[str, t.Any]],
    there: int,
) -> fit.Settings:
    rules = host.catalog.vllm["memory"]
    tensor, pipeline = (
        _number(options, "tensor-parallel-size", 1),
        _number(options, "pipeline-parallel-size", 1),
    )
    if options.get("enable-expert-parallel") and _number(options, "data-parallel-size", 1) > 1:
        raise Unknown(
            "with data-parallel-size the experts lie on all replicas, and how much of the weights they are "
            "is not known"
        )
    replicas = _number(options, "data-parallel-size-local", _number(options, "data-parallel-size", 1))
    if rocm and gpus and tensor * pipeline * replicas > there:
        sizes = " x ".join(str(size) for size in (tensor, pipeline, *([replicas] if replicas > 1 else [])))
        host.findings.add(
            "vllm.parallel",
            f"{sizes} devices for {wanted['name']}",
            f"at most {there}",
            instance=wanted["name"],
        )
        raise Unknown("the instance asks for more devices than it has")
    usable = _device_bytes(host, gpus) if rocm else _rank_bytes(host, tensor * pipeline)
    reached = next((entry for entry in rules["batch"] if usable >= entry["gib"] * GIB), rules["batch"][-1])
    batch = (
        reached if rocm else {name: count * tensor * pipeline for name, count in rules["batch_cpu"].items()}
    )
    latent = bool((model.shape or {}).get("kv_lora_rank"))
    known = host.catalog.vllm["versions"].get(version, {}).get("defaults", {})
    context = options.get("max-model-len")
    automatic = str(context).lower() in ("auto", "-1")
    space = options.get("kv-cache-memory-bytes")
    if not rocm and environment.get(KV_SPACE, "").strip():
        text = environment[KV_SPACE].strip()
        if not re.fullmatch(r"[0-9]{1,6}", text):
            raise Unknown(f"{KV_SPACE}={text} is not a number of GiB")
        space_bytes: int | None = int(text) * GIB
    else:
        space_bytes = None if space is None else _number(options, "kv-cache-memory-bytes", 0)
    return fit.Settings(
        usable_bytes=usable,
        utilization=_share(options, known.get("gpu_memory_utilization", 0.92)),
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        context_parallel=_number(options, "decode-context-parallel-size", 1),
        dtype=str(options.get("dtype", "auto")),
        kv_dtype=str(options.get("kv-cache-dtype", "auto")),
        quantization=options.get("quantization"),
        block_size=_number(
            options, "block-size", rules["block_size"]["rocm" if rocm else "cpu_mla" if latent else "cpu"]
        ),
        batched_tokens=_number(options, "max-num-batched-tokens", batch["tokens"]),
        sequences=_number(options, "max-num-seqs", batch["sequences"]),
        asynchronous=rocm and not options.get("no-async-scheduling"),
        eager=bool(options.get("enforce-eager")),
        # A transfer of the cache to another engine may turn it off; the larger figure is the safe one.
        hybrid=not options.get("disable-hybrid-kv-cache-manager") and "kv-transfer-config" not in options,
        offload_bytes=_offload(options),
        kv_cache_bytes=space_bytes,
        max_model_len=None if automatic or context is None else _number(options, "max-model-len", 0),
        fit_context=automatic,
    )


def _offload(options: dict[str, t.Any]) -> int:
    value = options.get("cpu-offload-gb", 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 20:
        raise Unknown(f"cpu-offload-gb={value} is not a number")
    return int(value * GIB)


def devices_of(host: Host, gpu: dict[str, t.Any]) -> int:
    """What vLLM sees of a GPU: partitions are devices of their own, in the mode that the plan sets."""
    wanted = host.partitions_planned.get(gpu["index"])
    return wanted or max(gpu["partitions"] or 0, 1)


def _device_bytes(host: Host, gpus: list[dict[str, t.Any]]) -> int:
    """The smallest of the instance's devices: all hold equal shares. The plan may make the pool of an APU
    larger than it is."""
    if not gpus:
        raise Unknown("the instance has no GPU")
    sizes = []
    for gpu in gpus:
        usable = gpu["usable_bytes"]
        if gpu["apu"] and host.pool_bytes:
            usable = max(usable or 0, host.pool_bytes)
        if not usable:
            raise Unknown(f"the memory of GPU {gpu['index']} is not known before its driver runs")
        sizes.append(usable // devices_of(host, gpu))
    return min(sizes)


def _rank_bytes(host: Host, ranks: int) -> int:
    if not host.rocm["memory_bytes"]:
        raise Unknown("the memory of the host could not be read")
    return host.rocm["memory_bytes"] // ranks


def _findings(
    host: Host,
    wanted: dict[str, t.Any],
    found: dict[str, t.Any],
    settings: fit.Settings,
    model: fit.Model,
    there: int,
) -> None:
    """``there``: GPUs and partitions of the instance, 0 on the CPU."""
    name, budget, space = wanted["name"], found.get("budget_bytes", 0), settings.kv_cache_bytes or 0
    each = f" on each of {settings.devices} {'devices' if there else 'ranks'}" if settings.devices > 1 else ""
    if found["verdict"] == "weights":
        room = max(budget - space, 0)
        cache = f" beside {gib(space)} of key-value cache" if space else ""
        host.findings.add(
            "serve.weights_do_not_fit",
            f"{gib(found['weights_bytes'])} of weights{each}",
            f"at most {gib(room)}{cache}",
            remedy=_more_room(host, name, fit.loaded_weights(model, settings), room, settings, there),
        )
    if found["verdict"] == "context":
        largest = found["largest_context"]
        remedy = f"Set max-model-len in options of the instance {name} to {largest} or less"
        if not there and space:
            remedy += f", or ask for more cache with {KV_SPACE}"
        if not largest:
            remedy = f"Give the instance {name} more memory: nothing is left beside the weights"
        host.findings.add(
            "serve.context_does_not_fit",
            f"{found['context']} tokens in {gib(found['kv_bytes'])} of cache{each}",
            f"at most {largest} tokens",
            remedy=remedy,
        )


def _more_room(host: Host, name: str, total: int, room: int, settings: fit.Settings, there: int) -> str:
    smaller = f"take a model or a quantization of at most {gib(room * settings.devices)}"
    needed = -(-total // room) if room else 0
    if settings.devices < needed <= there:
        return (
            f"Set tensor-parallel-size in options of the instance {name} to at least {needed}, or {smaller}"
        )
    if 0 < there < needed <= sum(devices_of(host, gpu) for gpu in host.gpus):
        return f"Give the instance {name} GPUs for a tensor-parallel-size of at least {needed}, or {smaller}"
    return f"For the instance {name} {smaller}"


def _ceiling(
    host: Host, wanted: dict[str, t.Any], found: dict[str, t.Any], settings: fit.Settings, model: fit.Model
) -> None:
    rule = host.profile.get("memory", {})
    ceiling, context = (
        rule.get("max_model_len_ceiling"),
        settings.max_model_len or (model.shape or {}).get("context"),
    )
    if (
        ceiling
        and context
        and context > ceiling
        and found["verdict"] not in ("weights", "context")
        and not settings.fit_context
    ):
        host.findings.add(
            "vllm.context_ceiling",
            f"max-model-len {context}"
            if settings.max_model_len
            else f"no max-model-len, and a model of {context} tokens",
            f"at most {ceiling} on {host.gfx}",
            limit=ceiling,
            instance=wanted["name"],
        )


def _words(found: dict[str, t.Any], rocm: bool) -> tuple[str, str]:
    """What the plan shows: the result as value, how it came about as reason."""
    if found.get("weights_bytes") is None:
        return "not computed", found["reason"] or "nothing is known of the model"
    count, thing = found["devices"], "GPU or partition" if rocm else "rank"
    where = (
        f"on each of {count} {'GPUs or partitions' if rocm else 'ranks'}" if count > 1 else f"on one {thing}"
    )
    value = f"{gib(found['weights_bytes'])} of weights and {gib(found['kv_bytes'])} of key-value cache in {gib(found['budget_bytes'])}"
    if found["verdict"] == "weights":
        return f"{gib(found['weights_bytes'])} of weights do not fit in {gib(found['budget_bytes'])}", where
    parts = [where]
    if found.get("allowance_bytes"):
        parts.append(f"{gib(found['allowance_bytes'])} are left for activations, graphs and the runtime")
    if "largest_context" in found:
        size = found["kv_bytes_per_token"] / 1024
        parts.append(f"{size:.1f} KiB a token, so one sequence may have {found['largest_context']} tokens")
        held, context = found.get("sequences"), found["context"]
        if context:
            value += f": {held} x {context} tokens" if held else f": no room for {context} tokens"
    if found["reason"]:
        parts.append(found["reason"])
    return value, "; ".join(parts)


def host_memory(host: Host) -> None:
    """What AMD asks of a platform's host memory."""
    seen, rules = host.rocm["memory_bytes"], host.profile.get("memory", {}).get("host_ram_gib", {})
    physical = [gpu for gpu in host.gpus if not gpu["virtual_function"]]
    products = sorted({gpu["product"] for gpu in physical if gpu["product"] in rules})
    if not seen or not products or len(physical) < PLATFORM_GPUS:
        return
    minimum = max(rules[product]["minimum"] for product in products)
    recommended = max(rules[product]["recommended"] for product in products)
    if seen < minimum * GIB * (1 - KEPT_BY_THE_SYSTEM):
        host.findings.add(
            "host.memory",
            f"{seen // GIB} GiB",
            f"at least {minimum} GiB, {recommended} GiB recommended",
            product=", ".join(products),
            recommended=recommended,
        )
