# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs the test bed can emulate, with the numbers a real kernel prints for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MIB = 1024**2
GIB = 1024**3
PAGE = 4096

PARTITIONS = {"SPX": 1, "DPX": 2, "TPX": 3, "QPX": 4}
"""Partitions per GPU of each compute mode; CPX makes one of every XCC."""


@dataclass(frozen=True)
class Product:
    """One GPU model. Defaults describe an RDNA card; `vram` is what `mem_info_vram_total` shows, in bytes."""

    name: str
    device: int
    revision: int
    gfx_target_version: int
    compute_units: int
    vram: int
    node_name: str = "ip discovery"
    board: str = ""
    subsystem: tuple[int, int] = (0x1002, 0x0E3B)
    pci_class: int = 0x030000
    vbios: str = "113-EXT000000-001"
    simd_per_cu: int = 2
    wave_size: int = 32
    xccs: int = 1
    dies: int = 1
    drm_nodes: int = 1
    apu: bool = False
    xgmi: bool = False
    link_speed: str = "16.0 GT/s PCIe"
    compute_modes: tuple[str, ...] = ()
    memory_modes: tuple[str, ...] = ()
    lds_kib: int = 64
    capability: int = 709075584
    debug_prop: int = 1495
    mec_firmware: int = 67
    has_mes: bool = True

    @property
    def instinct(self) -> bool:
        """Instinct boards sit in servers, so a BMC display chip comes with them."""
        return self.wave_size == 64

    def partitions(self, compute_mode: str) -> int:
        """How many KFD devices one GPU shows in a compute mode."""
        return self.xccs if compute_mode == "CPX" else PARTITIONS[compute_mode]


def _instinct(name: str, device: int, gfx: int, compute_units: int, vram_gib: int, **more: Any) -> Product:
    """An Instinct board: all but 16 MiB of its memory is visible."""
    defaults: dict[str, Any] = {
        "revision": 0x00,
        "vram": vram_gib * GIB - 16 * MIB,
        "board": f"{name} OAM",
        "subsystem": (0x1002, device),
        "pci_class": 0x120000,
        "simd_per_cu": 4,
        "wave_size": 64,
        "xgmi": True,
        "link_speed": "32.0 GT/s PCIe",
        "has_mes": False,
    }
    return Product(name, device, gfx_target_version=gfx, compute_units=compute_units, **{**defaults, **more})


# Chiplet boards register eight DRM devices per GPU at once, whatever their compute mode.
_CDNA3: dict[str, Any] = {
    "xccs": 8,
    "drm_nodes": 8,
    "capability": 2893521536,
    "debug_prop": 1511,
    "mec_firmware": 177,
    "vbios": "113-M3000100-102",
}
_MI300X: dict[str, Any] = {
    **_CDNA3,
    "compute_modes": ("SPX", "DPX", "CPX"),
    "memory_modes": ("NPS1", "NPS2", "NPS4"),
}
_CDNA4: dict[str, Any] = {
    **_CDNA3,
    "compute_modes": ("SPX", "DPX", "QPX", "CPX"),
    "memory_modes": ("NPS1", "NPS2"),
    "lds_kib": 160,
    "vbios": "113-M3550101-100",
}
_CDNA2: dict[str, Any] = {
    "capability": 746037888,
    "debug_prop": 470,
    "mec_firmware": 92,
    "node_name": "aldebaran",
    "link_speed": "16.0 GT/s PCIe",
}

PRODUCTS: dict[str, Product] = {
    "mi100": _instinct(
        "AMD Instinct MI100",
        0x738C,
        90008,
        120,
        32,
        board="AMD Instinct MI100",
        revision=0x01,
        node_name="arcturus",
        link_speed="16.0 GT/s PCIe",
        pci_class=0x038000,
        capability=746037888,
        debug_prop=470,
        mec_firmware=66,
        vbios="113-D3430401-037",
    ),
    "mi210": _instinct(
        "AMD Instinct MI210",
        0x740F,
        90010,
        104,
        64,
        **{
            **_CDNA2,
            "board": "AMD Instinct MI210",
            "revision": 0x02,
            "pci_class": 0x038000,
            "vbios": "113-D67301-063",
        },
    ),
    "mi250": _instinct(
        "AMD Instinct MI250",
        0x740C,
        90010,
        104,
        64,
        **{
            **_CDNA2,
            "board": "AMD Instinct MI250 (MCM) OAM AC MBA",
            "revision": 0x01,
            "pci_class": 0x038000,
            "dies": 2,
            "vbios": "113-D65209-073",
        },
    ),
    "mi300a": _instinct(
        "AMD Instinct MI300A",
        0x74A0,
        90402,
        228,
        128,
        **{
            **_CDNA3,
            "xccs": 6,
            "apu": True,
            "compute_modes": ("SPX", "TPX", "CPX"),
            "memory_modes": ("NPS1",),
            "board": "AMD Instinct MI300A",
        },
    ),
    "mi300x": _instinct("AMD Instinct MI300X", 0x74A1, 90402, 304, 192, **_MI300X),
    "mi325x": _instinct("AMD Instinct MI325X", 0x74A5, 90402, 304, 256, **_MI300X),
    "mi350x": _instinct("AMD Instinct MI350X", 0x75A0, 90500, 256, 288, **_CDNA4),
    "mi355x": _instinct("AMD Instinct MI355X", 0x75A3, 90500, 256, 288, **_CDNA4),
    "mi300x-vf": _instinct(
        "AMD Instinct MI300X VF",
        0x74B5,
        90402,
        304,
        192,
        **{**_CDNA3, "subsystem": (0x1002, 0x74A1), "board": "", "vbios": "113-M3SRIOV-001"},
    ),
    "rx6900xt": Product(
        "AMD Radeon RX 6900 XT",
        0x73BF,
        0xC0,
        100300,
        80,
        16 * GIB - 16 * MIB,
        node_name="sienna_cichlid",
        subsystem=(0x1DA2, 0x440E),
        vbios="113-D4121EXT-001",
        mec_firmware=118,
        has_mes=False,
    ),
    "rx7900xtx": Product(
        "AMD Radeon RX 7900 XTX",
        0x744C,
        0xC8,
        110000,
        96,
        24 * GIB - 16 * MIB,
        subsystem=(0x1DA2, 0xE471),
        vbios="113-D70401XT-P11",
    ),
    "rx9060xt": Product(
        "AMD Radeon RX 9060 XT",
        0x7590,
        0xC0,
        120000,
        32,
        17095983104,
        subsystem=(0x1849, 0x5424),
        vbios="113-EXT116469-100",
        link_speed="32.0 GT/s PCIe",
        mec_firmware=32,
    ),
    "rx9070xt": Product(
        "AMD Radeon RX 9070 XT",
        0x7550,
        0xC0,
        120001,
        64,
        17095983104,
        subsystem=(0x148C, 0x2435),
        vbios="113-EXT109069-101",
        link_speed="32.0 GT/s PCIe",
        mec_firmware=32,
    ),
    "r9700": Product(
        "AMD Radeon AI PRO R9700",
        0x7551,
        0xC0,
        120001,
        64,
        32 * GIB - 144 * MIB,
        subsystem=(0x1002, 0x0E54),
        vbios="113-D7550600-100",
        link_speed="32.0 GT/s PCIe",
        mec_firmware=32,
    ),
    "strix-halo": Product(
        "AMD Radeon 8060S Graphics",
        0x1586,
        0xC1,
        110501,
        40,
        GIB // 2,
        subsystem=(0x1F4C, 0xB021),
        vbios="113-STRXLGEN-001",
        apu=True,
    ),
    "strix-point": Product(
        "AMD Radeon 890M Graphics",
        0x150E,
        0xC1,
        110500,
        16,
        GIB // 2,
        subsystem=(0x17AA, 0x5131),
        vbios="113-STRIXEMU-001",
        apu=True,
    ),
    "phoenix": Product(
        "AMD Radeon 780M Graphics",
        0x15BF,
        0xDD,
        110003,
        12,
        4 * GIB,
        subsystem=(0x17AA, 0x50DA),
        vbios="113-PHXGENERIC-001",
        apu=True,
    ),
    "raphael-igpu": Product(
        "AMD Radeon Graphics",
        0x164E,
        0xC7,
        100306,
        2,
        GIB // 2,
        subsystem=(0x1043, 0x8877),
        vbios="102-RAPHAEL-008",
        apu=True,
        has_mes=False,
    ),
}
