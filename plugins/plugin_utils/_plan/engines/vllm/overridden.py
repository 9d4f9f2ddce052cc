# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hf-overrides makes of a config.json: another context, or another model than the one counted."""

from __future__ import annotations

import typing as t

from .....module_utils import _model_shape as names
from ...catalog import version_key
from ...facts import Shape
from .checkpoint import Vllm
from .states import mapping

OPTION = "hf-overrides"
ROPE = ("rope_parameters", "rope_scaling")
# What the cache and the width of a model follow from.
COUNTED = (
    *names.LAYERS, *names.HEADS, *names.KV_HEADS, *names.HIDDEN, *names.HEAD_DIM, *names.EXPERTS,
    "sliding_window", "layer_types", "kv_lora_rank", "qk_rope_head_dim", "attention_chunk_size", "index_topk",
    "is_causal",
)  # fmt: skip


def of(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The keys that are overridden, those of the language model among them."""
    found = mapping(options.get(OPTION))
    inside = found.get("text_config")
    return {**found, **(inside if isinstance(inside, dict) else {})}


def stretches(options: t.Mapping[str, t.Any]) -> bool:
    """Whether positions are overridden and nobody says how far they reach."""
    found = of(options)
    unread = bool(options.get(OPTION)) and not found
    return unread or (any(name in found for name in ROPE) and not _context(found))


def shape(instance: Vllm, options: t.Mapping[str, t.Any], told: Shape | None) -> Shape | None:
    """The shape that vLLM sees, marked as not countable where a number of it is another one."""
    found = of(options)
    if told and options.get("disable-sliding-window"):
        told = _whole(told)
    if not told or not found:
        return told
    seen = t.cast("dict[str, t.Any]", dict(told))
    for name in COUNTED:
        if name in found:
            seen["uncounted"] = told.get("uncounted") or f"{OPTION} ({name})"
    context = _context(found)
    last = instance.host.catalog.vllm["memory"]["yarn"]["last"]
    plain = (
        version_key(instance.build.version) > version_key(last) and _kind(found) in names.ROPE_WITHOUT_FACTOR
    )
    if context or (any(name in found for name in ROPE) and not plain):
        for name in ("context", "reach", "stretched"):
            seen.pop(name, None)
    if context:
        seen["context"] = context
    return t.cast(Shape, seen)


def _whole(told: Shape) -> Shape:
    """Layers with a window see everything, of a text no longer than that."""
    window, layers = told.get("window"), told.get("attention", {})
    if not window or not layers.get("sliding"):
        return told
    seen = t.cast(
        "dict[str, t.Any]", {name: value for name, value in told.items() if name not in ("window", "reach")}
    )
    seen["context"] = min(told.get("context") or window, window)
    seen["attention"] = {**layers, "full": layers.get("full", 0) + layers["sliding"]}
    del seen["attention"]["sliding"]
    if told.get("sliding_heads"):
        seen["uncounted"] = told.get("uncounted") or "layers with windows that are switched off"
    return t.cast(Shape, seen)


def _context(found: t.Mapping[str, t.Any]) -> int | None:
    lengths = [found[name] for name in names.CONTEXT if name in found]
    whole = [length for length in lengths if isinstance(length, int) and not isinstance(length, bool)]
    return min((length for length in whole if 0 < length <= 1 << 32), default=None)


def _kind(found: t.Mapping[str, t.Any]) -> t.Any:
    rope: dict[str, t.Any] = next((found[name] for name in ROPE if isinstance(found.get(name), dict)), {})
    return rope.get("rope_type", rope.get("type"))
