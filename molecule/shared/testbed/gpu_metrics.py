# SPDX-License-Identifier: GPL-3.0-or-later
"""The table gpu_metrics of a described GPU, in every version that drivers write. Where a field lies is taken from
the kernel's kgd_pp_interface.h, and on purpose not from the code that reads it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from .devices import Gpu

SAMPLES = 1_000_000
LINKS = 8
HEAT = ("prochot", "ppt", "socket_thm", "vr_thm", "hbm_thm")
HALO_HEAT = ("prochot", "spl", "fppt", "sppt", "thm_core", "thm_gfx", "thm_soc")
Fields = dict[int, tuple[str, int]]


def metrics_of(gpu: Gpu, faults: dict[str, Any]) -> bytes:
    """The table as the driver of this GPU writes it, or as ``metrics`` says: a version, and then perhaps how it is
    damaged."""
    product = gpu.product
    usual = "1.7" if product.xccs > 1 else "1.3"
    if product.apu and not product.instinct:
        usual = "3.0" if product.gfx_target_version >= 110500 else "2.1"
    version, _space, damage = str(faults["metrics"] or usual).partition(" ")
    if version == "garbage":
        return bytes(range(1, 100))
    data = table(version, faults)
    if damage == "cut":
        return data[:-20]
    if damage == "unset":
        return data[:4] + b"\xff" * (len(data) - 4)
    return data + b"\xff" * 100_000 if damage == "long" else data


def table(version: str, faults: dict[str, Any]) -> bytes:
    """Of one version."""
    return TABLES[version](
        faults, {name: int(share * SAMPLES) for name, share in faults["throttled"].items()}
    )


def _table(size: int, version: tuple[int, int], fields: Fields) -> bytes:
    """A table in which every field that is not given is unset: all ones."""
    data = bytearray(b"\xff" * size)
    struct.pack_into("<HBB", data, 0, size, *version)
    for offset, (kind, value) in fields.items():
        struct.pack_into(f"<{kind}", data, offset, value)
    return bytes(data)


def _card(faults: dict[str, Any], _throttled: dict[str, int]) -> bytes:
    fields: Fields = {16: ("H", faults["busy"]), 54: ("H", 500), 58: ("H", 96)}
    return _table(120, (1, 3), fields | {112: ("Q", faults["throttle_bits"])})


def _instinct(
    size: int, version: tuple[int, int], links: int, recoveries: int, clocks: int, more: dict[int, str]
) -> Callable[[dict[str, Any], dict[str, int]], bytes]:
    """The tables of MI300: what differs is where the links, the counters of PCIe and the clocks begin, the samples
    and the state of the links between GPUs."""

    def write(faults: dict[str, Any], throttled: dict[str, int]) -> bytes:
        hot = faults["temperature"].get("hotspot", 45)
        fields: Fields = {4: ("H", hot), 10: ("H", 151), 12: ("H", faults["busy"])}
        for place, value in enumerate((16, 320, 16, 32)):
            fields[links + 2 * place] = ("H", value)
        fields |= {recoveries: ("Q", faults["recoveries"]), recoveries + 8: ("Q", faults["replays"] or 0)}
        fields |= {clocks + 2 * number: ("H", 132) for number in range(8)}
        for offset, what in more.items():
            if what == "samples":
                fields[offset] = ("I", SAMPLES)
                fields |= {
                    offset + 4 * n: ("I", throttled.get(name, 0)) for n, name in enumerate(HEAT, 1)
                }  # fmt: skip
            else:
                fields |= {offset + 2 * n: ("H", status) for n, status in enumerate(_links(faults))}
        return _table(size, version, fields)

    return write


def _links(faults: dict[str, Any]) -> list[int]:
    """1 is a link that is up, 2 one that the board does not have."""
    return [2 if number == LINKS - 1 else 0 if number < faults["xgmi_down"] else 1 for number in range(LINKS)]


def _list(faults: dict[str, Any], throttled: dict[str, int]) -> bytes:
    """1.9, which describes itself: unit, type, id and number of values in one word, then the values."""
    u16, u32, u64 = (2, "H"), (4, "I"), (6, "Q")
    values: list[tuple[int, tuple[int, str], int, list[int]]] = [
        (2, u16, 0, [45]), (3, u16, 3, [151]), (10, u16, 4, [faults["busy"]]), (0, u32, 9, [SAMPLES]),
        (0, u16, 16, [16]), (7, u16, 17, [320]), (0, u16, 18, [16]), (0, u16, 19, [32]),
        (0, u64, 24, [faults["recoveries"]]), (0, u64, 25, [faults["replays"] or 0]), (0, u16, 31, _links(faults)),
        (1, u16, 33, [132] * 8), (0, u64, 900, [7, 7]),
    ]  # fmt: skip
    values += [(0, u32, number, [throttled.get(name, 0)]) for number, name in enumerate(HEAT, 10)]
    data = struct.pack("<i", len(values))
    for unit, (kind, letter), identifier, numbers in values:
        data += struct.pack("<Q", unit << 24 | kind << 20 | identifier << 10 | len(numbers))
        data += struct.pack(f"<{len(numbers)}{letter}", *numbers)
    return struct.pack("<HBB", 4 + len(data), 1, 9) + data


def _apu(size: int, revision: int) -> Callable[[dict[str, Any], dict[str, int]], bytes]:
    """2.x: hundredths of degrees and of percent; from 2.2 on it says what holds the clocks down."""

    def write(faults: dict[str, Any], _throttled: dict[str, int]) -> bytes:
        shift = 12 if revision == 0 else 0
        fields: Fields = {4 + shift: ("H", 4150), 28 + shift: ("H", 100 * faults["busy"])}
        fields[80 if revision == 0 else 76] = ("H", 800)
        if revision >= 2:
            fields[120] = ("Q", faults["throttle_bits"])
        return _table(size, (2, revision), fields)

    return write


def _halo(faults: dict[str, Any], throttled: dict[str, int]) -> bytes:
    """3.0 of Strix: counters of what held the clocks down, and no number of samples beside them."""
    fields: Fields = {
        4: ("H", 4150),
        42: ("H", faults["busy"]),
        104: ("Q", faults.get("clock", 5_000_000_000)),
    }
    fields |= {112: ("I", 19000), 174: ("H", 600), 186: ("H", 1000)}
    fields |= {228 + 4 * place: ("I", throttled.get(name, 0)) for place, name in enumerate(HALO_HEAT)}
    return _table(264, (3, 0), fields)


_SAMPLES, _STATUS = "samples", "status"
TABLES: dict[str, Callable[[dict[str, Any], dict[str, int]], bytes]] = {
    "1.3": _card,
    "1.4": _instinct(288, (1, 4), 48, 80, 240, {}),
    "1.5": _instinct(360, (1, 5), 112, 144, 312, {}),
    "1.6-first": _instinct(384, (1, 6), 136, 168, 336, {104: _SAMPLES}),
    "1.6": _instinct(1664, (1, 6), 60, 96, 264, {32: _SAMPLES}),
    "1.7": _instinct(2208, (1, 7), 68, 104, 296, {40: _SAMPLES, 264: _STATUS}),
    "1.8": _instinct(3872, (1, 8), 68, 104, 296, {40: _SAMPLES, 264: _STATUS}),
    "1.9": _list,
    "2.0": _apu(120, 0),
    "2.1": _apu(120, 1),
    "2.2": _apu(128, 2),
    "2.3": _apu(152, 3),
    "2.4": _apu(168, 4),
    "3.0": _halo,
}
