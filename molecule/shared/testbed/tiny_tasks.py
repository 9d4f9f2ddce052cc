# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a random model of each kind that is asked something else, or keeps something else, than a Llama does.
Run with the engine's Python: tiny_tasks.py MODELS, beside the tiny Llama, whose tokenizer they share."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
SMALL = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 2048}
DECODER = {**SMALL, **SPECIAL, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
ENCODER = {
    **SMALL,
    "max_position_embeddings": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 1,
}


def models() -> dict[str, PreTrainedModel]:
    """By the name of their folders."""
    return {
        "tiny-embed": BertModel(BertConfig(**ENCODER)),
        # One label: it scores pairs.
        "tiny-rank": BertForSequenceClassification(BertConfig(**ENCODER, num_labels=1)),
        "tiny-moe": Qwen3MoeForCausalLM(
            Qwen3MoeConfig(
                **DECODER,
                head_dim=32,
                num_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=64,
                decoder_sparse_step=1,
            )  # fmt: skip
        ),
        # States of Mamba 2 in one layer of two.
        "tiny-hybrid": GraniteMoeHybridForCausalLM(
            GraniteMoeHybridConfig(
                **DECODER,
                layer_types=["mamba", "attention"],
                num_local_experts=0,
                num_experts_per_tok=0,
                shared_intermediate_size=128,
                mamba_n_heads=4,
                mamba_d_head=32,
                mamba_expand=2,
                mamba_d_state=16,
                mamba_n_groups=1,
                mamba_d_conv=4,
                mamba_chunk_size=64,
                position_embedding_type="rope",
            )  # fmt: skip
        ),
    }


def main(folder: Path) -> None:
    """The seed makes two machines write the same models."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "tiny-llama")
    torch.manual_seed(0)
    for name, model in models().items():
        model.to(torch.bfloat16).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


main(Path(sys.argv[1]))
