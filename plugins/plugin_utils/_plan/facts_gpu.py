# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fact ``amd_gpus``, as the module ``gpu_facts`` returns it. A test holds the module and its RETURN to
these types."""

from __future__ import annotations

import typing as t


class Problem(t.TypedDict):
    """Something that could not be read, or that contradicts itself."""

    path: str  # on the host; empty in the entry that counts what was left out
    problem: str  # the end of a sentence that begins with the path
    count: int  # how many files had it


class Link(t.TypedDict):
    """A link of a KFD node to another one."""

    to: int | None  # number of the KFD node; null where the file does not tell
    type: str  # pcie, xgmi or KFD's number of the type
    weight: int | None  # hops and their cost; null where the file does not tell
    bandwidth_mb_s: int | None  # MB/s; null where the file does not tell


class Firmware(t.TypedDict):
    """Versions that KFD shows."""

    mec: int | None  # of the compute engine; null without a driver
    sdma: int | None  # of the copy engines; null without a driver


class Gpu(t.TypedDict):
    """A physical GPU. A die of an MI250 is one, as it is for the driver; a partition is none."""

    index: int  # place in the list, from 0, in PCI order
    gfx: str | None  # LLVM name, as gfx942; null where neither KFD nor the PCI id tells, and on driver radeon
    product: (
        str | None
    )  # a choice ("9070 or 9070 XT") where the revision would decide; null for an unknown id
    family: str | None  # as cdna3; null where gfx is null or not in the catalog
    pci_id: str | None  # vendor:device, hexadecimal; null where KFD alone shows it and does not tell
    pci_address: str | None  # domain:bus:device.function; null where KFD alone shows it and does not tell
    unique_id: (
        str | None
    )  # of the die, hexadecimal; null on most APUs and without a driver. No identity: see _owners
    apu: bool  # whether GPU and CPU share one memory
    virtual_function: bool  # whether it is an SR-IOV function of a GPU whose owner is another host
    driver: str | None  # amdgpu, vfio-pci, gim, radeon ...; null where none is bound
    supported: bool  # whether current ROCm releases support the architecture
    vram_bytes: int | None  # bytes; the carve-out of an APU; null without a driver
    gtt_bytes: int | None  # bytes of host memory it may map; null without a driver
    usable_bytes: int | None  # bytes an engine can allocate, all partitions together; null without a driver
    compute_units: int | None  # all partitions together; null without a driver
    xcc_count: (
        int | None
    )  # compute dies, all partitions together; null without a driver, and before Linux 6.5
    numa_node: int | None  # null where the kernel knows none (-1)
    compute_partition: (
        str | None
    )  # SPX, DPX, TPX, QPX, CPX; null where the GPU has no modes, and without a driver
    memory_partition: str | None  # NPS1, NPS2, NPS4, NPS8; null as above
    available_compute_partitions: list[str]  # what the driver offers now; empty where it offers nothing
    partitions: int  # KFD devices; 0 without a driver
    kfd_nodes: list[int]  # their numbers, ascending
    render_nodes: list[str]  # their names in /dev/dri, in the order of kfd_nodes


class GpuDetails(Gpu):
    """What ``detail: full`` adds."""

    available_memory_partitions: list[str]  # what the driver offers; empty where it offers nothing
    revision: str | None  # PCI revision, hexadecimal; null where it cannot be read
    vbios: str | None  # null without a driver
    link_speed: str | None  # PCIe, as "32.0 GT/s"; null where the kernel does not know it
    link_width: int | None  # PCIe lanes; null where the kernel does not know it
    links: dict[str, list[Link]]  # by KFD node; empty without a driver
    firmware: Firmware


class AmdGpus(t.TypedDict):
    """The fact."""

    gpus: list[Gpu]
    count: int  # physical GPUs
    partition_count: int  # KFD devices
    gfx: list[str]  # architectures present, sorted
    homogeneous: bool  # whether all supported GPUs are of one product; true where there is none
    kfd: str  # present, absent or denied
    problems: list[Problem]  # at most 12
