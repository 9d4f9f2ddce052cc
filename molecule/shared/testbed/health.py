# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of described GPUs: errors, pages, links between them, sensors and the table gpu_metrics. Without a
fault a GPU is idle and well.

    gpus:
      - {product: mi300x, count: 7}
      - {product: mi300x, faults: {ras: {umc: {ue: 3}}}}
"""

from __future__ import annotations

import struct
from typing import Any

from .devices import PCI, RENDER_BASE, Gpu, stable_number
from .writer import Writer

BLOCKS = ("umc", "sdma", "gfx", "mmhub", "xgmi_wafl", "vcn", "jpeg")
WATTS = {"AMD Instinct MI300X": 750, "AMD Instinct MI325X": 1000, "AMD Instinct MI300A": 550}
WATTS |= {"AMD Instinct MI350X": 1000, "AMD Instinct MI355X": 1400}
SAMPLES = 1_000_000
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
    for name in faults["unreadable"]:
        # Reading a folder fails for root too.
        path = out.root / folder / name
        if path.exists():
            path.unlink()
        path.mkdir(parents=True)


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


def metrics_of(gpu: Gpu, faults: dict[str, Any]) -> bytes:
    """The table as the driver of this GPU writes it, or as ``metrics`` says."""
    product = gpu.product
    usual = "1.7" if product.xccs > 1 else "1.3"
    if product.apu and not product.instinct:
        usual = "3.0" if product.gfx_target_version >= 110500 else "2.1"
    wanted = str(faults["metrics"] or usual)
    throttled = {name: int(share * SAMPLES) for name, share in faults["throttled"].items()}
    if wanted == "garbage":
        return bytes(range(1, 100))
    table = {"1.3": _v1_3, "1.7": _v1_7, "1.9": _v1_9, "2.1": _v2_1, "3.0": _v3_0}[
        wanted.removesuffix(" cut")
    ]
    data = table(faults, throttled)
    return data[:-20] if wanted.endswith(" cut") else data


def _table(size: int, version: tuple[int, int], fields: dict[int, tuple[str, int]]) -> bytes:
    """A table in which every field that is not given is unset: all ones."""
    data = bytearray(b"\xff" * size)
    struct.pack_into("<HBB", data, 0, size, *version)
    for offset, (kind, value) in fields.items():
        struct.pack_into(f"<{kind}", data, offset, value)
    return bytes(data)


def _v1_3(faults: dict[str, Any], _throttled: dict[str, int]) -> bytes:
    fields = {16: ("H", faults["busy"]), 54: ("H", 500), 58: ("H", 96), 112: ("Q", faults["throttle_bits"])}
    return _table(120, (1, 3), fields)


def _v1_7(faults: dict[str, Any], throttled: dict[str, int]) -> bytes:
    fields = {12: ("H", faults["busy"]), 40: ("I", SAMPLES), 68: ("H", 16), 70: ("H", 320)}
    for offset, name in ((44, "prochot"), (48, "ppt"), (52, "socket_thm"), (56, "vr_thm"), (60, "hbm_thm")):
        fields[offset] = ("I", throttled.get(name, 0))
    fields |= {
        72: ("H", 16),
        74: ("H", 32),
        104: ("Q", faults["recoveries"]),
        112: ("Q", faults["replays"] or 0),
    }
    for number in range(8):
        status = 2 if number == 7 else 0 if number < faults["xgmi_down"] else 1
        fields[264 + 2 * number] = ("H", status)
        fields[296 + 2 * number] = ("H", 132)
    return _table(2208, (1, 7), fields)


def _v1_9(faults: dict[str, Any], throttled: dict[str, int]) -> bytes:
    """A list: unit, type, id and number of values in one word, then the values."""
    u16, u32, u64 = (2, "H"), (4, "I"), (6, "Q")
    status = [2 if number == 7 else 0 if number < faults["xgmi_down"] else 1 for number in range(8)]
    values: list[tuple[int, tuple[int, str], int, list[int]]] = [
        (2, u16, 0, [45]), (3, u16, 3, [151]), (10, u16, 4, [faults["busy"]]), (0, u32, 9, [SAMPLES]),
        (0, u16, 16, [16]), (7, u16, 17, [320]), (0, u16, 18, [16]), (0, u16, 19, [32]),
        (0, u64, 24, [faults["recoveries"]]), (0, u64, 25, [faults["replays"] or 0]), (0, u16, 31, status),
        (1, u16, 33, [132] * 8), (0, u64, 900, [7, 7]),
    ]  # fmt: skip
    names = {"prochot": 10, "ppt": 11, "socket_thm": 12, "vr_thm": 13, "hbm_thm": 14}
    values += [(0, u32, number, [throttled.get(name, 0)]) for name, number in names.items()]
    data = struct.pack("<i", len(values))
    for unit, (kind, letter), identifier, numbers in values:
        data += struct.pack("<Q", unit << 24 | kind << 20 | identifier << 10 | len(numbers))
        data += struct.pack(f"<{len(numbers)}{letter}", *numbers)
    return struct.pack("<HBB", 4 + len(data), 1, 9) + data


def _v2_1(faults: dict[str, Any], _throttled: dict[str, int]) -> bytes:
    return _table(120, (2, 1), {4: ("H", 4150), 28: ("H", faults["busy"]), 76: ("H", 800)})


def _v3_0(faults: dict[str, Any], _throttled: dict[str, int]) -> bytes:
    fields = {4: ("H", 4150), 42: ("H", faults["busy"]), 112: ("I", 19000), 174: ("H", 600), 186: ("H", 1000)}
    return _table(264, (3, 0), fields)


def ring(fatal: int) -> bytes:
    """Records of severity fatal as the driver keeps them."""
    body = bytes(96)
    head = struct.pack("<4sHIHIII", b"CPER", 0x100, 0xFFFFFFFF, 1, 1, 0, 24 + len(body))
    records = (head + body) * fatal
    return struct.pack("<III", 0, len(records), len(records)) + records


def write_all(out: Writer, gpus: list[Gpu], first_card: int) -> None:
    driven = [gpu for gpu in gpus if gpu.driver == "amdgpu"]
    for gpu in driven:
        siblings = sum(other.product is gpu.product for other in driven)
        write_health(out, gpu, siblings, first_card + (gpu.minors[0] if gpu.minors else RENDER_BASE))
