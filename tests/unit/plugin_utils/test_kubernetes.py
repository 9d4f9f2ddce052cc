# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the role kubernetes, held to what a cluster accepts and to the plan that they are made of."""

from __future__ import annotations

import urllib.parse

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_schema import check, pod_of
from plans import said

from ansible_collections.amdgpu.fleet.plugins.filter.kubernetes import kubernetes_objects
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import kubernetes_names as names
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import kubernetes_objects as made
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import kubernetes_volumes

CHAT = {"name": "chat", "model": "/srv/models/chat"}
ONE = {"serve_instances": [CHAT]}
FOLDER = {"exists": True, "directory": True, "model": True, "weights_bytes": 50 << 30}


@pytest.fixture
def make(read_facts):
    """make("mi300x-8", **wants) -> what the filter makes of the host."""

    def objects(host: str, change=None, name: str = "", **wants) -> dict:
        facts = read_facts(host)
        for instance in wants.get("serve_instances", []):
            facts["amd_host"]["paths"].setdefault(instance["model"], dict(FOLDER))
        if change:
            change(facts)
        return kubernetes_objects(facts, {"serve_kind": "kubernetes", **wants}, name or host)

    return objects


def of_kind(objects: dict, kind: str) -> list[dict]:
    return [each for each in [*objects["shared"], *objects["own"]] if each["kind"] == kind]


def only(objects: dict, kind: str) -> dict:
    (found,) = of_kind(objects, kind)
    return found


def container(objects: dict) -> dict:
    return only(objects, "ServingRuntime")["spec"]["containers"][0]


def value(objects: dict, name: str) -> str | dict:
    (found,) = [each for each in container(objects)["env"] if each["name"] == name]
    return found.get("value") or found["valueFrom"]


def check_all(objects: dict) -> None:
    every = [*objects["shared"], *objects["own"]]
    assert every
    for manifest in every:
        check(manifest, every)
    # A file says what the object is, and has no other reading.
    texts = {tuple(sorted(yaml.safe_load(text))): 0 for text in objects["files"].values()}
    assert texts
    loaded = [yaml.safe_load(text) for path, text in objects["files"].items() if path.endswith(".yaml")]
    assert all(manifest in loaded for manifest in every)


CASES = {
    "mi300x": ("mi300x-8", ONE),
    "tensor parallel": ("mi300x-8", {"serve_instances": [{**CHAT, "options": {"tensor-parallel-size": 8}}]}),
    "cpx": ("mi300x-8-cpx-nps4", {**ONE, "kubernetes_resource_strategy": "mixed"}),
    "one each": ("mi300x-8", {"serve_instances": [{**CHAT, "count": 8}]}),
    "halo": ("strix-halo-128", ONE),
    "rdna4": ("rx9070xt", ONE),
    "openshift": ("mi300x-8", {**ONE, "kubernetes_flavor": "openshift", "devices_mode": "0666"}),
    "daemonset": ("mi300x-8", {**ONE, "kubernetes_device_plugin": "daemonset", "kubernetes_taint": True}),
    "claims": (
        "mi300x-8",
        {
            "serve_instances": [{**CHAT, "model": "/var/lib/amdgpu-fleet/models/chat"}],
            "kubernetes_model_claim": "models",
            "kubernetes_cache_class": "fast",
        },
    ),
    "exposed": ("mi300x-8", {"serve_instances": [{**CHAT, "host": "10.0.0.9"}], "serve_api_key": "0123456789abcdef"}),
    "no gpu": ("no-gpu", ONE),
}


@pytest.mark.parametrize(("host", "wants"), CASES.values(), ids=CASES)
def test_a_cluster_accepts_the_objects(make, host, wants):
    check_all(make(host, **wants))
