# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the emulated hosts, read by the modules themselves, once for each host."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from testbed.tree import load_host, write_tree


@pytest.fixture(scope="session")
def read_facts(tmp_path_factory, find_facts):
    known: dict = {}

    def read(host: str) -> tuple[dict, dict]:
        if host not in known:
            root = tmp_path_factory.mktemp(host)
            write_tree(load_host(host), root)
            known[host] = _both(find_facts, root)
        return copy.deepcopy(known[host])

    return read


@pytest.fixture
def plan_of_tree(find_facts):
    """plan_of_tree(root, **wants) -> the plan of the host whose files lie below ``root``."""

    def make(root: Path, **wants) -> dict:
        gpus, rocm = _both(find_facts, root)
        return planner.plan(gpus, rocm, wants, "host")

    return make


def _both(find_facts, root: Path) -> tuple[dict, dict]:
    return find_facts("gpu_facts", root), find_facts("rocm_facts", root, network=True)


@pytest.fixture
def make_plan(read_facts):
    """make_plan("mi300x-8", driver_policy="inbox") -> the plan; ``change`` may edit the facts first."""

    def make(host: str, change=None, **wants) -> dict:
        gpus, rocm = read_facts(host)
        # As a tree has no programs: a host that can have the environment of every build.
        rocm["programs"] = {"python3.11": "/usr/bin/python3.11", "python3.12": "/usr/bin/python3.12"}
        if change:
            change(gpus, rocm)
        for instance in wants.get("serve_instances", []):
            rocm["paths"].setdefault(
                instance.get("model", ""), {"exists": True, "directory": True, "model": True}
            )
        return planner.plan(gpus, rocm, wants, host)

    return make


@pytest.fixture
def ids():
    """The ids of a plan's findings of one severity."""
    return lambda plan, severity="fail": [
        finding["id"] for finding in plan["findings"] if finding["severity"] == severity
    ]
