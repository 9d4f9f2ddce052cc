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

TWO_BYTES = ("float16", "bfloat16", "half")
FOUR_BYTES = ("float32", "float")
ONLINE_QUANTIZATION = ("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "online", "mxfp8")
# No model has more positions, and no option means more.
LONGEST = 10**9
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Model(t.NamedTuple):
    """What is known of a model: bytes of its weight files, ``shape`` as ``module_utils/_model.py`` makes it,
    its own quantization."""

    weights_bytes: int | None = None
    shape: Shape | None = None
    quantization: str | None = None


class Settings(t.NamedTuple):
    """What is asked of vLLM, in its own terms."""

    usable_bytes: int
    utilization: float = 0.92
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    context_parallel: int = 1
    # Replicas that share the experts among them, where experts are whole.
    expert_ways: int = 1
    dtype: str = "auto"
    kv_dtype: str = "auto"
    quantization: str | None = None
    block_size: int = 16
    batched_tokens: int = 2048
    sequences: int = 256
    # Asynchronous scheduling, the default on GPUs, has one batch more in flight than the pipeline has stages.
    asynchronous: bool = True
    eager: bool = False
    # Whether layers with a window give up what lies behind it (vLLM's hybrid cache manager).
    hybrid: bool = True
    # Pages of state that one sequence holds of each group, and tokens that a drafter proposes at a time.
    states: int = 1
    drafts: int = 0
    offload_bytes: int = 0
    kv_cache_bytes: int | None = None
    max_model_len: int | None = None
    # max-model-len is "auto": vLLM takes the longest context that fits.
    fit_context: bool = False

    @property
    def devices(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def in_flight(self) -> int:
        """Tokens that are scheduled and not settled: layers with a window hold them beyond it (vLLM:
        max_in_flight_tokens)."""
        return self.batched_tokens * (self.pipeline_parallel + (1 if self.asynchronous else 0))


class Cache(t.NamedTuple):
    """Blocks of the key-value cache. Groups of layers draw from one pool; a block holds ``block_size`` tokens
    of one group."""

    bytes_per_block: int
    block_size: int
    full_groups: int
    sliding_groups: int
    window: int
    in_flight: int
    context_parallel: int
    chunked_groups: int = 0
    chunk: int = 0
    # Groups whose layers keep a state, and the blocks that a sequence holds of each however long it is.
    state_groups: int = 0
    states: int = 0

    @property
    def bytes_per_token(self) -> float:
        """What a token takes for as long as its sequence lives. Windows are not in it, unless every layer has
        one."""
        groups = self.full_groups or self.chunked_groups or self.sliding_groups
        return (
            groups
            * self.bytes_per_block
            / self.block_size
            / (self.context_parallel if self.full_groups else 1)
        )

    def blocks(self, context: int) -> int:
        """Blocks that one sequence of ``context`` tokens holds at most."""
        held = self.full_groups * _ceil(context, self.block_size * self.context_parallel)
        if self.sliding_groups:
            # One block more, because the window may begin in the middle of one.
            held += self.sliding_groups * (
                _ceil(min(self.window - 1 + self.in_flight, context), self.block_size) + 1
            )
        held += self.chunked_groups * _ceil(min(self.chunk + self.in_flight, context), self.block_size)
        return held + self.state_groups * self.states

    def pool(self, space: int) -> int:
        """Blocks of a cache of ``space`` bytes."""
        return max(space, 0) // self.bytes_per_block

    def tokens(self, space: int, context: int) -> int:
        """What vLLM logs as "KV cache size: N tokens" for a server whose max-model-len is ``context``."""
        return int(self.pool(space) / self.blocks(context) * context)

    def fits(self, space: int, context: int) -> int:
        """How many sequences of ``context`` tokens fit at a time. One block is never given out."""
        return max(self.pool(space) - 1, 0) // self.blocks(context)

    def largest_context(self, space: int, limit: int = LONGEST) -> int:
        """The longest single sequence that fits, 0 where not even one token does."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            if self.fits(space, middle):
                low = middle
            else:
                high = middle - 1
        return low


def _ceil(value: int, by: int) -> int:
    return -(-value // by)


def tokens_of(value: t.Any) -> int | None:
    """A number of tokens or bytes as vLLM's options take it (``32k``, ``25.6K``); ``None`` for ``auto``, -1
    and what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return int(value) or None if 0 < value < 1 << 60 else None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([kmgKMG]?)", str(value).strip())
    return int(float(match.group(1)) * UNITS[match.group(2)]) or None if match else None


def loaded_dtype(shape: Shape, asked: str) -> str:
    """The type that vLLM computes in. It turns a float32 checkpoint into 16 bits unless told otherwise."""
    kind = asked if asked != "auto" else shape.get("dtype") or "bfloat16"
    return "bfloat16" if asked == "auto" and kind in FOUR_BYTES else kind


def dtype_bytes(kind: str) -> int:
    return 4 if kind in FOUR_BYTES else 2


def loaded_weights(model: Model, settings: Settings) -> int:
    """Bytes of all weights as they lie in memory: cast to another type, or quantized while they are
    loaded."""
    size, shape = model.weights_bytes or 0, model.shape or {}
    if model.quantization:
        return size
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
        total = total - shared + _ceil(shared, settings.expert_ways)
    if stages > 1 and shape:
        ends = min(_embedding(shape, settings), total // 2)
        layers = total - 2 * ends
        share = ends + _ceil(layers * _ceil(shape["layers"], stages), shape["layers"])
        total = min(total, share)
    elif stages > 1:
        total = _ceil(total, stages)
    return max(_ceil(total, settings.tensor_parallel) - settings.offload_bytes, 0)


def expert_bytes(model: Model, total: int) -> int | None:
    """Bytes of all experts, ``None`` where they cannot be told: three matrices each, in the type of the
    weights."""
    shape = model.shape or {}
    sizes = [shape.get("layers"), shape.get("experts"), shape.get("expert"), shape.get("hidden")]
    each = {None: dtype_bytes(shape.get("dtype") or "bfloat16"), "fp8": 1}.get(model.quantization)
    known = [size for size in sizes if size]
    if len(known) < len(sizes) or each is None:
        return None
    layers, experts, expert, hidden = known
    return min(layers * experts * 3 * expert * hidden * each, total)


def element_bytes(shape: Shape, settings: Settings, known: dict[str, int]) -> int | None:
    """Bytes of one number in the cache; ``None`` for a format whose layout is not known here."""
    kind = (
        settings.kv_dtype
        if settings.kv_dtype != "auto"
        else shape.get("kv_dtype") or loaded_dtype(shape, settings.dtype)
    )
    return known.get(str(kind))


def cache_of(
    shape: Shape, settings: Settings, kinds: dict[str, int], mla_types: t.Sequence[str]
) -> Cache | None:
    """The cache of a model, ``None`` where its numbers do not tell.

    Grouped queries: ``max(1, kv_heads // tensor_parallel)`` heads, each with a key and a value: with more
    devices than heads, heads are repeated. MLA: one latent vector of ``kv_lora_rank + rope_head_dim``
    numbers, whole on every device. Layers of several kinds are put into groups of one size (the smallest
    kind's number of layers), as vLLM does. Where layers keep a state, a block is made as large as one.
    """
    size = element_bytes(shape, settings, kinds)
    if size is None or shape.get("uncounted"):
        return None
    if shape.get("kv_lora_rank"):
        if shape.get("type") not in mla_types:
            return None
        numbers = shape["kv_lora_rank"] + shape.get("rope_head_dim", 0)
    elif shape.get("head_dim"):
        numbers = 2 * max(1, shape["kv_heads"] // settings.tensor_parallel) * shape["head_dim"]
    else:
        return None
    counts = shape.get("attention") or {"full": shape["layers"]}
    full, sliding, chunked = (counts.get(name, 0) for name in ("full", "sliding", "chunked"))
    state = counts.get("state", 0)
    if not settings.hybrid:
        full, sliding, chunked = full + sliding + chunked, 0, 0
    if not full + sliding + chunked or (state and not shape.get("state")):
        return None
    present = [count for count in (full, sliding, chunked, state) if count]
    # Up to half as many layers again are padded instead of split (vLLM:
    # _get_kv_cache_groups_uniform_page_size).
    group = max(present) if max(present) < 1.5 * min(present) else min(present)
    block = state_block(shape["state"], settings, shape, numbers * size) if state else settings.block_size
    return Cache(
        bytes_per_block=_ceil(group, settings.pipeline_parallel) * numbers * size * block,
        block_size=block,
        full_groups=_ceil(full, group),
        sliding_groups=_ceil(sliding, group),
        window=shape.get("window", 0) if sliding else 0,
        in_flight=settings.in_flight,
        context_parallel=settings.context_parallel,
        chunked_groups=_ceil(chunked, group),
        chunk=shape.get("chunk", 0) if chunked else 0,
        state_groups=_ceil(state, group),
        states=settings.states + settings.drafts if state else 0,
    )


def state_bytes(state: dict[str, int], settings: Settings, shape: Shape) -> int:
    """The state that one layer keeps of a sequence on one device: what its convolution looks back on, and the
    state itself (vLLM's model_executor/layers/mamba/mamba_utils.py)."""
    width, groups = settings.tensor_parallel, state.get("groups", 0)
    # Groups that cannot be shared out are repeated on every device.
    groups = groups if groups % width == 0 else width
    mixed = (state["mixed"] + groups * state.get("group_width", 0)) // width
    size = dtype_bytes(loaded_dtype(shape, settings.dtype))
    looked_back = mixed * (state["kernel"] - 1 + settings.drafts) * size
    return looked_back + state["numbers"] // width * (state["bytes"] or size)


def state_block(state: dict[str, int], settings: Settings, shape: Shape, token: int) -> int:
    """Tokens of a block that is as large as a state; ``token`` is what one takes of a layer with
    attention."""
    step = settings.block_size
    return step * _ceil(state_bytes(state, settings, shape), step * token)


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
