# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes KFD nodes one GPU: its place on the bus, whatever a driver says about ids and partitions."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect
from testbed.in_memory import PCI, Files, node, pci

DPX = pci(
    "0000:05:00.0",
    unique_id="aaaa",
    current_compute_partition="DPX",
    mem_info_vram_total="206141652992",
)


@pytest.mark.parametrize("ids", [(0xAAAA, 0xAAAA), (111, 222), (0, 0), (0, 222), (0xAAAA, 0)])
@pytest.mark.parametrize("second", [1281, 1280 + 2**28, 1281 + 2**28, 1280])
def test_two_partitions_in_one_slot(ids, second):
    files = {**DPX, **node(0, unique_id=ids[0]), **node(1, unique_id=ids[1], location_id=second)}
    found = detect(Files(files))
    (gpu,) = found["gpus"]
    assert (found["partition_count"], found["problems"]) == (2, [])
    assert (gpu["pci_address"], gpu["unique_id"]) == ("0000:05:00.0", "aaaa")
    assert (gpu["partitions"], gpu["compute_units"], gpu["xcc_count"]) == (2, 304, 8)
    assert gpu["render_nodes"] == ["renderD128", "renderD129"]


@pytest.mark.parametrize("second", [1281, 1280 + 2**28])
def test_partitions_where_kfd_alone_is_seen(second):
    found = detect(Files({**node(0, unique_id=111), **node(1, unique_id=222, location_id=second)}))
    assert [(gpu["pci_address"], gpu["partitions"]) for gpu in found["gpus"]] == [("0000:05:00.0", 2)]


@pytest.mark.parametrize("ids", [(111, 222), (0, 0)])
@pytest.mark.parametrize("bus", [True, False])
def test_one_place_in_two_domains_that_the_kernel_does_not_tell(ids, bus):
    files = {}
    for number, unique_id in enumerate(ids):
        files |= node(number, unique_id=unique_id, domain=None)
        if bus:
            files |= pci(f"000{number}:05:00.0", unique_id=f"{ids[1 - number]:x}")
    found = detect(Files(files))
    assert [gpu["partitions"] for gpu in found["gpus"]] == [1, 1]
    if bus and ids[0]:
        assert [gpu["kfd_nodes"] for gpu in found["gpus"]] == [[1], [0]], "the id tells the domain"


def test_two_functions_of_one_slot_that_are_gpus_each():
    """A guest may be given two GPUs as functions of one device."""
    files = {**pci("0000:00:05.0"), **pci("0000:00:05.1"), **node(0, location_id=0x28)}
    found = detect(Files({**files, **node(1, location_id=0x29)}))
    assert [gpu["kfd_nodes"] for gpu in found["gpus"]] == [[0], [1]]


def test_an_id_in_a_damaged_place_still_finds_its_gpu():
    files = {**DPX, **node(0, unique_id=0xAAAA, location_id=3), **pci("0000:26:00.0")}
    found = detect(Files({**files, **node(1, location_id=0x2600)}))
    assert [gpu["kfd_nodes"] for gpu in found["gpus"]] == [[0], [1]]


def test_a_place_that_is_not_on_the_bus_is_no_gpu():
    files = {**DPX, **node(0), **node(1, location_id=3, unique_id=222)}
    found = detect(Files(files))
    assert (found["count"], found["partition_count"]) == (1, 1)
    assert [entry["problem"] for entry in found["problems"]] == ["names a device that is not on the PCI bus"]


def test_a_device_whose_files_are_damaged_is_counted_by_its_node():
    files = {**node(0), **node(1, location_id=0x2600), **pci("0000:26:00.0"), **DPX}
    files[f"{PCI}/0000:05:00.0/vendor"] = ""
    found = detect(Files(files))
    assert [gpu["pci_address"] for gpu in found["gpus"]] == ["0000:05:00.0", "0000:26:00.0"]


IDS: dict[str, t.Callable[[int, int], int]] = {
    "of the GPU": lambda gpu, _partition: 1000 + gpu,
    "of the die": lambda gpu, partition: 1000 + 16 * gpu + partition,
    "none": lambda _gpu, _partition: 0,
    "all the same": lambda _gpu, _partition: 7,
    "of the first partition alone": lambda gpu, partition: 0 if partition else 1000 + gpu,
    "of another GPU": lambda gpu, partition: 1000 + (gpu + partition) % 4,
}
PLACES: dict[str, t.Callable[[int], int]] = {
    "function": lambda partition: partition,
    "high bits": lambda partition: partition << 28,
    "both": lambda partition: partition | partition << 28,
    "not told": lambda _partition: 0,
}


@settings(max_examples=300, deadline=None)
@given(
    slots=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 255), st.integers(0, 31), st.sampled_from([1, 2, 4, 8])),
        min_size=1,
        max_size=6,
        unique_by=lambda slot: slot[:3],
    ),
    ids=st.sampled_from(sorted(IDS)),
    place=st.sampled_from(sorted(PLACES)),
    device=st.sampled_from(["74a1", "74b5", "7fff"]),
    data=st.data(),
)
def test_as_many_gpus_as_slots(slots, ids, place, device, data):
    bus = place == "not told" or data.draw(st.booleans(), label="the PCI bus is seen")
    files, nodes = {}, []
    for gpu, (domain, number, slot, partitions) in enumerate(slots):
        if bus:
            address = f"{domain:04x}:{number:02x}:{slot:02x}.0"
            files |= pci(address, device, unique_id=f"{1000 + gpu:x}")
        for partition in range(partitions):
            location = (number << 8 | slot << 3) + PLACES[place](partition)
            nodes.append(
                {
                    "location_id": location,
                    "domain": domain,
                    "unique_id": IDS[ids](gpu, partition),
                    "device_id": int(device, 16),
                }
            )
    for number, properties in enumerate(data.draw(st.permutations(nodes))):
        files |= node(number, **properties)
    found = detect(Files(files))
    assert found["count"] == len(slots)
    assert found["partition_count"] == len(nodes)
    partitions = {f"{slot[0]:04x}:{slot[1]:02x}:{slot[2]:02x}.0": slot[3] for slot in slots}
    assert {gpu["pci_address"]: gpu["partitions"] for gpu in found["gpus"]} == partitions
    for gpu in found["gpus"]:
        assert gpu["compute_units"] == 152 * gpu["partitions"]
        assert len(set(gpu["render_nodes"])) == len(gpu["kfd_nodes"]) == gpu["partitions"]
