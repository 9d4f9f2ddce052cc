# SPDX-License-Identifier: GPL-3.0-or-later
"""The partition section of the plan, and what the rest of the plan makes of partitions."""

from __future__ import annotations

import pytest

INSTANCE = {"name": "main", "model": "/srv/models/tiny"}


def mine(plan, ids):
    return {
        name for severity in ("fail", "warn") for name in ids(plan, severity) if name.startswith("partition.")
    }


@pytest.mark.parametrize(
    "host", ["mi300x-8", "mi300x-8-cpx", "mi300x-8-nodriver", "strix-halo-128", "no-gpu", "mi250-4"]
)
def test_a_host_that_asks_for_nothing_gets_nothing(make_plan, ids, host):
    plan = make_plan(host)
    assert not plan["partition"]["wanted"] and not plan["partition"]["change"] and mine(plan, ids) == set()
    assert not [setting for setting in plan["settings"] if setting["role"] == "partition"]


def test_cpx(make_plan, ids):
    plan = make_plan(
        "mi300x-8", partition_compute="CPX", partition_memory="NPS4", partition_stop_services=["gpuagent"]
    )
    section = plan["partition"]
    assert (
        section["wanted"] and section["change"] and (section["compute"], section["memory"]) == ("CPX", "NPS4")
    )
    assert section["stop_services"] == ["gpuagent"] and mine(plan, ids) == set()
    settings = {setting["setting"]: setting for setting in plan["settings"] if setting["role"] == "partition"}
    assert settings["compute"]["source"] == "the inventory" and settings["devices"]["value"] == 64
    assert settings["devices"]["source"].startswith("ROCm/rocm-docs partitioning")


@pytest.mark.parametrize(
    ("host", "compute", "memory", "change"),
    [
        ("mi300x-8-cpx-nps4", "CPX", "NPS4", False),
        ("mi300x-8-cpx", "CPX", "", False),
        ("mi300x-8-cpx", "CPX", "NPS4", True),
        ("mi300x-8-cpx-nps4", "SPX", "NPS1", True),
        ("mi300x-8-nodriver", "CPX", "NPS4", True),
    ],
)
def test_a_host_in_the_right_mode_is_left_alone(make_plan, ids, host, compute, memory, change):
    plan = make_plan(host, partition_compute=compute, partition_memory=memory)
    assert plan["partition"]["wanted"] and plan["partition"]["change"] is change and mine(plan, ids) == set()


@pytest.mark.parametrize(
    ("host", "compute", "memory", "finding", "words"),
    [
        ("mi300x-8", "QPX", "", "partition.not_offered", "SPX, DPX, CPX"),
        ("strix-halo-128", "CPX", "", "partition.not_offered", "offers no partition modes"),
        ("rx9070xt", "CPX", "", "partition.not_offered", "offers no partition modes"),
        ("no-gpu", "CPX", "", "partition.not_offered", "nothing to partition"),
        (
            "mi300x-8",
            "DPX",
            "NPS4",
            "partition.combination",
            "more memory partitions (4) than compute partitions (2)",
        ),
        (
            "mi300x-8",
            "",
            "NPS4",
            "partition.combination",
            "more memory partitions (4) than compute partitions (1)",
        ),
        ("mi300x-8-nodriver", "DPX", "NPS1", "partition.combination", "without the driver"),
        ("mi300x-8", "CPX", "NPS2", "partition.undocumented", "driver may refuse"),
    ],
)
def test_what_the_gpu_offers_outranks_the_catalog(make_plan, host, compute, memory, finding, words):
    plan = make_plan(host, partition_compute=compute, partition_memory=memory)
    found = [entry for entry in plan["findings"] if entry["id"].startswith("partition.")]
    assert [entry["id"] for entry in found] == [finding] and words in found[0]["why"]
    assert found[0]["severity"] == ("warn" if finding == "partition.undocumented" else "fail")
    assert plan["partition"]["wanted"] is (finding != "partition.not_offered")


def test_a_mode_outside_the_table_that_the_gpu_offers_is_taken(make_plan, ids):
    def offers(gpus, _rocm):
        for gpu in gpus["gpus"]:
            gpu["available_compute_partitions"] = ["SPX", "DPX", "QPX", "CPX"]

    plan = make_plan("mi300x-8", offers, partition_compute="QPX", partition_memory="NPS1")
    assert mine(plan, ids) == {"partition.undocumented"} and plan["partition"]["wanted"]


def test_back_when_the_list_depends_on_the_memory_mode(make_plan, ids):
    def only_cpx(gpus, _rocm):
        for gpu in gpus["gpus"]:
            gpu["available_compute_partitions"] = ["CPX"]

    plan = make_plan("mi300x-8-cpx-nps4", only_cpx, partition_compute="SPX", partition_memory="NPS1")
    assert plan["partition"]["change"] and mine(plan, ids) == set()


def test_a_virtual_function_has_no_modes(make_plan, ids):
    def virtual(gpus, _rocm):
        for gpu in gpus["gpus"]:
            gpu["virtual_function"] = True

    assert mine(make_plan("mi300x-8", virtual, partition_compute="CPX"), ids) == {"partition.not_offered"}


def test_a_host_of_which_the_mode_is_not_wanted_after_all_is_passed_over(make_plan, ids):
    plan = make_plan("strix-halo-128", partition_compute="CPX", plan_accept=["partition.not_offered"])
    assert ids(plan) == [] and not plan["partition"]["wanted"]


def test_different_modes_are_said_unless_they_are_made_one(make_plan, ids):
    def mixed(gpus, _rocm):
        gpus["gpus"][3] |= {"compute_partition": "DPX", "partitions": 2}

    plan = make_plan("mi300x-8", mixed)
    assert mine(plan, ids) == {"partition.mixed"}
    assert (
        "GPU 3 in DPX NPS1"
        in next(entry for entry in plan["findings"] if entry["id"] == "partition.mixed")["seen"]
    )
    one = make_plan("mi300x-8", mixed, partition_compute="SPX", partition_memory="NPS1")
    assert mine(one, ids) == set() and one["partition"]["change"]


def test_a_device_that_is_not_shown(make_plan, ids):
    def lacking(gpus, _rocm):
        gpus["gpus"][7] |= {"partitions": 7, "xcc_count": 7}

    plan = make_plan("mi300x-8-cpx", lacking, partition_compute="CPX")
    assert mine(plan, ids) == {"partition.missing"}
    finding = next(entry for entry in plan["findings"] if entry["id"] == "partition.missing")
    assert (
        finding["seen"] == "7 devices of GPU 7 in CPX"
        and finding["expected"] == "8"
        and "free_drm_minors" in finding["remedy"]
    )


def test_where_the_mode_is_not_known_its_like_say_how_many_devices_a_gpu_has(make_plan, ids):
    def lacking(gpus, _rocm):
        for gpu in gpus["gpus"]:
            gpu |= {"compute_partition": None, "partitions": 8 - (gpu["index"] == 7)}

    assert mine(make_plan("mi300x-8-cpx", lacking), ids) == {"partition.missing"}


@pytest.mark.parametrize(
    ("part", "key", "value", "found"),
    [
        ("driver", "version", "6.10.5", True),
        ("driver", "version", "6.12.12", False),
        ("kernel", "release", "5.4.0-42-generic", True),
        ("firmware", "vbios", "022.040.003.042.000001", True),
        ("firmware", "vbios", "022.040.003.043.000001", False),
        ("firmware", "vbios", "113-M3000100-102", False),
    ],
)
def test_minimums(make_plan, ids, part, key, value, found):
    def old(_gpus, rocm):
        rocm[part][key] = value

    assert ("partition.minimum" in mine(make_plan("mi300x-8", old, partition_compute="CPX"), ids)) is found
    assert "partition.minimum" not in mine(make_plan("mi300x-8", old), ids)


def test_units_of_vllm_are_stopped_and_wait_for_the_mode(make_plan):
    def serving(_gpus, rocm):
        rocm["serve_units"] = [
            "/etc/containers/systemd/vllm-old.container",
            "/etc/systemd/system/vllm-main.service",
        ]

    section = make_plan(
        "mi300x-8",
        serving,
        partition_compute="CPX",
        serve_instances=[INSTANCE, {**INSTANCE, "name": "new", "port": 8001}],
    )["partition"]
    assert section["stop_services"] == ["vllm-main.service", "vllm-old.service"]
    assert section["before"] == ["vllm-main.service", "vllm-new.service", "vllm-old.service"]


def test_absent_asks_nothing_of_the_gpus(make_plan, ids):
    plan = make_plan("strix-halo-128", partition_state="absent", partition_compute="CPX")
    assert (
        plan["partition"]["state"] == "absent"
        and not plan["partition"]["wanted"]
        and mine(plan, ids) == set()
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("partition_compute", "cpx"), ("partition_memory", "NPS3"), ("partition_memmory", "NPS1")],
)
def test_a_wrong_value_or_name_is_a_finding(make_plan, ids, variable, value):
    assert ids(make_plan("mi300x-8", **{variable: value})) == ["inventory.variable"]


def test_the_plan_of_vllm_after_the_change_has_the_devices_of_the_new_mode(make_plan):
    """The role plans again once the mode has changed: this is what it comes to."""
    wants = {
        "serve_instances": [{**INSTANCE, "gpus": [0, 1]}],
        "partition_compute": "CPX",
        "partition_memory": "NPS4",
    }
    first, second = make_plan("mi300x-8", **wants), make_plan("mi300x-8-cpx-nps4", **wants)
    assert first["partition"]["change"] and not second["partition"]["change"]
    before, after = first["serve"]["instances"][0], second["serve"]["instances"][0]
    assert len(before["devices"]) == 1 + 2 and len(after["devices"]) == 1 + 16
    assert before["options"]["tensor-parallel-size"] == 2 and "tensor-parallel-size" not in after["options"]
