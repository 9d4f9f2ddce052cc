# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/models-that-fit.md: the forty most used models, each with what is known of it and what its recipe sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import classes, fit, offer

CATALOG = Catalog()
RELEASE = CATALOG.vllm["default_version"]
MODELS = CATALOG.vllm["models"]
RULES = CATALOG.vllm["memory"]
PAGE = Path(__file__).resolve().parents[3] / "docs/models-that-fit.md"
AITER = "VLLM_ROCM_USE_AITER=1"
FA = "attention-backend=ROCM_AITER_FA"
SHUFFLE = "VLLM_ROCM_SHUFFLE_KV_CACHE_LAYOUT=1"
GPT_OSS = (
    "attention-backend=ROCM_AITER_UNIFIED_ATTN", "block-size=64", AITER, "HSA_NO_SCRATCH_RECLAIM=1",
    "AMDGCN_USE_BUFFER_OPS=0",
    'compilation-config={"pass_config": {"fuse_rope_kvcache": true}, "use_inductor_graph_partition": true}',
)  # fmt: skip
V4 = (
    "kv-cache-dtype=fp8", "block-size=256", AITER,
    'compilation-config={"mode": 3, "cudagraph_mode": "FULL_DECODE_ONLY"}',
)  # fmt: skip
MISTRAL = ("tokenizer-mode=mistral", "config-format=mistral", "load-format=mistral")


def tools(tool: str, reasoning: str = "") -> tuple[str, ...]:
    named = (("tool-call-parser", tool), ("reasoning-parser", reasoning))
    return tuple(f"{name}={value}" for name, value in named if value)


QWEN3 = tools("qwen3_coder", "qwen3")
# The forty that recipes of vLLM 0.33.0 are read for most, and what those say for AMD's GPUs: on MI355X. Limits of a
# recipe's benchmark, what changes answers (QUICK_REDUCE) and trust-remote-code are told and not set.
SET = {
    "openai/gpt-oss-120b": (*GPT_OSS, *tools("openai")),
    "openai/gpt-oss-20b": (*GPT_OSS, *tools("openai")),
    "meta-llama/Llama-3.1-8B-Instruct": (AITER,),
    "meta-llama/Llama-3.3-70B-Instruct": (AITER,),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": (AITER,),
    "Qwen/Qwen3-8B": tools("hermes", "qwen3"),
    "Qwen/Qwen3-32B": tools("hermes", "qwen3"),
    "Qwen/Qwen3-30B-A3B": tools("hermes", "qwen3"),
    "Qwen/Qwen3-235B-A22B-Instruct-2507": tools("hermes"),
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": (
        "attention-backend=rocm_aiter_fa", "moe-backend=aiter", AITER, *tools("qwen3_coder"),
    ),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": tools("hermes"),
    "Qwen/Qwen3.5-35B-A3B": QWEN3,
    "Qwen/Qwen3.5-122B-A10B": (FA, AITER, *QWEN3),
    "Qwen/Qwen3.5-397B-A17B": QWEN3,
    "Qwen/Qwen3.6-27B": (FA, AITER, *QWEN3),
    "Qwen/Qwen3.6-35B-A3B": (AITER, *QWEN3),
    "Qwen/Qwen3.8-27B": QWEN3,
    "Qwen/Qwen2.5-VL-72B-Instruct": (
        "mm-encoder-tp-mode=data", 'limit-mm-per-prompt={"image": 2, "video": 0}', AITER,
    ),
    "Qwen/Qwen3-VL-235B-A22B-Instruct": (
        "mm-encoder-tp-mode=data", "async-scheduling=true", "enable-chunked-prefill=true",
        "VLLM_WORKER_MULTIPROC_METHOD=spawn", "HIP_FORCE_DEV_KERNARG=1", AITER, "VLLM_ROCM_USE_AITER_MHA=1", SHUFFLE,
    ),
    "deepseek-ai/DeepSeek-R1": (
        AITER, "VLLM_ROCM_USE_AITER_FUSION_SHARED_EXPERTS=1", *tools("deepseek_v3", "deepseek_r1"),
    ),
    "deepseek-ai/DeepSeek-V3.1": (
        "enable-expert-parallel=true", AITER, "VLLM_ROCM_USE_AITER_MOE=1", *tools("deepseek_v31", "deepseek_v3"),
    ),
    "deepseek-ai/DeepSeek-V3.2-Exp": (
        "block-size=1", "kv-cache-dtype=bfloat16", AITER, "VLLM_ROCM_USE_AITER_MOE=1",
        *tools("deepseek_v32", "deepseek_v3"),
    ),
    "deepseek-ai/DeepSeek-V4-Flash": (*V4, *tools("deepseek_v4", "deepseek_v4")),
    "deepseek-ai/DeepSeek-V4-Pro": (*V4, *tools("deepseek_v4", "deepseek_v4")),
    "deepseek-ai/DeepSeek-V4.1-Flash": (
        "tokenizer-mode=deepseek_v41", "moe-backend=aiter", AITER, "VLLM_ROCM_USE_AITER_MOE=1",
        "AITER_TRITON_LOG_LEVEL=ERROR", "VLLM_USE_BREAKABLE_CUDAGRAPH=1", 'engram-config={"cpu_offload": true}',
        'attention-config={"indexer_kv_dtype": "mxfp4", "indexer_sparse_logits": true}', "block-size=128",
        "monokernel=true", "VLLM_ROCM_USE_AITER_TRITON_SPARSE_MLA=1", *tools("deepseek_v41", "deepseek_v41"),
    ),
    "moonshotai/Kimi-K2.6": (AITER, *tools("kimi_k2", "kimi_k2")),
    "moonshotai/Kimi-K3": (
        "load-format=auto", "mm-encoder-tp-mode=data", AITER, "VLLM_ROCM_USE_AITER_MOE_SITUV2=1",
        'compilation-config={"cudagraph_mode": "FULL_DECODE_ONLY", "custom_ops": ["+fused_rms_norm_gated"]}',
        "VLLM_USE_BREAKABLE_CUDAGRAPH=0", *tools("kimi_k3", "kimi_k3"),
    ),
    "zai-org/GLM-4.7": tools("glm47", "glm47"),
    "zai-org/GLM-5.2": (
        "kv-cache-dtype=fp8_e4m3", "linear-backend=aiter", "moe-backend=aiter", AITER,
        "VLLM_ROCM_USE_AITER_FUSION_SHARED_EXPERTS=1", *tools("glm47", "glm47"),
    ),
    "zai-org/GLM-5.3-Flash": (
        "attention-backend=ROCM_AITER_MLA_SPARSE", AITER, "VLLM_ROCM_USE_AITER_FUSION_SHARED_EXPERTS=1",
        "VLLM_ROCM_USE_AITER_TRITON_SPARSE_MLA=1", *tools("glm47", "glm47"),
    ),
    "MiniMaxAI/MiniMax-M2.7": (FA, AITER, SHUFFLE, *tools("minimax_m2", "minimax_m2")),
    "MiniMaxAI/MiniMax-M3": (
        "block-size=128", "attention-backend=TRITON_ATTN", "VLLM_USE_BREAKABLE_CUDAGRAPH=0",
        "VLLM_ROCM_USE_AITER_MOE=1", "VLLM_ROCM_USE_AITER_FUSION_SHARED_EXPERTS=1", *tools("minimax_m3", "minimax_m3"),
    ),
    "google/gemma-4-31B-it": tools("gemma4", "gemma4"),
    "google/gemma-4-26B-A4B-it": tools("gemma4", "gemma4"),
    "mistralai/Mistral-Large-3-675B-Instruct-2512": (*MISTRAL, AITER, *tools("mistral")),
    "mistralai/Mistral-Small-4-119B-2603": (AITER, *tools("mistral", "mistral")),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": ("kv-cache-dtype=fp8", *tools("qwen3_coder", "nemotron_v3")),
    "XiaomiMiMo/MiMo-V2-Flash": ("VLLM_ROCM_USE_AITER=0", *tools("mimo", "qwen3")),
    "tencent/Hy3": (
        FA, AITER, "VLLM_ROCM_USE_AITER_MOE=0", "VLLM_ROCM_USE_AITER_MHA=1", "VLLM_ROCM_USE_AITER_RMSNORM=1",
        "VLLM_ROCM_USE_AITER_LINEAR=1", *tools("hy_v3", "hy_v3"),
    ),
    "openai/whisper-large-v3": (),
}  # fmt: skip
# Their caches are laid out in ways that are not worked out here, and nothing is said but that their weights fit.
NOT_KNOWN = {
    "deepseek-ai/DeepSeek-V4-Flash", "deepseek-ai/DeepSeek-V4-Pro", "deepseek-ai/DeepSeek-V4.1-Flash",
    "moonshotai/Kimi-K3", "zai-org/GLM-5.3-Flash", "MiniMaxAI/MiniMax-M3",
}  # fmt: skip


def card(gfx: str, count: int, gib: float, product: str) -> offer.Card:
    return offer.Card(gfx, product, count, int(gib * (1 << 30)), CATALOG.profile(gfx) or {})


MI300X = card("gfx942", 8, 192, "AMD Instinct MI300X")
MI355X = card("gfx950", 8, 288, "AMD Instinct MI355X")


def offered(where: offer.Card, model: str) -> offer.Offer:
    return next(each for each in offer.offers(CATALOG, where, RELEASE, [model]) if each.model == model)


def test_there_are_forty():
    assert len(SET) == 40 and set(SET) <= set(MODELS)


@pytest.mark.parametrize("model", SET)
def test_a_model_has_its_settings(model):
    found = offered(MI355X, model)
    assert found.verdict == ("unknown" if model in NOT_KNOWN else "fits"), found
    assert set(SET[model]) <= set(found.settings), set(SET[model]) - set(found.settings)
    never = ("trust-remote-code", "VLLM_ROCM_QUICK_REDUCE", "max-num-seqs", "gpu-memory-utilization")
    assert not [setting for setting in found.settings if setting.startswith(never)]


def test_a_card_of_its_own_has_its_own_settings():
    found = offered(MI300X, "deepseek-ai/DeepSeek-V4.1-Flash").settings
    assert {
        "VLLM_USE_BREAKABLE_CUDAGRAPH=0",
        'compilation-config={"cudagraph_mode": "FULL_DECODE_ONLY"}',
    } <= set(found)
    assert "monokernel=true" not in found


@pytest.mark.parametrize("model", SET)
def test_the_page_tells_each_of_them_once_for_each_kind_of_gpu(model):
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        name = next(
            each["model"] for each in MODELS[model]["checkpoints"] if each["model"].startswith(model[:8])
        )
        lines = [line for line in part.splitlines() if line.startswith((f"| {name} (", f"- {name} ("))]
        rows = [line for line in lines if line.startswith("|")]
        whys = [line for line in lines if line.startswith("-")]
        # One row, or why there is none; a row that knows nothing of the cache has both.
        unknown = [row for row in rows if row.count("| not known ") == 3]
        assert len(rows) <= 1 and len(whys) == (0 if rows and not unknown else 1), lines


@pytest.mark.parametrize("model", sorted(NOT_KNOWN))
def test_what_is_not_known_is_not_said(model):
    config = MODELS[model]["config"]
    shape = classes.marked(CATALOG, config["architectures"][0], _model.shape(config))
    assert shape and shape["uncounted"] and shape["context"] and shape["vocabulary"]
    found = offered(MI355X, model)
    assert (found.kv_bytes_per_token, found.largest_context, found.sequences) == (None, None, None)
    assert found.gpus and found.weights_bytes and found.recipe_gb and "not known here" in found.why


# Bytes of a token on one GPU: those of the whole model, by the number of GPUs that its heads are shared out over.
# Worked out by hand, or said by public pages (320 KiB for Hy3, 70,272 B for Kimi-K2, 36 x 320 x 2 for Mistral Small 4).
@pytest.mark.parametrize(
    ("model", "each", "ways"),
    [
        ("tencent/Hy3", 327680, 4),
        ("zai-org/GLM-4.7", 92 * 2 * 8 * 128 * 2, 4),
        ("MiniMaxAI/MiniMax-M2.7", 62 * 2 * 8 * 128 * 2, 1),
        ("moonshotai/Kimi-K2.6", 70272, 1),
        ("mistralai/Mistral-Large-3-675B-Instruct-2512", 70272, 1),
        ("mistralai/Mistral-Small-4-119B-2603", 23040, 1),
        # A cache of 8 bits, which the recipe asks for; 21 of 78 layers have an index.
        ("zai-org/GLM-5.2-FP8", 78 * 576 + 21 * 132, 1),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", 8 * 2 * 2 * 128, 1),
        ("Qwen/Qwen3.5-122B-A10B-FP8", 12 * 2 * 2 * 256, 1),
        # Two heads on four GPUs are there twice.
        ("Qwen/Qwen3.5-397B-A17B", 15 * 2 * 2 * 256 * 2, 2),
        ("Qwen/Qwen3.8-27B", 16 * 4 * 2 * 256 * 2, 1),
        ("Qwen/Qwen3-VL-235B-A22B-Instruct", 94 * 4 * 2 * 128 * 2, 2),
        ("google/gemma-4-31B-it", 10 * 4 * 2 * 512 * 2, 1),
        ("google/gemma-4-26B-A4B-it", 5 * 2 * 2 * 512 * 2, 1),
        ("XiaomiMiMo/MiMo-V2-Flash", 9 * 4 * 320 * 2, 2),
    ],
)
def test_a_token_takes(model, each, ways):
    assert offered(MI355X, model).kv_bytes_per_token == each // ways


# vLLM 0.30 logged these blocks; a cache of 8 bits makes them twice as long.
@pytest.mark.parametrize(
    ("model", "kind", "block"),
    [
        ("Qwen/Qwen3.5-35B-A3B", "auto", 1056),
        ("Qwen/Qwen3.6-35B-A3B", "fp8", 2096),
        ("Qwen/Qwen3.6-27B", "auto", 784),
        ("Qwen/Qwen3.8-27B", "fp8", 1568),
    ],
)
def test_blocks_are_those_that_vllm_logged(model, kind, block):
    settings = fit.Settings(usable_bytes=1 << 40, kv_dtype=kind)
    shape = _model.shape(MODELS[model]["config"])
    found = fit.cache_of(shape, settings, RULES["kv_dtype_bytes"], RULES["mla_model_types"])
    assert found.block_size == block


@pytest.mark.parametrize("model", SET)
def test_the_size_agrees_with_the_minimum_of_the_recipe(model):
    """Recipes ask for a fifth more than the weights, which some of them round up by parameters."""
    for checkpoint in MODELS[model]["checkpoints"]:
        asked = next(
            (each.recipe_gb for each in offer.offers(CATALOG, MI355X, RELEASE, [model])
             if each.model == checkpoint["model"]), None,
        )  # fmt: skip
        if asked and checkpoint["model"] not in SMALL:
            size = checkpoint["weights_gib"] * 1.073741824
            assert 0.75 * asked <= size <= 1.001 * asked, (checkpoint["model"], size, asked)


# Their recipes reckon four bits for every parameter, which not all of them have.
SMALL = {"moonshotai/Kimi-K3", "deepseek-ai/DeepSeek-V4-Pro", "openai/gpt-oss-120b"}


def test_a_cache_that_the_recipe_makes_smaller_is_offered_so():
    # The plan takes kv-cache-dtype from the recipe, and so does what is offered.
    checkpoints = {
        each.model: each for each in offer.offers(CATALOG, MI355X, RELEASE, ["Qwen/Qwen3.5-122B-A10B"])
    }
    whole, small = (checkpoints[f"Qwen/Qwen3.5-122B-A10B{end}"] for end in ("", "-FP8"))
    assert "kv-cache-dtype=fp8" in small.settings
    assert small.kv_bytes_per_token * 2 == whole.kv_bytes_per_token


def test_experts_of_four_bits_are_not_cut_by_blocks_of_eight():
    # 2304 wide experts over four GPUs are no whole blocks of 128, which those in FP4 need not be.
    assert (
        offered(MI300X, "deepseek-ai/DeepSeek-V4.1-Flash").gpus,
        offered(MI355X, "deepseek-ai/DeepSeek-V4.1-Flash").gpus,
    ) == (4, 2)
