# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the text files of a GPU say: errors of its memory and blocks, bad pages, links between GPUs, heat and
power."""

from __future__ import annotations

import re
import typing as t

from .reading import MISSING, NO_VALUE, Reading

_BLOCK = re.compile(r"(?:aca_([a-z0-9_]{1,24})|([a-z0-9_]{1,24})_err_count)")
_COUNT = re.compile(r"^(ue|ce|de)\s*:\s*(\S{1,40})\s*$", re.M)
_NAMES = {"ue": "uncorrectable", "ce": "correctable", "de": "deferred"}
_EVENT = re.compile(r"^(Fatal Error|Poison Creation|Poison Consumption)\s*:\s*count:\s*(\d{1,18})", re.M)
_PAGE = re.compile(r"^0x[0-9a-f]{1,16}\s*:\s*0x[0-9a-f]{1,16}\s*:\s*([RPF])\s*$", re.M | re.I)
_TEMPERATURES = range(1, 12)
# Above this a limit is a value that nobody filled.
HIGHEST_LIMIT = 150
# What no GPU draws, in watts, and no clock reaches, in MHz.
MOST_WATTS = 5000
MOST_MHZ = 10_000
NO_RAS = "is missing: the GPU or this driver has no RAS"


def ras(gpu: Reading) -> dict[str, t.Any] | None:
    """Error counters since the driver was loaded. Reading them keeps the totals."""
    names = gpu.names("ras")
    if not names:
        gpu.unread["ras"] = NO_RAS if gpu.unread.get("ras", MISSING) == MISSING else gpu.unread["ras"]
        return None
    blocks = {}
    for name in names:
        match = _BLOCK.fullmatch(name)
        if match:
            block = match.group(1) or match.group(2)
            counts = _counts(gpu, name, block)
            if counts:
                blocks[block] = counts
    if not blocks:
        gpu.fail("ras.blocks", "no block has counters that can be read")
    events = _EVENT.findall(gpu.text("ras/event_state", "ras.events") or "")
    return {
        "blocks": blocks,
        "fatal_events": next((int(count) for name, count in events if name == "Fatal Error"), None),
    }


def _counts(gpu: Reading, name: str, block: str) -> dict[str, int | None] | None:
    text = gpu.text(f"ras/{name}", f"ras.{block}")
    if text is None:
        return None
    shown = dict(_COUNT.findall(text))
    found = {kind: int(count) for kind, count in shown.items() if re.fullmatch(r"\d{1,20}", count)}
    found = {kind: count for kind, count in found.items() if count not in NO_VALUE}
    if not found:
        gpu.fail(f"ras.{block}", "holds no counters")
        return None
    for kind in shown.keys() - found.keys():
        gpu.fail(f"ras.{block}.{kind}", f"shows {shown[kind]}, which is no value")
    return {_NAMES[kind]: found.get(kind) for kind in ("ce", "ue", "de")}


def bad_pages(gpu: Reading, threshold: int | None) -> dict[str, t.Any] | None:
    """Pages of memory that are retired, wait for it, or could not be. An empty file means none."""
    text = gpu.text("ras/gpu_vram_bad_pages", "bad_pages")
    if text is None:
        return None
    flags = [flag.upper() for flag in _PAGE.findall(text)]
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and not flags:
        gpu.fail("bad_pages", "holds lines that are no pages")
        return None
    if len(lines) > len(flags):
        gpu.fail("bad_pages.lines", f"holds {len(lines) - len(flags)} lines that are no pages")
    return {
        "retired": flags.count("R"),
        "pending": flags.count("P"),
        "failed": flags.count("F"),
        "threshold": threshold,
    }


def xgmi(gpu: Reading) -> dict[str, t.Any] | None:
    """The hive of GPUs that it is linked with. Where ``xgmi_error`` can be read (MI100, MI200), the read
    clears it."""
    inside = gpu.names("xgmi_hive_info")
    hops = gpu.text("xgmi_num_hops", "xgmi.nodes")
    if not inside and not hops:
        for name in ("xgmi_hive_info", "xgmi.nodes"):
            gpu.unread.pop(name, None)
        gpu.unread["xgmi"] = "is missing: the GPU is not linked to others"
        return None
    nodes = len([name for name in inside if re.fullmatch(r"node\d+", name)])
    return {
        "hive_id": gpu.word("xgmi_hive_info/xgmi_hive_id", "xgmi.hive_id"),
        "nodes": nodes or len((hops or "").split()) or None,
        "error": gpu.count("xgmi_error", "xgmi.error", most=2),
        "width": None,
        "speed": None,
        "links_up": None,
        "links_down": None,
    }


def hwmon(gpu: Reading) -> str | None:
    """The folder of its sensors."""
    for name in gpu.names("hwmon"):
        if gpu.text(f"hwmon/{name}/name") == "amdgpu":
            return f"hwmon/{name}"
    gpu.fail("sensors", "no hwmon folder is called amdgpu")
    return None


def temperatures(gpu: Reading, folder: str) -> list[dict[str, t.Any]]:
    found = []
    present = set(gpu.names(folder))
    for number in _TEMPERATURES:
        if f"temp{number}_input" not in present and f"temp{number}_label" not in present:
            continue
        # The label, not the number, says what it is.
        label = gpu.word(f"{folder}/temp{number}_label") or f"temp{number}"
        found.append(
            {
                "name": label,
                "celsius": _degrees(gpu, f"{folder}/temp{number}_input", f"temperature.{label}"),
                "critical": _limit(gpu, present, folder, f"temp{number}_crit"),
                "emergency": _limit(gpu, present, folder, f"temp{number}_emergency"),
            }
        )
    return found


def _degrees(gpu: Reading, path: str, about: str) -> int | None:
    milli = gpu.number(path, about)
    if milli is not None and not 0 < milli < 1000 * 256:
        gpu.fail(about, f"shows {milli}, which is no temperature")
        return None
    return None if milli is None else milli // 1000


def _limit(gpu: Reading, present: t.Collection[str], folder: str, name: str) -> int | None:
    milli = gpu.number(f"{folder}/{name}") if name in present else None
    return milli // 1000 if milli is not None and 0 < milli <= 1000 * HIGHEST_LIMIT else None


def power(gpu: Reading, folder: str) -> dict[str, int | None]:
    """Watts. Which file tells what it draws differs by generation."""
    present = set(gpu.names(folder))
    micro: dict[str, int | None] = {}
    for name in ("average", "input", "cap", "cap_default", "cap_max"):
        path = f"power1_{name}"
        micro[name] = gpu.number(f"{folder}/{path}", f"power.{name}") if path in present else None
        # Nothing is drawn by no GPU and allowed to none: 0 stands for unknown.
        if not 0 < (micro[name] or 0) <= 1_000_000 * MOST_WATTS:
            micro[name] = None
    if micro["average"] is None and micro["input"] is None:
        gpu.fail("power.watts", "is not shown")
    if micro["cap"] is None:
        gpu.fail("power.cap", "is not shown")
    watts = {name: None if value is None else value // 1_000_000 for name, value in micro.items()}
    return {
        "watts": watts["input"] if watts["average"] is None else watts["average"],
        "cap": watts["cap"],
        "cap_default": watts["cap_default"],
        "cap_max": watts["cap_max"],
    }


def clocks(gpu: Reading, folder: str) -> dict[str, int | None]:
    present = set(gpu.names(folder))
    found: dict[str, int | None] = {"gfx": None, "memory": None}
    for number in (1, 2):
        if f"freq{number}_input" in present:
            label = gpu.word(f"{folder}/freq{number}_label")
            path = f"{folder}/freq{number}_input"
            hertz = gpu.count(path, f"clock.{number}", most=1_000_000 * MOST_MHZ)
            found["memory" if label == "mclk" else "gfx"] = None if hertz is None else hertz // 1_000_000
    return found


def firmware(gpu: Reading) -> dict[str, str]:
    """Version of each part, hexadecimal; a part that has none is left out."""
    found = {}
    for name in gpu.names("fw_version"):
        if name.endswith("_fw_version"):
            version = gpu.word(f"fw_version/{name}")
            if version and version.strip("0x"):
                found[name[: -len("_fw_version")]] = version
    return found
