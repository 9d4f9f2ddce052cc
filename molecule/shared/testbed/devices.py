# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI and DRM: which devices a described host has, and their folders in sysfs, debugfs and /dev."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from typing import Any

from .descriptions import module_parameters
from .products import GIB, MIB, PAGE, PRODUCTS, Product
from .writer import Writer

PCI = "sys/bus/pci/devices"
DRM_MAJOR = 226
KFD_DEVICE = os.makedev(236, 0)
RENDER_BASE = 128
# Of each processor of a described host.
CORES = 64

_BUSES = {
    "oam": (0x05, 0x27, 0x47, 0x65, 0x85, 0xA7, 0xC7, 0xE5),
    "oam-dies": (0xC1, 0xC6, 0xC9, 0xCE, 0xD1, 0xD6, 0xD9, 0xDE),
    "card": (0x03, 0x0F, 0x43, 0x83, 0xA3, 0xC3, 0xD3, 0xE3),
    "apu": (0xC5, 0xC8, 0xCB, 0xCE),
}


@dataclass(frozen=True)
class Gpu:
    """One PCI function with a GPU behind it (one die of an MI250) and the DRM devices it registered."""

    product: Product
    address: str
    driver: str | None
    numa_node: int
    numa_nodes: int
    unique_id: int
    vram: int
    gtt: int
    pool: int
    compute_mode: str
    memory_mode: str
    minors: tuple[int, ...] = ()
    platform_ids: tuple[int, ...] = field(default=())
    xcp_unique_ids: str = "gpu"
    xcp_location: str = "function"
    # What of its state is not as it is on an idle GPU that is well: health.py.
    faults: dict[str, Any] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        """How many KFD devices it shows."""
        return self.product.partitions(self.compute_mode)

    @property
    def location_id(self) -> int:
        """Bus, device and function as KFD encodes them."""
        _domain, bus, rest = self.address.split(":")
        device, function = rest.split(".")
        return int(bus, 16) << 8 | int(device, 16) << 3 | int(function)

    def location_of(self, partition: int) -> int:
        """The place of a partition: its number is the function, or stands in the highest bits."""
        return self.location_id + (partition << 28 if self.xcp_location == "high" else partition)

    def unique_id_of(self, partition: int) -> int:
        """The id that KFD shows for a partition: that of the GPU, of the partition's own die, or none."""
        if self.xcp_unique_ids == "none" or not self.unique_id:
            return 0
        own = stable_number(f"{self.unique_id} die {partition}", 64)
        return own if self.xcp_unique_ids == "xcd" else self.unique_id

    @property
    def domain(self) -> int:
        """PCI domain."""
        return int(self.address.split(":")[0], 16)


def stable_number(text: str, bits: int) -> int:
    """A number that looks random and never changes for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: bits // 8], "big")


def mem_total(host: dict[str, Any]) -> int:
    """Bytes of RAM the kernel reports: what is fitted, less the carve-outs of APUs and what the kernel
    reserves."""
    carved = sum(_vram(gpu) * gpu["count"] for gpu in host["gpus"] if PRODUCTS[gpu["product"]].apu)
    return int((host["memory_gib"] * GIB - carved) * 0.985) // 4096 * 4096


def gpus_of(host: dict[str, Any]) -> list[Gpu]:
    """All GPU functions of a host in PCI order of their description, with DRM minors as the driver hands them
    out."""
    free = {kind: list(buses) for kind, buses in _BUSES.items()}
    functions = [
        (item, PRODUCTS[item["product"]])
        for item in host["gpus"]
        for _each in range(item["count"] * PRODUCTS[item["product"]].dies)
    ]
    gpus, minor, platform_id = [], 0, 0
    for index, (item, product) in enumerate(functions):
        driver = (
            item["driver"]
            if item["driver"] != "amdgpu"
            else ("amdgpu" if host["driver"]["source"] != "none" else None)
        )
        nodes = product.drm_nodes if driver == "amdgpu" else 0
        gtt, pages_limit = gtt_of(host, item)
        vram = _vram(item)
        unified = product.apu and not product.instinct
        address = item["address"] or f"0000:{free[_slot(product)].pop(0):02x}:00.0"
        gpus.append(
            Gpu(
                product=product,
                address=address,
                driver=driver,
                numa_node=index * host["numa_nodes"] // len(functions),
                numa_nodes=host["numa_nodes"],
                unique_id=0 if unified else stable_number(f"{host['description']} {address}", 64),
                vram=vram,
                gtt=gtt,
                pool=_pool(item, gtt, described=not pages_limit) if unified else vram,
                compute_mode=item["compute_partition"],
                memory_mode=item["memory_partition"],
                minors=tuple(range(minor, minor + nodes)),
                platform_ids=tuple(range(platform_id, platform_id + max(0, nodes - 1))),
                xcp_unique_ids=host["driver"]["xcp_unique_ids"],
                xcp_location=host["driver"]["xcp_location"],
                faults=item["faults"],
            )
        )
        minor += nodes
        platform_id += max(0, nodes - 1)
    return gpus


def gtt_of(host: dict[str, Any], item: dict[str, Any]) -> tuple[int, bool]:
    """Bytes of system memory a GPU may map, and whether the TTM limit was set by somebody."""
    parameters = module_parameters(host)
    ttm = "amdttm" if host["driver"]["source"] == "dkms" else "ttm"
    if f"{ttm}.pages_limit" in parameters:
        return int(parameters[f"{ttm}.pages_limit"]) * PAGE, True
    if int(parameters.get("amdgpu.gttsize", "-1")) > 0:
        return int(parameters["amdgpu.gttsize"]) * MIB, False
    return (int(item["gtt_gib"] * GIB) if item["gtt_gib"] is not None else mem_total(host) // 2), False


def _pool(item: dict[str, Any], gtt: int, *, described: bool) -> int:
    """What KFD offers on an APU: all of GTT, unless an old kernel is described as showing less."""
    return int(item["pool_gib"] * GIB) if described and item["pool_gib"] is not None else gtt


def _vram(item: dict[str, Any]) -> int:
    return int(item["vram_gib"] * GIB) if item["vram_gib"] is not None else PRODUCTS[item["product"]].vram


def _slot(product: Product) -> str:
    if product.dies > 1:
        return "oam-dies"
    if product.instinct:
        return "oam"
    return "apu" if product.apu else "card"


def has_bmc(host: dict[str, Any]) -> bool:
    """Servers have a display chip of their BMC, which takes DRM card 0 before any GPU."""
    return any(PRODUCTS[item["product"]].instinct for item in host["gpus"])


def write_devices(out: Writer, host: dict[str, Any], gpus: list[Gpu], mes: str) -> None:
    """PCI functions, DRM devices and debugfs of all GPUs, and neighbours that a careless filter would take
    for GPUs."""
    first_card = 1 if has_bmc(host) else 0
    out.folder("sys/class/drm")
    out.file("sys/class/drm/version", "drm 1.1.0 20060810")
    _write_neighbours(out, host, gpus)
    for gpu in gpus:
        _write_pci(out, gpu)
        if gpu.driver != "amdgpu":
            continue
        for position, minor in enumerate(gpu.minors):
            if position == 0:
                parent = f"{PCI}/{gpu.address}"
            else:
                parent = (
                    f"sys/devices/platform/amdgpu_xcp{_xcp_separator(host)}{gpu.platform_ids[position - 1]}"
                )
                out.file(f"{parent}/uevent", "MODALIAS=platform:amdgpu_xcp")
            _write_drm(out, parent, f"card{first_card + minor}", first_card + minor)
            _write_drm(out, parent, f"renderD{RENDER_BASE + minor}", RENDER_BASE + minor)
        _write_debugfs(out, gpu, first_card + gpu.minors[0], mes)


def write_device_nodes(out: Writer, host: dict[str, Any], gpus: list[Gpu], *, real: bool) -> None:
    """/dev/kfd and /dev/dri: plain files, or character devices where the caller may make them."""
    first_card = 1 if has_bmc(host) else 0
    nodes = {
        f"dev/dri/card{first_card + minor}": DRM_MAJOR << 8 | first_card + minor
        for gpu in gpus
        for minor in gpu.minors
    }
    nodes |= {
        f"dev/dri/renderD{RENDER_BASE + m}": DRM_MAJOR << 8 | RENDER_BASE + m
        for gpu in gpus
        for m in gpu.minors
    }
    if nodes:
        nodes["dev/kfd"] = KFD_DEVICE
    if has_bmc(host):
        nodes["dev/dri/card0"] = DRM_MAJOR << 8
    out.folder("dev")
    for path, device in nodes.items():
        target = out.root / path
        target.parent.mkdir(exist_ok=True)
        if real:
            os.mknod(target, 0o660 | stat.S_IFCHR, device)
        else:
            target.touch(mode=0o660)


def _xcp_separator(host: dict[str, Any]) -> str:
    """`amdgpu_xcp_0` became `amdgpu_xcp.0` with the 7.x drivers and kernels."""
    version = host["driver"]["version"] or host["kernel"]["release"]
    return "." if int(version.split(".")[0]) >= 7 else "_"


def _write_pci(out: Writer, gpu: Gpu) -> None:
    product = gpu.product
    _write_function(
        out,
        gpu.address,
        0x1002,
        product.device,
        product.revision,
        product.pci_class,
        product.subsystem,
        gpu.driver,
        gpu.numa_node if gpu.numa_nodes > 1 else -1,
    )
    folder = f"{PCI}/{gpu.address}"
    out.files(
        folder,
        {
            "current_link_speed": product.link_speed,
            "current_link_width": 16,
            "max_link_speed": product.link_speed,
            "max_link_width": 16,
        },
    )
    if gpu.driver != "amdgpu":
        return
    out.files(
        folder,
        {
            "unique_id": f"{gpu.unique_id:016x}" if gpu.unique_id else "",
            "vbios_version": product.vbios,
            "product_name": product.board,
            "mem_info_vram_total": gpu.vram,
            "mem_info_vis_vram_total": gpu.vram,
            "mem_info_vram_used": 297926656,
            "mem_info_gtt_total": gpu.gtt,
            "mem_info_gtt_used": 22036480,
            "gpu_busy_percent": 0,
        },
    )
    if product.compute_modes:
        out.files(
            folder,
            {
                "current_compute_partition": gpu.compute_mode,
                "available_compute_partition": ", ".join(product.compute_modes),
                "current_memory_partition": gpu.memory_mode,
                "available_memory_partition": ", ".join(product.memory_modes),
            },
        )


def _write_function(
    out: Writer,
    address: str,
    vendor: int,
    device: int,
    revision: int,
    pci_class: int,
    subsystem: tuple[int, int],
    driver: str | None,
    numa_node: int = -1,
) -> None:
    folder = f"{PCI}/{address}"
    modalias = (
        f"pci:v{vendor:08X}d{device:08X}sv{subsystem[0]:08X}sd{subsystem[1]:08X}"
        f"bc{pci_class >> 16:02x}sc{pci_class >> 8 & 0xFF:02x}i{pci_class & 0xFF:02x}"
    )
    uevent = [f"DRIVER={driver}"] if driver else []
    uevent += [
        f"PCI_CLASS={pci_class:X}",
        f"PCI_ID={vendor:04X}:{device:04X}",
        f"PCI_SUBSYS_ID={subsystem[0]:04X}:{subsystem[1]:04X}",
        f"PCI_SLOT_NAME={address}",
        f"MODALIAS={modalias}",
    ]
    out.files(
        folder,
        {
            "vendor": f"0x{vendor:04x}",
            "device": f"0x{device:04x}",
            "revision": f"0x{revision:02x}",
            "class": f"0x{pci_class:06x}",
            "subsystem_vendor": f"0x{subsystem[0]:04x}",
            "subsystem_device": f"0x{subsystem[1]:04x}",
            "numa_node": numa_node,
            "modalias": modalias,
            "uevent": "\n".join(uevent),
            "enable": 1,
        },
    )
    if driver:
        out.folder(f"sys/bus/pci/drivers/{driver}")
        out.link(f"{folder}/driver", f"sys/bus/pci/drivers/{driver}")
        out.link(f"sys/bus/pci/drivers/{driver}/{address}", folder)


def _write_neighbours(out: Writer, host: dict[str, Any], gpus: list[Gpu]) -> None:
    _write_function(out, "0000:00:00.0", 0x1022, 0x14D8, 0x00, 0x060000, (0x1022, 0x14D8), None)
    for gpu in gpus:
        if not gpu.product.instinct:
            audio = (0x1002, 0x1640) if gpu.product.apu else (0x1002, 0xAB38)
            _write_function(out, gpu.address[:-1] + "1", *audio, 0x00, 0x040300, audio, "snd_hda_intel")
        if not gpu.product.apu and not gpu.product.instinct:
            bridge = f"0000:{int(gpu.address.split(':')[1], 16) - 1:02x}:00.0"
            _write_function(out, bridge, 0x1002, 0x1479, 0x12, 0x060400, (0x0000, 0x0000), "pcieport")
    if has_bmc(host):
        _write_function(out, "0000:02:00.0", 0x1A03, 0x2000, 0x52, 0x030000, (0x15D9, 0x1B58), "ast")
        _write_drm(out, f"{PCI}/0000:02:00.0", "card0", 0)


def _write_drm(out: Writer, parent: str, name: str, minor: int) -> None:
    folder = f"sys/class/drm/{name}"
    out.file(f"{folder}/dev", f"{DRM_MAJOR}:{minor}")
    out.file(f"{folder}/uevent", f"MAJOR={DRM_MAJOR}\nMINOR={minor}\nDEVNAME=dri/{name}\nDEVTYPE=drm_minor")
    out.link(f"{folder}/device", parent)
    out.folder(f"{parent}/drm/{name}")


def _write_debugfs(out: Writer, gpu: Gpu, card: int, mes: str) -> None:
    units = [("VCE", 0, 0), ("UVD", 0, 0), ("MC", 0, 0), ("ME", 35, 0x1F), ("PFP", 35, 0x2A), ("CE", 0, 0)]
    units += [("RLC", 1, 0x11530505), ("MEC", 35, gpu.product.mec_firmware)]
    if gpu.product.has_mes:
        units += [("MES_KIQ", 6, 0x6C), ("MES", 1, int(mes, 16))]
    lines = [
        f"{unit} feature version: {feature}, firmware version: 0x{firmware:08x}"
        for unit, feature, firmware in units
    ]
    lines += ["SMC feature version: 0, program: 0, firmware version: 0x00646900 (100.105.0)"]
    lines += [f"VBIOS version: {gpu.product.vbios}"]
    folder = f"sys/kernel/debug/dri/{card}"
    out.file(f"{folder}/amdgpu_firmware_info", "\n".join(lines))
    out.file(f"{folder}/name", f"amdgpu dev={gpu.address} unique={gpu.address}")
    out.link(f"sys/kernel/debug/dri/{RENDER_BASE + gpu.minors[0]}", folder)
