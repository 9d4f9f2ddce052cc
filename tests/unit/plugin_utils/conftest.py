# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the emulated hosts, read by the modules themselves, once for each host."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from wishes import FOLDER, GPUS

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.facts_host import AmdRocm
from testbed.tree import load_host, write_tree

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def read_facts(tmp_path_factory, find_facts):
    known: dict = {}

    def read(host: str) -> dict[str, dict]:
        if host not in known:
            root = tmp_path_factory.mktemp(host)
            write_tree(load_host(host), root)
            known[host] = find_facts("host_facts", root, network=True)
        return copy.deepcopy(known[host])

    return read


@pytest.fixture
def plan_of_tree(find_facts):
    """plan_of_tree(root, **wants) -> the plan of the host whose files lie below ``root``."""

    def make(root: Path, **wants) -> dict:
        return planner.plan(find_facts("host_facts", root, network=True), wants, "host")

    return make


@pytest.fixture
def host(tmp_path, plan_of_tree) -> Callable[..., dict[str, Any]]:
    """host("strix-halo-128", {path: text}, gone=[...], wants={...}, **description) -> the plan. A text that begins
    with "+" is put behind what the file has."""
    numbers = itertools.count()

    def make(name: str, files: dict[str, str] | None = None, gone=(), wants=None, **description) -> dict:
        root = tmp_path / str(next(numbers))
        write_tree({**load_host(name), **description}, root)
        for path in gone:
            place = root / path
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        for path, text in (files or {}).items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text if not text.startswith("+") else target.read_text() + text[1:])
        return plan_of_tree(root, **(wants or {}))

    return make


def as_facts(gpus: dict, rocm: dict) -> dict[str, dict]:
    """The facts that a plan is made from, out of a view that holds amd_rocm and amd_host together."""
    about_rocm = {name: rocm[name] for name in AmdRocm.__annotations__}
    about_host = {name: value for name, value in rocm.items() if name not in about_rocm or name == "problems"}
    return {"amd_gpus": gpus, "amd_rocm": about_rocm, "amd_host": about_host}


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
                instance.get("model", ""), {"exists": True, "directory": True, "model": True, "gguf": None}
            )
        return planner.plan(as_facts(gpus, rocm), wants, host)

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


@pytest.fixture(scope="session")
def wish_trees(tmp_path_factory):
    """One tree for each kind of GPU, and the folders that were put into it."""
    known: dict = {}

    def get(gfx: str):
        if gfx not in known:
            name, gpus = GPUS[gfx]
            root = tmp_path_factory.mktemp(gfx)
            write_tree({**load_host(name), **({"gpus": gpus} if gpus else {})}, root)
            known[gfx] = root
        return known[gfx]

    return get


@pytest.fixture
def wish(wish_trees, find_facts, request):
    """wish({file: content}, gfx, gib=..., options=...) -> the plan. A content that is a number is a size."""

    def make(files: dict[str, Any], gfx: str = "gfx942", gib: float = 1, **more: Any) -> dict:
        root = wish_trees(gfx)
        path = f"{FOLDER}/{abs(hash((request.node.name, json.dumps(files, sort_keys=True))))}"
        wanted = more.pop("wants", {})
        for name, content in {"model.safetensors": int(gib * (1 << 30)), **files}.items():
            file = root / path.lstrip("/") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, int):
                with file.open("wb") as stream:
                    stream.truncate(content)
            else:
                file.write_text(content if isinstance(content, str) else json.dumps(content))
        facts = find_facts("host_facts", root, network=True, paths=[path])
        facts["amd_host"]["programs"] = {"python3.12": "/usr/bin/python3.12"}
        return planner.plan(
            facts, {"serve_instances": [{"name": "chat", "model": path, **more}], **wanted}, "host"
        )

    return make
