# SPDX-License-Identifier: GPL-3.0-or-later
"""One model on several hosts: the place of each, and what they talk over."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.filter.plan import inventory_nodes
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence

HOST = "mi300x-8-roce"
RACK = {"rack": [{"name": HOST, "address": "192.0.2.11"}, {"name": "second", "address": "192.0.2.12"}]}
CHAT = {"name": "chat", "model": "Qwen/Qwen3-8B", "nodes": "rack", "host": "192.0.2.11"}


@pytest.fixture
def make(make_plan):
    def plan(change=None, nodes=None, instance=None, **wants):
        return make_plan(
            HOST,
            change,
            __inventory_nodes=RACK if nodes is None else nodes,
            serve_instances=[{**CHAT, **(instance or {})}],
            **wants,
        )

    return plan


def text_of(plan, name):
    return next(sentence(finding) for finding in plan["findings"] if finding["id"] == name)


def test_the_first_host_answers(make, ids):
    plan = make()
    assert ids(plan) == []
    instance = plan["serve"]["instances"][0]
    assert instance["options"] | {
        "nnodes": 2, "node-rank": 0, "master-addr": "192.0.2.11", "master-port": 29501, "distributed-executor-backend": "mp",
        "pipeline-parallel-size": 2, "tensor-parallel-size": 8,
    } == instance["options"]  # fmt: skip
    assert "headless" not in instance["options"] and not instance["worker"] and instance["exposed"]
    assert instance["nodes"]["lifeline"] == 29502 and instance["url"] == "http://192.0.2.11:8000"


def test_the_others_compute_for_it(make, ids):
    def held(_gpus, rocm):
        rocm["ports"] = {"8000": {"listening": True, "unit": "nginx.service", "process": "nginx"}}

    turned = {"rack": [{"name": "first", "address": "192.0.2.10"}, {"name": HOST, "address": "192.0.2.11"}]}
    plan = make(held, turned, {"host": "192.0.2.10"})
    assert ids(plan) == [], "nothing listens on a worker, so its ports are its own business"
    instance = plan["serve"]["instances"][0]
    assert instance["options"]["headless"] is True and instance["options"]["node-rank"] == 1
    assert instance["worker"] and not instance["exposed"] and instance["nodes"]["last"]
    assert (
        instance["url"] == "http://192.0.2.10:8000"
        and instance["environment"]["VLLM_HOST_IP"] == "192.0.2.11"
    )
    assert make(None, turned, {"host": "127.0.0.1"})["serve"]["instances"][0]["url"] == ""


def test_what_they_talk_over(make, ids):
    plan = make()
    environment = plan["serve"]["instances"][0]["environment"]
    wanted = {
        "VLLM_HOST_IP": "192.0.2.11",
        "NCCL_SOCKET_IFNAME": "eno1",
        "GLOO_SOCKET_IFNAME": "eno1",
        # Not that of the interface for people, and not the one that is unplugged.
        "NCCL_IB_HCA": "=mlx5_0:1,mlx5_1:1",
        "NCCL_IB_GID_INDEX": "3",
    }
    assert wanted == {name: environment.get(name) for name in wanted}
    reasons = {entry["value"]: entry for entry in plan["settings"] if entry["setting"] == "chat environment"}
    assert all(
        reasons[f"{name}={value}"]["reason"] and reasons[f"{name}={value}"]["source"]
        for name, value in wanted.items()
    )
    assert [name for name in ids(plan, "warn") if name.startswith("vllm.")] == ["vllm.rdma_down"]
    assert "mlx5_2:1 down" in text_of(plan, "vllm.rdma_down")


def test_the_inventory_beats_what_was_detected(make):
    plan = make(vllm_environment={"NCCL_IB_HCA": "mlx5_7", "NCCL_IB_GID_INDEX": None}, instance={"options": {"pipeline-parallel-size": 1,
                "tensor-parallel-size": 16, "master-port": 4000}})  # fmt: skip
    instance = plan["serve"]["instances"][0]
    assert (
        instance["environment"]["NCCL_IB_HCA"] == "mlx5_7"
        and "NCCL_IB_GID_INDEX" not in instance["environment"]
    )
    assert instance["options"]["tensor-parallel-size"] == 16 and instance["nodes"]["lifeline"] == 4001


def test_nothing_of_it_on_a_single_host(make):
    alone = make(nodes={"rack": RACK["rack"][:1]})["serve"]["instances"][0]
    assert alone["nodes"] is None and "nnodes" not in alone["options"]
    assert not {"VLLM_HOST_IP", "NCCL_SOCKET_IFNAME", "NCCL_IB_HCA"} & set(alone["environment"])


def test_the_cpu_needs_no_rccl(make):
    plan = make(serve_accelerator="cpu")
    environment = plan["serve"]["instances"][0]["environment"]
    assert environment["GLOO_SOCKET_IFNAME"] == "eno1" and not [
        name for name in environment if name.startswith("NCCL")
    ]
    assert plan["serve"]["instances"][0]["options"]["pipeline-parallel-size"] == 2


def rdma(**values):
    def change(_gpus, rocm):
        for port in rocm["network"]["rdma"]:
            port.update(values)

    return change


def test_rdma_that_cannot_be_used(make):
    def indexes(_gpus, rocm):
        for number, port in enumerate(rocm["network"]["rdma"]):
            port["roce_v2"] = [number]

    down = make(rdma(up=False))
    environment = down["serve"]["instances"][0]["environment"]
    assert environment["NCCL_IB_DISABLE"] == "1" and "NCCL_IB_HCA" not in environment
    assert "RCCL talks over TCP on eno1" in text_of(down, "vllm.rdma_down")
    blind = make(rdma(roce_v2=[]))
    assert blind["serve"]["instances"][0]["environment"]["NCCL_IB_DISABLE"] == "1"
    assert "no GID of RoCE v2 on mlx5_0:1, mlx5_1:1" in text_of(blind, "vllm.rdma_gid")
    apart = make(indexes)
    assert "NCCL_IB_GID_INDEX" not in apart["serve"]["instances"][0]["environment"]
    assert "mlx5_0: 1; mlx5_1: 2" in text_of(apart, "vllm.rdma_gid")


def test_infiniband_has_no_roce(make):
    environment = make(rdma(link="InfiniBand", roce_v2=[]))["serve"]["instances"][0]["environment"]
    assert environment["NCCL_IB_HCA"] == "=mlx5_0:1,mlx5_1:1" and "NCCL_IB_GID_INDEX" not in environment


def nodes(**addresses):
    return {
        "rack": [{"name": name.replace("_", "-"), "address": address} for name, address in addresses.items()]
    }


@pytest.mark.parametrize(
    ("change", "members", "instance", "finding", "words"),
    [
        (None, {}, {}, "vllm.nodes", ["a group rack with mi300x-8-roce"]),
        (None, nodes(a="192.0.2.1", b="192.0.2.2"), {}, "vllm.nodes", ["rack of a, b"]),
        (None, nodes(a="rack-1.example.net", mi300x_8_roce="192.0.2.11"), {}, "vllm.node_address", ["rack-1.example.net for a"]),
        (None, nodes(mi300x_8_roce="203.0.113.7", b="192.0.2.2"), {}, "vllm.node_address", ["203.0.113.7", "eno1 192.0.2.0/24"]),
        (None, nodes(mi300x_8_roce="198.51.100.33", b="192.0.2.2"), {}, "vllm.node_link", ["ens3", "is down"]),
        (None, RACK, {"options": {"pipeline-parallel-size": 1, "tensor-parallel-size": 5}}, "vllm.nodes_split", ["5 x 1 devices over 2"]),
        (None, RACK, {"options": {"tensor-parallel-size": 16}}, "vllm.parallel", ["16 x 2", "at most 16"]),
        (None, RACK, {"port": 29502}, "serve.port", ["29502, twice"]),
        (None, RACK, {"count": 2}, "inventory.variable", ["Remove count or nodes"]),
    ],
)  # fmt: skip
def test_groups_that_cannot_serve(make, ids, change, members, instance, finding, words):
    plan = make(change, members, instance)
    assert finding in ids(plan)
    text = text_of(plan, finding)
    assert all(word in text for word in words), text


def test_what_the_inventory_says_of_a_group():
    hostvars = {
        "a": {"ansible_host": "192.0.2.1"},
        "b": {"ansible_host": "192.0.2.2", "serve_node_address": "198.51.100.2"},
        "c": {},
    }
    instances = [{"name": "x", "nodes": "rack"}, {"name": "y"}, {"name": "z", "nodes": "none"}]
    assert inventory_nodes(instances, {"rack": ["a", "b", "c"], "other": ["b"]}, hostvars) == {
        "rack": [
            {"name": "a", "address": "192.0.2.1"},
            {"name": "b", "address": "198.51.100.2"},
            {"name": "c", "address": "c"},
        ],
        "none": [],
    }


@pytest.mark.parametrize(
    "instances",
    [5, "abc", {"name": "x", "nodes": "rack"}, [1], [{"name": "x", "nodes": ["rack"]}], [None, {}]],
)
def test_what_is_written_wrong_is_left_to_the_plan(instances):
    assert inventory_nodes(instances, {"rack": ["a"]}, {"a": {}}) == {}
    assert [
        finding["id"] for finding in planner.plan({}, {"serve_instances": instances}, "a")["findings"]
    ] == ["inventory.variable"]


def test_a_group_of_no_instance():
    assert inventory_nodes(None, {"rack": ["a"]}, {"a": {}}) == {}
