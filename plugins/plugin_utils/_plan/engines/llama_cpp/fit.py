# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of llama-server, laid out as llama.cpp does it (src/llama-kv-cache*.cpp, src/llama-hparams.cpp
of 0.5.0). Pure functions.

tests/unit/plugin_utils/test_llama_cpp.py holds them against what llama-server logs.
"""

from __future__ import annotations

import dataclasses

from ...facts import Gguf

MIB, GIB = 1 << 20, 1 << 30
# Bytes of an element of the cache, by its type.
ELEMENT = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32, "q4_1": 20 / 32,
    "iq4_nl": 18 / 32, "q5_0": 22 / 32, "q5_1": 24 / 32,
}  # fmt: skip
PAD = 256
# Of what grows with no closed form: scaled from what was measured for a batch of 512.
COMPUTE_BYTES, COMPUTE_SHARE, COMPUTE_BATCH = 512 * MIB, 0.02, 512
# What llama-server itself wants to leave free on a device.
MARGIN_BYTES = 1024 * MIB


@dataclasses.dataclass(frozen=True)
class Settings:
    """What llama-server is asked for, in its own terms."""

    context: int
    slots: int
    unified: bool = False
    batch: int = 512
    key_type: str = "f16"
    value_type: str = "f16"
    flash: bool = True
    whole_window: bool = False


@dataclasses.dataclass(frozen=True)
class Beside:
    """What is loaded beside the model."""

    # Bytes of what turns images and sound into tokens, where devices hold it.
    projector: int = 0
    # A second model, which drafts tokens; its cache is as long as that of the model.
    draft: Gguf | None = None
    draft_key_type: str = "f16"
    draft_value_type: str = "f16"
    # How many tokens are drafted at once.
    drafted: int = 0
    # Other models that are loaded at the same time, each with a cache of its own.
    others: tuple[Gguf, ...] = ()
    # Whether it is the memory of the host that holds all of it, and whether it holds the cache.
    on_host: bool = False
    cache_on_host: bool = False


ALONE = Beside()


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes of all devices together."""

    weights: int
    cache: int
    states: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.states + self.compute


def _padded(cells: int) -> int:
    return -(-cells // PAD) * PAD


def slot_context(settings: Settings) -> int:
    """Tokens that one slot may have; of a unified cache the slots share them."""
    return _padded(settings.context if settings.unified else settings.context // settings.slots)


def cache_bytes(model: Gguf, settings: Settings) -> int:
    """The key-value cache of all slots."""
    cells, streams = slot_context(settings), 1 if settings.unified else settings.slots
    per_key, per_value = ELEMENT[settings.key_type], ELEMENT[settings.value_type]
    full = cells * (model["key_width"] * per_key + model["value_width"] * per_value)
    sliding = 0.0
    if model["window"]:
        reach = model["window"] * (settings.slots if settings.unified else 1) + settings.batch
        kept = cells if settings.whole_window else _padded(min(cells, reach))
        sliding = kept * (model["window_key_width"] * per_key + model["window_value_width"] * per_value)
    return int(streams * (full + sliding))


def need(model: Gguf, settings: Settings, beside: Beside = ALONE) -> Need:
    """What the devices must hold together."""
    weights = _weights(model, beside) + beside.projector
    cache = cache_bytes(model, settings)
    share = max(COMPUTE_BYTES, int(COMPUTE_SHARE * weights))
    if beside.draft:
        weights += _weights(beside.draft, beside)
        own = dataclasses.replace(
            settings, key_type=beside.draft_key_type, value_type=beside.draft_value_type
        )
        cache += cache_bytes(beside.draft, own)
        share += int(COMPUTE_SHARE * _weights(beside.draft, beside))
    compute = share * max(settings.batch, COMPUTE_BATCH) // COMPUTE_BATCH
    if not settings.flash:
        # The scores of every token of the batch with every cell, in four bytes.
        compute += slot_context(settings) * settings.batch * model["heads"] * 4
    # A draft that is refused is taken back: each of its tokens has a state of its own.
    states = model["state_bytes"] * settings.slots * (1 + beside.drafted)
    alone = Need(weights, 0 if beside.cache_on_host else cache, states, compute)
    each = dataclasses.replace(beside, projector=0, draft=None, others=())
    together = [alone, *(need(other, settings, each) for other in beside.others)]
    return Need(*(sum(parts) for parts in zip(*map(dataclasses.astuple, together))))


def _weights(model: Gguf, beside: Beside) -> int:
    return model["total_bytes"] if beside.on_host else model["weights_bytes"]


def largest_context(model: Gguf, settings: Settings, budget: int, beside: Beside = ALONE) -> int:
    """The longest context of all slots together that fits; 0 where not even the shortest does."""
    low, high = 0, (model["context"] or 1 << 20) * settings.slots // PAD
    while low < high:
        middle = (low + high + 1) // 2
        tried = dataclasses.replace(settings, context=middle * PAD)
        low, high = (middle, high) if need(model, tried, beside).total <= budget else (low, middle - 1)
    return low * PAD
