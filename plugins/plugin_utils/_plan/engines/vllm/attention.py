# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attention backend that is asked for where vLLM's own choice is the slower one."""

from __future__ import annotations

import typing as t

from ...catalog import Catalog
from . import history


def preferred(
    catalog: Catalog, gfx: str, config: t.Mapping[str, t.Any], release: str
) -> tuple[str, str, str] | None:
    """Backend, reason and source for a decoder with plain attention; ``None`` where vLLM's choice stands or
    the
    model is not known well enough.

    ``config`` is the model's config.json. It counts only with ``VLLM_ROCM_USE_AITER=1``.
    """
    known = catalog.vllm["attention_backends"]
    backend, rule = known["by_gfx"].get(gfx, {}).get("mha"), known["mha"]
    text = config.get("text_config") or config
    kind = text.get("model_type") or config.get("model_type")
    if not backend or not kind or {kind, config.get("model_type")} & set(rule["not_model_types"]):
        return None
    latent = any(
        text.get(name)
        for name in ("kv_lora_rank", "index_topk", "attention_chunk_size", "is_encoder_decoder")
    )
    if (
        latent
        or _head(text) not in rule["head_sizes"]
        or not history.backend_known(catalog, backend, release)
    ):
        return None
    return backend, rule["reason"], rule["source"]


def _head(config: t.Mapping[str, t.Any]) -> int | None:
    """The size of a head, where the configuration says it."""
    head, hidden, heads = (config.get(name) for name in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(head, int):
        return head
    return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else None
