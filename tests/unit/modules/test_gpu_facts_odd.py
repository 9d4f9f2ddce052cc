# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_facts on hosts that are real and odd: what tables, tools and older kernels get wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

GIB = 2**30
NODES = "sys/class/kfd/kfd/topology/nodes"
PCI = "sys/bus/pci/devices"


def edit_nodes(root: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Change the properties of every GPU node."""
    for path in (root / NODES).glob("*/properties"):
        values = dict(line.split(" ", 1) for line in path.read_text().splitlines())
        if values["simd_count"] != "0":
            change(values)
            path.write_text("".join(f"{key} {value}\n" for key, value in values.items()))


def add_pci(root: Path, address: str, **files: str) -> Path:
    folder = root / PCI / address
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize(
    ("product", "compute", "memory", "partitions", "units"),
    [
        ("mi300x", "SPX", "NPS1", 1, 304),
        ("mi300x", "DPX", "NPS2", 2, 304),
        ("mi300x", "CPX", "NPS1", 8, 304),
        ("mi300x", "CPX", "NPS4", 8, 304),
        ("mi300a", "TPX", "NPS1", 3, 228),
        ("mi300a", "CPX", "NPS1", 6, 228),
        ("mi355x", "QPX", "NPS2", 4, 256),
        ("mi355x", "CPX", "NPS2", 8, 256),
    ],
)
def test_every_partition_mode_is_one_gpu_with_all_its_memory(
    emulated, amd_gpus, product, compute, memory, partitions, units
):
    gpu = {"product": product, "count": 4, "compute_partition": compute, "memory_partition": memory}
    found = amd_gpus(emulated("mi300x-8", gpus=[gpu]))
    assert (found["count"], found["partition_count"]) == (4, 4 * partitions)
    first = found["gpus"][0]
    assert (first["partitions"], first["compute_partition"], first["memory_partition"]) == (
        partitions,
        compute,
        memory,
    )
    assert first["compute_units"] == units
    assert len(set(first["render_nodes"])) == len(first["kfd_nodes"]) == partitions
    assert first["usable_bytes"] == pytest.approx(first["vram_bytes"], rel=0.001)
    assert found["problems"] == []


@pytest.mark.parametrize("name", ["amdgpu_xcp_3", "amdgpu_xcp.3"])
def test_devices_of_partitions_are_not_gpus(emulated, amd_gpus, name):
    root = emulated("mi300x-8-cpx")
    device = root / "sys/devices/platform" / name
    shutil.rmtree(device, ignore_errors=True)
    device.mkdir(parents=True)
    (device / "uevent").write_text("MODALIAS=platform:amdgpu_xcp\n")
    card = root / "sys/class/drm/card99"
    card.mkdir()
    (card / "device").symlink_to(device)
    found = amd_gpus(root)
    assert (found["count"], found["partition_count"]) == (8, 64)


def test_render_minors_with_gaps(emulated, amd_gpus):
    root = emulated("mi300x-8-cpx")
    edit_nodes(root, lambda node: node.update(drm_render_minor=str(int(node["drm_render_minor"]) * 2)))
    gpu = amd_gpus(root)["gpus"][1]
    assert gpu["render_nodes"] == [f"renderD{2 * minor}" for minor in range(136, 144)]


def test_a_pci_domain_above_zero(emulated, amd_gpus):
    gpus = [
        {"product": "mi300x-vf", "count": 1, "address": f"{domain:04x}:00:00.0"}
        for domain in (1, 2, 3, 0x10000)
    ]
    found = amd_gpus(emulated("mi300x-8", gpus=gpus))
    assert [gpu["pci_address"] for gpu in found["gpus"]] == [
        "0001:00:00.0",
        "0002:00:00.0",
        "0003:00:00.0",
        "10000:00:00.0",
    ]
    assert [gpu["partitions"] for gpu in found["gpus"]] == [1, 1, 1, 1]


def test_virtual_functions_in_a_guest(emulated, amd_gpus):
    found = amd_gpus(emulated("mi300x-8", gpus=[{"product": "mi300x-vf", "count": 8}]))
    assert found["count"] == 8 and found["homogeneous"]
    assert {gpu["virtual_function"] for gpu in found["gpus"]} == {True}
    assert {(gpu["gfx"], gpu["supported"]) for gpu in found["gpus"]} == {("gfx942", True)}


@pytest.mark.parametrize(
    ("device", "gfx"),
    [
        ("7410", "gfx90a"),
        ("74b5", "gfx942"),
        ("74b6", "gfx942"),
        ("74b9", "gfx942"),
        ("75b0", "gfx950"),
        ("75b3", "gfx950"),
    ],
)
def test_virtual_functions_are_known_before_any_driver(tmp_path, amd_gpus, device, gfx):
    add_pci(tmp_path, "0000:00:05.0", vendor="0x1002", device=f"0x{device}", **{"class": "0x120000"})
    (gpu,) = amd_gpus(tmp_path)["gpus"]
    assert (gpu["gfx"], gpu["virtual_function"], gpu["driver"], gpu["supported"]) == (gfx, True, None, True)


def test_virtual_functions_on_their_own_host_are_part_of_the_gpu(emulated, amd_gpus):
    root = emulated("mi300x-8-nodriver")
    gim = root / "sys/bus/pci/drivers/gim"
    gim.mkdir(parents=True)
    physical = root / PCI / "0000:05:00.0"
    (physical.resolve() / "driver").symlink_to(gim)
    for number in range(1, 3):
        function = add_pci(
            root, f"0000:05:02.{number}", vendor="0x1002", device="0x74b5", **{"class": "0x120000"}
        )
        (function / "physfn").symlink_to(physical.resolve())
    found = amd_gpus(root)
    assert found["count"] == 8
    assert [gpu["driver"] for gpu in found["gpus"]] == ["gim"] + [None] * 7


def test_a_kernel_that_tells_neither_gfx_nor_domain(emulated, amd_gpus):
    """Linux before 5.6: names come from the PCI id, nodes find their device by bus and function."""

    def old(node: dict[str, str]) -> None:
        for key in ("gfx_target_version", "domain", "unique_id", "num_xcc"):
            node.pop(key, None)

    root = emulated(
        "mi300x-8",
        gpus=[{"product": "mi100", "count": 1, "address": "0001:05:00.0"}, {"product": "mi100", "count": 2}],
    )
    edit_nodes(root, old)
    found = amd_gpus(root)
    assert found["count"] == 3 and found["gfx"] == ["gfx908"]
    assert [gpu["partitions"] for gpu in found["gpus"]] == [1, 1, 1]
    assert "0001:05:00.0" in [gpu["pci_address"] for gpu in found["gpus"]]
    assert found["gpus"][0]["unique_id"], "the PCI device still tells it"


def test_memory_from_local_mem_size_where_no_bank_tells_it(emulated, amd_gpus):
    root = emulated("mi300x-8", gpus=[{"product": "mi100", "count": 1}])
    for banks in (root / NODES).glob("*/mem_banks"):
        shutil.rmtree(banks)
    for path in (root / PCI).glob("*/mem_info_vram_total"):
        path.unlink()
    edit_nodes(root, lambda node: node.update(local_mem_size="17163091968"))
    assert amd_gpus(root)["gpus"][0]["usable_bytes"] == 17163091968


@pytest.mark.parametrize(
    ("vram", "pool", "usable"),
    [
        (4, 29.25, 29.25),  # a new kernel: the pool is the GTT
        (1, 1, 1),  # an old one: the pool is the carve-out
        (96, 15.5, 15.5),  # ROCm/legacy-rocm-build#5444
    ],
)
def test_an_apu_serves_from_the_pool_of_kfd(emulated, amd_gpus, vram, pool, usable):
    gpu = {"product": "strix-halo", "vram_gib": vram, "gtt_gib": pool, "pool_gib": pool}
    found = amd_gpus(emulated("strix-halo-128", gpus=[gpu]))["gpus"][0]
    assert (found["vram_bytes"], found["usable_bytes"]) == (vram * GIB, usable * GIB)


def test_a_pool_larger_than_the_memory_is_no_memory(emulated, amd_gpus):
    gpu = {"product": "strix-halo", "vram_gib": 0.5, "gtt_gib": 128, "pool_gib": 128}
    found = amd_gpus(emulated("strix-halo-128", gpus=[gpu]))["gpus"][0]
    assert found["gtt_bytes"] == 128 * GIB
    assert 124 * GIB < found["usable_bytes"] < 127 * GIB


def test_a_missing_last_partition_is_named(emulated, amd_gpus):
    root = emulated("mi300x-8-cpx")
    last = max(int(path.name) for path in (root / NODES).iterdir())
    shutil.rmtree(root / NODES / str(last))
    found = amd_gpus(root)
    assert (found["count"], found["partition_count"]) == (8, 63)
    assert [entry["problem"] for entry in found["problems"]] == ["shows 7 partitions where its like show 8"]


def test_a_gap_in_the_nodes_is_named(emulated, amd_gpus):
    root = emulated("mi300x-8-cpx")
    shutil.rmtree(root / NODES / "17")
    problems = amd_gpus(root)["problems"]
    assert f"/{NODES}/17" in [entry["path"] for entry in problems]


def test_other_amd_devices_are_not_gpus(emulated, amd_gpus):
    root = emulated("rx9070xt")
    add_pci(root, "0000:20:00.1", vendor="0x1002", device="0xab40", **{"class": "0x040300"})  # HDMI audio
    add_pci(root, "0000:21:00.0", vendor="0x1002", device="0x1478", **{"class": "0x060400"})  # bridge
    add_pci(
        root, "0000:22:00.0", vendor="0x1022", device="0x1502", **{"class": "0x118000"}
    )  # the NPU of a Ryzen AI
    found = amd_gpus(root)
    assert found["count"] == 2 and found["problems"] == []


def test_a_display_chip_from_before_amdgpu(tmp_path, amd_gpus):
    folder = tmp_path / "sys/class/drm/card0/device"
    folder.mkdir(parents=True)
    (folder / "uevent").write_text(
        "DRIVER=radeon\nPCI_CLASS=30000\nPCI_ID=1002:6818\nPCI_SLOT_NAME=0000:01:00.0\n"
    )
    found = amd_gpus(tmp_path)
    (gpu,) = found["gpus"]
    assert (gpu["driver"], gpu["gfx"], gpu["supported"]) == ("radeon", None, False)
    assert found["problems"] == [] and found["kfd"] == "absent"


def test_a_chip_that_nobody_has_heard_of(tmp_path, amd_gpus):
    add_pci(tmp_path, "0000:03:00.0", vendor="0x1002", device="0x7fff", **{"class": "0x120000"})
    found = amd_gpus(tmp_path)
    assert (found["gpus"][0]["supported"], found["gpus"][0]["gfx"]) == (False, None)
    assert [entry["problem"] for entry in found["problems"]] == ["PCI id 1002:7fff is not in the catalog"]


def test_kfd_is_the_authority_over_the_pci_id(emulated, amd_gpus):
    """The same id can carry a later chip: what KFD says is what compilers must target."""
    root = emulated("mi300x-8")
    edit_nodes(root, lambda node: node.update(gfx_target_version="90500"))
    assert amd_gpus(root)["gfx"] == ["gfx950"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_that_may_not_be_read(emulated):
    """What a device cgroup does to KFD's nodes; permissions do the same to another user."""
    root = emulated("mi300x-8")
    for path in (root / NODES).glob("*/properties"):
        path.chmod(0o600 if "simd_count 0\n" not in path.read_text() else 0o644)
    root.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.chroot(root)
        os.setuid(65534)
        found = detect(Tree("/"))
        right = (found["count"], found["kfd"], found["partition_count"]) == (8, "denied", 0)
        os._exit(
            0 if right and found["problems"][0]["problem"] == "may not be read (permission denied)" else 1
        )
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_container_that_sees_only_drm(emulated):
    root = emulated("mi300x-8")
    for card in (root / "sys/class/drm").glob("card*"):
        device = (card / "device").resolve()
        (card / "device").unlink()
        shutil.copytree(device, card / "device", symlinks=True)
    for folder in ("sys/bus", "sys/class/kfd"):
        shutil.rmtree(root / folder)
    found = detect(Tree(str(root)))
    assert (found["count"], found["kfd"], found["gfx"]) == (8, "absent", ["gfx942"])
