# SPDX-License-Identifier: GPL-3.0-or-later
"""The fact amd_gpus, its types and the documentation of gpu_facts say the same: keys, kinds, and what may be null."""

from __future__ import annotations

import json
import types
import typing as t

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.modules import gpu_facts
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import facts_gpu
from testbed.in_memory import NODES, Files, node, pci
from testbed.tree import load_host, write_tree

HOSTS = ("mi300x-8-cpx", "mi300x-8-nodriver", "strix-halo-128", "rx9070xt")
FACT = yaml.safe_load(gpu_facts.RETURN)["ansible_facts"]["contains"]["amd_gpus"]["contains"]
KINDS = {str: "str", int: "int", bool: "bool", list: "list", dict: "dict"}


def bare(hint: t.Any) -> tuple[t.Any, bool]:
    """A type without ``| None``, and whether that was there."""
    if t.get_origin(hint) in (t.Union, types.UnionType):
        (kind,) = [part for part in t.get_args(hint) if part is not type(None)]
        return kind, True
    return hint, False


def check(value: t.Any, hint: t.Any, where: str) -> None:
    """Hold a value to a type."""
    kind, optional = bare(hint)
    if value is None:
        assert optional, f"{where} is null"
    elif t.is_typeddict(kind):
        hints = t.get_type_hints(kind)
        assert set(value) == set(hints), where
        for key, inner in hints.items():
            check(value[key], inner, f"{where}.{key}")
    elif t.get_origin(kind) is list:
        for number, item in enumerate(value):
            check(item, t.get_args(kind)[0], f"{where}[{number}]")
    elif t.get_origin(kind) is dict:
        for key, item in value.items():
            check(item, t.get_args(kind)[1], f"{where}[{key}]")
    else:
        assert value.__class__ is kind, where


def documented(entries: dict[str, t.Any], kind: type) -> None:
    """Hold documentation to a type."""
    hints = t.get_type_hints(kind)
    assert set(entries) == set(hints)
    for key, hint in hints.items():
        inner, optional = bare(hint)
        entry = entries[key]
        text = " ".join(
            [entry["description"]] if isinstance(entry["description"], str) else entry["description"]
        )
        assert ("V(null)" in text) == optional, f"{key}: null"
        origin = t.get_origin(inner) or (dict if t.is_typeddict(inner) else inner)
        assert entry["type"] == KINDS[origin], key
        if origin is list:
            element = t.get_args(inner)[0]
            assert entry["elements"] == KINDS[dict if t.is_typeddict(element) else element], key


def test_the_documentation_says_what_the_types_say():
    documented(FACT, facts_gpu.AmdGpus)
    entries = FACT["gpus"]["contains"]
    documented(entries, facts_gpu.GpuDetails)
    documented(FACT["problems"]["contains"], facts_gpu.Problem)
    documented(entries["firmware"]["contains"], facts_gpu.Firmware)
    always = {key for key, entry in entries.items() if entry["returned"] == "always"}
    assert always == set(t.get_type_hints(facts_gpu.Gpu))
    assert {entry["returned"] for entry in entries.values()} == {"always", "detail=full"}


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> list[Tree]:
    """Hosts with and without drivers, and what is odd about GPUs, each once."""
    found = []
    for name in HOSTS:
        root = tmp_path_factory.mktemp(name)
        write_tree(load_host(name), root)
        found.append(Tree(str(root)))
    damaged = {**node(0), f"{NODES}/0/io_links/0/properties": "flags 1\n"}
    homeless = node(0, location_id=None, unique_id=7, vendor_id=None, device_id=None, gfx_target_version=None)
    return [*found, Files({}), Files(damaged), Files(pci("0000:03:00.0", "7fff")), Files(homeless)]


def test_every_host_gives_what_the_types_say(trees):
    null: set[str] = set()
    filled: set[str] = set()
    for tree in trees:
        full = detect(Tree(tree.root) if tree.__class__ is Tree else Files(tree.files), full=True)
        for gpu in full["gpus"]:
            check(gpu, facts_gpu.GpuDetails, f"{tree.root} {gpu['index']}")
            for part in (gpu, gpu["firmware"], *(link for links in gpu["links"].values() for link in links)):
                null |= {key for key, value in part.items() if value is None}
                filled |= {key for key, value in part.items() if value is not None}
        summary = detect(tree)
        check(summary, facts_gpu.AmdGpus, tree.root)
    optional = {
        key
        for kind in (facts_gpu.GpuDetails, facts_gpu.Firmware, facts_gpu.Link)
        for key, hint in t.get_type_hints(kind).items()
        if bare(hint)[1]
    }
    assert null == optional, "what may be null was null somewhere, and nothing else"
    assert optional < filled


def test_the_module_returns_this_fact(trees, capsys, monkeypatch):
    """The module itself adds nothing and leaves nothing out."""
    root = trees[0].root
    arguments = {"root": root, "_ansible_remote_tmp": root}
    monkeypatch.setattr(
        "ansible.module_utils.basic._ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    )
    monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_PROFILE", "legacy", raising=False)
    with pytest.raises(SystemExit) as end:
        gpu_facts.main()
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["ansible_facts"] == {"amd_gpus": detect(Tree(root))}
