# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of an instance in the plan: what is asked for, put into the terms of ``fit``, and what is said
about the result."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ... import model as models
from ...assignment import devices_of
from ...facts import Shape
from ...memory import GIB, gib
from . import checkpoint, classes, defaults, fit, overridden, states
from .checkpoint import Vllm

# This backend prefers blocks of 64 tokens.
WIDE_BLOCKS = "ROCM_AITER_UNIFIED_ATTN"
CUT = "the end of "
KV_SPACE = "VLLM_CPU_KVCACHE_SPACE"


class Unknown(ValueError):
    """Why nothing can be said; for people."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """One instance with the options and variables that its memory depends on."""

    instance: Vllm
    options: dict[str, t.Any]
    environment: dict[str, str]
    # Devices that it may be spread over, on all of its hosts.
    devices: int

    @property
    def rocm(self) -> bool:
        return self.instance.build.rocm

    def number(self, name: str, default: int) -> int:
        """An option that is a number, such as ``32k``."""
        value = self.options.get(name)
        number = default if value is None else fit.tokens_of(value)
        if number is None:
            raise Unknown(f"{name}={value} is not a number")
        return number


def of_instance(asked: Asked) -> dict[str, t.Any]:
    """The table of one instance, with its finding and the lines that the plan shows."""
    instance = asked.instance
    rules = instance.host.catalog.vllm["memory"]
    model = _model_of(asked)
    try:
        settings = _settings(asked, model)
        table = fit.table(model, settings, rules, cpu=not asked.rocm)
        if model.weights_bytes is None:
            facts = models.on_host(instance.host, instance.path)
            exists = facts.get("exists")
            has = f"lacks {facts['missing']}" if facts.get("missing") else "has no weights"
            where = f"the folder {has}" if exists else "the model is not on the host"
            table["reason"] = f"{where}; weights_gib and model_config of the instance would tell"
        if asked.rocm and table["verdict"] != "weights":
            blocks = table.get("state_blocks")
            table["max_num_seqs"] = states.hold(instance, asked.options, blocks, settings.sequences)
        _findings(asked, table, settings, model)
        if asked.rocm:
            _ceiling(instance, table, settings, model)
    except Unknown as error:
        table = {"verdict": "unknown", "reason": str(error), "devices": 0}
    value, reason = _words(table, asked.rocm)
    source = rules["source"] if table.get("weights_bytes") is not None else None
    instance.note("memory", value, reason, source)
    return table


def _model_of(asked: Asked) -> fit.Model:
    """What the inventory says beats what lies on the disk."""
    instance = asked.instance
    facts = models.on_host(instance.host, instance.path)
    told = overridden.shape(instance, asked.options, checkpoint.shape(instance))
    shape = classes.counted(instance, asked.options, told)
    if shape and shape.get("kv_lora_rank") and states.spreads(asked.environment):
        whole = f"the heads that {states.SPREADS}=1 makes of latent vectors"
        shape = t.cast(Shape, {**shape, "uncounted": shape.get("uncounted") or whole})
    # A file that was cut off, or a pointer of Git LFS in its place, says nothing of the weights.
    cut = str(facts.get("missing")).startswith(CUT)
    return fit.Model(
        weights_bytes=_weights(instance) or (None if cut else facts.get("weights_bytes")),
        shape=shape,
        quantization=checkpoint.quantization(instance),
    )


def _weights(instance: Vllm) -> int:
    """What the inventory says of them; of a model that is not there yet, the catalog."""
    known = checkpoint.by_name(instance)
    return int((instance.server.weights_gib or (known["checkpoint"]["weights_gib"] if known else 0)) * GIB)


def asked_share(options: t.Mapping[str, t.Any]) -> float | None:
    """The share of the memory that the inventory asks for, where it is one."""
    value = options.get("gpu-memory-utilization", options.get("device-memory-utilization"))
    try:
        share = float(value) if value is not None and not isinstance(value, bool) else 0.0
    except (TypeError, ValueError):
        return None
    return share if 0 < share <= 1 else None


def _share(options: dict[str, t.Any], default: float) -> float:
    value = options.get("gpu-memory-utilization", options.get("device-memory-utilization", default))
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share <= 1:
        raise Unknown(f"gpu-memory-utilization={value} is not a number above 0 and up to 1")
    return share


def _settings(asked: Asked, model: fit.Model) -> fit.Settings:
    instance, options, rocm = asked.instance, asked.options, asked.rocm
    rules = instance.host.catalog.vllm["memory"]
    tensor, pipeline = asked.number("tensor-parallel-size", 1), asked.number("pipeline-parallel-size", 1)
    _check_devices(asked, tensor, pipeline)
    usable = _device_bytes(instance) if rocm else _rank_bytes(instance, tensor * pipeline)
    release = instance.build.version
    reached = defaults.batch(instance.host.catalog, release, usable)
    ranks = {name: count * tensor * pipeline for name, count in rules["batch_cpu"].items()}
    batch = reached if rocm else ranks
    latent = bool((model.shape or {}).get("kv_lora_rank"))
    context = options.get("max-model-len")
    automatic = str(context).lower() in ("auto", "-1")
    block = rules["block_size"]["rocm" if rocm else "cpu_mla" if latent else "cpu"]
    if str(options.get("attention-backend", "")).upper() == WIDE_BLOCKS:
        block = 64
    cache = _cache_bytes(asked)
    if cache is not None and rocm and instance.server.memory_share:
        # vLLM takes such a cache whatever its share is; the rest is for the other servers of the GPU.
        usable = int(usable * instance.server.memory_share)
    return fit.Settings(
        usable_bytes=usable,
        utilization=_share(options, defaults.share(instance.host.catalog, release)),
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        expert_ways=_expert_ways(asked, model),
        context_parallel=asked.number("decode-context-parallel-size", 1),
        dtype=str(options.get("dtype", "auto")),
        kv_dtype=str(options.get("kv-cache-dtype", "auto")),
        quantization=options.get("quantization"),
        block_size=asked.number("block-size", block),
        batched_tokens=asked.number("max-num-batched-tokens", _batch(asked, model, batch["tokens"])),
        sequences=asked.number("max-num-seqs", batch["sequences"] * _doubled(options)),
        asynchronous=rocm and not options.get("no-async-scheduling"),
        eager=bool(options.get("enforce-eager")),
        hybrid=states.keeps_windows(model.shape, options, asked.environment),
        states=states.held(instance, options),
        drafts=states.drafts(options),
        offload_bytes=_offload(instance, options, tensor * pipeline),
        widened=_widened(asked, model),
        kv_cache_bytes=cache,
        max_model_len=None if automatic or context is None else asked.number("max-model-len", 0),
        fit_context=automatic,
    )


def _doubled(options: t.Mapping[str, t.Any]) -> int:
    return 2 if options.get("performance-mode") == "throughput" else 1


def _batch(asked: Asked, model: fit.Model, tokens: int) -> int:
    """Tokens of a batch where nobody says them: without chunked prefill a whole text is one."""
    number, longest = tokens * _doubled(asked.options), asked.options.get("max-model-len")
    if not asked.options.get("no-enable-chunked-prefill"):
        return number
    return max(number, fit.tokens_of(longest) or (model.shape or {}).get("context") or 0)


def _expert_ways(asked: Asked, model: fit.Model) -> int:
    """Replicas share the experts in both ways of spreading them, whole or in parts; where it is not known how
    much of the weights they are, parts count as whole."""
    replicas = asked.number("data-parallel-size", 1)
    if asked.options.get("enable-expert-parallel"):
        return replicas
    shared = (model.shape or {}).get("experts") and model.weights_bytes is not None
    return replicas if shared and fit.expert_bytes(model, model.weights_bytes or 0) is not None else 1


def _widened(asked: Asked, model: fit.Model) -> bool:
    """Whether vLLM emulates the format of the weights and keeps them in 16 bits."""
    instance, catalog = asked.instance, asked.instance.host.catalog
    off = asked.environment.get(catalog.vllm["memory"]["widened"]["variable"]) == "0"
    widens = defaults.widens(catalog, instance.build.version, instance.gfx, model.quantization)
    return asked.rocm and widens and not off


def _check_devices(asked: Asked, tensor: int, pipeline: int) -> None:
    """Raise ``Unknown`` where the model is spread over more devices than there are."""
    data = asked.number("data-parallel-size", 1)
    replicas = asked.number("data-parallel-size-local", data)
    if asked.rocm and asked.instance.devices.gpus and tensor * pipeline * replicas > asked.devices:
        sizes = " x ".join(str(size) for size in (tensor, pipeline, *([replicas] if replicas > 1 else [])))
        name = asked.instance.name
        seen, expected = f"{sizes} devices for {name}", f"at most {asked.devices}"
        asked.instance.host.findings.add("vllm.parallel", seen, expected, instance=name)
        shared = (
            ", over which its experts are shared out" if asked.options.get("enable-expert-parallel") else ""
        )
        raise Unknown(f"the instance asks for more devices than it has{shared}")


def _cache_bytes(asked: Asked) -> int | None:
    """The cache that is asked for, ``None`` where vLLM takes what is left."""
    text = asked.environment.get(KV_SPACE, "").strip()
    if not asked.rocm and text:
        if not re.fullmatch(r"[0-9]{1,6}", text):
            raise Unknown(f"{KV_SPACE}={text} is not a number of GiB")
        return int(text) * GIB
    if asked.options.get("kv-cache-memory-bytes") is None:
        return None
    return asked.number("kv-cache-memory-bytes", 0)


def _offload(instance: Vllm, options: dict[str, t.Any], devices: int) -> int:
    """What each device leaves in the host's memory, which is not more than the host has."""
    value = options.get("cpu-offload-gb")
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 20:
        raise Unknown(f"cpu-offload-gb={value} is not a number")
    has = instance.host.system["memory_bytes"]
    return min(int(value * GIB), int(has) // devices if has else int(value * GIB))


def _device_bytes(instance: Vllm) -> int:
    """The smallest of the instance's devices: all hold equal shares. The plan may make the pool of an APU
    larger than it is."""
    if not instance.devices.gpus:
        raise Unknown("the instance has no GPU")
    sizes = []
    for gpu in instance.devices.gpus:
        usable = gpu["usable_bytes"]
        if gpu["apu"] and instance.pool_bytes:
            usable = max(usable or 0, instance.pool_bytes)
        if not usable:
            raise Unknown(f"the memory of GPU {gpu['index']} is not known before its driver runs")
        sizes.append(usable // devices_of(gpu, instance.planned))
    return min(sizes)


def _rank_bytes(instance: Vllm, ranks: int) -> int:
    memory = instance.host.system["memory_bytes"]
    if not memory:
        raise Unknown("the memory of the host could not be read")
    return int(memory) // ranks


def _findings(asked: Asked, table: dict[str, t.Any], settings: fit.Settings, model: fit.Model) -> None:
    name, findings = asked.instance.name, asked.instance.host.findings
    budget, space = table.get("budget_bytes", 0), settings.kv_cache_bytes or 0
    thing = "devices" if asked.rocm else "ranks"
    each = f" on each of {settings.devices} {thing}" if settings.devices > 1 else ""
    if checkpoint.by_name(asked.instance):
        each += ", as the catalog has it; the model is not on the host yet"
    if table["verdict"] == "weights":
        room = max(budget - space, 0)
        cache = f" beside {gib(space)} of key-value cache" if space else ""
        seen, expected = f"{gib(table['weights_bytes'])} of weights{each}", f"at most {gib(room)}{cache}"
        remedy = _more_room(asked, fit.loaded_weights(model, settings), room, settings)
        findings.add("serve.weights_do_not_fit", seen, expected, remedy=remedy)
    if table["verdict"] == "context":
        largest = table["largest_context"]
        remedy = f"Set max-model-len in options of the instance {name} to {largest} or less"
        if not asked.rocm and space:
            remedy += f", or ask for more cache with {KV_SPACE}"
        if not largest:
            remedy = f"Give the instance {name} more memory: nothing is left beside the weights"
        seen = f"{table['context']} tokens in {gib(table['kv_bytes'])} of cache{each}"
        findings.add("serve.context_does_not_fit", seen, f"at most {largest} tokens", remedy=remedy)


def _more_room(asked: Asked, total: int, room: int, settings: fit.Settings) -> str:
    instance, available = asked.instance, asked.devices if asked.rocm else 0
    name, host = instance.name, instance.host
    smaller = f"take a model or a quantization of at most {gib(room * settings.devices)}"
    needed = -(-total // room) if room else 0
    width = f"tensor-parallel-size of at least {needed}, or {smaller}"
    if settings.devices < needed <= available:
        return (
            f"Set tensor-parallel-size in options of the instance {name} to at least {needed}, or {smaller}"
        )
    if 0 < available < needed <= sum(devices_of(gpu, instance.planned) for gpu in host.gpus):
        return f"Give the instance {name} GPUs for a {width}"
    return f"For the instance {name} {smaller}"


def _ceiling(instance: Vllm, table: dict[str, t.Any], settings: fit.Settings, model: fit.Model) -> None:
    """A context that is known to be too long for the GPU, whatever the memory says."""
    host = instance.host
    ceiling = host.profile.get("memory", {}).get("max_model_len_ceiling")
    context = settings.max_model_len or (model.shape or {}).get("context")
    judged = table["verdict"] in ("weights", "context") or settings.fit_context
    if ceiling and context and context > ceiling and not judged:
        own = f"no max-model-len, and a model of {context} tokens"
        seen = f"max-model-len {context}" if settings.max_model_len else own
        expected = f"at most {ceiling} on {host.gfx}"
        host.findings.add("vllm.context_ceiling", seen, expected, limit=ceiling, instance=instance.name)


def _words(table: dict[str, t.Any], rocm: bool) -> tuple[str, str]:
    """What the plan shows: the result as value, how it came about as reason."""
    if table.get("weights_bytes") is None:
        return "not computed", table["reason"] or "nothing is known of the model"
    count, thing = table["devices"], "GPU or partition" if rocm else "rank"
    things = "GPUs or partitions" if rocm else "ranks"
    where = f"on each of {count} {things}" if count > 1 else f"on one {thing}"
    weights, budget = gib(table["weights_bytes"]), gib(table["budget_bytes"])
    if table["verdict"] == "weights":
        return f"{weights} of weights do not fit in {budget}", where
    value = f"{weights} of weights and {gib(table['kv_bytes'])} of key-value cache in {budget}"
    parts = [where]
    if table.get("allowance_bytes"):
        parts.append(f"{gib(table['allowance_bytes'])} are left for activations, graphs and the runtime")
    if "largest_context" in table:
        size = table["kv_bytes_per_token"] / 1024
        longest = table["largest_context"]
        parts.append(f"{size:.1f} KiB a token, so one sequence may have {longest} tokens")
        held, context = table.get("sequences"), table["context"]
        if context:
            value += f": {held} x {context} tokens" if held else f": no room for {context} tokens"
    if table["reason"]:
        parts.append(table["reason"])
    return value, "; ".join(parts)
