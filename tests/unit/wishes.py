# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of strangers' models, and the hosts of four architectures that they are put on."""

from __future__ import annotations

from typing import Any

FOLDER = "/srv/models/odd"
GPUS = {
    "gfx942": ("mi300x-8", None),
    "gfx1151": ("strix-halo-128", None),
    "gfx1201": ("rx9070xt", [{"product": "r9700"}, {"product": "r9700"}]),
    "gfx1100": ("rx9070xt", [{"product": "rx7900xtx"}]),
}


def llama(**more: Any) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256,
        "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "transformers_version": "5.20.2", **more,
    }  # fmt: skip
