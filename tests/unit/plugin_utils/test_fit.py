# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of models, with the sizes that their makers publish and the arithmetic beside each expectation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import fit

RULES = Catalog().vllm["memory"]
GIB = 1 << 30
MI300X = 192 * GIB

# config.json of the models on the Hub, the keys that matter; weights_bytes is metadata.total_size of their
# index.
LLAMA_8B = {
    "model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096,
    "vocab_size": 128256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    "rope_scaling": {"factor": 8.0, "rope_type": "llama3", "original_max_position_embeddings": 8192},
}  # fmt: skip
LLAMA_70B = {**LLAMA_8B, "num_hidden_layers": 80, "num_attention_heads": 64, "hidden_size": 8192}
QWEN3_32B = {
    "model_type": "qwen3", "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "hidden_size": 5120, "vocab_size": 151936, "max_position_embeddings": 40960, "torch_dtype": "bfloat16", "sliding_window": None,
    "use_sliding_window": False, "max_window_layers": 64, "rope_scaling": None,
}  # fmt: skip
MIXTRAL = {
    "model_type": "mixtral", "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096,
    "vocab_size": 32000, "max_position_embeddings": 32768, "torch_dtype": "bfloat16", "sliding_window": None, "num_local_experts": 8,
}  # fmt: skip
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "hidden_size": 7168,
    "vocab_size": 129280, "max_position_embeddings": 163840, "torch_dtype": "bfloat16", "kv_lora_rank": 512, "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128, "v_head_dim": 128, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
}  # fmt: skip
GPT_OSS_120B = {
    "model_type": "gpt_oss", "num_hidden_layers": 36, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "hidden_size": 2880, "vocab_size": 201088, "max_position_embeddings": 131072, "sliding_window": 128,
    "quantization_config": {"quant_method": "mxfp4"},
    "layer_types": ["sliding_attention", "full_attention"] * 18, "torch_dtype": "bfloat16",
}  # fmt: skip
GEMMA3_27B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128,
        "hidden_size": 5376, "sliding_window": 1024, "max_position_embeddings": 131072, "vocab_size": 262208,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    },
    "torch_dtype": "bfloat16",
}  # fmt: skip


def settings(**more) -> fit.Settings:
    return fit.Settings(**{"usable_bytes": MI300X, "batched_tokens": 16384, "sequences": 1024, **more})


def cache(configuration: dict, **more) -> fit.Cache:
    shape = _model.shape(configuration)
    assert shape is not None
    found = fit.cache_of(shape, settings(**more), RULES["kv_dtype_bytes"], RULES["mla_model_types"])
    assert found is not None
    return found


def table(configuration: dict, weights: int, **more) -> dict:
    model = fit.Model(weights, _model.shape(configuration), _model.quantization(configuration))
    return fit.table(model, settings(**more), RULES)


@pytest.mark.parametrize(
    ("configuration", "more", "each"),
    [
        # key and value x layers x heads x head_dim x bytes
        (LLAMA_8B, {}, 2 * 32 * 8 * 128 * 2),  # 131072: 128 KiB
        (LLAMA_70B, {}, 2 * 80 * 8 * 128 * 2),  # 327680: 320 KiB
        (LLAMA_70B, {"tensor_parallel": 8}, 2 * 80 * 1 * 128 * 2),  # 40960
        (LLAMA_70B, {"tensor_parallel": 16}, 2 * 80 * 1 * 128 * 2),  # two devices hold the same head
        (LLAMA_70B, {"pipeline_parallel": 2}, 2 * 40 * 8 * 128 * 2),
        (LLAMA_70B, {"pipeline_parallel": 3}, 2 * 27 * 8 * 128 * 2),  # stages of 27, 27 and 26 layers
        (LLAMA_70B, {"kv_dtype": "fp8"}, 2 * 80 * 8 * 128 * 1),
        (LLAMA_8B, {"dtype": "float32"}, 2 * 32 * 8 * 128 * 4),
        (QWEN3_32B, {}, 2 * 64 * 8 * 128 * 2),  # head_dim is not 5120 / 64
        (MIXTRAL, {}, 2 * 32 * 8 * 128 * 2),  # experts have no cache
        (DEEPSEEK_V3, {}, 61 * (512 + 64) * 2),  # one latent vector: 70272, 68.6 KiB
        (DEEPSEEK_V3, {"tensor_parallel": 8}, 61 * (512 + 64) * 2),  # whole on every device
        (DEEPSEEK_V3, {"kv_dtype": "fp8"}, 61 * (512 + 64)),
        (GPT_OSS_120B, {}, 2 * 18 * 8 * 64 * 2),  # the 18 layers that see everything: 36864
        (GPT_OSS_120B, {"hybrid": False}, 2 * 36 * 8 * 64 * 2),
        (LLAMA_70B, {"tensor_parallel": 16, "context_parallel": 2}, 2 * 80 * 1 * 128 * 2 // 2),
    ],
)
def test_cache_of_a_token(configuration, more, each):
    assert cache(configuration, **more).bytes_per_token == each


def test_llama_8b_on_one_mi300x():
    found = table(LLAMA_8B, 16060522496)
    # 192 GiB x 0.92 = 189665755791; 0.5 + 0.5 GiB, 16 x 16384 x 4096 x 2 and 1024 x 128256 x 8 are set aside.
    aside = GIB + 16 * 16384 * 4096 * 2 + 1024 * 128256 * 8
    assert found["weights_bytes"] == 16060522496 and found["budget_bytes"] == int(MI300X * 0.92)
    assert found["allowance_bytes"] == aside == 4271898624
    assert found["kv_bytes"] == int(MI300X * 0.92) - 16060522496 - aside
    # 128 KiB x 131072 tokens are 16 GiB a sequence; 169.3 / 17.18 GB leaves 9.
    assert found["kv_bytes"] // (131072 * 131072) == found["sequences"] == 9
    assert found["verdict"] == "fits" and found["largest_context"] == 131072, (
        "not longer than the model bears"
    )


def test_llama_70b_needs_more_than_one_small_gpu():
    weights, card = 141107412992, 31 * GIB
    found = table(
        LLAMA_70B, weights, usable_bytes=card, tensor_parallel=4, batched_tokens=2048, sequences=256
    )
    assert found["verdict"] == "weights" and found["weights_bytes"] == weights // 4 == 35276853248
    found = table(
        LLAMA_70B, weights, usable_bytes=card, tensor_parallel=8, batched_tokens=2048, sequences=256
    )
    # 28.52 GiB - 16.43 GiB of weights - 0.5 - 0.5 - 1 - 0.5 - 0.24 = 9.3 GiB; 131072 tokens of 40 KiB are 5
    # GiB.
    assert found["weights_bytes"] == 17638426624 and 9.2 * GIB < found["kv_bytes"] < 9.4 * GIB
    assert (found["verdict"], found["sequences"]) == ("fits", 1)


def test_a_context_that_is_too_long_and_the_one_that_fits():
    # Qwen3-32B in 16 bits, 65.5 GB, on a pool of 80 GiB, of which vLLM may take 0.85.
    found = table(
        QWEN3_32B, 65524246528, usable_bytes=80 * GIB, utilization=0.85, batched_tokens=2048, sequences=256
    )
    left = int(80 * GIB * 0.85) - 65524246528 - (GIB + 16 * 2048 * 5120 * 2 + 256 * 151936 * 8)
    assert found["kv_bytes"] == left
    assert found["verdict"] == "context" and found["sequences"] == 0
    # Blocks of 16 tokens x 256 KiB, one of which is never given out.
    assert found["largest_context"] == (left // (16 * 262144) - 1) * 16
    shorter = table(
        QWEN3_32B,
        65524246528,
        usable_bytes=80 * GIB,
        utilization=0.85,
        batched_tokens=2048,
        sequences=256,
        max_model_len=found["largest_context"],
    )
    assert (shorter["verdict"], shorter["sequences"]) == ("fits", 1)
    automatic = table(
        QWEN3_32B,
        65524246528,
        usable_bytes=80 * GIB,
        utilization=0.85,
        batched_tokens=2048,
        sequences=256,
        fit_context=True,
    )
    assert (automatic["verdict"], automatic["context"]) == ("fits", found["largest_context"])


def test_deepseek_v3_on_eight():
    # 688.6 GB in FP8 over eight MI300X: 80.2 GiB each, the cache whole on each.
    found = table(DEEPSEEK_V3, 688586727753, tensor_parallel=8)
    # The matrix down to the latent vector is whole on each: 61 x 7168 x (512 + 64) in 8 bits.
    whole = 61 * 7168 * 576
    assert found["weights_bytes"] == -(-(688586727753 - whole) // 8) + whole
    assert found["kv_bytes_per_token"] == 70272 and found["context"] == 163840, (
        "YaRN has its context scaled already"
    )
    # 163840 x 70272 bytes are 10.7 GiB a sequence.
    assert found["sequences"] == found["kv_bytes"] // (163840 * 70272) == 8


def test_layers_with_a_window():
    """gpt-oss: 18 layers see all, 18 the last 128 tokens and what is in flight (two batches of 16384, as
    scheduling is asynchronous)."""
    found = cache(GPT_OSS_120B)
    assert (found.full_groups, found.sliding_groups) == (1, 1)
    # 8192 blocks of 16 for the context; ceil((128 - 1 + 32768) / 16) + 1 for the window.
    assert found.blocks(131072) == 8192 + 2056 + 1
    assert found.bytes_per_block == 18 * 2 * 8 * 64 * 2 * 16
    # A context shorter than window and batches is held by both kinds alike, plus one block.
    assert found.blocks(1024) == 64 + 64 + 1
    without = cache(GPT_OSS_120B, hybrid=False)
    assert (
        without.blocks(131072) * without.bytes_per_block > found.blocks(131072) * found.bytes_per_block * 1.5
    )


def test_kinds_of_layers_become_groups_of_one_size():
    # Gemma 3 27B: every sixth of 62 layers sees all: 10 full, 52 with a window, in 6 groups of 10 (8 are
    # padding).
    shape = _model.shape(GEMMA3_27B)
    assert (
        shape["attention"] == {"full": 10, "sliding": 52}
        and shape["window"] == 1024
        and shape["context"] == 131072
    )
    found = cache(GEMMA3_27B)
    assert (found.full_groups, found.sliding_groups) == (1, 6)
    assert found.bytes_per_block == 10 * 2 * 16 * 128 * 2 * 16
    # 13 and 12 layers: padding to 13 wastes less than groups of 12 (vLLM's rule).
    found = cache(
        {
            **GPT_OSS_120B,
            "num_hidden_layers": 25,
            "layer_types": ["sliding_attention", "full_attention"] * 12 + ["sliding_attention"],
        }
    )
    assert (found.full_groups, found.sliding_groups, found.bytes_per_block) == (
        1,
        1,
        13 * 2 * 8 * 64 * 2 * 16,
    )


def test_a_pipeline_keeps_embedding_and_output_at_its_ends():
    model = fit.Model(141107412992, _model.shape(LLAMA_70B))
    ends = 128256 * 8192 * 2
    layers = 141107412992 - 2 * ends
    assert fit.weights_per_device(model, settings(pipeline_parallel=2)) == ends + layers // 2
    assert fit.weights_per_device(model, settings(pipeline_parallel=2, tensor_parallel=4)) == -(
        -(ends + layers // 2) // 4
    )
    assert fit.weights_per_device(fit.Model(1000), settings(pipeline_parallel=2, tensor_parallel=2)) == 250, (
        "without a shape, equal shares"
    )


def test_types_of_weights():
    size, shape = 16060522496, _model.shape(LLAMA_8B)
    model = fit.Model(size, shape)
    assert fit.loaded_weights(model, settings(dtype="float32")) == 2 * size
    assert fit.loaded_weights(fit.Model(2 * size, {**shape, "dtype": "float32"}), settings()) == size, (
        "vLLM makes 16 bits of 32"
    )
    embedding = 128256 * 4096 * 2
    assert (
        fit.loaded_weights(model, settings(quantization="fp8")) == 2 * embedding + (size - 2 * embedding) // 2
    )
    assert fit.loaded_weights(fit.Model(size, shape, "fp8"), settings(quantization="fp8")) == size, (
        "quantized already"
    )
    assert fit.weights_per_device(model, settings(offload_bytes=4 * GIB)) == size - 4 * GIB


def test_nothing_is_said_where_nothing_is_known():
    assert fit.table(fit.Model(), settings(), RULES)["verdict"] == "unknown"
    sparse = table({**DEEPSEEK_V3, "index_topk": 2048}, 688586727753, tensor_parallel=8)
    assert sparse["verdict"] == "unknown" and "index_topk" in sparse["reason"] and sparse["weights_bytes"] > 0
    packed = table(LLAMA_8B, 16060522496, kv_dtype="nvfp4")
    assert packed["verdict"] == "unknown" and "nvfp4" in packed["reason"]
    assert table({**DEEPSEEK_V3, "model_type": "sarvam_mla"}, 8 * GIB)["verdict"] == "unknown"
    # Weights alone are enough to know that they do not fit.
    assert table({**DEEPSEEK_V3, "index_topk": 2048}, 688586727753)["verdict"] == "weights"
    assert fit.table(fit.Model(200 * GIB), settings(), RULES)["verdict"] == "weights"


def test_an_estimate_does_not_make_weights_not_fit():
    found = table(
        LLAMA_8B, 16060522496, usable_bytes=int(15.5 * GIB / 0.92), batched_tokens=2048, sequences=256
    )
    assert found["kv_bytes"] == 0 and (found["verdict"], found["largest_context"]) == ("context", 0)


def test_a_cache_of_a_given_size():
    found = table(LLAMA_8B, 16060522496, kv_cache_bytes=8 * GIB, usable_bytes=24 * GIB)
    assert found["kv_bytes"] == 8 * GIB and found["budget_bytes"] == 24 * GIB
    assert found["largest_context"] == 65536 - 16, (
        "8 GiB by 128 KiB, without the block that is never given out"
    )
    assert (
        table(LLAMA_8B, 16060522496, kv_cache_bytes=10 * GIB, usable_bytes=24 * GIB)["verdict"] == "weights"
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [(4096, 4096), ("4096", 4096), ("32k", 32000), ("32K", 32768), ("25.6k", 25600), ("1M", 1 << 20), ("auto", None), (-1, None),
     ("-1", None), (True, None), ("", None), (None, None), ("9" * 40, None), (0, None)],
)  # fmt: skip
def test_numbers_as_options_take_them(text, number):
    assert fit.tokens_of(text) == number


SHAPES = st.builds(
    lambda layers, heads, group, dim, window, every: {
        "model_type": "llama", "num_hidden_layers": layers, "num_attention_heads": heads * group, "num_key_value_heads": heads,
        "head_dim": dim, "hidden_size": heads * group * dim, "vocab_size": 32000, "torch_dtype": "bfloat16", "sliding_window": window,
        "layer_types": ["full_attention" if every and index % every == 0 else "sliding_attention" for index in range(layers)],
    },
    st.integers(1, 80), st.sampled_from([1, 2, 3, 8, 32]), st.integers(1, 8), st.sampled_from([64, 128]),
    st.sampled_from([None, 128, 4096]), st.integers(0, 6),
)  # fmt: skip
WEIGHTS = st.integers(1 * GIB, 900 * GIB)


@given(SHAPES, WEIGHTS, st.integers(0, 5), st.integers(0, 5), st.integers(1, 4))
def test_more_devices_never_need_more_bytes_each(configuration, weights, small, large, stages):
    less, more = sorted((2**small, 2**large))
    model = fit.Model(weights, _model.shape(configuration))
    few, many = (settings(tensor_parallel=count, pipeline_parallel=stages) for count in (less, more))
    assert fit.weights_per_device(model, many) <= fit.weights_per_device(model, few)
    wide, narrow = (
        cache(configuration, tensor_parallel=count, pipeline_parallel=stages) for count in (less, more)
    )
    assert narrow.bytes_per_block <= wide.bytes_per_block and narrow.bytes_per_token <= wide.bytes_per_token
    assert fit.weights_per_device(model, settings(pipeline_parallel=stages)) >= fit.weights_per_device(
        model, settings(pipeline_parallel=stages + 1)
    )


@given(
    SHAPES,
    st.integers(0, 200 * GIB),
    st.integers(1, 200000),
    st.integers(1, 200000),
    st.sampled_from([1, 2, 8]),
)
def test_a_longer_context_never_fits_where_a_shorter_does_not(configuration, space, one, other, parallel):
    found = cache(configuration, tensor_parallel=parallel)
    shorter, longer = sorted((one, other))
    assert found.fits(space, longer) <= found.fits(space, shorter)
    largest = found.largest_context(space, 1 << 22)
    assert largest == 0 or found.fits(space, largest) >= 1
    assert largest == 1 << 22 or found.fits(space, largest + 1) == 0
    assert found.largest_context(space + GIB, 1 << 22) >= largest


@given(
    SHAPES,
    WEIGHTS,
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([None, 1024, 131072]),
)
def test_more_memory_is_never_worse(configuration, weights, one, other, parallel, context):
    order = {"weights": 0, "context": 1, "unknown": 1, "fits": 2}
    small, large = (
        table(
            configuration, weights, usable_bytes=size * GIB, tensor_parallel=parallel, max_model_len=context
        )
        for size in sorted((one, other))
    )
    assert order[small["verdict"]] <= order[large["verdict"]]
