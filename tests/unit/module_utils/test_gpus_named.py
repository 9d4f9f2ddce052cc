# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU is called, whether it shares the memory of the host, and how much of it there is."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import choice, detect
from testbed.in_memory import NODES, Files, node, pci

GIB = 2**30
MEMORY = {"proc/meminfo": f"MemTotal: {125 * GIB // 1024} kB"}


def card(device: str, revision: str | None = None, kind: str = "0x030000") -> dict[str, str]:
    """A GPU before any driver is there."""
    more = {"class": kind, "uevent": "PCI_SLOT_NAME=0000:03:00.0"}
    return pci("0000:03:00.0", device, **more, **({"revision": f"0x{revision}"} if revision else {}))


def apu(device: int, target: int, pool: int, **files: str) -> dict[str, str]:
    """A GPU with a driver, whose KFD node has a bank of ``pool`` bytes."""
    found = {**MEMORY, **pci("0000:c5:00.0", f"{device:04x}", **{"class": "0x030000"}, **files)}
    found |= node(0, gfx_target_version=target, device_id=device, location_id=0xC500)
    found[f"{NODES}/0/mem_banks/0/properties"] = f"heap_type 1\nsize_in_bytes {pool}\n"
    return found


@pytest.mark.parametrize(
    ("ids", "gfx", "shared"),
    [
        ("1636 1638 164c 15e7", "gfx90c", True),
        ("15d9", "gfx902", True),
        ("164d", "gfx1035", True),
        ("164f", "gfx1103", True),
        ("1435", "gfx1033", True),
        ("13fe", "gfx1013", True),
        ("1506", "gfx1036", True),
        ("73a2 73ab 73a0", "gfx1030", False),
        ("73f0 7487 748b 749f", "gfx1102", False),
        ("73a8", "gfx1100", False),
        ("73c4 73c5 73c8 7478", "gfx1101", False),
        ("75a1", "gfx950", False),
        ("7421 7422 7423 7424", "gfx1034", False),
        ("73e1", "gfx1032", False),
        ("7310 7319 731b 731e", "gfx1010", False),
        ("7347 734f", "gfx1012", False),
        ("6862 6864 6867 6868 6869 686a 686b 686d 686e", "gfx900", False),
        ("66a0 66a2 66a3 66a4 66a7", "gfx906", False),
        ("69a0 69a1 69a2 69a3 69af", "gfx904", False),
        ("67c0 67c2 67c4 67c7 67d0 67e0 67e3 67e8 67eb 6fdf 6980 6981 6985 6987 6995 699f 694c 694e 694f", "gfx803", False),
        ("6617", "gfx602", False),
        ("679a", "gfx600", False),
        ("67b0", "gfx701", False),
        ("130f", "gfx700", True),
        ("9874", "gfx801", True),
        ("6939", "gfx802", False),
    ],
)  # fmt: skip
def test_every_id_is_known_before_any_driver(ids, gfx, shared):
    for device in ids.split():
        found = detect(Files(card(device)))
        (gpu,) = found["gpus"]
        assert found["problems"] == [], device
        assert (gpu["gfx"], gpu["apu"], gpu["product"] is not None) == (gfx, shared, True), device
        supported = gfx in ("gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx950")
        assert gpu["supported"] == supported, device


@pytest.mark.parametrize(
    ("device", "revision", "product"),
    [
        ("7550", "c0", "AMD Radeon RX 9070 XT"),
        ("7550", None, "AMD Radeon RX 9070, 9070 GRE or 9070 XT"),
        ("7550", "99", "AMD Radeon RX 9070, 9070 GRE or 9070 XT"),
        ("7590", "cf", "AMD Radeon RX 9050"),
        ("7590", "df", "AMD Radeon RX 9050 4GB"),
        ("7590", None, "AMD Radeon RX 9050, 9050 4GB, 9060, 9060 XT or 9060 XT LP"),
        ("7551", "c0", "AMD Radeon AI PRO R9700"),
        ("7551", None, "AMD Radeon AI PRO R9600, R9600D, R9700 or R9700S"),
        ("747e", None, "AMD Radeon RX 7700, 7700 XE, 7700 XT, 7800 XT or 7800M"),
        ("1586", None, "AMD Radeon 8040S, 8050S or 8060S (Strix Halo)"),
        ("73df", None, "AMD Radeon RX 6700 XT or another board of its kind"),
        ("7448", None, "AMD Radeon PRO W7900"),
        ("74a1", None, "AMD Instinct MI300X"),
    ],
)
def test_a_product_that_needs_a_revision_is_a_choice_without_it(device, revision, product):
    assert detect(Files(card(device, revision)))["gpus"][0]["product"] == product


def test_a_choice_of_one_is_a_fact():
    assert choice("AMD Instinct MI210", ["AMD Instinct MI210"]) == "AMD Instinct MI210"
    assert choice("AMD A", ["AMD A", "AMD A B"]) == "AMD A or A B"


def test_a_usb_controller_with_the_id_of_a_gpu_is_none():
    found = detect(Files(card("73c4", kind="0x0c0330")))
    assert found["gpus"] == []


def test_a_damaged_class_does_not_hide_a_known_gpu():
    assert detect(Files(card("7550", kind="garbage")))["count"] == 1


# --- memory


@pytest.mark.parametrize(
    ("device", "target", "gfx"),
    [(0x164F, 110003, "gfx1103"), (0x7FFF, 110501, "gfx1151"), (0x7FFF, 90012, "gfx90c"), (0x7FFF, 110504, "gfx1154")],
)  # fmt: skip
def test_the_architecture_tells_that_memory_is_shared(device, target, gfx):
    vram = str(GIB // 2)
    found = detect(Files(apu(device, target, 128 * GIB, mem_info_vram_total=vram)))
    (gpu,) = found["gpus"]
    assert (gpu["gfx"], gpu["apu"], gpu["vram_bytes"]) == (gfx, True, GIB // 2)
    assert gpu["usable_bytes"] == 125 * GIB, "no more than the host has"
    assert found["problems"] == [], "KFD says what the chip is"


def test_an_unknown_card_keeps_its_own_memory():
    found = detect(Files(apu(0x7FFF, 120001, 32 * GIB, mem_info_vram_total=str(32 * GIB))))
    (gpu,) = found["gpus"]
    assert (gpu["apu"], gpu["supported"], gpu["usable_bytes"]) == (False, True, 32 * GIB)


@pytest.mark.parametrize(
    ("shown", "shared"),
    [
        ({}, False),
        ({"mem_info_vram_total": "0"}, True),
        ({"mem_info_vram_total": str(192 * GIB)}, False),
        ({"mem_info_vram_total": str(96 * GIB)}, True),
        ({"available_compute_partition": "SPX, TPX, CPX"}, True),
        ({"available_compute_partition": "SPX, DPX, QPX, CPX"}, False),
    ],
)
def test_an_mi300a_of_an_unknown_id(shown, shared):
    (gpu,) = detect(Files(apu(0x74AF, 90402, 192 * GIB, **shown)))["gpus"]
    assert (gpu["gfx"], gpu["apu"]) == ("gfx942", shared)


@pytest.mark.parametrize(("kind", "shared"), [(2, False), (11, True)])
def test_a_cpu_on_the_same_module(kind, shared):
    files = apu(0x74AF, 90402, 128 * GIB)
    files |= {f"{NODES}/1/properties": "cpu_cores_count 24\nsimd_count 0\n"}
    files |= {f"{NODES}/0/io_links/0/properties": f"type {kind}\nnode_from 0\nnode_to 1\n"}
    assert detect(Files(files))["gpus"][0]["apu"] == shared


@pytest.mark.parametrize(("device", "shared"), [(0x74A0, True), (0x74A1, False), (0x74B4, True)])
def test_a_known_id_tells_which_gfx942_it_is(device, shared):
    assert detect(Files(apu(device, 90402, 128 * GIB)))["gpus"][0]["apu"] == shared


def test_a_carve_out_is_not_part_of_the_memory_of_the_kernel():
    files = apu(0x1586, 110501, 96 * GIB, mem_info_vram_total=str(96 * GIB))
    files |= {"proc/meminfo": f"MemTotal: {31 * GIB // 1024} kB"}
    (gpu,) = detect(Files(files))["gpus"]
    assert gpu["usable_bytes"] == 96 * GIB


def test_partitions_that_each_show_all_memory():
    files = apu(0x74A1, 90402, 192 * GIB, mem_info_vram_total=str(192 * GIB))
    files |= node(1, location_id=0xC501)
    files[f"{NODES}/1/mem_banks/0/properties"] = f"heap_type 1\nsize_in_bytes {192 * GIB}\n"
    (gpu,) = detect(Files(files))["gpus"]
    assert (gpu["partitions"], gpu["usable_bytes"]) == (2, 192 * GIB)
