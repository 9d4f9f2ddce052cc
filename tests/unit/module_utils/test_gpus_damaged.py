# SPDX-License-Identifier: GPL-3.0-or-later
"""Detection on trees in which files are damaged at random: no traceback, intact GPUs counted right, damage
named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import MAX_PROBLEMS, Tree
from testbed.tree import load_host, write_tree

HOSTS = (
    "mi300x-8", "mi300x-8-cpx", "mi250-4", "rx9070xt", "strix-halo-128", "mi300x-8-nodriver", "mi300x-8-cpx-xcd", "mi300x-8-cpx-high",
)  # fmt: skip
DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "padded": lambda data: data.ljust(4096, b"\0"),
    "binary": lambda data: b"\x7fELF\0\x01\xff" + data,
    "latin-1": lambda data: b"\xe9\xff" + data,
    "words": lambda data: b"not a number\n",
    "gone": lambda data: None,
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    roots = {}
    for name in HOSTS:
        roots[name] = tmp_path_factory.mktemp(name)
        write_tree(load_host(name), roots[name])
    return roots


def files_of(root: Path) -> list[Path]:
    """What detection reads: the KFD topology and the PCI devices."""
    folders = (root / "sys/class/kfd/kfd/topology/nodes", root / "sys/bus/pci/devices", root / "sys/devices")
    return sorted(
        path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    )


@pytest.fixture(scope="module")
def intact(trees):
    """What is found on each whole tree, and which files that is read from."""
    return {name: (detect(Tree(str(root))), files_of(root)) for name, root in trees.items()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage(trees, intact, data):
    host = data.draw(st.sampled_from(HOSTS))
    root, (whole, files) = trees[host], intact[host]
    chosen = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=6, unique=True))
    saved = {path: path.read_bytes() for path in chosen}
    try:
        for path in chosen:
            damaged_bytes = DAMAGE[data.draw(st.sampled_from(sorted(DAMAGE)))](saved[path])
            if damaged_bytes is None:
                path.unlink()
            else:
                path.write_bytes(damaged_bytes)
        found = detect(Tree(str(root)), full=True)
    finally:
        for path, content in saved.items():
            path.write_bytes(content)
    assert len(found["problems"]) <= MAX_PROBLEMS
    assert found["count"] <= whole["count"], "damage never makes a GPU"
    damaged = {str(path.resolve()) for path in chosen}
    for gpu in whole["gpus"]:
        folders = [(root / "sys/bus/pci/devices" / gpu["pci_address"]).resolve()]
        folders += [root / f"sys/class/kfd/kfd/topology/nodes/{node}" for node in gpu["kfd_nodes"]]
        if not any(path.startswith(f"{folder}/") for path in damaged for folder in map(str, folders)):
            same = [other for other in found["gpus"] if other["pci_address"] == gpu["pci_address"]]
            assert len(same) == 1, f"the intact {gpu['pci_address']} is listed {len(same)} times"
            assert {key: same[0][key] for key in gpu if key != "index"} == {
                key: gpu[key] for key in gpu if key != "index"
            }


@pytest.mark.parametrize("kind", ["empty", "binary", "latin-1"])
def test_a_damaged_file_that_is_needed_is_named(trees, kind):
    root = trees["mi300x-8"]
    path = root / "sys/class/kfd/kfd/topology/nodes/2/properties"
    saved = path.read_bytes()
    try:
        path.write_bytes(DAMAGE[kind](saved))
        problems = detect(Tree(str(root)))["problems"]
    finally:
        path.write_bytes(saved)
    assert "/sys/class/kfd/kfd/topology/nodes/2/properties" in [problem["path"] for problem in problems]


def test_no_sysfs_at_all(tmp_path):
    assert detect(Tree(str(tmp_path / "nothing")))["count"] == 0
