# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that nobody here had seen: what is kept of a token, worked out by hand from vLLM 0.33's classes and from
what transformers 5.20 fills in; classes that a release lacks; and what is not known."""

from __future__ import annotations

import pytest
from plans import first, hub, said

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import classes, fit, tasks

CATALOG = Catalog()
RULES = CATALOG.vllm["memory"]
LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}


def config(kind: str, layers: int, heads: int, kept: int, head: int, hidden: int, **more) -> dict:
    return {
        "model_type": kind, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kept,
        "head_dim": head, "hidden_size": hidden, "torch_dtype": "bfloat16", "max_position_embeddings": 131072, **more,
    }  # fmt: skip


# 9 layers see everything, with 4 heads; 39 have a window of 128 and 8 heads. A key has 192 numbers, a value 128.
MIMO = config(
    "mimo_v2_flash", 48, 64, 4, 192, 4096, v_head_dim=128, swa_num_attention_heads=64, swa_num_key_value_heads=8,
    swa_head_dim=192, swa_v_head_dim=128, sliding_window=128, sliding_window_size=128, attention_chunk_size=128,
    hybrid_layer_pattern=[0, 1, 1, 1, 1] + [0, 1, 1, 1, 1, 1] * 7 + [0], architectures=["MiMoV2FlashForCausalLM"],
)  # fmt: skip
GEMMA4 = {
    "model_type": "gemma4",
    "architectures": ["Gemma4ForConditionalGeneration"],
    "text_config": config(
        "gemma4_text", 60, 32, 16, 256, 5376, global_head_dim=512, num_global_key_value_heads=4, attention_k_eq_v=True,
        sliding_window=1024, layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 10, num_kv_shared_layers=0,
    ),
}  # fmt: skip
GEMMA3N = {
    "model_type": "gemma3n",
    "text_config": config(
        "gemma3n_text", 35, 8, 2, 256, 2048, num_kv_shared_layers=15, sliding_window=512,
        layer_types=(["sliding_attention"] * 4 + ["full_attention"]) * 7,
    ),
}  # fmt: skip
KIMI = config(
    "kimi_linear", 27, 32, 32, 72, 2304, **LATENT, architectures=["KimiLinearForCausalLM"], num_experts=256,
    linear_attn_config={
        "kda_layers": [layer for layer in range(1, 28) if layer not in (4, 8, 12, 16, 20, 24, 27)],
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4,
    },
)  # fmt: skip
V32 = config("deepseek_v32", 61, 128, 128, 56, 7168, **LATENT, index_topk=2048, index_head_dim=128)
GLM5 = config("glm_moe_dsa", 78, 64, 64, 64, 6144, **LATENT, index_topk=2048, index_head_dim=128)
MINICPM3 = config(
    "minicpm3",
    62,
    40,
    40,
    64,
    2560,
    kv_lora_rank=256,
    q_lora_rank=768,
    qk_rope_head_dim=32,
    qk_nope_head_dim=64,
)
TURBO = {
    "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "num_hidden_layers": 32,
    "encoder_layers": 32, "decoder_layers": 4, "d_model": 1280, "decoder_attention_heads": 20, "vocab_size": 51866,
    "is_encoder_decoder": True, "max_target_positions": 448, "max_source_positions": 1500, "torch_dtype": "float16",
}  # fmt: skip
LONGCAT = {
    "model_type": "longcat_flash", "num_layers": 28, "num_attention_heads": 64, "hidden_size": 6144, **LATENT,
    "torch_dtype": "bfloat16", "max_position_embeddings": 131072,
}  # fmt: skip
DBRX = {
    "model_type": "dbrx", "n_layers": 40, "n_heads": 48, "d_model": 6144, "attn_config": {"kv_n_heads": 8},
    "max_seq_len": 32768, "torch_dtype": "bfloat16",
}  # fmt: skip
GRANITE = config(
    "granitemoehybrid", 40, 40, 8, 64, 2560, layer_types=["attention"] * 40, mamba_d_state=256, mamba_n_heads=128,
    architectures=["GraniteMoeHybridForCausalLM"],
)  # fmt: skip
AFMOE = config("afmoe", 60, 48, 8, 128, 3072, sliding_window=4096, global_attn_every_n_layers=4)
MISTRAL = {
    "model_type": "mistral", "architectures": ["MistralForCausalLM"], "num_hidden_layers": 32, "num_attention_heads": 32,
    "hidden_size": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip


def cache(configuration: dict, **more) -> fit.Cache:
    shape = _model.shape(configuration)
    assert shape is not None
    settings = fit.Settings(usable_bytes=1 << 40, **more)
    found = fit.cache_of(shape, settings, RULES["kv_dtype_bytes"], RULES["mla_model_types"])
    assert found is not None, shape
    return found


@pytest.mark.parametrize(
    ("configuration", "width", "each"),
    [
        (MIMO, 1, 9 * 4 * (192 + 128) * 2),
        (MIMO, 8, 9 * 1 * (192 + 128) * 2),
        (GEMMA4, 1, 10 * 4 * 2 * 512 * 2),
        # Where keys are not values, all heads are wide ones.
        ({**GEMMA4, "text_config": {**GEMMA4["text_config"], "attention_k_eq_v": False}}, 1, 10 * 16 * 2 * 512 * 2),
        # The last 15 of 35 layers look at the cache of others: 4 of 20 see everything.
        (GEMMA3N, 1, 4 * 2 * 2 * 256 * 2),
        (KIMI, 1, 7 * 576 * 2),
        # An index of 128 bytes and a scale beside the latent vector, whole on each device.
        (V32, 8, 61 * (576 * 2 + 132)),
        (GLM5, 8, 78 * (576 * 2 + 132)),
        # Every fourth layer has an index of its own: 2, 6, 10 ... and those before.
        ({**V32, "index_topk_freq": 4}, 8, 61 * 576 * 2 + (1 + 15) * 132),
        ({**V32, "index_topk_pattern": "FS" * 30 + "F"}, 8, 61 * 576 * 2 + 31 * 132),
        # vLLM gives it no latent cache: 40 heads of 64 + 32 numbers.
        (MINICPM3, 1, 62 * 40 * 2 * 96 * 2),
        (TURBO, 1, 4 * 20 * 2 * 64 * 2),
        # Two attentions in each of 28 layers.
        (LONGCAT, 8, 56 * 576 * 2),
        (DBRX, 8, 40 * 1 * 2 * 128 * 2),
        (GRANITE, 1, 40 * 8 * 2 * 64 * 2),
        (AFMOE, 1, 15 * 8 * 2 * 128 * 2),
        # 8 heads and a window of 4096 in all layers, which config.json does not say.
        (MISTRAL, 1, 32 * 8 * 2 * 128 * 2),
    ],
)  # fmt: skip
def test_bytes_of_a_token(configuration, width, each):
    assert cache(configuration, tensor_parallel=width).bytes_per_token == each


def test_blocks_of_layers_with_fewer_heads_hold_more_tokens():
    # A page is what a layer with a window needs: 16 tokens x 16 heads x 512. 10 layers make a group.
    found = cache(GEMMA4)
    assert found.bytes_per_block == 10 * 16 * (16 * 512) * 2
    assert (found.full_groups, found.sliding_groups, found.full_block, found.sliding_block) == (1, 5, 32, 16)
    assert found.blocks(65536) == 65536 // 32 + 5 * ((1023 + 2 * 2048 + 15) // 16 + 1)
    # Over 8 devices both have 1024 numbers of a token.
    assert cache(GEMMA4, tensor_parallel=8).full_block == 16
    # 3 layers of 2 heads beside one of 5: the smaller page lies in a larger one.
    odd = config("mimo_v2_flash", 4, 10, 2, 64, 640, swa_num_key_value_heads=5, sliding_window=128,
                 hybrid_layer_pattern=[0, 1, 1, 1])  # fmt: skip
    assert (cache(odd).full_block, cache(odd).bytes_per_block) == (16, 16 * 5 * 128 * 2)


def test_a_block_beside_latent_vectors_is_a_multiple_of_128():
    # State: 3 x 4096 channels x 3 tokens in 16 bits, and 32 x 128 x 128 numbers in 32 bits; a token is 1152 bytes.
    found = cache(KIMI, states=2)
    state = 3 * 4096 * 3 * 2 + 32 * 128 * 128 * 4
    assert found.block_size == 128 * -(-state // (128 * 1152)) == 1920
    assert (found.full_groups, found.state_groups, found.blocks(1)) == (1, 3, 1 + 3 * 2)


def test_what_a_decoder_hears_has_a_cache_too():
    # vLLM reckons a whole batch of it for each recording at its start.
    found = cache(TURBO, batched_tokens=2048)
    assert (found.full_groups, found.cross_groups) == (1, 1)
    assert found.blocks(448) == 28 + 128
    table = fit.table(fit.Model(2 << 30, _model.shape(TURBO)), fit.Settings(usable_bytes=16 << 30), RULES)
    assert table["verdict"] == "fits" and table["state_blocks"] is None


@pytest.mark.parametrize(
    "configuration",
    [
        config("qwen2", 28, 28, 4, 128, 3584, is_causal=False),
        config("gemma3_text", 24, 3, 1, 256, 768, use_bidirectional_attention=True, sliding_window=512),
    ],
)
def test_a_decoder_that_looks_both_ways_keeps_nothing(configuration):
    room = fit.Settings(usable_bytes=16 << 30, max_model_len=2048)
    table = fit.table(fit.Model(2 << 30, _model.shape(configuration)), room, RULES)
    assert (table["verdict"], table["kv_bytes_per_token"]) == ("fits", 0)


@pytest.mark.parametrize(
    ("configuration", "word"),
    [
        (config("bailing_moe_linear", 32, 32, 4, 128, 4096, layer_group_size=8), "layer_group_size"),
        (config("bailing_hybrid", 80, 64, 64, 128, 8192, **LATENT), "bailing_hybrid"),
        (config("own_mixed", 32, 32, 2, 128, 4096, mixer_types=["gla", "attn"] * 16), "mixer_types"),
        (config("deepseek_v4", 43, 64, 1, 512, 4096), "deepseek_v4"),
        (config("minimax", 80, 64, 8, 128, 6144, layer_types=["linear_attention", "full_attention"] * 40), "minimax"),
        (config("mimo_v2_flash", 48, 64, 4, 192, 4096, sliding_window_size=128), "sliding_window"),
        # A window of which nothing says which layers have it.
        (config("own_windows", 48, 64, 4, 128, 4096, sliding_window=128), "sliding_window"),
        ({**KIMI, "linear_attn_config": {"kda_layers": "1-20"}}, "linear_attn_config"),
        ({**V32, "index_head_dim": -128}, "index_topk"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_never_said_to_fit(configuration, word):
    table = fit.table(
        fit.Model(10 << 30, _model.shape(configuration)), fit.Settings(usable_bytes=192 << 30), RULES
    )
    assert table["verdict"] == "unknown", table
    assert word in table["reason"]


def test_a_context_is_filled_in_for_a_whole_config_alone():
    assert _model.shape(MISTRAL)["context"] == 131072
    part = {name: value for name, value in MISTRAL.items() if name != "architectures"}
    assert "context" not in _model.shape(part) and _model.shape(part)["kv_heads"] == 32


DENSE = config("brandnew", 32, 32, 8, 128, 4096)


@pytest.mark.parametrize(
    ("architecture", "release", "severity", "words"),
    [
        ("Qwen3ForCausalLM", None, None, ""),
        # Another ending is made of the class that there is.
        ("Qwen3ForSequenceClassification", None, None, ""),
        ("Qwen4ExpForCausalLM", "0.23.0", "fail", "Set vllm_version to 0.29.0 or newer"),
        ("MiniMaxM1ForCausalLM", None, "fail", "vLLM 0.23.0 was the last to have it"),
        ("MiniMaxM1ForCausalLM", "0.23.0", None, ""),
        ("MllamaForConditionalGeneration", None, "fail", "vLLM 0.10.2 was the last to have it"),
        ("BrandNewForCausalLM", None, "warn", "Look whether Transformers has the model"),
    ],
)
def test_a_class_that_the_release_lacks_is_told_before(make_plan, architecture, release, severity, words):
    wants = {"vllm_version": release} if release else {}
    model = hub("own/model", {**DENSE, "architectures": [architecture]}, gpus=[0])
    plan = make_plan("mi300x-8", serve_instances=[model], **wants)
    found = [finding for finding in plan["findings"] if finding["id"] == "vllm.architecture"]
    assert [finding["severity"] for finding in found] == ([severity] if severity else [])
    assert words in " ".join(said(plan, "vllm.architecture"))


def test_a_class_for_other_gpus_and_a_drafter_are_refused(make_plan):
    for architecture, word in (
        ("Step5ForCausalLM", "NVIDIA"),
        ("Eagle3LlamaForCausalLM", "speculative-config"),
    ):
        model = hub("own/model", {**DENSE, "architectures": [architecture]}, gpus=[0])
        plan = make_plan("mi300x-8", serve_instances=[model])
        assert word in " ".join(said(plan, "vllm.refused")), architecture


def test_overrides_name_the_class_and_another_way_to_load_asks_no_registry(make_plan):
    for options in (
        {"hf-overrides": {"architectures": ["Qwen3ForCausalLM"]}},
        {"model-impl": "transformers"},
    ):
        model = hub(
            "own/model", {**DENSE, "architectures": ["BrandNewForCausalLM"]}, gpus=[0], options=options
        )
        assert said(make_plan("mi300x-8", serve_instances=[model]), "vllm.architecture") == []


@pytest.mark.parametrize(
    ("architecture", "change", "verdict"),
    [
        ("LlamaForCausalLM", {}, "fits"),
        ("BrandNewForCausalLM", {}, "unknown"),
        # Its numbers look plain, and its source keeps states, or a cache of its own.
        ("FalconH1ForCausalLM", {}, "unknown"),
        ("Zamba2ForCausalLM", {}, "unknown"),
        ("InklingForCausalLM", {}, "unknown"),
        ("MiniMaxM3SparseForCausalLM", {}, "unknown"),
        ("CohereAsrForConditionalGeneration", {}, "unknown"),
        ("DeepseekV3ForCausalLM", {"model_type": "deepseek_v3", **LATENT}, "fits"),
        ("KimiLinearForCausalLM", KIMI, "fits"),
        ("GlmMoeDsaForCausalLM", GLM5, "fits"),
        ("WhisperForConditionalGeneration", TURBO, "fits"),
        ("GraniteMoeHybridForCausalLM", GRANITE, "fits"),
    ],
)
def test_the_class_tells_what_numbers_do_not(make_plan, architecture, change, verdict):
    model = hub("own/model", {**DENSE, **change, "architectures": [architecture]}, weights=20, gpus=[0])
    memory = first(make_plan("mi300x-8", serve_instances=[model]))["memory"]
    assert memory["verdict"] == verdict, memory


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("ChatGLMModel", "generate"),
        ("MiDashengLMModel", "generate"),
        ("UltravoxModel", "generate"),
        ("MiniCPMO", "generate"),
        ("Ovis2_5", "generate"),
        ("ColQwen3", "pooling"),
        ("FunASRForConditionalGeneration", "transcription"),
        ("BertModel", "pooling"),
    ],
)
def test_the_task_is_what_the_registry_says(architecture, task):
    assert tasks.task(architecture, {}, classes.kind(CATALOG, architecture)) == task


@pytest.mark.parametrize(
    ("architecture", "labels", "question"),
    [
        ("Qwen3ForCausalLM", None, "completion"),
        ("WhisperForConditionalGeneration", None, "transcription"),
        ("BertModel", None, "embed"),
        ("XLMRobertaForSequenceClassification", 1, "score"),
        ("Qwen3ForSequenceClassification", 1, "score"),
        ("BertForSequenceClassification", 3, "classify"),
        ("BertForTokenClassification", None, "pooling"),
        ("InternLM2ForRewardModel", None, "pooling"),
    ],
)
def test_each_task_has_its_question(architecture, labels, question):
    assert tasks.question(architecture, {}, classes.kind(CATALOG, architecture), labels) == question


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"quant_method": "FP8"}, "fp8"),
        ({"quant_method": "compressed_tensors"}, "compressed-tensors"),
        ({"quant_method": "auto-round"}, "inc"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "modelopt"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt_fp4"),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "MXFP8"}}, "modelopt_mxfp8"),
        ({"quant_method": 8}, None),
        ({"producer": ["modelopt"], "quantization": "x"}, None),
    ],
)
def test_a_method_has_the_name_that_vllm_looks_up(about, name):
    assert _model.quantization({"quantization_config": about}) == name


@pytest.mark.parametrize(
    ("host", "environment", "verdict"),
    [
        # 100 GiB of MXFP8 are 194 GiB in 16 bits; MI355X has kernels for it.
        ("mi300x-8", {}, "weights"),
        ("mi355x-8", {}, "fits"),
        ("mi300x-8", {"VLLM_MXFP8_EMULATION_DEQUANT_AT_LOAD": "0"}, "fits"),
    ],
)
def test_what_is_emulated_is_widened_as_it_is_loaded(make_plan, host, environment, verdict):
    packed = {
        **DENSE,
        "architectures": ["LlamaForCausalLM"],
        "quantization_config": {"quant_method": "mxfp8"},
    }
    model = hub("own/packed", packed, weights=100, gpus=[0], environment=environment)
    assert first(make_plan(host, serve_instances=[model]))["memory"]["verdict"] == verdict


def test_replicas_share_experts_without_expert_parallelism_too(make_plan):
    # 48 x 128 experts of 3 x 768 x 2048 in bfloat16 are 54 of 60 GiB; over 4 replicas a device holds 6 + 13.5.
    moe = config("qwen3_moe", 48, 32, 4, 128, 2048, num_experts=128, moe_intermediate_size=768)
    both = [{"data-parallel-size": 4}, {"data-parallel-size": 4, "enable-expert-parallel": True}]
    for options in both:
        model = hub("own/moe", moe, weights=60, gpus=[0, 1, 2, 3], options=options)
        memory = first(make_plan("mi300x-8", serve_instances=[model]))["memory"]
        assert memory["weights_bytes"] == (60 << 30) - 3 * (48 * 128 * 3 * 768 * 2048 * 2) // 4
    # A dense model is whole on each.
    model = hub("own/dense", DENSE, weights=60, gpus=[0, 1, 2, 3], options={"data-parallel-size": 4})
    assert first(make_plan("mi300x-8", serve_instances=[model]))["memory"]["weights_bytes"] == 60 << 30


def test_a_text_that_is_encoded_is_one_batch():
    long = config("qwen2", 28, 28, 4, 128, 3584, is_causal=False)
    model, room = fit.Model(14 << 30, _model.shape(long)), fit.Settings(usable_bytes=17 << 30)
    assert fit.table(model, room, RULES)["verdict"] == "unknown"
    assert fit.table(model, room._replace(max_model_len=2048), RULES)["verdict"] == "fits"


@pytest.mark.parametrize("kind", ["molmo2", "bagel", "moondream3"])
def test_no_backend_is_asked_for_that_cannot_mask_a_prefix(make_plan, kind):
    seeing = {"model_type": kind, "text_config": config(f"{kind}_text", 36, 32, 8, 128, 4096)}
    plan = make_plan("mi300x-8", serve_instances=[hub("own/seeing", seeing, gpus=[0])])
    assert "attention-backend" not in first(plan)["options"]


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": "48"},
        {"num_hidden_layers": True},
        {"num_attention_heads": 0},
    ],
)
@pytest.mark.parametrize(
    "kind", ["gemma4_text", "deepseek_v32", "exaone4", "kimi_linear", "mimo_v2_flash", "afmoe"]
)
def test_numbers_that_cannot_be_are_no_shape(kind, change):
    odd = {
        **config(kind, 48, 32, 8, 128, 4096, **LATENT, index_topk=1, index_head_dim=128, sliding_window=128),
        "sliding_window_pattern": "LG", "hybrid_layer_pattern": [1], "linear_attn_config": {"kda_layers": [1]},
    }  # fmt: skip
    assert _model.shape({**odd, **change}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"layer_types": ["gated_delta"] * 32},
        {"layer_types": [{}] * 32},
        {"layer_types": ["full_attention", "lightning"] * 16},
    ],
)
def test_layers_of_a_kind_that_nobody_knows_are_not_counted(change):
    assert _model.shape({**DENSE, **change})["uncounted"] == "layer_types"


@pytest.mark.parametrize(
    "change",
    [
        {"num_kv_shared_layers": 10**8},
        {"num_global_key_value_heads": "4", "attention_k_eq_v": True},
        {"global_head_dim": -1},
        {"head_dim": None},
    ],
)
def test_odd_numbers_of_a_known_model_never_end_in_an_error(change):
    odd = {**GEMMA4, "text_config": {**GEMMA4["text_config"], **change}}
    assert cache(odd).bytes_per_token > 0


@pytest.mark.parametrize("host", ["rx9070xt", "strix-halo-128", "mi250-4", "mi300x-8", "mi355x-8"])
@pytest.mark.parametrize("model", ["meta-llama/Llama-3.1-8B-Instruct", "openai/gpt-oss-20b"])
def test_a_card_that_no_recipe_names_is_not_refused(make_plan, host, model):
    # Recipes list the Instinct cards that somebody tried. No Radeon, Strix Halo or MI250 is in any list.
    plan = make_plan(host, serve_instances=[hub(model, DENSE, gpus=[0])])
    assert said(plan, "vllm.recipe") == []


def test_a_recipe_refuses_where_it_says_so_alone(make_plan):
    refused = make_plan("mi300x-8", serve_instances=[hub("deepseek-ai/DeepSeek-V4-Pro", DENSE)])
    assert "a GPU that it runs on" in " ".join(said(refused, "vllm.recipe"))


GPT_OSS = config(
    "gpt_oss", 24, 64, 8, 64, 2880, sliding_window=128, quantization_config={"quant_method": "mxfp4"}
)
GPTQ_MOE = config(
    "qwen3_moe", 48, 32, 4, 128, 2048, num_experts=128, moe_intermediate_size=768,
    quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128},
)  # fmt: skip


@pytest.mark.parametrize(
    ("host", "release", "variable"),
    [("mi355x-8", "0.23.0", "0"), ("mi355x-8", "0.24.0", None), ("mi300x-8", "0.23.0", None)],
)
def test_gpt_oss_answers_without_the_kernels_that_spoil_it(make_plan, host, release, variable):
    model = hub("own/gpt-oss", GPT_OSS, weights=13, gpus=[0])
    plan = make_plan(host, serve_instances=[model], vllm_version=release)
    assert first(plan)["environment"].get("VLLM_ROCM_USE_AITER_MOE") == variable
    if variable:
        (why,) = [entry for entry in plan["settings"] if entry["value"] == "VLLM_ROCM_USE_AITER_MOE=0"]
        assert why["source"] == "amd/skills#72"
        asked = {**model, "environment": {"VLLM_ROCM_USE_AITER_MOE": "1"}}
        plan = make_plan(host, serve_instances=[asked], vllm_version=release)
        assert first(plan)["environment"]["VLLM_ROCM_USE_AITER_MOE"] == "1"


@pytest.mark.parametrize(
    ("host", "configuration", "backend"),
    [
        ("rx9070xt", GPTQ_MOE, "TRITON_ATTN"),
        ("rx9070xt", {**GPTQ_MOE, "quantization_config": {"quant_method": "awq"}}, None),
        ("strix-halo-128", GPTQ_MOE, None),
    ],
)
def test_experts_in_gptq_get_triton_on_gfx12(make_plan, ids, host, configuration, backend):
    plan = make_plan(host, serve_instances=[hub("own/gptq", configuration, weights=5, gpus=[0])])
    options = first(plan)["options"]
    assert options.get("attention-backend") == backend
    assert options.get("linear-backend") == ("triton" if backend else None)
    assert "vllm.option" not in ids(plan)


def test_a_recipe_is_found_by_class_and_sizes_where_no_name_tells(make_plan, ids):
    own = CATALOG.vllm["models"]["MiniMaxAI/MiniMax-M2"]["config"]
    plan = make_plan("mi300x-8", serve_instances=[hub("own/tuned", own, weights=215, gpus=[0, 1])])
    assert first(plan)["options"]["attention-backend"] == "ROCM_AITER_FA"
    why = [
        entry
        for entry in plan["settings"]
        if "the class and the sizes of MiniMaxAI/MiniMax-M2" in entry["reason"]
    ]
    assert len(why) == 1
    # Its chat template may be another one: parsers are told and not set.
    assert "tool-call-parser" not in first(plan)["options"]
    # Of two releases with the same sizes it is the one with the same context.
    newer = make_plan(
        "mi300x-8",
        serve_instances=[hub("own/tuned", {**own, "max_position_embeddings": 204800}, weights=215)],
    )
    assert [entry for entry in newer["settings"] if "the sizes of MiniMaxAI/MiniMax-M2.7" in entry["reason"]]
    # One layer more is another model, and where two are alike none is taken.
    for other in (
        {**own, "num_hidden_layers": 63},
        CATALOG.vllm["models"]["deepseek-ai/DeepSeek-R1"]["config"],
    ):
        plan = make_plan("mi300x-8", serve_instances=[hub("own/tuned", other, weights=215)])
        assert not [entry for entry in plan["settings"] if "the class and the sizes" in entry["reason"]]


def test_a_state_of_nothing_makes_no_block_of_nothing():
    still = config("lfm2", 2, 8, 2, 64, 512, layer_types=["conv", "full_attention"], conv_L_cache=1)
    assert cache(still).block_size == 16
