# SPDX-License-Identifier: GPL-3.0-or-later
"""Several servers on one GPU, models over several hosts of one GPU, and what the same run brings."""

from __future__ import annotations

import pytest
from plans import said

QWEN3 = {
    "model_type": "qwen3", "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "hidden_size": 4096, "vocab_size": 151936, "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
}  # fmt: skip


def shares(*asked: float | None) -> list[dict]:
    return [
        {
            "name": f"s{at}", "model": "own/model", "port": 8000 + at,
            "options": {} if share is None else {"gpu-memory-utilization": share},
        }
        for at, share in enumerate(asked)
    ]  # fmt: skip


@pytest.mark.parametrize("host", ["strix-halo-128", "rx9070xt"])
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((0.45, 0.1, 0.2), []),
        ((0.5, 0.5), []),
        ((0.7, 0.1, 0.1, 0.1), []),
        ((0.6, 0.6), ["0.6 + 0.6 of the memory of GPU 0 for s0 and s1"]),
        ((0.5, 0.4, 0.2), ["0.5 + 0.4 + 0.2 of the memory of GPU 0 for s0, s1 and s2"]),
        ((None, 0.3), ["GPU 0 for s0 and s1"]),
        ((0.3, None), ["GPU 0 for s0 and s1"]),
    ],
)
def test_shares_of_one_gpu_are_added_up(make_plan, host, asked, words):
    plan = make_plan(host, serve_instances=shares(*asked))
    found = said(plan, "serve.overlap")
    assert len(found) == len(words) and all(word in text for word, text in zip(words, found))


def test_a_share_for_all_servers_is_one_for_each(make_plan):
    plan = make_plan(
        "rx9070xt", serve_instances=shares(None, None), vllm_options={"gpu-memory-utilization": 0.4}
    )
    assert said(plan, "serve.overlap") == []


@pytest.mark.parametrize(
    ("asked", "options", "expected"),
    [
        ({"memory_share": 0.4}, {}, 0.4),
        ({"memory_share": 0.4}, {"gpu-memory-utilization": 0.9}, 0.4),
        ({"memory_share": 0.4, "options": {"gpu-memory-utilization": 0.3}}, {}, 0.3),
        ({}, {"gpu-memory-utilization": 0.45}, 0.45),
    ],
)
def test_a_share_is_an_option_of_vllm(make_plan, asked, options, expected):
    two = [{"name": name, "model": "own/model", "port": port, **asked} for name, port in (("a", 1), ("b", 2))]
    plan = make_plan("strix-halo-128", serve_instances=two, vllm_options=options)
    assert said(plan, "serve.overlap") == []
    assert [each["options"]["gpu-memory-utilization"] for each in plan["serve"]["instances"]] == [
        expected
    ] * 2


def test_engines_share_a_gpu(make_plan):
    """The chat of llama.cpp beside an embedding model of vLLM."""
    wanted = [
        {"name": "chat", "engine": "llama_cpp", "model": "/srv/models/m.gguf", "memory_share": 0.7},
        {"name": "embed", "model": "own/model", "port": 8001, "memory_share": 0.2},
    ]
    plan = make_plan("strix-halo-128", serve_instances=wanted)
    assert said(plan, "serve.overlap") == []
    chat, embed = plan["serve"]["instances"]
    assert [each["unit"] for each in embed["turn"]["before"]] == [chat["unit"]] == ["llama-cpp-chat.service"]
    more = [{**wanted[0], "memory_share": 0.9}, wanted[1]]
    assert (
        "0.9 + 0.2 of the memory"
        in said(make_plan("strix-halo-128", serve_instances=more), "serve.overlap")[0]
    )


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan"), 45])
def test_what_is_no_share_is_refused(make_plan, share):
    wanted = {"name": "chat", "model": "own/model", "memory_share": share}
    (told,) = said(make_plan("strix-halo-128", serve_instances=[wanted]), "inventory.variable")
    assert "serve_instances[].memory_share" in told and "is not a share of the memory, 0 to 1" in told


RADEON = {"name": "chat", "model": "own/model", "gpus": [0, 1]}


def two(gpus, _rocm):
    """The Radeon of the test bed, twice."""
    second = {**gpus["gpus"][0], "index": 1, "pci_address": "0000:13:00.0"}
    gpus["gpus"].append(second)


@pytest.mark.parametrize(
    ("version", "proto"), [("0.28.0", "Simple"), ("0.30.0", "Simple"), ("0.33.0", "Simple")]
)
def test_two_radeons_get_the_protocol_that_does_not_hang(make_plan, version, proto):
    plan = make_plan("rx9070xt", two, serve_instances=[RADEON], vllm_version=version)
    server = plan["serve"]["instances"][0]
    assert server["environment"]["NCCL_PROTO"] == proto and said(plan, "vllm.refused") == []
    asked = {**RADEON, "environment": {"NCCL_PROTO": "Simple"}, "options": {"tensor-parallel-size": 2}}
    assert (
        said(make_plan("rx9070xt", two, serve_instances=[asked], vllm_version=version), "vllm.refused") == []
    )
    hangs = {**RADEON, "environment": {"NCCL_PROTO": "LL"}}
    assert (
        len(said(make_plan("rx9070xt", two, serve_instances=[hangs], vllm_version=version), "vllm.refused"))
        == 1
    )


def test_one_radeon_needs_no_protocol(make_plan):
    plan = make_plan("rx9070xt", serve_instances=[{**RADEON, "gpus": [0]}])
    assert "NCCL_PROTO" not in plan["serve"]["instances"][0]["environment"]


@pytest.mark.parametrize(
    ("options", "tensor", "pipeline", "eager"),
    [
        ({}, None, 2, True),
        ({"tensor-parallel-size": 2}, 2, 1, None),
        ({"pipeline-parallel-size": 2}, None, 2, True),
        ({"enforce-eager": False}, None, 2, None),
    ],
)
def test_two_strix_halo_serve_one_model(make_plan, options, tensor, pipeline, eager):
    def wired(_gpus, rocm):
        rocm["network"] = {
            "interfaces": [{"name": "eth0", "networks": ["192.0.2.0/24"], "up": True}],
            "rdma": [],
        }

    pair = {
        "pair": [
            {"name": "strix-halo-128", "address": "192.0.2.1"},
            {"name": "other", "address": "192.0.2.2"},
        ]
    }
    wanted = {
        "name": "chat",
        "model": "own/model",
        "model_config": QWEN3,
        "weights_gib": 16,
        "nodes": "pair",
        "options": options,
    }
    plan = make_plan("strix-halo-128", wired, serve_instances=[wanted], __inventory_nodes=pair)
    found = plan["serve"]["instances"][0]["options"]
    assert (found.get("tensor-parallel-size"), found["pipeline-parallel-size"]) == (tensor, pipeline)
    assert found.get("enforce-eager") is eager
    assert [
        each["id"]
        for each in plan["findings"]
        if each["id"] in ("vllm.refused", "vllm.parallel", "vllm.nodes_split")
    ] == []


def test_one_strix_halo_is_not_spread(make_plan):
    alone = {"name": "chat", "model": "own/model", "options": {"tensor-parallel-size": 2}}
    assert (
        "one GPU in the host" in said(make_plan("strix-halo-128", serve_instances=[alone]), "vllm.refused")[0]
    )


DRAFTER = {"model": "own/drafter"}
PLACE = "/srv/models/own/drafter"


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (
            {"speculative-config": {"method": "eagle3", "model": PLACE, "num_speculative_tokens": 3}},
            "speculative-config",
        ),
        (
            {"speculative-config": {"method": "eagle3", "model": "own/drafter", "num_speculative_tokens": 3}},
            "speculative-config",
        ),
        ({"speculative-config": '{"method": "eagle3", "model": "own/drafter"}'}, "speculative-config"),
        ({"enable-lora": True, "lora-modules": ["sql=own/drafter"]}, "lora-modules"),
        ({"enable-lora": True, "lora-modules": [f"sql={PLACE}"]}, "lora-modules"),
        ({"enable-lora": True, "lora-modules": ['{"name": "sql", "path": "own/drafter"}']}, "lora-modules"),
        ({"tokenizer": "own/drafter"}, "tokenizer"),
        ({"chat-template": f"{PLACE}/chat_template.jinja"}, "chat-template"),
    ],
)
def test_what_the_same_run_brings_need_not_be_there(make_plan, ids, options, key):
    wanted = {"name": "chat", "model": "own/model", "gpus": [0], "options": options}
    plan = make_plan(
        "mi300x-8", serve_instances=[wanted], model_sources=[DRAFTER], model_directory="/srv/models"
    )
    server = plan["serve"]["instances"][0]
    assert ids(plan) == [] and PLACE in str(server["options"][key])
    assert any(path.startswith(PLACE) for path in server["read_only"])
    assert PLACE in [each["path"] for each in plan["model"]["fetch"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"speculative-config": {"method": "eagle3", "model": "own/other"}},
            "Add own/other to model_sources",
        ),
        ({"tokenizer": "own/other"}, "Add own/other to model_sources"),
        (
            {"chat-template": "/srv/models/own/other/x.jinja"},
            "/srv/models/own/other/x.jinja, which does not exist",
        ),
    ],
)
def test_what_nothing_brings_is_said(make_plan, ids, options, words):
    wanted = {"name": "chat", "model": "own/model", "gpus": [0], "options": options}
    plan = make_plan(
        "mi300x-8", serve_instances=[wanted], model_sources=[DRAFTER], model_directory="/srv/models"
    )
    assert ids(plan) == ["vllm.path"] and words in said(plan, "vllm.path")[0]


def test_ngrams_need_no_model(make_plan, ids):
    config = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}
    wanted = {"name": "chat", "model": "own/model", "gpus": [0], "options": {"speculative-config": config}}
    assert ids(make_plan("mi300x-8", serve_instances=[wanted])) == []


KIMI = {
    "model_type": "kimi_k2", "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64, "hidden_size": 7168,
    "vocab_size": 163840, "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "kv_lora_rank": 512, "qk_rope_head_dim": 64,
    "moe_intermediate_size": 2048, "n_routed_experts": 384, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("host", "gpus", "weights", "verdict"),
    [
        # 958 GiB over four devices of 64 GiB, whichever way they are shared out.
        ("mi250-4", [0, 1, 2, 3], 958, "weights"),
        ("mi300x-8", [0, 1, 2, 3], 958, "weights"),
        # 120 GiB of experts on each of eight, and all of the rest.
        ("mi300x-8", list(range(8)), 958, "fits"),
    ],
)
def test_experts_that_replicas_share_are_weighed(make_plan, host, gpus, weights, verdict):
    options = {
        "data-parallel-size": len(gpus),
        "enable-expert-parallel": True,
        "tensor-parallel-size": 1,
        "max-model-len": 8192,
    }
    wanted = {
        "name": "chat",
        "model": "own/kimi",
        "model_config": KIMI,
        "weights_gib": weights,
        "gpus": gpus,
        "options": options,
    }
    plan = make_plan(host, serve_instances=[wanted])
    assert plan["serve"]["instances"][0]["memory"]["verdict"] == verdict
    assert bool(said(plan, "serve.weights_do_not_fit")) == (verdict == "weights")
