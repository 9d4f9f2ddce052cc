# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs of every kind side by side, with and without a driver, by whatever ids: one slot is one GPU."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect
from testbed.in_memory import PCI, Files, node, pci

GIB = 1 << 30


class Linked(Files):
    """As Files, with links: a path to the name that it leads to."""

    def __init__(self, files: Mapping[str, str], links: Mapping[str, str]) -> None:
        super().__init__({**files, **dict.fromkeys(links, "")})
        self.links = links

    def link_target(self, *parts: str) -> str | None:
        return self.links.get(self._key(parts))


# What a slot may hold: id, class, driver, architecture of its KFD nodes (None: KFD has none of it).
KINDS: dict[str, tuple[str, str, str | None, int | None]] = {
    "instinct": ("74a1", "0x120000", "amdgpu", 90402),
    "virtual function": ("74b5", "0x120000", "amdgpu", 90402),
    "instinct of gim": ("74a1", "0x120000", "gim", None),
    "radeon": ("7550", "0x030000", "amdgpu", 120001),
    "radeon beside KFD": ("7550", "0x030000", "amdgpu", None),
    "passed through": ("7550", "0x030000", "vfio-pci", None),
    "no driver yet": ("744c", "0x030000", None, None),
    "display": ("164e", "0x030000", "amdgpu", 100306),
    "halo": ("1586", "0x038000", "amdgpu", 110501),
    "radeon driver": ("6779", "0x030000", "radeon", None),
    "not born yet": ("7fff", "0x038000", "amdgpu", 130000),
    "not born yet, no driver": ("7ffe", "0x120000", None, None),
}
UNIQUE: dict[str, t.Callable[[int, int], tuple[str | None, int]]] = {
    "PCI and KFD agree": lambda gpu, _part: (f"{gpu + 1:x}", gpu + 1),
    "all equal": lambda _gpu, _part: ("7", 7),
    "all zero": lambda _gpu, _part: ("0", 0),
    "KFD alone": lambda gpu, part: (None, 100 * gpu + part + 1),
    "those of a neighbour": lambda gpu, _part: (f"{gpu + 1:x}", gpu + 2),
    "crossed": lambda gpu, part: (f"{gpu + 1:x}", (gpu ^ 1) + 1 if part else gpu + 1),
}


@settings(max_examples=400, deadline=None)
@given(
    slots=st.lists(
        st.tuples(
            st.integers(0, 0xFFFF),
            st.integers(0, 255),
            st.integers(0, 31),
            st.sampled_from(sorted(KINDS)),
            st.sampled_from([1, 2, 3, 4, 6, 8]),
        ),
        min_size=1,
        max_size=9,
        unique_by=lambda slot: slot[:3],
    ),
    ids=st.sampled_from(sorted(UNIQUE)),
    shift=st.sampled_from([0, 28]),
    told=st.booleans(),
    data=st.data(),
)
def test_one_slot_is_one_gpu_whatever_drives_it(slots, ids, shift, told, data):
    """told: whether the kernel says the PCI domain. Where it does not, domains are told apart by the bus alone."""
    if not told:
        slots = [(0, *slot[1:]) for slot in slots]
        slots = list({slot[:3]: slot for slot in slots}.values())
    files: dict[str, str] = {}
    nodes: list[dict[str, t.Any]] = []
    for gpu, (domain, bus, device, kind, partitions) in enumerate(slots):
        number, class_, driver, target = KINDS[kind]
        address = f"{domain:04x}:{bus:02x}:{device:02x}.0"
        unique = UNIQUE[ids](gpu, 0)[0]
        more = {"unique_id": unique} if unique is not None else {}
        uevent = f"PCI_SLOT_NAME={address}" + (f"\nDRIVER={driver}" if driver else "")
        files |= pci(address, number, **{"class": class_, "uevent": uevent, **more})
        parts = partitions if kind in ("instinct", "virtual function") else 1
        for part in range(parts if target else 0):
            nodes.append(
                {
                    "location_id": (bus << 8 | device << 3) + (part << shift),
                    "domain": domain if told else None,
                    "unique_id": UNIQUE[ids](gpu, part)[1],
                    "device_id": int(number, 16),
                    "gfx_target_version": target,
                }
            )
    for number, properties in enumerate(data.draw(st.permutations(nodes))):
        files |= node(number, **properties)
    found = detect(Files(files))
    assert [gpu["pci_address"] for gpu in found["gpus"]] == sorted(
        f"{domain:04x}:{bus:02x}:{device:02x}.0" for domain, bus, device, _kind, _partitions in slots
    )
    assert found["count"] == len(slots) and found["partition_count"] == len(nodes)
    by_address = {f"{s[0]:04x}:{s[1]:02x}:{s[2]:02x}.0": s for s in slots}
    for gpu in found["gpus"]:
        *_place, kind, partitions = by_address[gpu["pci_address"]]
        target = KINDS[kind][3]
        parts = partitions if kind in ("instinct", "virtual function") else 1
        assert gpu["partitions"] == (parts if target else 0) and gpu["driver"] == KINDS[kind][2]
        assert gpu["apu"] is (kind in ("display", "halo"))
        if kind == "not born yet":
            assert (gpu["gfx"], gpu["product"], gpu["supported"]) == ("gfx1300", None, False)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_virtual_functions_that_the_host_gives_away_are_part_of_their_gpu(count):
    """gim on the host: each is a function of its own on the bus, with its own slot."""
    files, links = {}, {}
    for gpu in range(count):
        parent = f"0000:{gpu + 5:02x}:00.0"
        files |= pci(parent, "74a1", uevent=f"DRIVER=gim\nPCI_SLOT_NAME={parent}")
        for number in range(8):
            child = f"0000:{gpu + 5:02x}:{2 + number // 8:02x}.{number % 8}"
            files |= pci(child, "74b5", uevent=f"DRIVER=vfio-pci\nPCI_SLOT_NAME={child}")
            links[f"{PCI}/{child}/physfn"] = f"../{parent}"
    found = detect(Linked(files, links))
    assert (found["count"], {gpu["driver"] for gpu in found["gpus"]}) == (count, {"gim"})


def test_a_card_in_a_box_is_told_from_the_graphics_of_the_processor():
    """An eGPU on a domain and bus of its own, as USB4 gives them."""
    files = {
        **pci("0000:c5:00.0", "1586", **{"class": "0x038000"}),
        **pci("10000:e1:00.0", "7550", **{"class": "0x030000", "revision": "0xc0"}),
        **node(1, location_id=0xC500, device_id=0x1586, gfx_target_version=110501, num_xcc=1),
        **node(2, location_id=0xE100, domain=0x10000, device_id=0x7550, gfx_target_version=120001, num_xcc=1),
    }
    found = detect(Files(files))
    assert [(gpu["gfx"], gpu["apu"], gpu["kfd_nodes"]) for gpu in found["gpus"]] == [
        ("gfx1151", True, [1]),
        ("gfx1201", False, [2]),
    ]


@pytest.mark.parametrize(
    ("target", "gfx"),
    [(130000, "gfx1300"), (120602, "gfx1262"), (90500, "gfx950"), (110504, "gfx1154"), (200102, "gfx2012")],
)
def test_a_target_of_the_future_is_named_and_nothing_more(target, gfx):
    files = {
        **pci("0000:05:00.0", "7fff", **{"class": "0x038000"}),
        **node(0, device_id=0x7FFF, gfx_target_version=target),
    }
    (gpu,) = detect(Files(files))["gpus"]
    assert gpu["gfx"] == gfx and gpu["product"] is None
    assert not gpu["supported"] or gfx == "gfx950"
