# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment and options of an instance: what a release reads, what a GPU bears, and what the inventory may
ask for."""

from __future__ import annotations

import pytest

PODMAN = {"version": "5.4.2", "quadlet": "5.4", "init": True, "images": [], "image_digests": {}}


def with_podman(_gpus, rocm):
    rocm["podman"] = {**rocm["podman"], **PODMAN}


def chat(**more):
    return {"name": "chat", "model": "/srv/models/m", **more}


def first(plan):
    return plan["serve"]["instances"][0]


def findings(plan, *identifiers):
    return [(each["id"], each["severity"]) for each in plan["findings"] if each["id"] in identifiers]


# --- environment


@pytest.mark.parametrize(("version", "there"), [("0.22.1", False), ("0.24.0", True), ("0.33.0", True)])
def test_a_release_is_given_what_it_reads(make_plan, version, there):
    plan = make_plan("mi300x-8", with_podman, serve_instances=[chat()], vllm_version=version)
    assert ("VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS" in first(plan)["environment"]) is there
    told = [
        entry["reason"]
        for entry in plan["settings"]
        if entry["value"] == "VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS"
    ]
    assert told == ([] if there else [f"not set: vLLM {version} does not read it"])


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("VLLM_ROCM_FP8_PADDING", "true", "fail"),
        ("VLLM_ROCM_FP8_PADDING", "0", None),
        ("VLLM_ROCM_FP8_PADDING", False, None),
        ("VLLM_ROCM_QUICK_REDUCE_QUANTIZATION", "INT5", "fail"),
        ("VLLM_ROCM_QUICK_REDUCE_QUANTIZATION", "INT4", None),
        ("VLLM_ROCM_USE_AITER_MOE", "yes", "fail"),
        ("VLLM_ROCM_USE_AITER_MOE", "False", None),
        ("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "5m", "fail"),
        ("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", 600, None),
    ],
)
def test_values_that_vllm_stops_at(make_plan, name, value, severity):
    plan = make_plan("mi300x-8", with_podman, serve_instances=[chat(environment={name: value})])
    assert findings(plan, "vllm.environment_value", "vllm.environment") == (
        [("vllm.environment_value", severity)] if severity else []
    )


@pytest.mark.parametrize("name", ["VLLM_SERVER_DEV_MODE", "VLLM_PORT", "VLLM_TARGET_DEVICE", "HSA_XNACK"])
def test_variables_that_nobody_should_set(make_plan, name):
    plan = make_plan("mi300x-8", with_podman, serve_instances=[chat(environment={name: "1"})])
    assert findings(plan, "vllm.environment") == [("vllm.environment", "warn")]


@pytest.mark.parametrize("value", ["1", "true", "True", True])
def test_a_refusal_knows_every_way_to_say_yes(make_plan, value):
    plan = make_plan(
        "rx9070xt", with_podman, serve_instances=[chat(environment={"VLLM_ROCM_USE_AITER": value})]
    )
    assert ("vllm.refused", "fail") in findings(plan, "vllm.refused")


def test_in_a_container_the_inventory_beats_the_defaults_of_the_unit(make_plan):
    wants = {
        "vllm_environment": {"TRITON_CACHE_DIR": "/x", "HF_HUB_OFFLINE": "0", "TORCHINDUCTOR_CACHE_DIR": None}
    }
    environment = first(make_plan("mi300x-8", with_podman, serve_instances=[chat()], **wants))["environment"]
    assert (
        environment["TRITON_CACHE_DIR"],
        environment["HF_HUB_OFFLINE"],
        environment["VLLM_NO_USAGE_STATS"],
    ) == ("/x", "0", "1")
    assert "TORCHINDUCTOR_CACHE_DIR" not in environment


@pytest.mark.parametrize(
    ("host", "environment", "cache"),
    [
        ("mi300x-8", {}, "/root/.cache/vllm/aiter-0.33.0-rocm100"),
        ("mi300x-8", {"VLLM_ROCM_USE_AITER": "0"}, ""),
        ("mi300x-8", {"AITER_JIT_DIR": None}, ""),
        ("mi300x-8", {"AITER_JIT_DIR": "/root/.cache/vllm/mine"}, "/root/.cache/vllm/mine"),
        ("strix-halo-128", {}, ""),
    ],
)
def test_where_aiter_compiles_in_a_container(make_plan, host, environment, cache):
    instance = first(make_plan(host, with_podman, serve_instances=[chat(environment=environment)]))
    seed = instance["launch"]["seed"]
    assert (seed["folder"] if seed else "") == cache == instance["environment"].get("AITER_JIT_DIR", "")


def test_a_folder_of_the_container_is_not_filled(make_plan):
    environment = {"AITER_JIT_DIR": "/opt/mine"}
    instance = first(make_plan("mi300x-8", with_podman, serve_instances=[chat(environment=environment)]))
    assert instance["launch"]["seed"] is None and instance["environment"]["AITER_JIT_DIR"] == "/opt/mine"


# --- options


@pytest.mark.parametrize(
    ("name", "version", "wrong"),
    [
        ("monokernel", "0.32.0", True),
        ("monokernel", "0.33.0", False),
        ("disable-prefix-caching", "0.32.0", True),
        ("watchdog-config", "0.31.0", True),
        ("disable-log-requests", "0.33.0", False),
        ("disable-log-requests", "0.32.0", True),
        ("max-num-seqs", "0.19.1", False),
    ],
)
def test_an_option_is_held_to_the_releases_that_have_it(make_plan, name, version, wrong):
    options = {name: 8 if name == "max-num-seqs" else True}
    plan = make_plan("mi300x-8", with_podman, serve_instances=[chat(options=options)], vllm_version=version)
    assert findings(plan, "vllm.option") == ([("vllm.option", "fail")] if wrong else [])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max-num-seqs", True, "a whole number"),
        ("max-num-seqs", "many", "a whole number"),
        ("enforce-eager", 1, "true or false"),
        ("gpu-memory-utilization", "most", "a number"),
        ("dtype", "float8", "one of"),
        ("dtype", "half", None),
        ("max-num-seqs", "64", None),
    ],
)
def test_an_option_is_held_to_the_values_that_it_takes(make_plan, name, value, expected):
    plan = make_plan("mi300x-8", with_podman, serve_instances=[chat(options={name: value})])
    found = [finding["expected"] for finding in plan["findings"] if finding["id"] == "vllm.option"]
    assert (expected in found[0]) if expected else not found


@pytest.mark.parametrize(
    ("given", "rendered"),
    [
        ({"enable-prefix-caching": False}, {"no-enable-prefix-caching": True}),
        ({"disable-prefix-caching": False}, {"enable-prefix-caching": True}),
        ({"disable-cascade-attn": False}, {"no-disable-cascade-attn": True}),
        ({"enable-cascade-attn": False}, {"disable-cascade-attn": True}),
        ({"async-scheduling": False}, {"no-async-scheduling": True}),
        ({"disable-log-stats": False}, {}),
        ({"grpc": False}, {}),
        ({"no-async-scheduling": False}, {"async-scheduling": True}),
    ],
)
def test_what_a_false_becomes(make_plan, given, rendered):
    options = first(make_plan("mi300x-8", with_podman, serve_instances=[chat(options=given)]))["options"]
    usual = first(make_plan("mi300x-8", with_podman, serve_instances=[chat()]))["options"]
    assert {name: value for name, value in options.items() if name not in usual} == rendered


SHAPE = {
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "hidden_size": 3584,
    "vocab_size": 152064,
}


@pytest.mark.parametrize(
    ("instance", "tensor", "found"),
    [
        ({}, 4, "warn"),
        ({"gpus": [0, 1, 2, 3]}, 4, None),
        ({"gpus": [0, 1, 2]}, 2, "warn"),
        ({"options": {"tensor-parallel-size": 8}}, 8, "fail"),
        ({"options": {"tensor-parallel-size": 4}}, 4, None),
        ({"options": {"data-parallel-size": 8}}, None, None),
        ({"options": {"data-parallel-size": 2}}, 4, None),
        ({"options": {"pipeline-parallel-size": 2}}, 4, None),
    ],
)
def test_a_model_is_spread_as_its_heads_allow(make_plan, instance, tensor, found):
    plan = make_plan("mi300x-8", with_podman, serve_instances=[chat(model_config=SHAPE, **instance)])
    assert first(plan)["options"].get("tensor-parallel-size") == tensor
    assert findings(plan, "vllm.heads", "vllm.parallel") == ([("vllm.heads", found)] if found else [])


def test_replicas_count_as_devices(make_plan):
    plan = make_plan(
        "mi300x-8",
        with_podman,
        serve_instances=[chat(options={"data-parallel-size": 8, "tensor-parallel-size": 2})],
    )
    assert findings(plan, "vllm.parallel") == [("vllm.parallel", "fail")]


def test_files_that_options_name_are_given_to_the_server(make_plan, ids):
    options = {
        "chat-template": "/srv/templates/chat.jinja",
        "speculative-config": {"model": "/srv/drafter", "num_speculative_tokens": 3},
        "lora-modules": ["sql=/srv/adapters/sql", '{"name": "de", "path": "/srv/adapters/de"}'],
        "tokenizer": "/srv/models/m/tokenizer",
    }

    def there(gpus, rocm):
        with_podman(gpus, rocm)
        for path in (
            "/srv/templates/chat.jinja",
            "/srv/drafter",
            "/srv/adapters/sql",
            "/srv/models/m/tokenizer",
        ):
            rocm["paths"][path] = {"exists": True}

    plan = make_plan("mi300x-8", there, serve_instances=[chat(options=options)])
    assert set(first(plan)["read_only"]) == {
        "/srv/models/m", "/srv/templates/chat.jinja", "/srv/drafter", "/srv/adapters/sql", "/srv/adapters/de",
    }  # fmt: skip
    assert [finding["seen"] for finding in plan["findings"] if finding["id"] == "vllm.path"] == [
        "/srv/adapters/de, which does not exist"
    ]


@pytest.mark.parametrize(
    ("more", "completes"),
    [({}, True), ({"options": {"runner": "pooling"}}, False), ({"probe": "health"}, False),
     ({"options": {"convert": "embed"}, "probe": "completion"}, True)],
)  # fmt: skip
def test_a_server_that_embeds_is_asked_for_no_completion(make_plan, more, completes):
    assert first(make_plan("mi300x-8", with_podman, serve_instances=[chat(**more)]))["completes"] is completes


def test_tls_belongs_to_the_gateway(make_plan, ids):
    plan = make_plan("mi300x-8", serve_instances=[chat(options={"ssl-certfile": "/etc/ssl/a.pem"})])
    assert ids(plan) == ["inventory.variable"] and "gateway_tls_certificate" in plan["findings"][0]["remedy"]


# --- what a GPU bears


@pytest.mark.parametrize(
    ("host", "options", "severity"),
    [
        ("mi300x-8", {"attention-backend": "ROCM_AITER_FA"}, None),
        ("mi250-4", {"attention-backend": "ROCM_AITER_FA"}, "fail"),
        ("rx9070xt", {"attention-backend": "rocm_aiter_unified_attn"}, "fail"),
        ("mi250-4", {"attention-config": {"backend": "ROCM_AITER_MLA"}}, "fail"),
        ("mi250-4", {"attention-config": '{"backend": "TRITON_ATTN"}'}, None),
        ("strix-halo-128", {"attention-backend": "TRITON_FLASH_ATTN"}, "fail"),
        ("mi250-4", {"moe-backend": "aiter"}, "fail"),
        ("mi300x-8", {"moe-backend": "aiter", "linear-backend": "aiter"}, None),
        ("strix-halo-128", {"kv-cache-dtype": "fp8"}, "warn"),
        ("strix-halo-128", {"dtype": "bfloat16"}, "warn"),
        ("strix-halo-128", {"dtype": "half"}, None),
        ("strix-halo-128", {"tensor-parallel-size": 2}, "fail"),
    ],
)
def test_what_a_gpu_does_not_bear(make_plan, host, options, severity):
    plan = make_plan(host, with_podman, serve_instances=[chat(options=options)])
    assert findings(plan, "vllm.refused") == ([("vllm.refused", severity)] if severity else [])


def test_a_backend_that_came_later(make_plan):
    wants = {"serve_instances": [chat(options={"attention-backend": "ROCM_SEGMENTED_ATTN"})]}
    assert findings(make_plan("mi300x-8", with_podman, vllm_version="0.31.0", **wants), "vllm.refused") == [
        ("vllm.refused", "fail")
    ]
    assert findings(make_plan("mi300x-8", with_podman, vllm_version="0.32.0", **wants), "vllm.refused") == []


@pytest.mark.parametrize(
    ("gpus", "aiter", "fails"), [([0], "1", []), ([1], "0", []), ([0, 1], "1", [("gpu.mixed", "fail")])]
)
def test_an_instance_has_the_profile_of_its_own_gpus(make_plan, gpus, aiter, fails):
    def mixed(facts, rocm):
        with_podman(facts, rocm)
        facts["gpus"] = facts["gpus"][:2]
        facts["gpus"][1] |= {"gfx": "gfx1201", "product": "AMD Radeon RX 9070 XT", "family": "rdna4"}
        facts["gfx"] = ["gfx1201", "gfx942"]

    plan = make_plan("mi300x-8", mixed, serve_instances=[chat(gpus=gpus)])
    assert first(plan)["environment"]["VLLM_ROCM_USE_AITER"] == aiter
    assert [found for found in findings(plan, "gpu.mixed") if found[1] == "fail"] == fails
