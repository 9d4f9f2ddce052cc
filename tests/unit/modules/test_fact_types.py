# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that the modules return and their RETURN documentation, held to the types that the planner has of
them (plugins/plugin_utils/_plan/facts_host.py)."""

from __future__ import annotations

import importlib.util
import json
import types
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.modules import gpu_health as health_module
from ansible_collections.amdgpu.fleet.plugins.modules import host_facts as host_module
from ansible_collections.amdgpu.fleet.plugins.modules import rocm_facts as rocm_module
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import facts_health, facts_host

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ("no-gpu", "mi300x-8-cpx", "strix-halo-128", "strix-halo-broken", "rx9070xt", "mi300x-8-el9")
ASKED = {
    "ports": [8000],
    "paths": ["/srv/model"],
    "images": ["localhost/a:1"],
    "programs": ["python3"],
    "search_paths": ["/opt/vllm/x"],
    "user": "nobody",
    "network": True,
}
MODEL = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
FACTS: dict[str, t.Any] = {"amd_rocm": facts_host.AmdRocm, "amd_host": facts_host.AmdHost}
DOCUMENTED: dict[str, t.Any] = {**FACTS, "amd_health": facts_health.AmdHealth}


def hold(value: t.Any, kind: t.Any, path: str) -> None:
    """``value`` is of the type ``kind``: the same keys, null only where the type allows it."""
    origin, arguments = t.get_origin(kind), t.get_args(kind)
    if origin in (t.Union, types.UnionType):
        if value is not None:
            hold(value, next(part for part in arguments if part is not type(None)), path)
    elif t.is_typeddict(kind):
        fields = t.get_type_hints(kind)
        assert isinstance(value, dict), path
        assert set(value) <= set(fields), f"{path} has keys that its type has not"
        assert kind.__required_keys__ <= set(value), f"{path} has not all keys of its type"
        for key, entry in value.items():
            hold(entry, fields[key], f"{path}.{key}")
    elif origin is list:
        assert isinstance(value, list), path
        for number, entry in enumerate(value):
            hold(entry, arguments[0], f"{path}[{number}]")
    elif origin is dict:
        assert isinstance(value, dict), path
        for key, entry in value.items():
            hold(entry, arguments[1], f"{path}[{key}]")
    else:
        assert value.__class__ is kind, f"{path} is {value!r}, and not of type {kind.__name__}"


@pytest.mark.parametrize("name", HOSTS)
def test_the_modules_return_what_the_types_say(emulated, host_facts, amd_rocm, name):
    root = emulated(name)
    (root / "srv/model").mkdir(parents=True)
    (root / "srv/model/config.json").write_text(json.dumps(MODEL))
    found = host_facts(root, **ASKED)
    assert list(found) == ["amd_gpus", "amd_host", "amd_rocm"]
    for fact, kind in FACTS.items():
        hold(found[fact], kind, fact)
    hold(host_facts(root)["amd_host"], facts_host.AmdHost, "amd_host without questions")
    alone = amd_rocm(root)
    hold(alone, facts_host.AmdRocm, "amd_rocm of rocm_facts")
    assert {**alone, "problems": []} == {**found["amd_rocm"], "problems": []}


def test_an_empty_tree_is_of_the_types_too(tmp_path, host_facts):
    for fact, kind in FACTS.items():
        hold(host_facts(tmp_path)[fact], kind, fact)


def test_the_gpus_are_those_of_gpu_facts(emulated, host_facts, amd_gpus):
    root = emulated("mi300x-8-cpx")
    assert host_facts(root)["amd_gpus"] == amd_gpus(root)


def documented(entry: dict[str, t.Any], kind: t.Any, path: str) -> None:
    origin, arguments = t.get_origin(kind), t.get_args(kind)
    nullable = origin in (t.Union, types.UnionType)
    assert entry["description"].endswith("or null.") == nullable, path
    if nullable:
        kind = next(part for part in arguments if part is not type(None))
        origin, arguments = t.get_origin(kind), t.get_args(kind)
    names = {list: "list", dict: "dict", str: "str", int: "int", bool: "bool", float: "float"}
    assert entry["type"] == ("dict" if t.is_typeddict(kind) else names[origin or kind]), path
    inner, contains = kind, entry.get("contains")
    if origin is list:
        inner = arguments[0]
        element = "dict" if t.is_typeddict(inner) else names[t.get_origin(inner) or inner]
        assert entry["elements"] == element, path
    elif origin is dict:
        inner, contains = arguments[1], (contains or {}).get("NAME", {}).get("contains")
    if t.is_typeddict(inner):
        fields = t.get_type_hints(inner)
        assert list(contains or {}) == list(fields), f"{path}: other keys are documented"
        for key, field in fields.items():
            documented((contains or {})[key], field, f"{path}.{key}")
    else:
        assert not contains, path


@pytest.mark.parametrize(
    ("module", "fact"),
    [(rocm_module, "amd_rocm"), (host_module, "amd_host"), (health_module, "amd_health")],
    ids=["rocm_facts", "host_facts", "gpu_health"],
)
def test_the_documentation_says_what_the_types_say(module, fact):
    entry = yaml.safe_load(module.RETURN)["ansible_facts"]["contains"][fact]
    documented({**entry, "description": ""}, DOCUMENTED[fact], fact)


def test_the_documentation_is_the_generated_one():
    spec = importlib.util.spec_from_file_location("render_facts", ROOT / "tools/render_facts.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for module in tool.FACTS:
        text = (ROOT / f"plugins/modules/{module}.py").read_text(encoding="utf-8")
        assert tool.documentation(module) in text, f"{module} is stale: run `make docs`"


def test_the_facts_of_64_partitions_stay_small(emulated, host_facts):
    found = host_facts(emulated("mi300x-8-cpx"), network=True)
    assert len(json.dumps(found, separators=(",", ":"))) < 10240


@pytest.mark.parametrize("name", [*HOSTS, "mi250-4", "mi300x-8-nodriver"])
def test_the_state_of_gpus_is_what_the_types_say(emulated, host_facts, run_module, name):
    root = emulated(name)
    alone = run_module("gpu_health", root=str(root))["ansible_facts"]["amd_health"]
    hold(alone, facts_health.AmdHealth, "amd_health")
    assert host_facts(root, health=True)["amd_health"] == alone
    assert len(alone["gpus"]) == host_facts(root)["amd_gpus"]["count"]
