# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory in the plan: what is taken from host, inventory and profile, and what is said when it does not
fit."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence

GIB = 1 << 30
LLAMA_70B = {
    "model_type": "llama", "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "hidden_size": 8192,
    "vocab_size": 128256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
SHAPE = {
    "type": "llama", "layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128, "hidden": 4096, "vocabulary": 128256, "context": 131072,
    "dtype": "bfloat16", "attention": {"full": 32},
}  # fmt: skip
HUB = {
    "name": "chat",
    "model": "meta-llama/Llama-3.3-70B-Instruct",
    "weights_gib": 131.4,
    "model_config": LLAMA_70B,
}
DISK = {"name": "chat", "model": "/srv/model"}
OURS = ("serve.weights_do_not_fit", "serve.context_does_not_fit", "vllm.context_ceiling", "host.memory")


def on_disk(weights: float, **shape):
    def change(_gpus, rocm):
        there = {
            "exists": True,
            "directory": True,
            "model": True,
            "model_type": "llama",
            "quantization": None,
        }
        rocm["paths"] = {
            "/srv/model": {**there, "weights_bytes": int(weights * GIB), "shape": {**SHAPE, **shape}}
        }

    return change


def memory(plan: dict) -> dict:
    return plan["serve"]["instances"][0]["memory"]


def said(plan: dict) -> dict[str, str]:
    return {finding["id"]: sentence(finding) for finding in plan["findings"] if finding["id"] in OURS}


def shown(plan: dict) -> dict:
    return next(setting for setting in plan["settings"] if setting["setting"] == "chat memory")


def test_a_model_of_the_hub_whose_sizes_are_given(make_plan, ids):
    plan = make_plan("mi300x-8", serve_instances=[{**HUB, "gpus": [0, 1]}])
    found = memory(plan)
    assert ids(plan) == [] and said(plan) == {}
    assert found["devices"] == 2 and found["weights_bytes"] == -(-int(131.4 * GIB) // 2)
    # The emulated MI300X shows 206141652992 bytes; vLLM takes 0.92 of them.
    assert found["budget_bytes"] == int(206141652992 * 0.92)
    assert found["kv_bytes_per_token"] == 2 * 80 * 4 * 128 * 2 and found["verdict"] == "fits"
    # 176.63 - 65.70 - 2 (runtime, graphs, RCCL) - 4 (16 x 16384 x 8192 x 2) - 0.98 (logits) GiB; 160 KiB x
    # 131072 are 20 GiB.
    assert (
        shown(plan)["value"]
        == "65.7 GiB of weights and 103.9 GiB of key-value cache in 176.6 GiB: 5 x 131072 tokens"
    )
    assert "on each of 2 GPUs" in shown(plan)["reason"] and "160.0 KiB a token" in shown(plan)["reason"]


def test_a_model_of_the_hub_of_which_nothing_is_known(make_plan):
    plan = make_plan("mi300x-8", serve_instances=[{"name": "chat", "model": "own/model-8B"}])
    assert memory(plan)["verdict"] == "unknown" and said(plan) == {}
    assert shown(plan)["value"] == "not computed" and "weights_gib and model_config" in shown(plan)["reason"]


def test_weights_that_do_not_fit(make_plan, ids):
    plan = make_plan("mi300x-8", serve_instances=[{**HUB, "weights_gib": 700, "gpus": [0, 1]}])
    assert ids(plan) == ["serve.weights_do_not_fit"]
    text = said(plan)["serve.weights_do_not_fit"]
    assert "350.0 GiB of weights on each of 2 devices" in text and "at most 176.6 GiB" in text
    assert "tensor-parallel-size of at least 4" in text and "at most 353.3 GiB" in text
    assert (
        ids(
            make_plan(
                "mi300x-8",
                serve_instances=[{**HUB, "weights_gib": 700, "gpus": [0, 1]}],
                plan_accept=["serve.weights_do_not_fit"],
            )
        )
        == []
    )


def test_partitions_are_devices_of_their_own(make_plan, ids):
    # CPX: eight devices of 24 GiB in one MI300X, and the plan sets no tensor-parallel-size over partitions.
    plan = make_plan("mi300x-8-cpx", on_disk(30), serve_instances=[{**DISK, "gpus": [0]}])
    assert ids(plan) == ["serve.weights_do_not_fit"] and memory(plan)["budget_bytes"] == int(
        206141652992 // 8 * 0.92
    )
    assert (
        "Set tensor-parallel-size in options of the instance chat to at least 2"
        in said(plan)["serve.weights_do_not_fit"]
    )
    split = {**DISK, "gpus": [0], "options": {"tensor-parallel-size": 2}}
    assert (
        memory(make_plan("mi300x-8-cpx", on_disk(30), serve_instances=[split]))["weights_bytes"] == 15 * GIB
    )


def test_a_context_that_does_not_fit(make_plan, ids):
    plan = make_plan("rx9070xt", on_disk(8.5), serve_instances=[DISK])
    found = memory(plan)
    assert ids(plan) == [] and list(said(plan)) == ["serve.context_does_not_fit"]
    largest = found["largest_context"]
    assert 0 < largest < 131072 and found["sequences"] == 0
    assert (
        f"Set max-model-len in options of the instance chat to {largest} or less"
        in said(plan)["serve.context_does_not_fit"]
    )
    cured = make_plan(
        "rx9070xt", on_disk(8.5), serve_instances=[{**DISK, "options": {"max-model-len": largest}}]
    )
    assert said(cured) == {} and memory(cured)["sequences"] == 1
    automatic = make_plan(
        "rx9070xt", on_disk(8.5), serve_instances=[{**DISK, "options": {"max-model-len": "auto"}}]
    )
    assert said(automatic) == {} and memory(automatic)["context"] == largest
    halved = make_plan(
        "rx9070xt", on_disk(8.5), serve_instances=[{**DISK, "options": {"kv-cache-dtype": "fp8"}}]
    )
    assert memory(halved)["kv_bytes_per_token"] * 2 == found["kv_bytes_per_token"]


def test_nothing_left_beside_the_weights(make_plan):
    plan = make_plan("rx9070xt", on_disk(14.6), serve_instances=[DISK])
    assert "nothing is left beside the weights" in said(plan)["serve.context_does_not_fit"]


def test_the_pool_of_an_apu_is_the_one_the_plan_makes(make_plan, ids):
    # 64 GiB now; the plan sets pages_limit to 112 of 125 GiB, of which vLLM may take 0.85.
    plan = make_plan(
        "strix-halo-128", on_disk(70), serve_instances=[{**DISK, "options": {"max-model-len": 8192}}]
    )
    assert ids(plan) == [] and memory(plan)["budget_bytes"] == int(112 * GIB * 0.85)
    kept = make_plan("strix-halo-128", on_disk(70), serve_instances=[DISK], kernel_state="absent")
    assert ids(kept) == ["serve.weights_do_not_fit"], "without the role kernel the pool stays"


@pytest.mark.parametrize(
    ("options", "warns"), [({}, True), ({"max-model-len": "128K"}, True), ({"max-model-len": 65536}, False)]
)
def test_the_context_that_a_profile_caps(make_plan, options, warns):
    plan = make_plan("strix-halo-128", on_disk(15), serve_instances=[{**DISK, "options": options}])
    assert list(said(plan)) == (["vllm.context_ceiling"] if warns else [])
    if warns:
        assert "at most 65536 on gfx1151" in said(plan)["vllm.context_ceiling"]
    assert said(make_plan("mi300x-8", on_disk(15), serve_instances=[{**DISK, "options": options}])) == {}


@pytest.mark.parametrize(
    ("host", "memory_gib", "warns"),
    [
        ("mi300x-8", 1536, False),
        ("mi300x-8", 1511, False),
        ("mi300x-8", 1024, True),
        ("mi250-4", 768, True),
        ("rx9070xt", 8, False),
    ],
)
def test_memory_of_the_host(make_plan, host, memory_gib, warns):
    def change(_gpus, rocm):
        rocm["memory_bytes"] = memory_gib * GIB

    found = said(make_plan(host, change))
    assert ("host.memory" in found) is warns
    if warns:
        assert f"{memory_gib} GiB" in found["host.memory"]


def test_memory_of_a_host_with_some_gpus_of_a_platform(make_plan):
    def virtual(gpus, rocm):
        rocm["memory_bytes"] = 256 * GIB
        for gpu in gpus["gpus"]:
            gpu["virtual_function"] = True

    def one(gpus, rocm):
        rocm["memory_bytes"] = 256 * GIB
        gpus["gpus"] = gpus["gpus"][:1]

    assert said(make_plan("mi300x-8", virtual)) == said(make_plan("mi300x-8", one)) == {}


def test_the_cpu_takes_the_cache_that_is_asked_for(make_plan, ids):
    wants = {"serve_accelerator": "cpu", "serve_instances": [{**DISK, "options": {"max-model-len": 4096}}]}
    plan = make_plan("no-gpu", on_disk(2), **wants)
    assert memory(plan)["kv_bytes"] == 1 * GIB, "the profile asks for 1 GiB"
    # 131072 bytes a token, blocks of 128 tokens.
    assert memory(plan)["largest_context"] == (GIB // (131072 * 128) - 1) * 128 == 8064
    wants["serve_instances"][0]["environment"] = {"VLLM_CPU_KVCACHE_SPACE": 31}
    plan = make_plan("no-gpu", on_disk(2), **wants)
    assert (
        ids(plan) == ["serve.weights_do_not_fit"]
        and "beside 31.0 GiB of key-value cache" in said(plan)["serve.weights_do_not_fit"]
    )
    wants["serve_instances"][0]["environment"] = {"VLLM_CPU_KVCACHE_SPACE": None}
    assert memory(make_plan("no-gpu", on_disk(2), **wants))["kv_bytes"] > 20 * GIB, (
        "without it vLLM takes a share of the memory"
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"tensor-parallel-size": "two"}, "tensor-parallel-size=two"),
        ({"gpu-memory-utilization": "most"}, "gpu-memory-utilization=most"),
        ({"gpu-memory-utilization": 1.5}, "gpu-memory-utilization=1.5"),
        ({"max-model-len": "long"}, "max-model-len=long"),
        ({"cpu-offload-gb": "x"}, "cpu-offload-gb=x"),
        ({"enable-expert-parallel": True, "data-parallel-size": 8}, "experts"),
        ({"kv-cache-dtype": "nvfp4"}, "nvfp4"),
    ],
)
def test_options_of_which_nothing_can_be_said(make_plan, options, word):
    plan = make_plan("mi300x-8", on_disk(15), serve_instances=[{**DISK, "gpus": [0], "options": options}])
    assert memory(plan)["verdict"] == "unknown" and said(plan) == {}
    assert word in shown(plan)["reason"]


def test_memory_that_is_not_known_before_the_driver_runs(make_plan):
    plan = make_plan("mi300x-8-nodriver", on_disk(15), serve_instances=[DISK])
    assert memory(plan)["verdict"] == "unknown" and "before its driver runs" in shown(plan)["reason"]


@pytest.mark.parametrize(
    ("sizes", "word"),
    [({"weights_gib": -1}, "weights_gib"), ({"model_config": {"num_hidden_layers": 32}}, "num_attention_heads"),
     ({"model_config": {"num_hidden_layers": "x", "num_attention_heads": 8}}, "num_hidden_layers"), ({"weights_gib": "x"}, "weights_gib")],
)  # fmt: skip
def test_sizes_that_cannot_be(make_plan, ids, sizes, word):
    plan = make_plan("mi300x-8", serve_instances=[{"name": "chat", "model": "Qwen/Qwen3-8B", **sizes}])
    assert ids(plan) == ["inventory.variable"] and word in sentence(plan["findings"][0])


def test_sizes_of_the_inventory_beat_the_folder(make_plan):
    plan = make_plan(
        "mi300x-8",
        on_disk(15),
        serve_instances=[{**DISK, "weights_gib": 40, "model_config": LLAMA_70B, "gpus": [0]}],
    )
    assert (
        memory(plan)["weights_bytes"] == 40 * GIB
        and memory(plan)["kv_bytes_per_token"] == 2 * 80 * 8 * 128 * 2
    )


def test_facts_of_an_older_run_have_no_shape(make_plan):
    def old(_gpus, rocm):
        rocm["paths"] = {
            "/srv/model": {
                "exists": True,
                "directory": True,
                "model": True,
                "model_type": "llama",
                "quantization": None,
            }
        }

    assert memory(make_plan("mi300x-8", old, serve_instances=[DISK]))["verdict"] == "unknown"
