# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What transformers 5.20 fills in where config.json is silent; a model states only part of it."""

from __future__ import annotations

import typing as t

# Keys that a whole config.json has. What a part of it that an inventory gives leaves out is not filled in.
WHOLE = ("architectures", "transformers_version")
CONTEXT = "max_position_embeddings"
GEMMA3 = {
    "num_hidden_layers": 26, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4,
    "head_dim": 256,
    "intermediate_size": 9216, "vocab_size": 262208, "max_position_embeddings": 131072,
    "sliding_window": 4096,
}  # fmt: skip
GEMMA3N = {"num_key_value_heads": 2, "head_dim": 256, "sliding_window": 512, "num_kv_shared_layers": 15}
GEMMA4 = {"num_key_value_heads": 4, "head_dim": 256, "sliding_window": 512, "vocab_size": 262144}
DELTA_NET = {
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4, "head_dim": 256, "full_attention_interval": 4,
    "max_position_embeddings": 32768,
}  # fmt: skip
QWEN35 = {**DELTA_NET, "num_key_value_heads": 4, "vocab_size": 248320}
QWEN35_MOE = {
    **DELTA_NET,
    "num_key_value_heads": 2,
    "vocab_size": 248320,
    "moe_intermediate_size": 512,
    "num_experts": 256,
}
DEFAULTS: dict[str, dict[str, int]] = {
    "gemma2": {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
        "max_position_embeddings": 8192,
        "vocab_size": 256000,
    },
    "gemma3": GEMMA3,
    "gemma3_text": GEMMA3,
    "gemma3n_text": GEMMA3N,
    "gemma4_text": GEMMA4,
    "gpt_oss": {
        "num_key_value_heads": 8,
        "head_dim": 64,
        "sliding_window": 128,
        "max_position_embeddings": 131072,
        "vocab_size": 201088,
    },
    "llama4_text": {
        "num_key_value_heads": 8,
        "head_dim": 128,
        "attention_chunk_size": 8192,
        "max_position_embeddings": 131072,
    },
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "mixtral": {"num_key_value_heads": 8},
    "phimoe": {"num_key_value_heads": 8},
    "qwen2_moe": {"num_key_value_heads": 16},
    "qwen2_vl_text": {"num_key_value_heads": 8},
    "qwen2_5_vl_text": {"num_key_value_heads": 8},
    "qwen3": {"head_dim": 128},
    "qwen3_moe": {"num_key_value_heads": 4},
    "qwen3_vl_text": {"head_dim": 128},
    "qwen3_vl_moe_text": {"num_key_value_heads": 16, "head_dim": 128},
    "gemma": {"head_dim": 256},
    "glm": {"num_key_value_heads": 2, "head_dim": 128},
    "glm4": {"num_key_value_heads": 2, "head_dim": 128},
    "glm4_moe": {"num_key_value_heads": 8},
    "ministral3": {"num_key_value_heads": 8, "head_dim": 128},
    "minimax_m2": {"num_key_value_heads": 8, "head_dim": 128},
    "seed_oss": {"num_key_value_heads": 8, "head_dim": 128},
    "ernie4_5_moe": {"num_key_value_heads": 4},
    "starcoder2": {"num_key_value_heads": 2},
    "smollm3": {"num_key_value_heads": 4},
    "afmoe": {"sliding_window": 1024, "global_attn_every_n_layers": 4, "head_dim": 128},
    "laguna": {"num_key_value_heads": 8, "head_dim": 128, "sliding_window": 512},
    "qwen3_next": {
        **DELTA_NET,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "moe_intermediate_size": 512,
        "num_experts": 512,
    },
    "qwen3_5": QWEN35,
    "qwen3_5_text": QWEN35,
    "qwen3_5_moe": QWEN35_MOE,
    "qwen3_5_moe_text": QWEN35_MOE,
    "cohere2": {
        "head_dim": 128,
        "sliding_window": 4096,
        "max_position_embeddings": 8192,
        "vocab_size": 256000,
    },
}
# The context of types that are published without one; told of a whole config.json alone.
CONTEXTS = {
    "falcon": 2048, "gemma": 8192, "gemma3n_text": 32768, "gemma4_text": 131072, "gpt2": 1024, "llama": 2048,
    "mistral": 131072, "mixtral": 131072, "opt": 2048, "phi3": 4096, "qwen2": 32768, "qwen3": 32768,
    "qwen2_5_vl_text": 32768, "qwen2_vl_text": 32768,
    "qwen3_moe": 32768, "qwen3_vl_text": 128000, "starcoder2": 4096,
}  # fmt: skip


def filled(configuration: dict[str, t.Any], text: dict[str, t.Any]) -> dict[str, t.Any]:
    """A language model's part with what it leaves out. A key that is there, even as ``null``, is what the
    model says."""
    kind = text.get("model_type")
    if not isinstance(kind, str):
        return text
    whole = any(name in configuration for name in WHOLE)
    context = {CONTEXT: CONTEXTS[kind]} if whole and kind in CONTEXTS else {}
    # Heads that a part of a config.json leaves out are as many as it says.
    own = DEFAULTS.get(kind, {}) if whole or kind in ALWAYS else {}
    return {**context, **own, **text}


# Types whose published config.json states only part of its numbers, and so does what inventories quote of it.
ALWAYS = (
    "cohere2", "gemma2", "gemma3", "gemma3_text", "gemma3n_text", "gemma4_text", "gpt_oss", "llama4_text",
    "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next",
)  # fmt: skip
