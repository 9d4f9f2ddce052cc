# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that people serve, with what went wrong in the field: caches of every kind, widths, tasks, refusals."""

from __future__ import annotations

import pytest
from plans import first, hub, said

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import fit, tasks, widths

RULES = Catalog().vllm["memory"]


def config(kind: str, layers: int, heads: str, head_dim: int, hidden: int, **more) -> dict:
    """A config.json: ``heads`` is "attention/keys and values"."""
    attention, _slash, kept = heads.partition("/")
    return {
        "model_type": kind, "num_hidden_layers": layers, "num_attention_heads": int(attention), "num_key_value_heads": int(kept or attention),
        "head_dim": head_dim, "hidden_size": hidden, "torch_dtype": "bfloat16", "max_position_embeddings": 131072, **more,
    }  # fmt: skip


LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
SCOUT = {
    "model_type": "llama4",
    "text_config": config("llama4_text", 48, "40/8", 128, 5120, attention_chunk_size=8192),
}
MINIMAX = config("minimax_m2", 62, "48/8", 128, 3072, attn_type_list=[1] * 62)
BGE = {
    **config("xlm-roberta", 24, "16", 64, 1024, architectures=["XLMRobertaModel"], vocab_size=250002),
    "max_position_embeddings": 8194,
}  # fmt: skip
del BGE["head_dim"]
GEMMA3_4B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
}
GEMMA3_27B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16,
        "head_dim": 128, "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
}  # fmt: skip
NANO = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
NEMOTRON = {
    **config("nemotron_h", 52, "32/2", 128, 2688, hybrid_override_pattern=NANO, mamba_num_heads=64, mamba_head_dim=64),
    "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4,
}  # fmt: skip
QWEN_NEXT = config("qwen3_next", 48, "16/2", 256, 2048)
QWEN35_27B = config(
    "qwen3_5_text", 64, "24/4", 256, 5120, linear_num_value_heads=48, mamba_ssm_dtype="float32"
)
QWEN35_35B = config("qwen3_5_moe_text", 40, "16/2", 256, 2048, mamba_ssm_dtype="float32")
QWEN35_122B = config(
    "qwen3_5_moe_text", 48, "32/2", 256, 3072, linear_num_value_heads=64, mamba_ssm_dtype="float32",
    quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}, moe_intermediate_size=1024,
)  # fmt: skip
NEMOTRON_9B = {
    **config("nemotron_h", 56, "40/8", 128, 4480, mamba_num_heads=128, mamba_head_dim=80, mamba_ssm_cache_dtype="bfloat16"),
    "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
    "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4,
}  # fmt: skip


def cache(configuration: dict, **more) -> fit.Cache | None:
    shape = _model.shape(configuration)
    assert shape is not None
    settings = fit.Settings(usable_bytes=1 << 40, **more)
    return fit.cache_of(shape, settings, RULES["kv_dtype_bytes"], RULES["mla_model_types"])


@pytest.mark.parametrize(
    ("configuration", "width", "each"),
    [
        (config("deepseek_v3", 61, "128", 128, 7168, **LATENT), 8, 70272),
        (config("kimi_k2", 61, "64", 112, 7168, **LATENT), 8, 70272),
        (config("qwen3_moe", 94, "64/4", 128, 4096), 8, 48128),
        (config("glm4_moe", 46, "96/8", 128, 4096), 8, 23552),
        (config("gpt_oss", 36, "64/8", 64, 2880), 1, 36864),
        (config("mistral3", 40, "32/8", 128, 5120, sliding_window=None), 8, 20480),
        (config("qwen2_5_vl", 28, "28/4", 128, 3584, use_sliding_window=False), 4, 14336),
        (SCOUT, 8, 6144),
        (MINIMAX, 8, 31744),
        # 10 of 62 layers see everything, with 4 of 16 heads each: 10 x 2 x 4 x 128 x 2.
        (GEMMA3_27B, 4, 20480),
        # 5 of 34 layers, and all of 4 heads of 256, which transformers knows and config.json does not say.
        (GEMMA3_4B, 1, 5 * 2 * 4 * 256 * 2),
        # 6 layers with attention of 52, 2 heads.
        (NEMOTRON, 1, 6 * 2 * 2 * 128 * 2),
        (QWEN_NEXT, 1, 12 * 2048),
        (config("granitemoehybrid", 40, "32/8", 128, 4096, layer_types=(["mamba"] * 9 + ["attention"]) * 4, mamba_n_heads=128,
                mamba_d_head=64, mamba_n_groups=1, mamba_d_state=128, mamba_d_conv=4, mamba_expand=2), 1, 4 * 2 * 8 * 128 * 2),
        (config("lfm2", 16, "32/8", 64, 2048, layer_types=(["conv"] * 10 + ["full_attention"] * 6), conv_L_cache=3), 1, 6 * 2 * 8 * 64 * 2),
    ],
)  # fmt: skip
def test_bytes_of_a_token(configuration, width, each):
    found = cache(configuration, tensor_parallel=width)
    assert found is not None and found.bytes_per_token == each


@pytest.mark.parametrize(
    ("configuration", "more", "block", "state"),
    [
        (QWEN_NEXT, {}, 544, 1097728),
        (QWEN35_27B, {}, 784, 3207168),
        (QWEN35_35B, {}, 1056, 2146304),
        ({**QWEN35_27B, "mamba_ssm_dtype": None}, {"drafts": 15}, 480, 1941504),
        (NEMOTRON_9B, {}, 672, 2695168),
        # ROCM_AITER_UNIFIED_ATTN wants multiples of 64, and a larger block that is asked for stays.
        (QWEN35_27B, {"block_size": 64}, 832, 3207168),
        (QWEN35_27B, {"block_size": 1024}, 1024, 3207168),
        # Half of the state on each of two devices, and half of the heads.
        (QWEN35_27B, {"tensor_parallel": 2}, 784, 1603584),
    ],
)
def test_a_block_is_as_large_as_a_state(configuration, more, block, state):
    """Blocks that vLLM logged or names in its source; models of other sizes follow the same rule."""
    found, shape = cache(configuration, **more), _model.shape(configuration)
    assert found is not None and found.block_size == block
    assert fit.state_bytes(shape["state"], fit.Settings(usable_bytes=1, **more), shape) == state


def test_a_sequence_holds_its_states_however_short_it_is():
    # Qwen3.5-27B, 32k: ceil(32768 / 784) = 42 blocks, and 3 groups of 2 states; the shortest prompt takes 7.
    found = cache(QWEN35_27B, states=2)
    assert found.blocks(32768) == 42 + 6 and found.blocks(1) == 7
    assert found.bytes_per_block == 16 * 784 * 4096
    assert cache(QWEN35_27B, states=1, drafts=3).blocks(1) == 1 + 3 * 4


@pytest.mark.parametrize(
    ("configuration", "word"),
    [
        ({**MINIMAX, "attn_type_list": [0] * 40 + [1] * 22}, "attn_type_list"),
        (config("deepseek_v32", 61, "128", 128, 7168, **LATENT, index_topk=2048), "index_topk"),
        (config("deepseek_v4", 43, "64/1", 512, 4096, compress_ratios=[4, 128]), "compress_ratios"),
        (
            config("kimi_linear", 27, "32", 72, 2304, linear_attn_config={"kda_layers": [1]}),
            "linear_attn_config",
        ),
        (config("own_hybrid", 24, "16/4", 128, 2048, full_attention_interval=4), "state of linear attention"),
        (config("whisper", 32, "20", 64, 1280, is_encoder_decoder=True), "is_encoder_decoder"),
    ],
)
def test_a_cache_that_is_not_known_is_never_said_to_fit(configuration, word):
    model = fit.Model(10 << 30, _model.shape(configuration))
    found = fit.table(model, fit.Settings(usable_bytes=192 << 30), RULES)
    assert found["verdict"] == "unknown" and word in found["reason"]


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert", "modernbert"])
def test_an_encoder_keeps_no_cache(kind):
    found = fit.table(
        fit.Model(2 << 30, _model.shape({**BGE, "model_type": kind})),
        fit.Settings(usable_bytes=16 << 30),
        RULES,
    )
    assert (found["verdict"], found["kv_bytes_per_token"], found["kv_bytes"]) == ("fits", 0, 0)
    assert "keeps no cache" in found["reason"]


def test_chunks_are_kept_whole_where_the_manager_is_off():
    assert cache(SCOUT, tensor_parallel=8, hybrid=False).bytes_per_token == 24576
    # 12 layers see all, in one group; three more groups hold a chunk and what is in flight.
    found = cache(SCOUT, tensor_parallel=8)
    assert (found.full_groups, found.chunked_groups) == (1, 3)
    assert found.blocks(65536) == 4096 + 3 * ((8192 + 2 * 2048) // 16)


WIDE = {
    "Qwen2.5-1.5B": (config("qwen2", 28, "12/2", 128, 1536, vocab_size=151936, intermediate_size=8960), [1, 2, 4]),
    "Qwen2.5-7B": (config("qwen2", 28, "28/4", 128, 3584, vocab_size=152064, intermediate_size=18944), [1, 2, 4]),
    "phi-4": (config("phi3", 40, "40/10", 128, 5120, vocab_size=100352, intermediate_size=17920), [1, 2]),
    "GLM-4.7-Flash": (
        config("glm4_moe_lite", 47, "20", 256, 2048, vocab_size=154880, intermediate_size=10240, moe_intermediate_size=1536, **LATENT),
        [1, 2, 4],
    ),
    "Qwen3-30B-A3B-FP8": (
        config("qwen3_moe", 48, "32/4", 128, 2048, vocab_size=151936, moe_intermediate_size=768, num_experts=128,
               quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}),
        [1, 2],
    ),
    "Qwen3-235B-FP8": (
        config("qwen3_moe", 94, "64/4", 128, 4096, vocab_size=151936, moe_intermediate_size=1536, num_experts=128,
               quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}),
        [1, 2, 4],
    ),
    "gpt-oss": (
        config("gpt_oss", 36, "64/8", 64, 2880, vocab_size=201088, intermediate_size=2880, quantization_config={"quant_method": "mxfp4"}),
        [1, 2, 4, 8],
    ),
    "an AWQ whose groups end": (
        config("qwen3", 64, "64/8", 128, 5120, vocab_size=151936, intermediate_size=25600,
               quantization_config={"quant_method": "awq", "group_size": 128}),
        [1, 2, 4, 8],
    ),
    "a GPTQ that four devices cut": (
        config("qwen2", 28, "28/4", 128, 3584, vocab_size=152064, intermediate_size=18944,
               quantization_config={"quant_method": "gptq", "group_size": 128}),
        [1, 2, 4],
    ),
    "an AWQ that four devices cut": (
        config("llama", 28, "32/8", 128, 4096, vocab_size=128256, intermediate_size=11008,
               quantization_config={"quant_method": "awq", "group_size": 128}),
        [1, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_a_width_divides_all_that_is_divided(name):
    configuration, allowed = WIDE[name]
    shape = _model.shape(configuration)
    assert widths.fitting(shape, 8, {}, _model.quantization(configuration)) == allowed


def test_whole_experts_need_no_divisor():
    whole = {"enable-expert-parallel": True}
    for name, allowed in (("GLM-4.7-Flash", [1, 2, 4, 5]), ("Qwen3-235B-FP8", [1, 2, 4, 8])):
        configuration = WIDE[name][0]
        shape = _model.shape(configuration)
        assert widths.fitting(shape, 8, whole, _model.quantization(configuration)) == allowed
    assert widths.fault(shape, 3, whole, "fp8") == "64 attention heads (4 of keys and values)"


WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "num_hidden_layers": 32, "d_model": 1280,
    "decoder_attention_heads": 20, "encoder_attention_heads": 20, "vocab_size": 51866, "decoder_ffn_dim": 5120, "is_encoder_decoder": True,
    "max_target_positions": 448, "torch_dtype": "float16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "configuration", "width"),
    [
        ("Qwen/Qwen2.5-1.5B-Instruct", WIDE["Qwen2.5-1.5B"][0], 4),
        ("openai/whisper-large-v3", WHISPER, 4),
        ("own/phi", WIDE["phi-4"][0], 2),
    ],
)
def test_the_default_width_is_one_that_vllm_takes(make_plan, model, configuration, width):
    plan = make_plan("mi300x-8", serve_instances=[hub(model, configuration)])
    assert first(plan)["options"]["tensor-parallel-size"] == width
    assert len(said(plan, "vllm.heads")) == 1


def test_a_vision_encoder_is_divided_too_unless_it_is_kept_whole(make_plan, ids):
    seeing = {
        **config("own_vl", 46, "96/8", 128, 4096, vocab_size=151552),
        "vision_config": {"num_heads": 12},
    }
    plan = make_plan("mi300x-8", serve_instances=[hub("own/vl", seeing, options={"tensor-parallel-size": 8})])
    assert ids(plan) == ["vllm.heads"] and "12 heads of the vision encoder" in said(plan, "vllm.heads")[0]
    whole = {"tensor-parallel-size": 8, "mm-encoder-tp-mode": "data"}
    assert ids(make_plan("mi300x-8", serve_instances=[hub("own/vl", seeing, options=whole)])) == []


@pytest.mark.parametrize(
    ("host", "configuration", "weights", "options", "blocks"),
    [
        # vllm-project/vllm#56945: 847 blocks; activations and graphs are an estimate of the catalog.
        ("mi300x-8", QWEN35_122B, 127.2e9, {"gpu-memory-utilization": 0.85, "kv-cache-dtype": "fp8"}, 847),
        (
            "rx9070xt",
            {**QWEN35_27B, "quantization_config": {"quant_method": "awq", "group_size": 128}},
            19.5e9,
            {},
            195,
        ),
    ],
)
def test_max_num_seqs_is_held_to_the_states(make_plan, ids, host, configuration, weights, options, blocks):
    wanted = hub("own/hybrid", configuration, weights / (1 << 30), gpus=[0], options=options)

    def larger(gpus, _rocm):
        if host == "rx9070xt":
            # The R9700 is the same chip with 32 GB.
            gpus["gpus"][0]["usable_bytes"] = 34208743424

    plan = make_plan(host, larger, serve_instances=[wanted])
    assert ids(plan) == []
    held = first(plan)["options"]["max-num-seqs"]
    assert abs(held - blocks) <= blocks * 0.02
    reasons = [
        setting["reason"] for setting in plan["settings"] if setting["value"] == f"max-num-seqs={held}"
    ]
    assert len(reasons) == 1 and "keeps a state" in reasons[0] and "refuses its default" in reasons[0]
    more = {**wanted, "options": {**options, "max-num-seqs": held * 2}}
    assert ids(make_plan(host, larger, serve_instances=[more])) == ["vllm.states"]
    less = {**wanted, "options": {**options, "max-num-seqs": 32}}
    plan = make_plan(host, larger, serve_instances=[less])
    assert ids(plan) == [] and first(plan)["options"]["max-num-seqs"] == 32
    eager = {**wanted, "options": {**options, "enforce-eager": True}}
    assert "max-num-seqs" not in first(make_plan(host, larger, serve_instances=[eager]))["options"]


@pytest.mark.parametrize(
    ("architecture", "options", "task"),
    [
        ("WhisperForConditionalGeneration", {}, "transcription"),
        ("XLMRobertaModel", {}, "pooling"),
        ("Qwen3ForCausalLM", {}, "generate"),
        ("Qwen3ForCausalLM", {"convert": "embed"}, "pooling"),
        ("Qwen3ForSequenceClassification", {}, "pooling"),
        ("XLMRobertaForSequenceClassification", {}, "pooling"),
        ("Qwen2ForRewardModel", {}, "pooling"),
        ("BertForTokenClassification", {}, "pooling"),
        ("ChatGLMModel", {"runner": "generate"}, "generate"),
        ("Qwen2_5_VLForConditionalGeneration", {}, "generate"),
        ("CohereAsrForConditionalGeneration", {}, "transcription"),
        ("VoxtralForConditionalGeneration", {}, "generate"),
        (None, {}, "generate"),
    ],
)
def test_the_task_of_an_architecture(architecture, options, task):
    assert tasks.task(architecture, options) == task


@pytest.mark.parametrize(
    ("configuration", "completes"),
    [(WHISPER, False), (BGE, False), ({**QWEN_NEXT, "architectures": ["Qwen3NextForCausalLM"]}, True)],
)
def test_a_completion_is_asked_of_servers_that_give_one(make_plan, configuration, completes):
    plan = make_plan("mi300x-8", serve_instances=[hub("own/model", configuration, gpus=[0])])
    assert first(plan)["completes"] is completes
    asked = make_plan(
        "mi300x-8", serve_instances=[hub("own/model", configuration, gpus=[0], probe="completion")]
    )
    assert first(asked)["completes"] is True
