# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of described GPUs: errors, pages, links between them, sensors and the table gpu_metrics. Without a
fault a GPU is idle and well.

    gpus:
      - {product: mi300x, count: 7}
      - {product: mi300x, faults: {ras: {umc: {ue: 3}}}}
"""

from __future__ import annotations

import os
import struct
from typing import Any

from .devices import PCI, RENDER_BASE, Gpu, stable_number
from .gpu_metrics import metrics_of
from .writer import Writer

BLOCKS = ("umc", "sdma", "gfx", "mmhub", "xgmi_wafl", "vcn", "jpeg")
WATTS = {"AMD Instinct MI300X": 750, "AMD Instinct MI325X": 1000, "AMD Instinct MI300A": 550}
WATTS |= {"AMD Instinct MI350X": 1000, "AMD Instinct MI355X": 1400}
# What a description may say, and what it is without.
FAULTS: dict[str, Any] = {
    "link_width": None,
    "link_speed": None,
    "busy": 0,
    "ras": {},
    "fatal_events": 0,
    "pages": {},
    "temperature": {},
    "cap": None,
    "cap_default": None,
    "replays": None,
    "recoveries": 0,
    "aer": {},
    "xgmi_error": 0,
    "xgmi_down": 0,
    "hive": None,
    "throttled": {},
    "throttle_bits": 0,
    "fatal_records": 0,
    "vbios": None,
    "firmware": {},
    "asleep": False,
    "metrics": None,
    "unreadable": [],
    # The board's own switch and the port above it: width and speed of that link, and what the port can do.
    "bridge": {},
    # Files of the GPU with other contents; a number of bytes is as many letters.
    "raw": {},
}


def write_health(out: Writer, gpu: Gpu, siblings: int, card: int) -> None:
    """All of it for a GPU that amdgpu drives. ``siblings``: GPUs of its kind on the host, itself included."""
    unknown = sorted(set(gpu.faults) - set(FAULTS))
    if unknown:
        raise ValueError(f"faults: unknown key {', '.join(unknown)}; known keys: {', '.join(FAULTS)}")
    faults = {**FAULTS, **gpu.faults}
    folder = f"{PCI}/{gpu.address}"
    _write_link(out, gpu, folder, faults)
    _write_sensors(out, gpu, folder, faults)
    if gpu.product.instinct:
        _write_ras(out, gpu, folder, faults)
        out.file(f"{folder}/serial_number", f"{stable_number(gpu.address, 32):010d}")
    if gpu.product.xgmi and siblings > 1:
        _write_xgmi(out, gpu, folder, faults, siblings)
    versions = {"smc": "0x00556900", "sos": "0x003a0054", "mec": f"0x{gpu.product.mec_firmware:08x}"}
    for part, version in {**versions, **faults["firmware"]}.items():
        out.file(f"{folder}/fw_version/{part}_fw_version", version)
    out.file(f"{folder}/gpu_metrics", metrics_of(gpu, faults))
    if faults["fatal_records"]:
        out.file(f"sys/kernel/debug/dri/{card}/amdgpu_ring_cper", ring(faults["fatal_records"]))
    for name, content in faults["raw"].items():
        out.file(f"{folder}/{name}", content if isinstance(content, (str, bytes)) else b"x" * content)
    for name in faults["unreadable"]:
        # Reading a folder fails for root too.
        path = out.root / folder / name
        if path.exists():
            path.unlink()
        path.mkdir(parents=True)
    if faults["bridge"]:
        _put_behind_a_switch(out, gpu, {"width": 16, "speed": None, "slot_width": 16, **faults["bridge"]})


def _put_behind_a_switch(out: Writer, gpu: Gpu, link: dict[str, Any]) -> None:
    """As sysfs nests devices: a port of the host, the two bridges of the board, and the GPU, whose own link is
    full whatever the slot gives."""
    flat, bus = out.root / PCI / gpu.address, gpu.address.split(":")[1]
    full = gpu.product.link_speed
    slow = f"{link['speed']} GT/s PCIe" if link["speed"] else full
    port, upper, lower = "0000:00:01.1", f"0000:{bus}:1e.0", f"0000:{bus}:1f.0"
    parent = "sys/devices/pci0000:00"
    for address, vendor, width, most, speed in (
        (port, 0x1022, link["width"], link["slot_width"], slow),
        (upper, 0x1002, link["width"], 16, slow),
        (lower, 0x1002, 16, 16, full),
    ):
        parent = f"{parent}/{address}"
        out.files(parent, {"vendor": f"0x{vendor:04x}", "class": "0x060400", "current_link_width": width,
                           "max_link_width": most, "current_link_speed": speed, "max_link_speed": full})  # fmt: skip
        out.link(f"{PCI}/{address}", parent)
    place = out.root / parent / gpu.address
    links = {path: path.resolve() for path in flat.rglob("*") if path.is_symlink()}
    flat.rename(place)
    flat.symlink_to(os.path.relpath(place, flat.parent))
    for path, target in links.items():
        moved = place / path.relative_to(flat)
        moved.unlink()
        moved.symlink_to(os.path.relpath(target, moved.parent))


def _write_link(out: Writer, gpu: Gpu, folder: str, faults: dict[str, Any]) -> None:
    if faults["link_width"]:
        out.file(f"{folder}/current_link_width", faults["link_width"])
    if faults["link_speed"]:
        out.file(f"{folder}/current_link_speed", f"{faults['link_speed']} GT/s PCIe")
    if faults["vbios"]:
        out.file(f"{folder}/vbios_version", faults["vbios"])
    if not gpu.product.apu:
        out.file(f"{folder}/power/runtime_status", "suspended" if faults["asleep"] else "active")
        names = {"correctable": "COR", "nonfatal": "NONFATAL", "fatal": "FATAL"}
        for kind, name in names.items():
            count = faults["aer"].get(kind, 0)
            out.file(f"{folder}/aer_dev_{kind}", f"BadTLP {count}\nTOTAL_ERR_{name} {count}")
    out.file(f"{folder}/gpu_busy_percent", faults["busy"])
    if faults["replays"] is not None:
        out.file(f"{folder}/pcie_replay_count", faults["replays"])


def _write_ras(out: Writer, gpu: Gpu, folder: str, faults: dict[str, Any]) -> None:
    aca = gpu.product.xccs > 1
    for block in BLOCKS:
        counts = {"ue": 0, "ce": 0, "de": 0, **faults["ras"].get(block, {})}
        kinds = ("ue", "ce", "de") if aca or block == "umc" else ("ue", "ce")
        text = "".join(f"{kind}: {counts[kind]}\n" for kind in kinds)
        out.file(f"{folder}/ras/{f'aca_{block}' if aca else f'{block}_err_count'}", text)
    events = [("Fatal Error", faults["fatal_events"]), ("Poison Creation", 0), ("Poison Consumption", 0)]
    lines = [f"{name}: count:{count}, last_seqno:0" for name, count in events]
    out.file(f"{folder}/ras/event_state", "\n".join(["current seqno: 0", *lines]))
    out.file(f"{folder}/ras/features", "feature mask: 0x1ff")
    flags = [flag for flag, count in faults["pages"].items() for _each in range(count)]
    pages = [f"0x{number:08x} : 0x00001000 : {flag}" for number, flag in enumerate(flags, 0x1000)]
    out.file(f"{folder}/ras/gpu_vram_bad_pages", "\n".join(pages))


def _write_xgmi(out: Writer, gpu: Gpu, folder: str, faults: dict[str, Any], siblings: int) -> None:
    nodes = faults["hive"] or siblings
    out.file(f"{folder}/xgmi_num_hops", " ".join(["00"] + ["41"] * (nodes - 1)))
    out.file(f"{folder}/xgmi_hive_info/xgmi_hive_id", stable_number("hive", 64))
    for number in range(1, nodes + 1):
        out.folder(f"{folder}/xgmi_hive_info/node{number}")
    if gpu.product.xccs == 1:
        out.file(f"{folder}/xgmi_error", faults["xgmi_error"])


def _write_sensors(out: Writer, gpu: Gpu, folder: str, faults: dict[str, Any]) -> None:
    product, hwmon = gpu.product, f"{folder}/hwmon/hwmon4"
    out.file(f"{hwmon}/name", "amdgpu")
    if product.apu and not product.instinct:
        sensors: dict[str, tuple[int, int | None]] = {"edge": (41, None)}
    elif product.xccs > 1:
        sensors = {"junction": (45, 100), "mem": (38, 105)}
    else:
        sensors = {"edge": (36, 100), "junction": (41, 110), "mem": (40, 108)}
    for name, (degrees, critical) in sensors.items():
        number = {"edge": 1, "junction": 2, "mem": 3}[name]
        out.file(f"{hwmon}/temp{number}_label", name)
        out.file(f"{hwmon}/temp{number}_input", faults["temperature"].get(name, degrees) * 1000)
        if critical:
            out.file(f"{hwmon}/temp{number}_crit", critical * 1000)
            out.file(f"{hwmon}/temp{number}_emergency", (critical + 5) * 1000)
    draws = "power1_input" if product.xccs > 1 else "power1_average"
    out.file(f"{hwmon}/{draws}", 150_000_000 if product.instinct else 19_000_000)
    if not product.apu or product.instinct:
        own = faults["cap_default"] or WATTS.get(product.name, 300)
        out.file(f"{hwmon}/power1_cap", (faults["cap"] or own) * 1_000_000)
        out.file(f"{hwmon}/power1_cap_default", own * 1_000_000)
        out.file(f"{hwmon}/power1_cap_max", own * 1_000_000)


def ring(fatal: int) -> bytes:
    """Records of severity fatal as the driver keeps them."""
    # Of 2026-11-27, 10:02:03.
    body = bytes((3, 2, 10, 1, 27, 11, 26, 20)) + bytes(88)
    head = struct.pack("<4sHIHIII", b"CPER", 0x100, 0xFFFFFFFF, 1, 1, 0, 24 + len(body))
    records = (head + body) * fatal
    return struct.pack("<III", 0, len(records), len(records)) + records


def write_all(out: Writer, gpus: list[Gpu], first_card: int) -> None:
    driven = [gpu for gpu in gpus if gpu.driver == "amdgpu"]
    for gpu in driven:
        siblings = sum(other.product is gpu.product for other in driven)
        write_health(out, gpu, siblings, first_card + (gpu.minors[0] if gpu.minors else RENDER_BASE))
