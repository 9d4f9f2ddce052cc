# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Will it fit? The memory of a served model, computed the way vLLM lays it out. Pure functions; bytes are
bytes of one device.

A device is what vLLM sees as one GPU: a GPU, one partition of it, or a rank of the CPU build. How the layers'
caches become groups and blocks follows vLLM's ``v1/core/kv_cache_utils.py`` and ``v1/kv_cache_interface.py``
(0.32.0); tests/integration/test_vllm_memory.py holds it against the cache size that vLLM itself reports. What
lies outside that code (activations, graphs, RCCL) is an allowance of the catalog.
"""

from __future__ import annotations

import re
import typing as t

from ...facts import Shape
from ...memory import GIB
from .layout import (
    FOUR_BYTES,
    LONGEST,
    TWO_BYTES,
    Cache,
    Settings,
    cache_of,
    ceil,
    dtype_bytes,
    element_bytes,
    loaded_dtype,
    state_bytes,
)

__all__ = ["Cache", "Model", "Settings", "cache_of", "state_bytes", "table", "tokens_of"]

ONLINE_QUANTIZATION = ("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "online", "mxfp8")
# From 8 bits, of which 32 share a scale of 8 bits, to 16.
WIDENED = 16 / (8 + 8 / 32)
UNITS = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
}  # fmt: skip


class Model(t.NamedTuple):
    """What is known of a model: bytes of its weight files, ``shape`` as ``module_utils/_model.py`` makes it,
    its own quantization."""

    weights_bytes: int | None = None
    shape: Shape | None = None
    quantization: str | None = None


def tokens_of(value: t.Any) -> int | None:
    """A number of tokens or bytes as vLLM's options take it (``32k``, ``25.6K``); ``None`` for ``auto``, -1
    and what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return int(value) or None if 0 < value < 1 << 60 else None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([kmgtKMGT]?)", str(value).strip())
    return int(float(match.group(1)) * UNITS[match.group(2)]) or None if match else None


def loaded_weights(model: Model, settings: Settings) -> int:
    """Bytes of all weights as they lie in memory: cast to another type, or quantized while they are
    loaded."""
    size, shape = model.weights_bytes or 0, model.shape or {}
    if model.quantization:
        kept = min(2 * _embedding(shape, settings), size)
        return int(kept + (size - kept) * WIDENED) if settings.widened else size
    stored = shape.get("dtype") or "bfloat16"
    if stored in TWO_BYTES or stored in FOUR_BYTES:
        size = size * dtype_bytes(loaded_dtype(shape, settings.dtype)) // dtype_bytes(stored)
    if settings.quantization in ONLINE_QUANTIZATION:
        # Embedding and output layer stay as they are.
        kept = min(2 * _embedding(shape, settings), size)
        size = kept + (size - kept) // 2
    return size


def _embedding(shape: Shape, settings: Settings) -> int:
    return (
        shape.get("vocabulary", 0) * shape.get("hidden", 0) * dtype_bytes(loaded_dtype(shape, settings.dtype))
    )


def weights_per_device(model: Model, settings: Settings) -> int:
    """Bytes of the weights on the device that holds most: tensor parallelism splits every matrix, a pipeline
    the layers.

    The first and the last stage of a pipeline hold the embedding or the output layer besides their layers.
    """
    total, shape, stages = loaded_weights(model, settings), model.shape or {}, settings.pipeline_parallel
    if settings.expert_ways > 1:
        # Each replica has all of the rest. Where experts are not known, all weights are, which is the least
        # it can be.
        experts = expert_bytes(model, total)
        shared = total if experts is None else experts
        total = total - shared + ceil(shared, settings.expert_ways)
    if stages > 1 and shape:
        ends = min(_embedding(shape, settings), total // 2)
        layers = total - 2 * ends
        share = ends + ceil(layers * ceil(shape["layers"], stages), shape["layers"])
        total = min(total, share)
    elif stages > 1:
        total = ceil(total, stages)
    whole = _whole(model, settings, total)
    shared = ceil(total - whole, settings.tensor_parallel) + whole
    return max(shared - settings.offload_bytes, 0)


def _whole(model: Model, settings: Settings, total: int) -> int:
    """Bytes of the matrices that every device holds whole: those down to a latent vector."""
    shape = model.shape or {}
    ranks = shape.get("kv_lora_rank", 0) and (
        shape.get("kv_lora_rank", 0) + shape.get("rope_head_dim", 0) + shape.get("q_lora_rank", 0)
    )
    layers = ceil(shape.get("layers", 0), settings.pipeline_parallel)
    each = 1 if model.quantization == "fp8" else dtype_bytes(loaded_dtype(shape, settings.dtype))
    return min(ranks * shape.get("hidden", 0) * layers * each, total) if settings.tensor_parallel > 1 else 0


def expert_bytes(model: Model, total: int) -> int | None:
    """Bytes of all experts, ``None`` where they cannot be told: three matrices each, in the type of the
    weights."""
    shape = model.shape or {}
    sizes = [shape.get("layers"), shape.get("experts"), shape.get("expert"), shape.get("hidden")]
    each = {None: dtype_bytes(shape.get("dtype") or "bfloat16"), "fp8": 1}.get(model.quantization)
    known = [size for size in sizes if size]
    if len(known) < len(sizes) or each is None or shape.get("expert_format"):
        return None
    layers, experts, expert, hidden = known
    return min(layers * experts * 3 * expert * hidden * each, total)


def allowance(shape: Shape, settings: Settings, rule: dict[str, t.Any]) -> int:
    """What else vLLM takes of its share: the runtime, captured graphs, RCCL, and the peak of one full
    batch."""
    fixed = rule["runtime_gib"] + (0 if settings.eager else rule["graphs_gib"])
    fixed += rule["communication_gib"] if settings.devices > 1 else 0
    batch = (
        settings.batched_tokens * shape.get("hidden", 0) * dtype_bytes(loaded_dtype(shape, settings.dtype))
    )
    logits = (
        min(settings.sequences, settings.batched_tokens) * shape.get("vocabulary", 0) * rule["logits_bytes"]
    )
    return int(fixed * GIB) + int(batch * rule["activation_factor"]) + int(logits)


def table(model: Model, settings: Settings, rules: dict[str, t.Any], cpu: bool = False) -> dict[str, t.Any]:
    """Weights, budget and what is left for the cache of one device; the context and how many sequences of it
    fit.

    ``verdict``: ``fits``, ``weights`` or ``context`` (what does not fit), or ``unknown`` with a ``reason``.
    An estimate alone never makes weights not fit: the allowance only takes from the cache. On the CPU there
    is none; the operator names the cache, and the host's memory must hold it beside the weights.
    """
    result: dict[str, t.Any] = {"verdict": "unknown", "reason": None, "devices": settings.devices}
    if model.weights_bytes is None:
        return {**result, "reason": "the size of the weights is not known"}
    shape, space = model.shape or {}, settings.kv_cache_bytes
    weights = weights_per_device(model, settings)
    budget = settings.usable_bytes if space is not None else int(settings.usable_bytes * settings.utilization)
    other = 0 if cpu else allowance(shape, settings, rules["allowance"])
    left = max(budget - weights - other, 0) if space is None else space
    result |= {"weights_bytes": weights, "budget_bytes": budget, "allowance_bytes": other, "kv_bytes": left}
    if weights > budget - (space or 0):
        return {**result, "verdict": "weights", "kv_bytes": space or 0}
    if settings.expert_ways > 1 and expert_bytes(model, weights) is None:
        return {**result, "reason": "how much of the weights the experts are is not known"}
    context = settings.max_model_len or shape.get("context")
    if shape.get("encoder") and not cpu and context and context > settings.batched_tokens:
        # A text is one batch there, whatever the default says.
        other = allowance(shape, settings._replace(batched_tokens=context), rules["allowance"])
        result |= {"allowance_bytes": other, "kv_bytes": max(budget - weights - other, 0)}
        if weights + other > budget:
            reason = f"a batch of {context} tokens may need more than is left; max-model-len makes it smaller"
            return {**result, "context": context, "reason": reason}
    if shape.get("encoder"):
        none = {"kv_bytes_per_token": 0, "context": context, "reason": "it only encodes and keeps no cache"}
        return {**result, **none, "kv_bytes": 0, "verdict": "fits"}
    cache = None if cpu and shape.get("state") else _cache(shape, settings, rules)
    if cache is None:
        return {**result, "reason": _why_unknown(shape, settings, rules)}
    own = shape.get("context") or LONGEST
    largest = cache.largest_context(left, max(own, context or 0))
    if settings.fit_context and largest:
        context = min(context or largest, largest)
    result |= {
        "kv_bytes_per_token": int(cache.bytes_per_token),
        "largest_context": largest,
        "context": context,
        # More sequences than these are refused at the start.
        "state_blocks": cache.pool(left) if cache.state_groups else None,
    }
    if context is None:
        return {**result, "reason": "neither config.json nor max-model-len says how long the context is"}
    held = cache.fits(left, context)
    return {
        **result,
        "sequences": held,
        "cache_tokens": cache.tokens(left, context),
        "verdict": "fits" if held else "context",
    }


def _cache(shape: Shape, settings: Settings, rules: dict[str, t.Any]) -> Cache | None:
    return cache_of(shape, settings, rules["kv_dtype_bytes"], rules["mla_model_types"]) if shape else None


def _why_unknown(shape: Shape, settings: Settings, rules: dict[str, t.Any]) -> str:
    unknown_type = bool(shape) and element_bytes(shape, settings, rules["kv_dtype_bytes"]) is None
    state = "states of linear attention" if shape.get("state") else None
    cause = shape.get("uncounted") or (settings.kv_dtype if unknown_type else state)
    if cause:
        return f"how a cache with {cause} is laid out is not known here"
    return "the shape of the model is not known"
