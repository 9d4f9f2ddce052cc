# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How vLLM lays out the key-value cache of a model: which layers share a block, and how many tokens it
has."""

from __future__ import annotations

import typing as t

from ...facts import Shape
from .defaults import SHARE

TWO_BYTES = ("float16", "bfloat16", "half")
FOUR_BYTES = ("float32", "float")
# No model has more positions, and no option means more.
LONGEST = 10**9
# Where states lie beside latent vectors, a block is a multiple of this (vLLM's platforms/interface.py).
LATENT_STEP = 128


class Settings(t.NamedTuple):
    """What is asked of vLLM, in its own terms."""

    usable_bytes: int
    utilization: float = SHARE
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
    # Weights whose format the GPU has no kernels for are widened to 16 bits as they are loaded.
    widened: bool = False
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
    # Tokens of a block where heads differ between the kinds of layers: all blocks have one size in bytes.
    full_block: int = 0
    sliding_block: int = 0
    # Groups whose layers look at an encoder, and the blocks that vLLM reckons for that at its start.
    cross_groups: int = 0
    cross_blocks: int = 0
    # Groups whose layers keep a state, and the blocks that a sequence holds of each however long it is.
    state_groups: int = 0
    states: int = 0

    @property
    def bytes_per_token(self) -> float:
        """What a token takes for as long as its sequence lives. Windows are not in it, unless every layer has
        one."""
        groups = self.full_groups or self.chunked_groups or self.sliding_groups
        block = self.full_block if self.full_groups else self.sliding_block if self.sliding_groups else 0
        return (
            groups
            * self.bytes_per_block
            / (block or self.block_size)
            / (self.context_parallel if self.full_groups else 1)
        )

    def blocks(self, context: int) -> int:
        """Blocks that one sequence of ``context`` tokens holds at most."""
        full = self.full_block or self.block_size
        held = self.full_groups * ceil(context, full * self.context_parallel)
        if self.sliding_groups:
            # One block more, because the window may begin in the middle of one.
            held += self.sliding_groups * (
                ceil(
                    min(self.window - 1 + self.in_flight, context),
                    self.sliding_block or self.block_size,
                )
                + 1
            )
        held += self.chunked_groups * ceil(min(self.chunk + self.in_flight, context), self.block_size)
        return held + self.state_groups * self.states + self.cross_groups * self.cross_blocks

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


def ceil(value: int, by: int) -> int:
    return -(-value // by)


def loaded_dtype(shape: Shape, asked: str) -> str:
    """The type that vLLM computes in. It turns a float32 checkpoint into 16 bits unless told otherwise."""
    kind = asked if asked != "auto" else shape.get("dtype") or "bfloat16"
    return "bfloat16" if asked == "auto" and kind in FOUR_BYTES else kind


def dtype_bytes(kind: str) -> int:
    return 4 if kind in FOUR_BYTES else 2


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
    kind's number of layers), as vLLM does. Where layers keep a state, a block is made as large as one; where
    their heads differ, blocks of the smaller ones hold more tokens.
    """
    size = element_bytes(shape, settings, kinds)
    numbers = _numbers(shape, settings, mla_types)
    if size is None or shape.get("uncounted") or numbers is None:
        return None
    counts = shape.get("attention") or {"full": shape["layers"]}
    full, sliding, chunked = (counts.get(name, 0) for name in ("full", "sliding", "chunked"))
    state, cross = counts.get("state", 0), shape.get("cross", {}).get("layers", 0)
    other = _sliding_numbers(shape, settings) if sliding else None
    if not settings.hybrid:
        if other not in (None, numbers):
            return None
        full, sliding, chunked = full + sliding + chunked, 0, 0
    if not full + sliding + chunked or (state and not shape.get("state")):
        return None
    present = [count for count in (full, sliding, chunked, state, cross) if count]
    # Up to half as many layers again are padded instead of split (vLLM:
    # _get_kv_cache_groups_uniform_page_size).
    group = max(present) if max(present) < 1.5 * min(present) else min(present)
    token, block = numbers * size, settings.block_size
    if state:
        block = state_block(shape["state"], settings, shape, token)
    page = max(numbers, other or 0) * size * block
    return Cache(
        bytes_per_block=ceil(group, settings.pipeline_parallel) * page + _index(shape, settings, block),
        block_size=block,
        full_groups=ceil(full, group),
        sliding_groups=ceil(sliding, group),
        window=shape.get("window", 0) if sliding else 0,
        in_flight=settings.in_flight,
        context_parallel=settings.context_parallel,
        chunked_groups=ceil(chunked, group),
        chunk=shape.get("chunk", 0) if chunked else 0,
        full_block=_tokens(page, token * block, block),
        sliding_block=_tokens(page, (other or numbers) * size * block, block),
        cross_groups=ceil(cross, group),
        cross_blocks=ceil(settings.batched_tokens, block) if cross else 0,
        state_groups=ceil(state, group),
        states=settings.states + settings.drafts if state else 0,
    )


def _tokens(page: int, own: int, block: int) -> int:
    """Tokens of a block of the size ``page`` in layers that would need less: more of them where it is a
    multiple, else the rest of it lies idle (vLLM: unify_kv_cache_spec_page_size)."""
    return block * (page // own) if page % own == 0 else block


def _numbers(shape: Shape, settings: Settings, mla_types: t.Sequence[str]) -> int | None:
    """What one layer keeps of a token on one device."""
    if shape.get("kv_lora_rank"):
        if shape.get("type") not in mla_types:
            return None
        return shape["kv_lora_rank"] + shape.get("rope_head_dim", 0)
    if not shape.get("head_dim"):
        return None
    value = shape.get("value_dim") or shape["head_dim"]
    return max(1, shape["kv_heads"] // settings.tensor_parallel) * (shape["head_dim"] + value)


def _sliding_numbers(shape: Shape, settings: Settings) -> int | None:
    """The same of a layer with a window, where it has other heads."""
    heads = shape.get("sliding_heads")
    if not heads:
        return None
    return max(1, heads["kv_heads"] // settings.tensor_parallel) * (heads["head_dim"] + heads["value_dim"])


def _index(shape: Shape, settings: Settings, block: int) -> int:
    """Bytes of a block that tokens are picked by, whole on every device and of whatever type the cache is."""
    index = shape.get("index")
    return ceil(index["layers"], settings.pipeline_parallel) * index["bytes"] * block if index else 0


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
    step = max(settings.block_size, LATENT_STEP) if shape.get("kv_lora_rank") else settings.block_size
    return step * max(ceil(state_bytes(state, settings, shape), step * token), 1)
