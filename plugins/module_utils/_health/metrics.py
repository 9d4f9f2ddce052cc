# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The binary table ``gpu_metrics``: every version from 1.3 on, and those of APUs.

A field that the firmware does not fill is all ones, and becomes ``None`` before anything is computed.
"""

from __future__ import annotations

import struct
import typing as t


class TableError(ValueError):
    """The table cannot be used. The message is the end of a sentence that begins with its name."""


# Where a field lies: offset, format of struct, number of values (0: one, and no list).
Layout = t.Dict[str, t.Tuple[int, str, int]]
Value = t.Union[int, t.List[t.Optional[int]], None]

_V1_3: Layout = {
    "edge": (4, "H", 0), "hotspot": (6, "H", 0), "mem": (8, "H", 0), "busy": (16, "H", 0),
    "power": (22, "H", 0), "gfxclk": (54, "H", 0), "uclk": (58, "H", 0), "throttle_status": (68, "I", 0),
    "pcie_width": (74, "H", 0), "pcie_speed": (76, "H", 0), "throttle_bits": (112, "Q", 0),
}  # fmt: skip
_V1_4: Layout = {
    "hotspot": (4, "H", 0), "mem": (6, "H", 0), "power": (10, "H", 0), "busy": (12, "H", 0),
    "throttle_status": (40, "I", 0), "pcie_width": (48, "H", 0), "pcie_speed": (50, "H", 0),
    "xgmi_width": (52, "H", 0), "xgmi_speed": (54, "H", 0), "l0_to_recovery": (80, "Q", 0),
    "replay": (88, "Q", 0), "rollover": (96, "Q", 0), "gfxclk": (240, "H", 8),
}  # fmt: skip
_V1_5: Layout = {
    "hotspot": (4, "H", 0), "mem": (6, "H", 0), "power": (10, "H", 0), "busy": (12, "H", 0),
    "throttle_status": (104, "I", 0), "pcie_width": (112, "H", 0), "pcie_speed": (114, "H", 0),
    "xgmi_width": (116, "H", 0), "xgmi_speed": (118, "H", 0), "l0_to_recovery": (144, "Q", 0),
    "replay": (152, "Q", 0), "rollover": (160, "Q", 0), "nak_sent": (168, "I", 0),
    "nak_received": (172, "I", 0), "gfxclk": (312, "H", 8),
}  # fmt: skip
_V1_6: Layout = {
    "hotspot": (4, "H", 0), "mem": (6, "H", 0), "power": (10, "H", 0), "busy": (12, "H", 0),
    "accumulation": (32, "I", 0), "prochot": (36, "I", 0), "ppt": (40, "I", 0), "socket_thm": (44, "I", 0),
    "vr_thm": (48, "I", 0), "hbm_thm": (52, "I", 0), "pcie_width": (60, "H", 0), "pcie_speed": (62, "H", 0),
    "xgmi_width": (64, "H", 0), "xgmi_speed": (66, "H", 0), "l0_to_recovery": (96, "Q", 0),
    "replay": (104, "Q", 0), "rollover": (112, "Q", 0), "nak_sent": (120, "I", 0),
    "nak_received": (124, "I", 0), "gfxclk": (264, "H", 8),
}  # fmt: skip
# The same version as the kernel first had it, with the activity of the codecs in front.
_V1_6_FIRST: Layout = {
    "hotspot": (4, "H", 0), "mem": (6, "H", 0), "power": (10, "H", 0), "busy": (12, "H", 0),
    "accumulation": (104, "I", 0), "prochot": (108, "I", 0), "ppt": (112, "I", 0),
    "socket_thm": (116, "I", 0), "vr_thm": (120, "I", 0), "hbm_thm": (124, "I", 0),
    "throttle_status": (128, "I", 0), "pcie_width": (136, "H", 0), "pcie_speed": (138, "H", 0),
    "xgmi_width": (140, "H", 0), "xgmi_speed": (142, "H", 0), "l0_to_recovery": (168, "Q", 0),
    "replay": (176, "Q", 0), "rollover": (184, "Q", 0), "nak_sent": (192, "I", 0),
    "nak_received": (196, "I", 0), "gfxclk": (336, "H", 8), "uclk": (376, "H", 0),
}  # fmt: skip
_V1_7: Layout = {
    "hotspot": (4, "H", 0), "mem": (6, "H", 0), "power": (10, "H", 0), "busy": (12, "H", 0),
    "accumulation": (40, "I", 0), "prochot": (44, "I", 0), "ppt": (48, "I", 0), "socket_thm": (52, "I", 0),
    "vr_thm": (56, "I", 0), "hbm_thm": (60, "I", 0), "pcie_width": (68, "H", 0), "pcie_speed": (70, "H", 0),
    "xgmi_width": (72, "H", 0), "xgmi_speed": (74, "H", 0), "l0_to_recovery": (104, "Q", 0),
    "replay": (112, "Q", 0), "rollover": (120, "Q", 0), "nak_sent": (128, "I", 0),
    "nak_received": (132, "I", 0), "xgmi_status": (264, "H", 8), "gfxclk": (296, "H", 8),
    "uclk": (336, "H", 0),
}  # fmt: skip
# Power of 2.x has no one unit: hwmon tells it.
_V2_1: Layout = {
    "edge_centi": (4, "H", 0), "soc_centi": (6, "H", 0), "busy": (28, "H", 0), "gfxclk": (76, "H", 0),
    "uclk": (80, "H", 0), "throttle_status": (108, "I", 0),
}  # fmt: skip
_V2_0: Layout = {
    "edge_centi": (16, "H", 0), "soc_centi": (18, "H", 0), "busy": (40, "H", 0), "gfxclk": (80, "H", 0),
    "uclk": (84, "H", 0), "throttle_status": (112, "I", 0),
}  # fmt: skip
_V3_0: Layout = {
    "edge_centi": (4, "H", 0), "soc_centi": (6, "H", 0), "busy": (42, "H", 0), "clock": (104, "Q", 0),
    "power_milli": (112, "I", 0), "gfxclk": (174, "H", 0), "uclk": (186, "H", 0), "prochot": (228, "I", 0),
    "spl": (232, "I", 0), "fppt": (236, "I", 0), "sppt": (240, "I", 0), "thm_core": (244, "I", 0),
    "thm_gfx": (248, "I", 0), "thm_soc": (252, "I", 0),
}  # fmt: skip
_INDEPENDENT: Layout = {"throttle_bits": (120, "Q", 0)}
# (format, content revision): the layout by the size of the table. Another size is another layout.
TABLES: dict[tuple[int, int], dict[int, Layout]] = {
    (1, 3): {120: _V1_3},
    (1, 4): {288: _V1_4},
    (1, 5): {360: _V1_5},
    (1, 6): {1664: _V1_6, 384: _V1_6_FIRST},
    (1, 7): {2208: {**_V1_7, "other_end_recovery": (2200, "I", 0)}},
    (1, 8): {3872: {**_V1_7, "other_end_recovery": (3864, "I", 0)}},
    (2, 0): {120: _V2_0},
    (2, 1): {120: _V2_1},
    (2, 2): {128: {**_V2_1, **_INDEPENDENT}},
    (2, 3): {152: {**_V2_1, **_INDEPENDENT}},
    (2, 4): {168: {**_V2_1, **_INDEPENDENT}},
    (3, 0): {264: _V3_0},
}
# 1.9 is a list that describes itself: what its ids are called.
_ATTRIBUTES = {
    0: "hotspot", 1: "mem", 3: "power", 4: "busy", 9: "accumulation", 10: "prochot", 11: "ppt",
    12: "socket_thm", 13: "vr_thm", 14: "hbm_thm", 16: "pcie_width", 17: "pcie_speed", 18: "xgmi_width",
    19: "xgmi_speed", 24: "l0_to_recovery", 25: "replay", 26: "rollover", 27: "nak_sent", 28: "nak_received",
    31: "xgmi_status", 33: "gfxclk", 37: "uclk", 39: "other_end_recovery",
}  # fmt: skip
_TYPES = "BbHhIiQq"
_WHOLE_GTS = 6
MAX_ATTRIBUTES = 512
PERCENT = 100


def parse(data: bytes) -> tuple[str, dict[str, Value]]:
    """The version of a table and its fields: degrees, watts, MHz, lanes, tenths of GT/s."""
    if len(data) < 4:
        raise TableError("is shorter than its header")
    size, format_revision, content_revision = struct.unpack_from("<HBB", data)
    version = f"{format_revision}.{content_revision}"
    if (format_revision, content_revision) == (1, 9):
        return version, _self_describing(data)
    if (format_revision, content_revision) not in TABLES:
        raise TableError(f"is of version {version}, which is not known")
    layouts = TABLES[format_revision, content_revision]
    if size not in layouts:
        known = " or ".join(map(str, layouts))
        raise TableError(f"of version {version} has {size} bytes, and {known} are known")
    if len(data) < size:
        raise TableError(f"is cut off after {len(data)} of {size} bytes")
    fields: dict[str, Value] = {}
    for name, (offset, kind, count) in layouts[size].items():
        values = _values(data, offset, kind, max(count, 1))
        fields[name] = values if count else values[0]
    return version, _scaled(fields)


def _values(data: bytes, offset: int, kind: str, count: int) -> list[int | None]:
    width = struct.calcsize(f"<{kind}")
    # All ones; of a signed number that is the largest one.
    unset = (1 << 8 * width) - 1 if kind.isupper() else (1 << (8 * width - 1)) - 1
    return [
        None if value == unset else value for value in struct.unpack_from(f"<{count}{kind}", data, offset)
    ]


def _scaled(fields: dict[str, Value]) -> dict[str, Value]:
    """All temperatures in degrees and all power in watts."""
    scaled: dict[str, Value] = {}
    for name, value in fields.items():
        plain, _underscore, unit = name.rpartition("_")
        if unit in ("centi", "milli"):
            scaled[plain] = value // (100 if unit == "centi" else 1000) if isinstance(value, int) else None
        else:
            scaled[name] = value
    busy = scaled.get("busy")
    if isinstance(busy, int) and busy > PERCENT:
        # Some APUs count in hundredths of a percent.
        scaled["busy"] = busy // 100 if busy <= 100 * PERCENT else None
    return scaled


def _self_describing(data: bytes) -> dict[str, Value]:
    if len(data) < 8:
        raise TableError("is shorter than its header")
    (count,) = struct.unpack_from("<i", data, 4)
    if not 0 <= count <= MAX_ATTRIBUTES:
        raise TableError(f"says that it has {count} values")
    fields: dict[str, Value] = {}
    offset = 8
    for _number in range(count):
        if offset + 8 > len(data):
            raise TableError(f"is cut off after {len(data)} bytes")
        (encoding,) = struct.unpack_from("<Q", data, offset)
        unit, kind = encoding >> 24 & 0xFF, encoding >> 20 & 0xF
        identifier, instances = encoding >> 10 & 0x3FF, encoding & 0x3FF
        if kind >= len(_TYPES):
            raise TableError(f"has a value of the unknown type {kind}")
        width = struct.calcsize(f"<{_TYPES[kind]}")
        offset += 8
        if offset + width * instances > len(data):
            raise TableError(f"is cut off after {len(data)} bytes")
        name = _ATTRIBUTES.get(identifier)
        if name and instances:
            values = _values(data, offset, _TYPES[kind], instances)
            if name == "pcie_speed" and unit == _WHOLE_GTS:
                values = [None if value is None else value * 10 for value in values]
            fields[name] = values if instances > 1 else values[0]
        offset += width * instances
    return fields


def number(fields: t.Mapping[str, Value], name: str) -> int | None:
    """A field that is one number; of several it is the largest that is known."""
    value = fields.get(name)
    if isinstance(value, list):
        return max((each for each in value if each is not None), default=None)
    return value


# What the counters of version 3.0 stand for. It does not count its samples, so they make no share of a time.
_APU_CAUSES = {
    "power": ("spl", "fppt", "sppt"),
    "temperature": ("prochot", "thm_core", "thm_gfx", "thm_soc"),
}
COUNTERS_OF_APU = tuple(name for names in _APU_CAUSES.values() for name in names)


def counts_without_samples(fields: t.Mapping[str, Value]) -> bool:
    """Whether only a second reading tells what holds the clocks down."""
    return "clock" in fields and any(fields.get(name) is not None for name in COUNTERS_OF_APU)


def risen(first: t.Mapping[str, Value], second: t.Mapping[str, Value]) -> list[str] | None:
    """What held the clocks down between two readings. ``None`` where they are of the same moment."""
    if number(first, "clock") == number(second, "clock"):
        return None

    def rose(name: str) -> bool:
        before, after = number(first, name), number(second, name)
        return before is not None and after is not None and after > before

    return [cause for cause, names in _APU_CAUSES.items() if any(map(rose, names))]


def missing(version: str, fields: t.Mapping[str, Value], names: t.Sequence[str]) -> str | None:
    """Why some of these values are not known."""
    unset = [name for name in names if name in fields and number(fields, name) is None]
    absent = [name for name in names if name not in fields]
    reasons = [f"{', '.join(unset)} not filled by the firmware"] if unset else []
    if absent:
        reasons.append(f"{', '.join(absent)} not in tables of version {version}")
    return "; ".join(reasons) or None


# Bits of the status that is the same for all chips: what holds the clocks down.
_CAUSES = (("power", range(8)), ("current", range(16, 24)), ("temperature", range(32, 48)))


def causes(bits: int | None) -> list[str] | None:
    if bits is None:
        return None
    return [name for name, places in _CAUSES if any(bits >> place & 1 for place in places)]
