# SPDX-License-Identifier: GPL-3.0-or-later
"""The generator of emulated hosts shows what real kernels show."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.descriptions import HOSTS, complete
from testbed.tree import load_host, write_tree

NODES = "sys/class/kfd/kfd/topology/nodes"
ALL_HOSTS = sorted(path.stem for path in HOSTS.glob("*.yml"))


def tree(name: str, root: Path, **changes: object) -> Path:
    """Write one host, with some of its description replaced."""
    write_tree({**load_host(name), **changes}, root)
    return root


def gpu_nodes(root: Path) -> list[dict[str, int]]:
    """Properties of every KFD node that is a GPU, in node order."""
    nodes = sorted((root / NODES).iterdir(), key=lambda path: int(path.name))
    found = [dict(line.split() for line in (node / "properties").read_text().splitlines()) for node in nodes]
    return [{key: int(value) for key, value in node.items()} for node in found if int(node["simd_count"])]


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_every_description_makes_a_tree(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    assert (root / "proc/cmdline").read_text().startswith("BOOT_IMAGE=/boot/vmlinuz-")
    broken = [path for path in root.rglob("*") if path.is_symlink() and not path.exists()]
    assert broken == []


def test_instinct_node_has_one_kfd_node_per_gpu_after_the_cpus(tmp_path: Path) -> None:
    root = tree("mi300x-8", tmp_path)
    nodes = gpu_nodes(root)
    assert [node["gfx_target_version"] for node in nodes] == [90402] * 8
    assert {node["simd_count"] // node["simd_per_cu"] for node in nodes} == {304}
    assert (root / NODES / "0/gpu_id").read_text() == "0\n" and (
        root / NODES / "2/gpu_id"
    ).read_text() != "0\n"
    assert nodes[0]["location_id"] == 0x0500 and nodes[0]["device_id"] == 29857
    assert "size_in_bytes 206141652992" in (root / NODES / "2/mem_banks/0/properties").read_text()
    assert (root / "sys/module/amdgpu/version").read_text() == "7.1.3.31500000\n"


@pytest.mark.parametrize("name", ["mi300x-8-cpx", "mi300x-8-cpx-nps4"])
def test_partitions_share_the_identity_of_their_gpu(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    nodes = gpu_nodes(root)
    assert len(nodes) == 64
    assert len({node["unique_id"] for node in nodes}) == 8
    assert [node["location_id"] & 7 for node in nodes[:8]] == list(range(8))
    assert {node["simd_count"] // node["simd_per_cu"] for node in nodes} == {38}
    assert sorted(node["drm_render_minor"] for node in nodes) == list(range(128, 192))
    assert f"size_in_bytes {206141652992 // 8}" in (root / NODES / "2/mem_banks/0/properties").read_text()
    assert (root / "sys/class/drm/renderD129/device").resolve().name == "amdgpu_xcp.0"


def test_newer_drivers_name_partitions_in_other_ways(tmp_path: Path) -> None:
    nodes = gpu_nodes(tree("mi300x-8-cpx-xcd", tmp_path / "xcd"))
    assert len({node["unique_id"] for node in nodes}) == 64
    assert [node["location_id"] for node in nodes[:2]] == [0x500, 0x501]
    nodes = gpu_nodes(tree("mi300x-8-cpx-high", tmp_path / "high"))
    assert {node["unique_id"] for node in nodes} == {0}
    assert [node["location_id"] for node in nodes[:2]] == [0x500, 0x10000500]


def test_render_nodes_outnumber_the_kfd_devices_of_an_unpartitioned_mi300x(tmp_path: Path) -> None:
    root = tree("mi300x-8", tmp_path)
    assert len(list((root / "sys/class/drm").glob("renderD*"))) == 64
    assert [node["drm_render_minor"] for node in gpu_nodes(root)] == list(range(128, 192, 8))


def test_each_die_of_an_mi250_is_a_pci_function(tmp_path: Path) -> None:
    root = tree("mi250-4", tmp_path)
    nodes = gpu_nodes(root)
    assert (
        len(nodes)
        == len({node["location_id"] for node in nodes})
        == len({node["unique_id"] for node in nodes})
        == 8
    )


def test_apu_pool_follows_gtt_unless_described_otherwise(tmp_path: Path) -> None:
    right = tree("strix-halo-128", tmp_path / "right")
    broken = tree("strix-halo-broken", tmp_path / "broken")
    bank = f"{NODES}/1/mem_banks/0/properties"
    assert f"size_in_bytes {64 * 1024**3}" in (right / bank).read_text()
    assert f"size_in_bytes {31 * 1024**3 // 2}" in (broken / bank).read_text()
    assert (
        "MES feature version: 1, firmware version: 0x00000083"
        in (broken / "sys/kernel/debug/dri/0/amdgpu_firmware_info").read_text()
    )
    assert (broken / "sys/module/amdgpu/parameters/cwsr_enable").read_text() == "0\n"
    assert not (right / "sys/module/amdgpu/version").exists()


def test_without_a_driver_only_pci_shows_the_gpus(tmp_path: Path) -> None:
    root = tree("mi300x-8-nodriver", tmp_path)
    gpus = [
        path
        for path in (root / "sys/bus/pci/devices").iterdir()
        if (path / "device").read_text() == "0x74a1\n"
    ]
    assert len(gpus) == 8 and not any((path / "driver").exists() for path in gpus)
    assert (
        not (root / "sys/class/kfd").exists()
        and not (root / "dev/kfd").exists()
        and not (root / "sys/module/amdgpu").exists()
    )


def test_rocm_layouts(tmp_path: Path) -> None:
    installs = [
        {"version": "7.2.4", "layout": "legacy", "current": False},
        {"version": "10.0.0", "layout": "therock"},
    ]
    root = tree("mi300x-8", tmp_path, rocm=installs)
    assert (root / "opt/rocm/core/.info/version").read_text() == "10.0.0\n"
    assert (root / "opt/rocm-7.2.4/.info/version").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus": [{"product": "mi999"}]}, "product: 'mi999' is unknown"),
        ({"gpus": [{"product": "mi300x", "colour": "red"}]}, "unknown key colour"),
        ({"gpus": [{"product": "rx9070xt", "compute_partition": "CPX"}]}, "compute_partition of rx9070xt"),
        ({"colour": "red"}, "unknown key colour"),
        ({"os": "beos"}, "os: 'beos' is unknown"),
        ({"driver": {"source": "dkms"}}, "driver.version belongs to source dkms"),
        ({"memory_gib": "much"}, "memory_gib cannot be 'much'"),
    ],
)
def test_a_wrong_description_is_refused_with_its_place(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        complete({**load_host("mi300x-8"), **change}, "x.yml")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"known ones: .*strix-halo-128"):
        load_host("toaster")
