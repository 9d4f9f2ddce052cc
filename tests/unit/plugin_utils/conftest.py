# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the emulated hosts, read by the modules themselves, once for each host."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from testbed.tree import load_host, write_tree

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def read_facts(tmp_path_factory):
    known: dict = {}

    def read(host: str) -> tuple[dict, dict]:
        if host not in known:
            root = tmp_path_factory.mktemp(host)
            write_tree(load_host(host), root)
            known[host] = tuple(_module(name, root) for name in ("gpu_facts", "rocm_facts"))
        return copy.deepcopy(known[host])

    return read


@pytest.fixture
def plan_of_tree():
    """plan_of_tree(root, **wants) -> the plan of the host whose files lie below ``root``."""

    def make(root: Path, **wants) -> dict:
        gpus, rocm = (_module(name, root) for name in ("gpu_facts", "rocm_facts"))
        return planner.plan(gpus, rocm, wants, "host")

    return make


def _module(name: str, root: Path) -> dict:
    arguments: dict[str, object] = {"root": str(root), "_ansible_remote_tmp": str(root)}
    if name == "rocm_facts":
        arguments["network"] = True
    process = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.amdgpu.fleet.plugins.modules.{name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={"PYTHONPATH": str(REPOSITORY / ".collections"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return next(iter(json.loads(process.stdout)["ansible_facts"].values()))


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


@pytest.fixture(scope="session")
def gateway_checks():
    """gateway_checks(gateway_port=0) -> the checks of the role gateway, as YAML."""
    role = REPOSITORY / "roles/gateway"
    variables: dict = {"ansible_search_path": [str(role)]}
    for part in ("defaults", "vars"):
        values = yaml.safe_load((role / part / "main.yml").read_text(encoding="utf-8"))
        variables |= {k: trust_as_template(v) if isinstance(v, str) else v for k, v in values.items()}

    def render(**given) -> str:
        expression = trust_as_template("{{ lookup('ansible.builtin.template', 'checks.yml.j2') }}")
        return str(Templar(loader=DataLoader(), variables=variables | given).template(expression))

    return render
