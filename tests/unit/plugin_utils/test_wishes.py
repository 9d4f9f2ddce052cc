# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of operators whom nobody here has met: folders with odd files, read by host_facts itself, and what the plan
says of them. What is right was read in vLLM's source distributions (0.29.0 to 0.33.0)."""

from __future__ import annotations

from typing import Any

import pytest
from plans import first, said
from wishes import GPUS, llama

POOLED = {
    "modules.json": [
        {"idx": 0, "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
}


def bert(**more: Any) -> dict:
    return {
        "architectures": ["BertModel"], "model_type": "bert", "num_hidden_layers": 6, "num_attention_heads": 12,
        "hidden_size": 384, "intermediate_size": 1536, "vocab_size": 30522, "max_position_embeddings": 512,
        "position_embedding_type": "absolute", **more,
    }  # fmt: skip


def refused(plan: dict) -> str:
    return " ".join(said(plan, "vllm.refused"))


# --- how long a text may be


@pytest.mark.parametrize(
    ("change", "length", "release", "word"),
    [
        # Phi-3.5 and Phi-4-mini: a server gets the original context, and bears all of it where one asks.
        ({"model_type": "phi3", "original_max_position_embeddings": 4096, "rope_scaling": {"type": "longrope"}}, 65536, None, ""),
        ({"model_type": "phi3", "original_max_position_embeddings": 4096, "rope_scaling": {"type": "longrope"}}, 131073, None,
         "bears 131072"),
        ({"max_position_embeddings": 8192, "rope_scaling": {"type": "dynamic", "factor": 4}}, "32K", None, ""),
        ({"max_position_embeddings": 8192, "rope_scaling": {"type": "linear", "factor": 2}}, "32K", None, "bears 16384"),
        # Qwen2.5 as its card says: 0.30 and later no more multiply.
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
         131072, "0.29.0", ""),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
         131072, "0.33.0", "hf-overrides with max_position_embeddings 131072"),
    ],
)  # fmt: skip
def test_positions_that_are_scaled(wish, change, length, release, word):
    wants = {"vllm_version": release} if release else {}
    plan = wish({"config.json": llama(**change)}, gpus=[0], options={"max-model-len": length}, wants=wants)
    assert (word in refused(plan)) if word else refused(plan) == ""


def test_a_context_that_nobody_asks_for_is_the_original_one(wish):
    scaled = {
        "rope_scaling": {"type": "longrope"},
        "original_max_position_embeddings": 4096,
        "model_type": "phi3",
    }
    assert first(wish({"config.json": llama(**scaled)}, gpus=[0]))["memory"]["context"] == 4096
    yarn = {"rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 32768}}
    for release, context in (("0.29.0", 131072), ("0.33.0", 40960)):
        config = llama(**yarn, max_position_embeddings=40960)
        plan = wish({"config.json": config}, gpus=[0], wants={"vllm_version": release})
        assert first(plan)["memory"]["context"] == context, release


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("1k", 1000),
        ("1K", 1024),
        ("1.5k", 1500),
        ("64K", 65536),
        ("0.1m", 100000),
        (-1, 131072),
        ("auto", 131072),
    ],
)
def test_lengths_as_vllm_reads_them(wish, ids, value, tokens):
    plan = wish({"config.json": llama()}, gpus=[0], options={"max-model-len": value})
    assert ids(plan) == [] and first(plan)["memory"]["context"] == tokens


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max-model-len", "1.5K"), ("max-model-len", "lots"), ("max-model-len", "1Ki"), ("max-model-len", True),
        ("max-num-seqs", "1k"), ("max-num-seqs", "auto"), ("tensor-parallel-size", "2k"),
    ],
)  # fmt: skip
def test_numbers_that_no_vllm_reads(wish, name, value):
    plan = wish({"config.json": llama()}, gpus=[0], options={name: value})
    assert f"--{name} {value}" in " ".join(said(plan, "vllm.option"))


# --- what a server is for


def test_a_model_of_sentence_transformers_embeds(wish):
    # Qwen3-Embedding: a class that completes, and files which say that its vectors are pooled.
    config = llama(architectures=["Qwen3ForCausalLM"], model_type="qwen3")
    for files, completes in (({}, True), (POOLED, False)):
        instance = first(wish({"config.json": config, **files}, gpus=[0]))
        assert instance["completes"] is completes
        assert ("attention-backend" in instance["options"]) is completes
    plan = wish({"config.json": config, **POOLED}, gpus=[0], options={"runner": "generate"})
    assert first(plan)["completes"] is True
    for broken in ("[", '{"type": 1}', "[1, {}]"):
        assert first(wish({"config.json": config, "modules.json": broken}, gpus=[0]))["completes"] is True


@pytest.mark.parametrize(
    ("files", "context"),
    [
        ({}, 512),
        ({"sentence_bert_config.json": {"max_seq_length": 256}}, 256),
        ({"sentence_roberta_config.json": {"max_seq_length": 128}}, 128),
        ({"sentence_bert_config.json": {"do_lower_case": True}}, 512),
        ({"tokenizer_config.json": {"model_max_length": 384}}, 384),
        # What says that there is no limit.
        ({"tokenizer_config.json": {"model_max_length": 1000000000000000019884624838656}}, 512),
        ({"sentence_bert_config.json": "{"}, 512),
    ],
)
def test_an_encoder_reads_as_much_as_the_files_beside_it_say(wish, files, context):
    plan = wish({"config.json": bert(), **POOLED, **files}, gpus=[0])
    assert first(plan)["memory"]["context"] == context
    plan = wish({"config.json": bert(), **POOLED, **files}, gpus=[0], options={"max-model-len": 512})
    assert bool(refused(plan)) is (context < 512)


# --- how the weights are quantized


@pytest.mark.parametrize(("algorithm", "method"), [("NVFP4", "modelopt_fp4"), ("FP8", "modelopt")])
def test_modelopt_wrote_a_file_of_its_own_at_first(wish, algorithm, method):
    about = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": algorithm, "kv_cache_quant_algo": "FP8"},
    }
    plan = wish({"config.json": llama(), "hf_quant_config.json": about}, gpus=[0], gib=5)
    # The file asks for a cache of 8 bits.
    assert first(plan)["memory"]["kv_bytes_per_token"] == 32 * 2 * 8 * 128
    asked = wish(
        {"config.json": llama(), "hf_quant_config.json": about}, gpus=[0], options={"quantization": "awq"}
    )
    assert "quantization awq for weights in modelopt" in refused(asked)
    same = wish(
        {"config.json": llama(), "hf_quant_config.json": about}, gpus=[0], options={"quantization": method}
    )
    assert refused(same) == ""
    own = wish(
        {"config.json": llama(quantization_config={"quant_method": "awq"}), "hf_quant_config.json": about},
        gpus=[0],
    )
    assert first(own)["memory"]["kv_bytes_per_token"] == 32 * 2 * 8 * 128 * 2


FP8 = {
    "quark": {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}}},
    "modelopt": {"quant_method": "modelopt", "quant_algo": "FP8"},
    "fbgemm": {"quant_method": "fbgemm_fp8"},
}  # fmt: skip


@pytest.mark.parametrize("gfx", GPUS)
@pytest.mark.parametrize("kind", FP8)
def test_eight_bits_need_kernels_whoever_wrote_them(wish, gfx, kind):
    plan = wish({"config.json": llama(quantization_config=FP8[kind])}, gfx, gib=9, gpus=[0])
    assert bool(said(plan, "vllm.quantization")) is gfx.startswith("gfx11")


# --- integers of few bits, and NVFP4


def packed(method: str, **more: Any) -> dict:
    return llama(quantization_config={"quant_method": method, "bits": 4, "group_size": 128, **more})


@pytest.mark.parametrize(
    ("config", "release", "word"),
    [
        (packed("gptq", sym=True), None, ""),
        (packed("gptq", bits=8, sym=True), None, ""),
        (packed("gptq", bits=3, sym=True), None, "loads GPTQ of 4 and 8 bits, symmetric"),
        (packed("gptq", bits=2, sym=True), "0.24.0", "weights of 2 bits in gptq"),
        (packed("gptq", sym=False), None, "asymmetric weights of 4 bits in gptq"),
        (packed("gptq", bits=3, sym=True), "0.19.1", ""),
        (packed("gptq", bits=8, group_size=32, sym=True), None, "groups of 32 in float16 alone"),
        ({**packed("gptq", bits=8, group_size=32, sym=True), "torch_dtype": "float16"}, None, ""),
        (packed("awq"), None, ""),
        (packed("awq", bits=8), None, "loads AWQ of 4 bits"),
        (packed("modelopt", quant_algo="NVFP4"), None, "weights in nvfp4 on gfx942"),
        (packed("compressed-tensors", format="nvfp4-pack-quantized"), None, "weights in nvfp4 on gfx942"),
    ],
)  # fmt: skip
def test_weights_of_few_bits(wish, config, release, word):
    plan = wish({"config.json": config}, gpus=[0], wants={"vllm_version": release} if release else {})
    found = " ".join(said(plan, "vllm.quantization"))
    assert (word in found) if word else found == "", found


# --- what proposes tokens


QWEN35 = {"model_type": "qwen3_5_text", "architectures": ["Qwen3_5ForCausalLM"], "linear_num_value_heads": 48}


@pytest.mark.parametrize(
    ("asked", "release", "word"),
    [
        ({"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}, None, ""),
        # vLLM has a default for the lookup.
        ({"method": "ngram", "num_speculative_tokens": 5}, None, ""),
        ({"model": "[ngram]", "num_speculative_tokens": 5}, None, ""),
        ({"method": "suffix"}, None, ""),
        ({"method": "ngram"}, None, "without num_speculative_tokens"),
        ({"method": "ngram", "num_speculative_tokens": 0}, None, "num_speculative_tokens 0"),
        ({"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_min": 5, "prompt_lookup_max": 2}, None, "above"),
        ({"method": "ngram", "num_spec_tokens": 5}, None, "the nearest key is num_speculative_tokens"),
        ({"method": "ngram", "num_speculative_tokens": 5, "tensor_parallel_size": 1}, None, "draft_tensor_parallel_size"),
        ({"method": "ngram", "num_speculative_tokens": 5, "kv_cache_dtype": "fp8"}, "0.25.1", "it came with vLLM 0.26.0"),
        ({"method": "eagle3", "num_speculative_tokens": 3}, None, "without model"),
        ({"num_speculative_tokens": 3}, None, "without model"),
        ({"method": "eagel3", "num_speculative_tokens": 3}, None, "the nearest is eagle"),
        ({"method": "medusa", "num_speculative_tokens": 3}, None, "vLLM 0.32.0 was the last"),
        ({"method": "dspark", "num_speculative_tokens": 7}, "0.24.0", "it came with vLLM 0.25.1"),
        ({"method": "mtp", "num_speculative_tokens": 3}, None, "names no layers that propose tokens"),
        ('{"method": "eagle3"}', None, "without model"),
        # The file of a drafter may say how many.
        ({"method": "eagle3", "model": "/srv/models/odd"}, None, ""),
        ({"method": "draft_model", "model": "/srv/models/odd"}, None, "without num_speculative_tokens"),
    ],
)  # fmt: skip
def test_a_way_of_drafting_that_ends_vllm_is_told_before(wish, asked, release, word):
    wants = {"vllm_version": release} if release else {}
    plan = wish({"config.json": llama()}, gpus=[0], options={"speculative-config": asked}, wants=wants)
    assert (word in refused(plan)) if word else refused(plan) == "", refused(plan)


def test_layers_that_propose_tokens_are_in_the_model(wish, ids):
    asked = {"speculative-config": {"method": "qwen3_5_mtp", "num_speculative_tokens": 3}}
    config = llama(**QWEN35, mtp_num_hidden_layers=1)
    plan = wish({"config.json": config}, gpus=[0], options=asked)
    assert refused(plan) == "" and ids(plan) == []
    # A state more is kept for each token that is proposed.
    sequences = [
        first(wish({"config.json": config}, gpus=[0], options=each))["memory"]["sequences"]
        for each in ({}, asked)
    ]
    assert sequences[1] < sequences[0]
    v41 = {"model_type": "deepseek_v41", "architectures": ["DeepseekV41ForCausalLM"]}
    assert "its method is dspark" in refused(wish({"config.json": llama(**v41)}, gpus=[0], options=asked))


def test_a_drafter_is_shared_out_as_the_model_is(wish):
    for width, word in ((1, ""), (4, ""), (2, "draft_tensor_parallel_size 2 for tensor-parallel-size 4")):
        asked = {"method": "ngram", "num_speculative_tokens": 2, "draft_tensor_parallel_size": width}
        options = {"tensor-parallel-size": 4, "speculative-config": asked}
        assert word in refused(wish({"config.json": llama()}, gpus=[0, 1, 2, 3], options=options))


# --- configurations that are odd


NEMOTRON = {
    "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 8192, "head_dim": 128,
    "num_attention_heads": 64, "num_key_value_heads": 2, "vocab_size": 131072, "max_position_embeddings": 262144,
    "mamba_num_heads": 256, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4,
    "mamba_ssm_cache_dtype": "float32", "torch_dtype": "bfloat16", "intermediate_size": 5120,
    "layers_block_type": ["mamba", "moe"] * 48 + ["attention"] * 12,
}  # fmt: skip


def test_layers_that_are_listed_and_not_counted(wish):
    # Nemotron 3 Ultra has no num_hidden_layers.
    memory = first(wish({"config.json": NEMOTRON}))["memory"]
    assert (memory["verdict"], memory["kv_bytes_per_token"]) == ("fits", 12 * 2 * 128 * 2)
    none = {**NEMOTRON, "layers_block_type": []}
    assert first(wish({"config.json": none}))["memory"]["verdict"] == "unknown"


def test_a_list_of_layers_that_transformers_writes_beside_the_index(wish):
    # GLM-5.2 as ModelOpt saves it.
    sparse = llama(
        architectures=["GlmMoeDsaForCausalLM"], model_type="glm_moe_dsa", kv_lora_rank=512, qk_rope_head_dim=64, index_topk=2048,
        index_head_dim=128, layer_types=["deepseek_sparse_attention"] * 32,
    )  # fmt: skip
    assert first(wish({"config.json": sparse}))["memory"]["kv_bytes_per_token"] == 32 * (576 * 2 + 132)
    mixed = {**sparse, "layer_types": ["deepseek_sparse_attention"] * 31 + ["linear_attention"]}
    assert first(wish({"config.json": mixed}))["memory"]["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        # One number for each layer (OpenELM), and numbers that cannot be.
        ({"num_key_value_heads": [8] * 16 + [4] * 16}, "num_key_value_heads"),
        ({"head_dim": [128]}, "head_dim"),
        ({"hidden_size": 10**18, "vocab_size": 10**30}, "hidden_size"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"model_type": "minimax_m3_vl", "sparse_attention_config": {"use_sparse_attention": True}}, "sparse_attention_config"),
        ({"model_type": "minimax_m3_text"}, "minimax_m3_text"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_named(wish, change, word):
    memory = first(wish({"config.json": llama(**change)}))["memory"]
    assert memory["verdict"] == "unknown" and word in memory["reason"], memory


@pytest.mark.parametrize("value", [None, 0, False])
def test_a_number_that_says_nothing_is_as_if_it_were_not_there(wish, value):
    memory = first(wish({"config.json": llama(head_dim=value)}))["memory"]
    assert (memory["verdict"], memory["kv_bytes_per_token"]) == ("fits", 32 * 2 * 128 * 2)


def test_kimi_k3_is_loaded_as_mxfp4(wish):
    packed = {"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"}
    for kind, method in (("kimi_k3", "mxfp4"), ("llama", "compressed-tensors")):
        plan = wish(
            {"config.json": llama(model_type=kind, quantization_config=packed)},
            options={"quantization": "awq"},
        )
        assert f"weights in {method}" in refused(plan)


def test_the_eyes_of_a_model_that_thinks_are_divided_too(wish):
    text = llama(model_type="qwen3_omni_moe_text")
    config = {
        "architectures": ["Qwen3OmniMoeForConditionalGeneration"], "model_type": "qwen3_omni_moe",
        "thinker_config": {"text_config": text, "vision_config": {"num_heads": 12}},
    }  # fmt: skip
    plan = wish({"config.json": config}, options={"tensor-parallel-size": 8})
    assert "12 heads of the vision encoder" in " ".join(said(plan, "vllm.heads"))


# --- params.json of Mistral


def params(**more: Any) -> dict:
    return {"dim": 5120, "n_layers": 40, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "hidden_dim": 14336,
            "vocab_size": 131072, "max_position_embeddings": 131072, **more}  # fmt: skip


LARGE = params(
    n_layers=61, n_heads=128, n_kv_heads=128, kv_lora_rank=512, q_lora_rank=1536, qk_rope_head_dim=64,
    qk_nope_head_dim=128, v_head_dim=128, max_seq_len=294912, max_position_embeddings=294912,
    moe={"num_experts": 128, "num_shared_experts": 1, "expert_hidden_dim": 4096, "first_k_dense_replace": 3},
    llama_4_scaling={"original_max_position_embeddings": 8192, "beta": 0.1},
)  # fmt: skip
AUDIO = {"dim": 1280, "n_layers": 32, "n_heads": 20, "head_dim": 64, "hidden_dim": 5120}


@pytest.mark.parametrize(
    ("given", "name", "each", "context"),
    [
        (params(), "MistralForCausalLM", 40 * 8 * 128 * 4, 131072),
        (params(max_seq_len=32768), "MistralForCausalLM", 40 * 8 * 128 * 4, 32768),
        (params(moe={"num_experts": 8, "expert_hidden_dim": 14336}), "MixtralForCausalLM", 40 * 8 * 128 * 4, 131072),
        (params(vision_encoder={"num_attention_heads": 16}), "PixtralForConditionalGeneration", 40 * 8 * 128 * 4, 131072),
        (LARGE, "MistralLarge3ForCausalLM", 61 * 576 * 2, 294912),
        (params(multimodal={"whisper_model_args": {"encoder_args": AUDIO}}), "VoxtralForConditionalGeneration", 40 * 8 * 128 * 4, 131072),
    ],
)  # fmt: skip
def test_numbers_of_mistral(wish, given, name, each, context):
    plan = wish({"params.json": given, "consolidated.safetensors": 1 << 30}, gpus=[0])
    memory = first(plan)["memory"]
    assert memory["kv_bytes_per_token"] == each and memory["context"] == context
    assert not said(plan, "vllm.architecture")
    options = {"enable-expert-parallel": True}
    dense = name not in ("MixtralForCausalLM", "MistralLarge3ForCausalLM")
    found = refused(
        wish({"params.json": given, "consolidated.safetensors": 1 << 30}, gpus=[0], options=options)
    )
    assert ("the model has no experts" in found) is dense


def test_sounds_that_are_kept_are_not_counted(wish):
    heard = {"whisper_model_args": {"encoder_args": {**AUDIO, "causal": True}}}
    assert first(wish({"params.json": params(multimodal=heard)}, gpus=[0]))["memory"]["verdict"] == "unknown"
