# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the emulated hosts, read by the modules themselves, once for each host."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.facts_host import AmdRocm
from testbed.tree import load_host, write_tree

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def read_facts(tmp_path_factory):
    known: dict = {}

    def read(host: str) -> dict[str, dict]:
        if host not in known:
            root = tmp_path_factory.mktemp(host)
            write_tree(load_host(host), root)
            known[host] = _facts(root)
        return copy.deepcopy(known[host])

    return read


@pytest.fixture
def plan_of_tree():
    """plan_of_tree(root, **wants) -> the plan of the host whose files lie below ``root``."""

    def make(root: Path, **wants) -> dict:
        return planner.plan(_facts(root), wants, "host")

    return make


def as_facts(gpus: dict, rocm: dict) -> dict[str, dict]:
    """The facts that a plan is made from, out of a view that holds amd_rocm and amd_host together."""
    about_rocm = {name: rocm[name] for name in AmdRocm.__annotations__}
    about_host = {name: value for name, value in rocm.items() if name not in about_rocm or name == "problems"}
    return {"amd_gpus": gpus, "amd_rocm": about_rocm, "amd_host": about_host}


def _facts(root: Path) -> dict[str, dict]:
    arguments = {"root": str(root), "network": True, "_ansible_remote_tmp": str(root)}
    process = subprocess.run(
        [sys.executable, "-m", "ansible_collections.amdgpu.fleet.plugins.modules.host_facts"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={"PYTHONPATH": str(REPOSITORY / ".collections"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    facts: dict[str, dict] = json.loads(process.stdout)["ansible_facts"]
    return facts


@pytest.fixture
def make_plan(read_facts):
    """make_plan("mi300x-8", driver_policy="inbox") -> the plan; ``change`` may edit the facts first."""

    def make(host: str, change=None, **wants) -> dict:
        facts = read_facts(host)
        # One view of what is about ROCm and what is about the host, as most sections of the planner have it.
        gpus, rocm = facts["amd_gpus"], {**facts["amd_rocm"], **facts["amd_host"]}
        # As a tree has no programs: a host that can have the environment of every build.
        rocm["programs"] = {"python3.11": "/usr/bin/python3.11", "python3.12": "/usr/bin/python3.12"}
        if change:
            change(gpus, rocm)
        for instance in wants.get("serve_instances", []):
            rocm["paths"].setdefault(
                instance.get("model", ""), {"exists": True, "directory": True, "model": True}
            )
        return planner.plan(as_facts(gpus, rocm), wants, host)

    return make


@pytest.fixture
def ids():
    """The ids of a plan's findings of one severity."""
    return lambda plan, severity="fail": [
        finding["id"] for finding in plan["findings"] if finding["severity"] == severity
    ]
