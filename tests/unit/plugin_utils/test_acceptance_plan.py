# SPDX-License-Identifier: GPL-3.0-or-later
"""Which acceptance tests a host is planned, with which thresholds, and when it may not serve."""

from __future__ import annotations

import copy

import pytest
from plans import said

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import read_part

CATALOG = read_part("acceptance")
SERVER = {"name": "chat", "model": "/srv/model"}
KNOWN = {
    "level": "quick", "verdict": "pass", "finished": "2026-11-28T19:00:00Z", "age_hours": 5, "plan": "",
    "failed": [], "warnings": 0, "changed": [],
}  # fmt: skip


@pytest.fixture
def tests_of(make_plan):
    def make(host: str, level: str = "quick", **wants) -> dict[str, dict]:
        plan = make_plan(host, plan_acceptance=True, acceptance_level=level, **wants)
        assert "acceptance" in plan, said(plan, "inventory.variable")
        return {test["name"]: test for test in plan["acceptance"]["tests"]}

    return make


def leasts(test: dict) -> dict[str, float]:
    return {each["metric"]: each["least"] for each in test["thresholds"]}


def test_every_threshold_is_of_a_test_and_has_a_source():
    for name, entry in CATALOG["thresholds"].items():
        assert entry["test"] in CATALOG["tests"], name
        assert "system-acceptance-docs" in entry["source"], name
    for name, entry in CATALOG["tests"].items():
        assert entry["tool"] in CATALOG["tools"], name
        assert set(entry["levels"]) <= set(CATALOG["levels"]), name


def test_a_rack_is_held_to_what_amd_publishes(tests_of):
    tests = tests_of("mi300x-8")
    assert leasts(tests["rccl_all_reduce"]) == {"busbw_in_place_8g": 304}
    assert leasts(tests["transferbench_a2a"]) == {"a2a_average": 32.9}
    assert leasts(tests["transferbench_p2p"]) == {"p2p_gpu_gpu_one_way": 33.9, "p2p_gpu_gpu_both": 43.9}
    assert leasts(tests["babelstream"])["copy"] == 4177285
    assert tests["rccl_all_reduce"]["command"][-2:] == ["-g", "8"]
    assert tests["rccl_all_reduce"]["devices"] == 8
    assert leasts(tests["bandwidth"]) == {}


def test_partitions_are_not_held_to_figures_of_whole_gpus(tests_of):
    tests = tests_of("mi300x-8-cpx")
    assert tests["rccl_all_reduce"]["devices"] == 64
    assert [name for name, test in tests.items() if test["thresholds"]] == []


def test_levels_add_tests(tests_of):
    quick, full, burn_in = (tests_of("mi300x-8", level) for level in ("quick", "full", "burn_in"))
    assert "rvs_gemm" not in quick and "rvs_power" not in full and "rvs_power" in burn_in
    assert full["rvs_gemm"]["command"][-1].endswith("/conf/MI300X/gst_single.conf")
    assert tests_of("mi355x-8", "burn_in")["rvs_level_4"]["command"][-1].endswith("MI355X/rvs_level_4.conf")


def test_a_workstation_has_no_tests_of_a_rack(tests_of):
    assert tests_of("strix-halo-128").keys() == {"host_memory", "bandwidth", "hipblaslt_bf16"}
    assert tests_of("no-gpu").keys() == {"host_memory"}


def test_the_engine_is_measured_with_its_own_program_and_key(tests_of):
    servers = [{**SERVER, "host": "10.0.0.1", "options": {"max-model-len": 256}}]
    test = tests_of("mi300x-8", serve_instances=servers)["vllm_serve_chat"]
    assert test["programs"] == ["/opt/vllm/0.33.0-rocm100/bin/python"]
    assert test["command"][:5] == ["{program}", "-m", "vllm.entrypoints.cli.main", "bench", "serve"]
    words = dict(zip(test["command"][5::2], test["command"][6::2]))
    assert words["--base-url"] == "http://10.0.0.1:8000" and words["--tokenizer"] == "/srv/model"
    assert int(words["--random-input-len"]) + int(words["--random-output-len"]) <= 224
    assert test["secret_file"] == "/etc/vllm/chat.secret" and not test["idle"] and test["optional"]
    assert not any("secret" in word for word in test["command"])


def test_in_a_container_the_result_comes_back_as_text(tests_of):
    servers = [{**SERVER, "options": {"max-model-len": 4096}}]
    test = tests_of("strix-halo-128", serve_instances=servers, serve_kind="quadlet")
    test = next(each for name, each in test.items() if name.startswith("vllm_serve"))
    assert test["programs"] == ["podman"] and test["output"] == ""
    assert test["command"][1] == "exec" and "vllm-chat" in test["command"]


def test_llama_bench_has_what_the_container_of_the_server_has(tests_of):
    servers = [{"name": "smol", "model": "/srv/model.gguf", "engine": "llama_cpp"}]
    of_desk = tests_of("strix-halo-128", serve_instances=servers, serve_podman_arguments="--userns host")
    test = of_desk["llama_bench_smol"]
    assert test["programs"] == ["podman"] and test["idle"] and test["optional"]
    words = test["command"]
    assert (
        words[:3] == ["{program}", "run", "--rm"] and "--network=none" in words and "--cap-drop=all" in words
    )
    assert "--device=/dev/dri/renderD128" in words and "--volume=/srv/model.gguf:/srv/model.gguf:ro" in words
    assert words[words.index("--userns") + 1] == "host"
    assert words[-11] == "benchmark" and words[-10:-5] == ["-o", "json", "-m", "/srv/model.gguf", "-p"]
    assert f"--timeout={test['timeout']}" in words, "a container outlives the client that is ended"
    of_program = {"serve_kind": "venv", "serve_instances": servers}
    assert tests_of("strix-halo-128", **of_program)["llama_bench_smol"]["programs"][0] == "llama-bench"


def test_the_network_is_measured_where_a_peer_is_named(tests_of):
    assert "network_tcp" not in tests_of("mi300x-8")
    tests = tests_of("mi300x-8", "full", acceptance_peer="node2")
    assert tests["network_tcp"]["command"][2] == "{peer}" and "network_rdma" not in tests
    assert "network_rdma" in tests_of("mi300x-8-roce", "full", acceptance_peer="node2")


def test_the_inventory_beats_the_thresholds(tests_of):
    own = {
        "rccl_all_reduce.busbw_in_place_8g": 310,
        "transferbench_a2a.a2a_average": None,
        "bandwidth.local": 200,
    }
    tests = tests_of("mi300x-8", acceptance_thresholds=own)
    assert leasts(tests["rccl_all_reduce"]) == {"busbw_in_place_8g": 310}
    assert leasts(tests["transferbench_a2a"]) == {} and leasts(tests["bandwidth"]) == {"local": 200}
    entry = {**CATALOG["thresholds"]["mi300x_all_reduce"], "least": 299}
    tests = tests_of("mi300x-8", plan_catalog={"acceptance": {"thresholds": {"mi300x_all_reduce": entry}}})
    assert leasts(tests["rccl_all_reduce"]) == {"busbw_in_place_8g": 299}


def test_what_is_left_out_says_so(tests_of):
    tests = tests_of(
        "mi300x-8", acceptance_skip=["babelstream"], acceptance_tests=["bandwidth", "babelstream"]
    )
    assert tests["babelstream"]["skipped"] == "left out by acceptance_skip"
    assert tests["rccl_all_reduce"]["skipped"] == "left out by acceptance_tests"
    assert tests["bandwidth"]["skipped"] == ""


@pytest.mark.parametrize(
    ("wants", "words"),
    [
        ({"acceptance_tests": ["rcl"]}, "there is no test 'rcl'"),
        ({"acceptance_thresholds": {"bandwidth": 3}}, "Write test.metric"),
        ({"acceptance_thresholds": {"bandwidth.local": "much"}}, "'much'"),
        ({"acceptance_level": "slow"}, "acceptance_level"),
        ({"acceptance_max_age": -1}, "acceptance_max_age"),
    ],
)
def test_what_does_not_fit_is_refused(make_plan, wants, words):
    plan = make_plan("mi300x-8", **wants)
    assert words in "".join(said(plan, "inventory.variable"))


def known(**more):
    def change(_gpus, host):
        host["acceptance"] = {**KNOWN, **more}

    return change


def test_without_the_wish_nothing_is_demanded(make_plan):
    plan = make_plan("mi300x-8", serve_instances=[SERVER])
    assert plan["acceptance"]["refused"] == "" and plan["acceptance"]["tests"] == []


def test_a_host_that_passed_nothing_may_not_serve(make_plan):
    plan = make_plan("mi300x-8", serve_instances=[SERVER], acceptance_required="quick")
    assert plan["acceptance"]["refused"].startswith("acceptance.missing: seen no record")
    assert "acceptance_level=quick" in said(plan, "acceptance.missing")[0]
    # The rest of the run goes on: the tests need the driver.
    assert [each["severity"] for each in plan["findings"] if each["id"] == "acceptance.missing"] == ["warn"]
    assert make_plan("mi300x-8", acceptance_required="quick")["acceptance"]["refused"] == ""


@pytest.mark.parametrize(
    ("record", "wants", "seen"),
    [
        ({}, {}, ""),
        ({"level": "burn_in"}, {}, ""),
        ({"verdict": "fail", "failed": ["rccl_all_reduce"]}, {}, "fail at level quick (rccl_all_reduce)"),
        ({"verdict": "incomplete"}, {}, "incomplete"),
        ({"level": "quick"}, {"acceptance_required": "full"}, "pass at level quick"),
        ({"level": "galactic"}, {}, "galactic"),
        ({"changed": ["serial of GPU 0000:05:00.0"]}, {}, "other serial of GPU"),
        ({"plan": "older"}, {}, "other the plan of driver"),
        ({"age_hours": 24 * 31}, {"acceptance_max_age": 30}, "31 days old"),
        ({"age_hours": 24 * 30}, {"acceptance_max_age": 30}, ""),
        ({"age_hours": None}, {"acceptance_max_age": 30}, "of unknown age"),
        ({"age_hours": None}, {}, ""),
    ],
)
def test_a_pass_holds_for_what_it_was_made_with(make_plan, record, wants, seen):
    asked = {"serve_instances": [SERVER], "acceptance_required": "quick", **wants}
    digest = make_plan("mi300x-8", **asked)["acceptance"]["digest"]
    plan = make_plan("mi300x-8", change=known(**{"plan": digest, **record}), **asked)
    assert seen in plan["acceptance"]["refused"] and bool(seen) == bool(plan["acceptance"]["refused"])


def test_another_driver_is_another_plan(make_plan):
    one = make_plan("mi300x-8")["acceptance"]["digest"]
    assert one == make_plan("mi300x-8", serve_instances=[SERVER])["acceptance"]["digest"]
    assert one != make_plan("mi300x-8", driver_policy="inbox")["acceptance"]["digest"]
    assert one == copy.copy(make_plan("mi300x-8", plan_acceptance=True)["acceptance"]["digest"])


@pytest.mark.parametrize("arguments", ["--label 'x", '--env=A="b'])
def test_arguments_of_podman_with_an_open_quote_are_refused(make_plan, arguments):
    servers = [{"name": "smol", "model": "/srv/model.gguf", "engine": "llama_cpp"}]
    plan = make_plan("strix-halo-128", serve_instances=servers, serve_podman_arguments=arguments)
    (sentence,) = said(plan, "inventory.variable")
    assert "serve_podman_arguments" in sentence and "has a quote without an end" in sentence
