# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_facts on the emulated hosts, and on hosts with something broken."""

from __future__ import annotations

import json
import shutil

import pytest

NODES = "sys/class/kfd/kfd/topology/nodes"

# host: (GPUs, KFD devices, gfx of the first supported one, its product, compute units, usable GiB of all
# supported GPUs)
EXPECTED = {
    "mi300x-8": (8, 8, "gfx942", "AMD Instinct MI300X", 304, 1536),
    "mi300x-8-cpx": (8, 64, "gfx942", "AMD Instinct MI300X", 304, 1536),
    "mi300x-8-cpx-nps4": (8, 64, "gfx942", "AMD Instinct MI300X", 304, 1536),
    "mi300x-8-cpx-xcd": (8, 64, "gfx942", "AMD Instinct MI300X", 304, 1536),
    "mi300x-8-cpx-high": (8, 64, "gfx942", "AMD Instinct MI300X", 304, 1536),
    "mi300x-8-nodriver": (8, 0, "gfx942", "AMD Instinct MI300X", None, None),
    "mi250-4": (8, 8, "gfx90a", "AMD Instinct MI250X / MI250", 104, 512),
    "mi355x-8": (8, 8, "gfx950", "AMD Instinct MI355X", 256, 2304),
    "strix-halo-128": (1, 1, "gfx1151", "AMD Radeon 8060S (Strix Halo)", 40, 64),
    "strix-halo-broken": (1, 1, "gfx1151", "AMD Radeon 8060S (Strix Halo)", 40, 15.5),
    "strix-halo-inherited": (1, 1, "gfx1151", "AMD Radeon 8060S (Strix Halo)", 40, 15.5),
    "rx9070xt": (2, 2, "gfx1201", "AMD Radeon RX 9070 XT", 64, 15.9),
    "no-gpu": (0, 0, None, None, None, None),
}


@pytest.mark.parametrize("host", EXPECTED)
def test_hosts(host, emulated, amd_gpus):
    found = amd_gpus(emulated(host))
    count, partitions, gfx, product, units, usable = EXPECTED[host]
    supported = [gpu for gpu in found["gpus"] if gpu["supported"]]
    assert (found["count"], found["partition_count"]) == (count, partitions)
    assert found["problems"] == []
    assert [gpu["index"] for gpu in found["gpus"]] == list(range(count))
    if gfx is None:
        assert found["gpus"] == [] and found["kfd"] == "absent"
        return
    first = supported[0]
    assert (first["gfx"], first["product"], first["compute_units"]) == (gfx, product, units)
    if usable is not None:
        assert sum(gpu["usable_bytes"] for gpu in supported) / 2**30 == pytest.approx(usable, rel=0.01)


@pytest.mark.parametrize("host", ["mi300x-8-cpx", "mi300x-8-cpx-xcd", "mi300x-8-cpx-high"])
def test_partitions_are_one_gpu(host, emulated, amd_gpus):
    first = amd_gpus(emulated(host))["gpus"][0]
    assert first["pci_address"] == "0000:05:00.0"
    assert first["partitions"] == 8
    assert first["compute_partition"] == "CPX"
    assert len(first["kfd_nodes"]) == len(first["render_nodes"]) == 8
    assert "CPX" in first["available_compute_partitions"]


def test_a_missing_partition_node_does_not_split_the_gpu(emulated, amd_gpus):
    root = emulated("mi300x-8-cpx")
    shutil.rmtree(root / NODES / "5")
    found = amd_gpus(root)
    assert (found["count"], found["partition_count"]) == (8, 63)


def test_the_display_chip_is_listed_and_unsupported(emulated, amd_gpus):
    found = amd_gpus(emulated("rx9070xt"))
    assert [(gpu["gfx"], gpu["supported"]) for gpu in found["gpus"]] == [
        ("gfx1201", True),
        ("gfx1036", False),
    ]
    assert found["homogeneous"]


def test_no_environment_changes_the_name(emulated, run_module):
    root = emulated("strix-halo-128")
    result = run_module("gpu_facts", root=str(root), _env={"HSA_OVERRIDE_GFX_VERSION": "11.0.0"})
    assert result["ansible_facts"]["amd_gpus"]["gfx"] == ["gfx1151"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"simd_count 1216\ngfx_target_version what\n", "has a line that is not 'name number'"),
        (b"\xff\xfe\x00simd", "holds binary data"),
        (b"\xff\xfe\xfd", "is not UTF-8 text"),
        ("simd_count ²\n".encode(), "has a line that is not 'name number'"),
        (b"simd_count " + b"1" * 5000, "has a line that is not 'name number'"),
    ],
)
def test_a_damaged_node_is_a_problem_and_the_others_are_right(emulated, amd_gpus, content, problem):
    root = emulated("mi300x-8")
    node = sorted(path for path in (root / NODES).iterdir() if (path / "gpu_id").read_text().strip() != "0")[
        0
    ]
    (node / "properties").write_bytes(content)
    found = amd_gpus(root)
    assert found["count"] == 8
    assert {gpu["gfx"] for gpu in found["gpus"]} == {"gfx942"}
    assert problem in [entry["problem"] for entry in found["problems"]]


def test_nul_padding_is_taken_off(emulated, amd_gpus):
    root = emulated("strix-halo-128")
    for path in (root / "sys/bus/pci/devices").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes().ljust(4096, b"\0"))
    gpu = amd_gpus(root)["gpus"][0]
    assert gpu["pci_id"] == "1002:1586"
    assert gpu["vram_bytes"] == 512 * 2**20


def test_amdgpu_without_a_kfd_node(emulated, amd_gpus):
    root = emulated("mi300x-8")
    shutil.rmtree(sorted((root / NODES).iterdir(), key=lambda path: int(path.name))[-1])
    found = amd_gpus(root)
    assert (found["count"], found["partition_count"]) == (8, 7)
    assert [entry["problem"] for entry in found["problems"]] == [
        "amdgpu drives this GPU but KFD does not show it"
    ]


def test_passed_through_to_a_guest(emulated, amd_gpus):
    root = emulated("mi300x-8-nodriver")
    device = root / "sys/bus/pci/devices/0000:05:00.0"
    driver = root / "sys/bus/pci/drivers/vfio-pci"
    driver.mkdir(parents=True)
    if (device / "driver").is_symlink():
        (device / "driver").unlink()
    (device.resolve() / "driver").symlink_to(driver)
    gpu = next(gpu for gpu in amd_gpus(root)["gpus"] if gpu["pci_address"] == "0000:05:00.0")
    assert (gpu["driver"], gpu["partitions"], gpu["supported"]) == ("vfio-pci", 0, True)


def test_an_empty_root(tmp_path, amd_gpus):
    found = amd_gpus(tmp_path)
    assert [entry["path"] for entry in found.pop("problems")] == ["/sys/bus/pci/devices"]
    assert found == {
        "gpus": [],
        "count": 0,
        "partition_count": 0,
        "gfx": [],
        "homogeneous": True,
        "kfd": "absent",
    }


def test_full_detail_adds_links(emulated, amd_gpus):
    gpu = amd_gpus(emulated("mi300x-8"), detail="full")["gpus"][0]
    kinds = {link["type"] for link in gpu["links"][str(gpu["kfd_nodes"][0])]}
    assert {"xgmi", "pcie"} <= kinds
    assert gpu["vbios"] and gpu["firmware"]["mec"]


def test_the_summary_stays_small(emulated, amd_gpus):
    found = amd_gpus(emulated("mi300x-8-cpx"))
    assert len(json.dumps(found, separators=(",", ":"))) < 6 * 1024


@pytest.mark.parametrize("host", ["mi300x-8-cpx", "mi300x-8-cpx-xcd", "mi300x-8-cpx-high"])
def test_both_facts_of_a_partitioned_host_stay_small(host, emulated, amd_gpus, amd_rocm):
    root = emulated(host)
    assert len(json.dumps(amd_gpus(root))) + len(json.dumps(amd_rocm(root))) < 8 * 1024
