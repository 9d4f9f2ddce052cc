# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of vLLM as strangers write them, held to what vLLM's source distributions (0.19.1 to 0.33.0) do with them."""

from __future__ import annotations

import pytest
from plans import first, said
from wishes import llama

ODD = {"config.json": llama()}


def options_of(plan: dict) -> dict:
    return first(plan)["options"]


def refused(plan: dict) -> str:
    return " ".join(said(plan, "vllm.option"))


@pytest.mark.parametrize(
    "name", ["max-model-len", "gpu-memory-utilization", "enable-prefix-caching", "kv-cache-dtype"]
)
def test_nothing_is_as_if_the_option_were_not_there(wish, name):
    plan, plain = wish(ODD, options={name: None}), wish(ODD)
    assert not refused(plan)
    assert options_of(plan) == options_of(plain)
    assert first(plan)["memory"]["context"] == first(plain)["memory"]["context"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("gpu-memory-utilization", 0, "above 0 and of at most 1"),
        ("gpu-memory-utilization", 95, "above 0 and of at most 1"),
        ("gpu-memory-utilization", "-0.5", "above 0 and of at most 1"),
        ("tensor-parallel-size", 0, "of at least 1"),
        ("pipeline-parallel-size", -1, "of at least 1"),
        ("data-parallel-size", 0, "of at least 1"),
        ("max-num-seqs", 0, "of at least 1"),
        ("max-num-batched-tokens", 0, "of at least 1"),
        ("max-model-len", -2, "of at least -1"),
        ("block-size", 0, "above 0"),
        ("max-loras", 0, "of at least 1"),
        ("cpu-offload-gb", -4, "of at least 0"),
        ("data-parallel-rpc-port", 70000, "of at most 65535"),
        ("kv-cache-dtype", "int8", "one of auto, float16, bfloat16, fp8"),
        ("kv-cache-dtype", "q8_0", "one of auto, float16, bfloat16, fp8"),
    ],
)
def test_a_value_that_vllm_ends_with_is_refused_with_what_it_takes(wish, name, value, expected):
    plan = wish(ODD, options={name: value})
    assert expected in refused(plan), refused(plan)
    assert f"--{name} {value}" in refused(plan)


@pytest.mark.parametrize(
    "given",
    [
        {"gpu-memory-utilization": 1},
        {"gpu-memory-utilization": 0.01},
        {"max-model-len": -1},
        {"max-logprobs": -1},
        {"mm-processor-cache-gb": 0},
        {"kv-cache-dtype": "fp8_e4m3"},
        {"kv-cache-dtype": "int8_per_token_head"},
        {"video-pruning-rate": 0.0},
    ],
)
def test_a_value_at_the_edge_is_taken(wish, given):
    assert not refused(wish(ODD, options=given))


def test_a_name_for_the_cache_that_a_release_does_not_have_yet(wish):
    older = {"vllm_version": "0.30.0"}
    assert "--kv-cache-dtype octave_k3v4" in refused(
        wish(ODD, options={"kv-cache-dtype": "octave_k3v4"}, wants=older)
    )
    assert not refused(wish(ODD, options={"kv-cache-dtype": "octave_k3v4"}))


def test_keys_inside_of_an_option_are_one_mapping(wish):
    given = {
        "compilation_config.mode": 3,
        "compilation_config.pass_config.fuse_norm_quant": True,
        "kernel-config.moe_backend": "triton",
    }
    plan = wish(ODD, options=given)
    assert not refused(plan)
    assert options_of(plan)["compilation-config"] == {"mode": 3, "pass_config": {"fuse_norm_quant": True}}
    assert options_of(plan)["kernel-config"] == {"moe_backend": "triton"}
    assert not [name for name in options_of(plan) if "." in name]


def test_keys_inside_of_an_option_join_what_the_host_has_of_it(wish):
    wants = {"vllm_options": {"compilation-config": '{"mode": 1, "backend": "eager"}'}}
    plan = wish(ODD, options={"compilation-config.mode": "3"}, wants=wants)
    assert options_of(plan)["compilation-config"] == {"mode": 3, "backend": "eager"}


def test_a_key_of_no_option_is_named(wish):
    assert "--colour with vLLM" in refused(wish(ODD, options={"colour.red": 1}))


def test_a_misspelt_option_has_the_nearest_name(wish):
    sentence = refused(wish(ODD, options={"max-modl-len": 4096, "qwertz": 1}))
    assert "Remove max-modl-len, or correct its name: the nearest is max-model-len." in sentence
    assert "Remove qwertz, or correct its name." in sentence


def test_numbers_in_quotes_are_numbers(wish):
    plan = wish(ODD, options={"tensor-parallel-size": "3", "max-num-seqs": "8"})
    assert "tensor-parallel-size 3 for" in " ".join(said(plan, "vllm.heads"))
    assert options_of(plan)["max-num-seqs"] == 8


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"max_model_len": 4096, "max-model-len": 8192}, "max-model-len is there twice, with 4096 and 8192"),
        ({"enforce-eager": True, "no-enforce-eager": True}, "enforce-eager and no-enforce-eager contradict"),
    ],
)
def test_an_option_that_is_there_twice(wish, given, sentence):
    plan = wish(ODD, options=given)
    assert sentence in " ".join(said(plan, "inventory.variable"))


def test_the_same_value_in_both_spellings_is_one(wish):
    plan = wish(ODD, options={"max_model_len": 4096, "max-model-len": 4096})
    assert not said(plan, "inventory.variable")
    assert options_of(plan)["max-model-len"] == 4096


@pytest.mark.parametrize("host", ["enable-prefix-caching", "no-enable-prefix-caching"])
def test_what_one_server_asks_for_takes_back_the_opposite_of_the_host(wish, host):
    server = host[3:] if host.startswith("no-") else f"no-{host}"
    found = options_of(wish(ODD, options={server: True}, wants={"vllm_options": {host: True}}))
    assert found[server] is True
    assert host not in found


MLA = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_key_value_heads": 16, "hidden_size": 2048, "intermediate_size": 10944, "vocab_size": 102400, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "max_position_embeddings": 163840,
    "n_routed_experts": 64, "moe_intermediate_size": 1408, "num_experts_per_tok": 6, "torch_dtype": "bfloat16",
    "first_k_dense_replace": 1, "n_shared_experts": 2,
}  # fmt: skip
GPT_OSS = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_hidden_layers": 24, "num_attention_heads": 64,
    "num_key_value_heads": 8, "head_dim": 64, "hidden_size": 2880, "intermediate_size": 2880, "num_local_experts": 32,
    "vocab_size": 201088, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072, "quantization_config": {"quant_method": "mxfp4"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "gfx", "given", "sentence"),
    [
        (llama(head_dim=112), "gfx942", {"attention-backend": "ROCM_ATTN"}, "for heads of 112"),
        (llama(head_dim=96), "gfx942", {"attention-backend": "rocm_aiter_fa"}, "takes heads of 64, 128, 256"),
        (llama(head_dim=112), "gfx1201", {"attention-config": {"backend": "ROCM_ATTN"}}, "for heads of 112"),
        (GPT_OSS, "gfx1201", {"attention-backend": "ROCM_ATTN"}, "does not know attention sinks"),
        (MLA, "gfx1201", {"attention-backend": "ROCM_ATTN"}, "for a model of latent vectors (MLA)"),
        (llama(), "gfx1201", {"attention-backend": "TRITON_MLA"}, "for a model of heads of keys and values"),
        (llama(), "gfx1151", {"block-size": 24}, "want a multiple of 16"),
        (llama(), "gfx942", {"kv-cache-dtype": "fp8_inc"}, "no attention backend reads it"),
        (llama(), "gfx942", {"kv-cache-dtype": "nvfp4"}, "no attention backend reads it"),
        (llama(), "gfx942", {"kv-cache-dtype": "octave_k3v4"}, "no attention backend reads it"),
        (MLA, "gfx1201", {"kv-cache-dtype": "fp8_e5m2"}, "for a model of latent vectors (MLA)"),
        (MLA, "gfx942", {"kv-cache-dtype": "int8_per_token_head"}, "for a model of latent vectors (MLA)"),
        (
            llama(),
            "gfx942",
            {"kv-cache-dtype": "int8_per_token_head", "attention-backend": "ROCM_ATTN"},
            "for attention-backend=ROCM_ATTN",
        ),
    ],
)
def test_what_no_attention_backend_bears(wish, config, gfx, given, sentence):
    plan = wish({"config.json": config}, gfx, options=given, gpus=[0])
    assert sentence in " ".join(said(plan, "vllm.refused")), plan["findings"]


@pytest.mark.parametrize(
    ("config", "gfx", "given"),
    [
        (llama(head_dim=112), "gfx942", {"attention-backend": "TRITON_ATTN"}),
        (llama(head_dim=256), "gfx942", {"kv-cache-dtype": "octave_k3v4"}),
        (GPT_OSS, "gfx1201", {"attention-backend": "TRITON_ATTN"}),
        (MLA, "gfx942", {"kv-cache-dtype": "fp8_e5m2"}),
        (MLA, "gfx1201", {"attention-backend": "TRITON_MLA"}),
        (llama(), "gfx1151", {"block-size": 48}),
        (llama(), "gfx942", {"kv-cache-dtype": "turboquant_k8v4"}),
    ],
)
def test_what_an_attention_backend_bears(wish, config, gfx, given):
    plan = wish({"config.json": config}, gfx, options=given, gpus=[0])
    assert not said(plan, "vllm.refused")


@pytest.mark.parametrize("gfx", ["gfx1100", "gfx1151", "gfx1201"])
def test_a_cache_in_fp8_is_warned_of_once(wish, gfx):
    plan = wish(ODD, gfx, options={"kv-cache-dtype": "fp8"}, gpus=[0])
    assert len(said(plan, "vllm.refused")) == 1


@pytest.mark.parametrize(
    ("config", "width", "ways", "sentence"),
    [
        (llama(), 8, 2, "each of the 8 heads of keys and values lies on 1 of 8 devices"),
        (llama(num_key_value_heads=2), 8, 3, "it must divide tensor-parallel-size 8"),
        (llama(num_key_value_heads=2), 8, 8, "lies on 4 of 8 devices"),
        (llama(num_key_value_heads=2, num_attention_heads=24), 8, 8, "lies on 4 of 8 devices"),
        (llama(num_key_value_heads=2, num_attention_heads=40), 8, 4, ""),
        (llama(num_key_value_heads=2), 8, 4, ""),
        (MLA, 8, 8, ""),
        (MLA, 4, 8, "it must divide tensor-parallel-size 4"),
    ],
)
def test_a_cache_shared_out_by_tokens(wish, config, width, ways, sentence):
    options = {"tensor-parallel-size": width, "decode-context-parallel-size": ways}
    found = " ".join(said(wish({"config.json": config}, options=options), "vllm.refused"))
    assert (sentence in found) if sentence else not found


def test_latent_vectors_that_shall_not_be_used_are_not_counted(wish):
    plan = wish({"config.json": MLA}, environment={"VLLM_MLA_DISABLE": "1"}, gpus=[0])
    assert first(plan)["memory"]["verdict"] == "unknown"
    assert "VLLM_MLA_DISABLE=1" in first(plan)["memory"]["reason"]
    assert first(wish({"config.json": MLA}, gpus=[0]))["memory"]["verdict"] == "fits"


def test_adapters_without_the_option_that_loads_them(wish):
    plan = wish(ODD, options={"lora-modules": ["sql=/srv/models/odd"]}, gpus=[0])
    assert "lora-modules without enable-lora" in " ".join(said(plan, "vllm.refused"))


@pytest.mark.parametrize("names", [None, [], "LlamaForCausalLM", [None]])
def test_a_model_that_names_no_class(wish, names):
    config = {"config.json": llama(architectures=names)}
    sentence = " ".join(said(wish(config, gpus=[0]), "vllm.architecture"))
    assert "no architectures in config.json of /srv/models/odd" in sentence
    assert "Set hf-overrides in options of the instance chat" in sentence
    options = {"hf-overrides": {"architectures": ["LlamaForCausalLM"]}}
    assert not said(wish(config, gpus=[0], options=options), "vllm.architecture")


def test_weights_left_in_memory_that_the_host_does_not_have(wish):
    config = {"config.json": llama()}
    assert (
        first(
            wish(config, "gfx1100", gib=30, gpus=[0], options={"cpu-offload-gb": 25, "max-model-len": 4096})
        )["memory"]["verdict"]
        == "fits"
    )
    plan = wish(config, "gfx1100", gib=600, gpus=[0], options={"cpu-offload-gb": 590})
    assert first(plan)["memory"]["verdict"] == "weights"


def test_a_cache_larger_than_the_share_of_a_server(wish):
    options = {"kv-cache-memory-bytes": "80G"}
    plan = wish(ODD, gpus=[0], memory_share=0.5, options=options)
    assert first(plan)["memory"]["verdict"] == "fits"
    plan = wish(ODD, gpus=[0], memory_share=0.4, options=options)
    assert "of key-value cache" in " ".join(said(plan, "serve.weights_do_not_fit"))


def test_a_server_with_several_names(wish):
    plan = wish(ODD, options={"served-model-name": ["chat", "gpt-4"]})
    assert first(plan)["served_name"] == "chat"
    assert options_of(plan)["served-model-name"] == ["chat", "gpt-4"]
    assert not refused(plan)
    assert "is not a text" in " ".join(
        said(wish(ODD, options={"served-model-name": [1]}), "inventory.variable")
    )


@pytest.mark.parametrize("inside", [False, True])
def test_a_context_that_is_overridden(wish, inside):
    def over(number: int) -> dict:
        keys = {"max_position_embeddings": number}
        return {"hf-overrides": {"text_config": keys} if inside else keys}

    assert first(wish(ODD, options=over(4096), gpus=[0]))["memory"]["context"] == 4096
    plan = wish(ODD, options={**over(262144), "max-model-len": 262144}, gpus=[0])
    assert first(plan)["memory"]["context"] == 262144 and not said(plan, "vllm.refused")
    plan = wish(ODD, options={**over(4096), "max-model-len": 8192}, gpus=[0])
    assert "max-model-len 8192 for a context of 4096" in " ".join(said(plan, "vllm.refused"))


@pytest.mark.parametrize(
    "given", [{"num_hidden_layers": 2}, '{"num_key_value_heads": 1}', {"layer_types": None}]
)
def test_a_model_that_is_overridden_is_not_counted_as_before(wish, given):
    memory = first(wish(ODD, options={"hf-overrides": given}, gpus=[0]))["memory"]
    assert memory["verdict"] == "unknown" and "hf-overrides (" in memory["reason"]


def test_positions_that_are_overridden(wish):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    given = {"hf-overrides": {"rope_parameters": yarn}}
    assert first(wish(ODD, options=given, gpus=[0]))["memory"]["context"] == 131072
    plan = wish(ODD, options=given, gpus=[0], wants={"vllm_version": "0.29.0"})
    assert first(plan)["memory"]["verdict"] == "unknown"
    plan = wish(ODD, options={**given, "max-model-len": 300000}, gpus=[0])
    assert first(plan)["memory"]["context"] == 300000 and not said(plan, "vllm.refused")


def test_a_file_that_git_lfs_left_as_a_pointer_is_no_weight(wish):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 4976698672\n"
    plan = wish({**ODD, "model.safetensors": pointer}, gpus=[0])
    assert first(plan)["memory"]["verdict"] == "unknown"
    assert "lacks the end of model.safetensors" in first(plan)["memory"]["reason"]
    assert "lacks the end of model.safetensors" in " ".join(said(plan, "serve.model"))


def test_a_variable_that_does_harm_is_not_called_unknown(wish):
    plan = wish(ODD, environment={"HSA_OVERRIDE_GFX_VERSION": "9.4.2"}, gpus=[0])
    sentence = " ".join(said(plan, "vllm.environment"))
    assert "loads another chip's code" in sentence.lower() and "ignores it" not in sentence
    assert "ignores it" in " ".join(said(wish(ODD, environment={"VLLM_USE_V1": "0"}), "vllm.environment"))


WINDOW = llama(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=4096)


def test_a_window_that_is_switched_off_is_the_longest_text(wish):
    config, off = {"config.json": WINDOW}, {"disable-sliding-window": True}
    memory = first(wish(config, options=off, gpus=[0]))["memory"]
    assert (memory["context"], memory["kv_bytes_per_token"]) == (4096, 32 * 8 * 128 * 4)
    plan = wish(config, options={**off, "max-model-len": 8192}, gpus=[0])
    assert "max-model-len 8192 for a context of 4096" in " ".join(said(plan, "vllm.refused"))


def test_a_cache_of_few_blocks(wish):
    plan = wish(ODD, options={"num-gpu-blocks-override": 100}, gpus=[0])
    assert "num-gpu-blocks-override 100 for a context of 131072" in " ".join(said(plan, "vllm.refused"))
    assert "blocks of 16 tokens hold 1600" in " ".join(said(plan, "vllm.refused"))
    options = {"num-gpu-blocks-override": 100, "max-model-len": 1600}
    assert not said(wish(ODD, options=options, gpus=[0]), "vllm.refused")


def test_a_cache_in_memory_that_the_host_does_not_have(wish):
    plan = wish(ODD, options={"kv-offloading-size": 100000}, gpus=[0])
    assert "kv-offloading-size 100000 on a host of" in " ".join(said(plan, "vllm.refused"))
    assert not said(wish(ODD, options={"kv-offloading-size": 64}, gpus=[0]), "vllm.refused")


@pytest.mark.parametrize("option", [{"no-enable-chunked-prefill": True}, {"performance-mode": "throughput"}])
def test_a_larger_batch_takes_more_memory(wish, option):
    plain, larger = (first(wish(ODD, options=each, gpus=[0]))["memory"] for each in ({}, option))
    assert larger["allowance_bytes"] > plain["allowance_bytes"]


@pytest.mark.parametrize(
    ("name", "release", "word"),
    [
        ("tensorizer2", None, "one of auto, hf"),
        ("gguf", None, "one of auto, hf"),
        ("gguf", "0.23.0", ""),
        ("runai_streamer", None, ""),
        ("ipc_cache", "0.29.0", "one of auto, hf"),
    ],
)
def test_how_weights_are_loaded(wish, name, release, word):
    wants = {"vllm_version": release} if release else {}
    found = refused(wish(ODD, options={"load-format": name}, gpus=[0], wants=wants))
    assert (word in found) if word else not found


@pytest.mark.parametrize(
    ("given", "release", "word"),
    [
        ({"compilation-config": {"modee": 3}}, None, "with modee and vLLM 0.33.0"),
        ({"compilation-config.cudagraph_moed": "FULL"}, None, "the nearest is cudagraph_mode"),
        (
            {"compilation-config": {"cudagraph_mode": "FULL", "pass_config": {"fuse_norm_quant": True}}},
            None,
            "",
        ),
        ({"attention-config": '{"use_prefill_decode_attention": true}'}, "0.28.0", ""),
        (
            {"attention-config": '{"use_prefill_decode_attention": true}'},
            None,
            "with use_prefill_decode_attention",
        ),
        ({"kv-transfer-config": {"kv_connector": "NixlConnector", "kv_role": "kv_both"}}, None, ""),
        ({"kv-transfer-config": {"kv_conector": "NixlConnector"}}, None, "the nearest is kv_connector"),
        ({"additional-config": {"anything": 1}}, None, ""),
    ],
)
def test_keys_of_an_option(wish, given, release, word):
    found = refused(wish(ODD, options=given, gpus=[0], wants={"vllm_version": release} if release else {}))
    assert (word in found) if word else not found
