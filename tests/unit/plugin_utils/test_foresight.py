# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends vLLM at its start is said before anything is deployed."""

from __future__ import annotations

import pytest
from plans import first, hub, said


def config(kind: str, layers: int, heads: str, head_dim: int, hidden: int, **more) -> dict:
    """A config.json: ``heads`` is "attention/keys and values"."""
    attention, _slash, kept = heads.partition("/")
    return {
        "model_type": kind, "num_hidden_layers": layers, "num_attention_heads": int(attention), "num_key_value_heads": int(kept or attention),
        "head_dim": head_dim, "hidden_size": hidden, "torch_dtype": "bfloat16", "max_position_embeddings": 131072, **more,
    }  # fmt: skip


GEMMA3_27B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16,
        "head_dim": 128, "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
}  # fmt: skip


QWEN3 = config("qwen3", 36, "32/8", 128, 4096, vocab_size=151936, architectures=["Qwen3ForCausalLM"])
QWEN3["max_position_embeddings"] = 40960


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max-model-len": 131072}, ["max-model-len 131072 for a context of 40960", "hf-overrides"]),
        ({"max-model-len": "64K"}, ["max-model-len 65536"]),
        ({"reasoning-parser": "deepseek-r1"}, ["no parser of this name; the nearest is deepseek_r1"]),
        ({"tool-call-parser": "qwen3", "enable-auto-tool-choice": True}, ["no parser of this name"]),
        (
            {"max-num-batched-tokens": 128, "max-num-seqs": 256},
            ["max-num-batched-tokens 128 for max-num-seqs 256"],
        ),
        ({"quantization": "awq"}, ["weights in fp8"]),
        ({"max-loras": 8, "max-cpu-loras": 4}, ["max-cpu-loras 4 for max-loras 8"]),
    ],
)
def test_what_ends_vllm_at_its_start_is_said_before(make_plan, ids, options, words):
    configuration = {**QWEN3, "quantization_config": {"quant_method": "fp8"}}
    plan = make_plan(
        "mi300x-8", serve_instances=[hub("own/qwen3", configuration, 16, gpus=[0], options=options)]
    )
    assert ids(plan) == ["vllm.refused"]
    assert all(word in said(plan, "vllm.refused")[0] for word in words)


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ({"max-model-len": 131072}, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}),
        (
            {"max-model-len": 131072, "hf-overrides": {"rope_scaling": {"factor": 4.0, "rope_type": "yarn"}}},
            {},
        ),
        ({"max-model-len": 40960}, {}),
        (
            {"tool-call-parser": "own", "tool-parser-plugin": "/srv/own.py", "enable-auto-tool-choice": True},
            {},
        ),
    ],
)
def test_what_vllm_takes_is_let_through(make_plan, ids, options, environment):
    def there(_gpus, rocm):
        rocm["paths"]["/srv/own.py"] = {"exists": True}

    wanted = hub("own/qwen3", QWEN3, 16, gpus=[0], options=options, environment=environment)
    assert ids(make_plan("mi300x-8", there, serve_instances=[wanted])) == []


def test_float16_and_models_that_cannot(make_plan, ids):
    wanted = hub("google/gemma-3-27b-it", GEMMA3_27B, 51, gpus=[0], options={"dtype": "float16"})
    plan = make_plan("mi300x-8", serve_instances=[wanted])
    assert "vllm.refused" in ids(plan) and "float16 for gemma3_text" in said(plan, "vllm.refused")[0]


@pytest.mark.parametrize("method", ["mxfp4", "gpt_oss_mxfp4"])
def test_a_model_that_is_to_be_fetched_gets_the_rules_of_its_kind(make_plan, method):
    """The inventory says what the model is before it is there."""
    known = config("gpt_oss", 24, "64/8", 64, 2880, quantization_config={"quant_method": method})
    plan = make_plan("strix-halo-128", serve_instances=[hub("openai/gpt-oss-20b", known, 13)])
    assert "dtype" not in first(plan)["options"]
    plan = make_plan("strix-halo-128", serve_instances=[hub("own/qwen3", QWEN3, 13)])
    assert first(plan)["options"]["dtype"] == "float16"


def test_positions_that_yarn_stretches(make_plan, ids):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    cases = (
        # Up to 0.29 vLLM multiplies the original context; then it goes by max_position_embeddings alone.
        ("0.29.0", 131072, []),
        ("0.29.0", 131073, ["vllm.refused"]),
        ("0.33.0", 40960, []),
        ("0.33.0", 131072, ["vllm.refused"]),
    )
    for release, length, refused in cases:
        wanted = hub(
            "own/qwen3", {**QWEN3, "rope_scaling": yarn}, 16, gpus=[0], options={"max-model-len": length}
        )
        assert ids(make_plan("mi300x-8", serve_instances=[wanted], vllm_version=release)) == refused


@pytest.mark.parametrize(
    ("host", "sparse", "refused"),
    [("mi250-4", True, True), ("rx9070xt", True, True), ("mi300x-8", True, False), ("mi250-4", False, False)],
)
def test_sparse_attention_needs_aiter(make_plan, host, sparse, refused):
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, **({"index_topk": 2048} if sparse else {})}
    wanted = hub("own/sparse", config("deepseek_v32", 4, "16", 128, 1024, **latent), 1, gpus=[0])
    said_so = [
        text
        for text in said(make_plan(host, serve_instances=[wanted]), "vllm.refused")
        if "index_topk" in text
    ]
    assert bool(said_so) is refused
