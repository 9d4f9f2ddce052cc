# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Caches that are not alike in all layers, or lie beside keys and values: what a model keeps more of, or
otherwise."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._model_layers import number

GEMMA4 = ("gemma4", "gemma4_text")
# Attention that picks its tokens keeps a small vector of each besides, to pick by.
INDEXED = ("deepseek_v32", "glm_moe_dsa")
# Numbers of that vector which share a scale of 4 bytes.
SCALED = 128
SPARSE = "deepseek_sparse_attention"
# Models of which each decoder layer has two attentions.
TWICE = ("longcat_flash",)


class Caches(t.NamedTuple):
    """``numbers`` go into the shape; ``understood`` are keys that would make a cache an unknown one."""

    numbers: dict[str, t.Any]
    understood: tuple[str, ...] = ()


def layers(text: dict[str, t.Any], kind: str | None) -> int | None:
    """How many layers keep a cache, where that is not what config.json calls its layers."""
    if kind == "whisper":
        return number(text, "decoder_layers")
    blocks = text.get("layers_block_type")
    if kind == "nemotron_h" and isinstance(blocks, list) and not number(text, "num_hidden_layers"):
        return len(blocks) or None
    found = number(text, "num_layers") if kind in TWICE else None
    return 2 * found if found else None


def of(text: dict[str, t.Any], kind: str | None, count: int) -> Caches:
    """What differs from keys and values of ``kv_heads`` heads of ``head_dim`` in every layer."""
    if (kind or "").startswith("mimo_v2"):
        return _mimo(text)
    if kind in GEMMA4:
        return _gemma4(text)
    if kind in INDEXED and text.get("index_topk"):
        return _indexed(text, count)
    if kind == "minicpm3":
        # vLLM keeps whole keys and values for it, of the width of a key.
        sizes = [number(text, name) or 0 for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
        heads = number(text, "num_attention_heads")
        return Caches({"kv_lora_rank": None, "head_dim": sum(sizes) or None, "kv_heads": heads})
    if kind == "whisper" and number(text, "decoder_layers"):
        # What else it calls its layers are the encoder's.
        looked_at = number(text, "max_source_positions") or 1500
        return Caches({"cross": {"layers": count, "tokens": looked_at}}, ("is_encoder_decoder",))
    return Caches({})


def _mimo(text: dict[str, t.Any]) -> Caches:
    """Layers with a window have heads of their own, and values are narrower than keys."""
    key = number(text, "head_dim")
    value = number(text, "v_head_dim") or key
    other = {
        "kv_heads": number(text, "swa_num_key_value_heads", "num_key_value_heads"),
        "head_dim": number(text, "swa_head_dim", "head_dim"),
    }
    other["value_dim"] = number(text, "swa_v_head_dim") or other["head_dim"]
    return Caches({"value_dim": value, "sliding_heads": other if all(other.values()) else None})


def _gemma4(text: dict[str, t.Any]) -> Caches:
    """Layers that see all tokens have wider heads, and fewer where keys serve as values."""
    kept, own = number(text, "num_key_value_heads") or 4, number(text, "head_dim") or 256
    few = number(text, "num_global_key_value_heads") if text.get("attention_k_eq_v") else None
    wide = number(text, "global_head_dim") or 512
    return Caches(
        {
            "kv_heads": few or kept,
            "head_dim": wide,
            "sliding_heads": {"kv_heads": kept, "head_dim": own, "value_dim": own},
        }
    )


def _indexed(text: dict[str, t.Any], count: int) -> Caches:
    width = number(text, "index_head_dim")
    if not width:
        return Caches({})
    pattern, every = text.get("index_topk_pattern"), number(text, "index_topk_freq") or 1
    offset = number(text, "index_skip_topk_offset") or 2
    if isinstance(pattern, (str, list)):
        # What the pattern does not reach has an index.
        skipped = sum(1 for mark in list(pattern)[:count] if mark == "S")
    else:
        skipped = sum(1 for layer in range(count) if max(layer - offset + 1, 0) % every)
    size = width + -(-width // SCALED) * 4
    # Transformers 5 lists the layers too; all of them are of one kind.
    types = text.get("layer_types")
    alike = isinstance(types, list) and set(map(str, types)) == {SPARSE}
    understood = ("index_topk", "layer_types") if alike else ("index_topk",)
    return Caches({"index": {"layers": count - skipped, "bytes": size}}, understood)
