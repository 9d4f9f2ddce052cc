# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fact ``amd_health``: what the kernel's files say about the state of each GPU. No vendor tool is asked,
and nothing that sleeps is woken."""

from __future__ import annotations

import re
import time
import typing as t

from .. import _kernel_log
from .._gpus import DRM, PCI_DEVICES
from .._tree import Tree
from . import cper, link, log, metrics, sensors
from .reading import Reading

PARAMETERS = "sys/module/amdgpu/parameters"
DEBUG = "sys/kernel/debug/dri"
# Values of the threshold that stand for none: it is off, or the driver ignores it.
NO_THRESHOLD = (0, 0xFFFFFFFF)
MIB = 1 << 20
ASLEEP = "the GPU sleeps to save power, and reading would wake it"
# No sensor of a GPU shows more degrees.
HIGHEST = 255
RESIDENCIES = (
    "accumulation", "prochot", "ppt", "socket_thm", "vr_thm", "hbm_thm", "spl", "fppt", "sppt", "thm_core",
    "thm_gfx", "thm_soc",
)  # fmt: skip
# Seconds between two readings of a table. The firmware writes it every few milliseconds.
BETWEEN = 0.05
PCIE = (
    "replay", "rollover", "nak_sent", "nak_received", "l0_to_recovery", "other_end_recovery",
)  # fmt: skip


def facts(
    tree: Tree, gpus: t.Sequence[t.Mapping[str, t.Any]], dmesg: t.Callable[[], str | None]
) -> dict[str, t.Any]:
    """The fact. ``gpus``: the GPUs as ``gpu_facts`` found them."""
    addresses = [gpu["pci_address"] for gpu in gpus if gpu["pci_address"]]
    text = _kernel_log.text(tree, dmesg)
    uptime = re.match(r"(\d{1,12})", tree.word("proc/uptime") or "")
    return {
        "boot_id": tree.word("proc/sys/kernel/random/boot_id"),
        "uptime_seconds": int(uptime.group(1)) if uptime else None,
        "gpus": [_gpu(tree, gpu) for gpu in gpus],
        "log": None if text is None else log.hardware(text, addresses),
    }


def _gpu(tree: Tree, gpu: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    address = gpu["pci_address"]
    seen = Reading(tree, _folder(tree, str(address)))
    found: dict[str, t.Any] = {
        "index": gpu["index"],
        "pci_address": address,
        "asleep": False,
        "busy_percent": None,
        "partitions": _partitions(gpu),
        "ras": None,
        "bad_pages": None,
        "links": [],
        "pcie_errors": {"correctable": None, "nonfatal": None, "fatal": None},
        "replay_count": None,
        "xgmi": None,
        "temperatures": [],
        "power": {"watts": None, "cap": None, "cap_default": None, "cap_max": None},
        "clocks": {"gfx": None, "memory": None},
        "metrics": None,
        "records": None,
        "serial_number": None,
        "vbios": None,
        "firmware": {},
    }
    if not address or not tree.exists(seen.folder):
        seen.fail("all", "the GPU is not on the PCI bus that this system shows")
    elif gpu["driver"] != "amdgpu":
        seen.fail("all", f"the GPU is driven by {gpu['driver'] or 'no driver'}, and only amdgpu tells")
    else:
        _fill(tree, gpu, seen, found)
    return {**found, "unread": seen.unread}


def _folder(tree: Tree, address: str) -> str:
    """Where its files are. A container may be given /sys/class/drm alone."""
    folder = f"{PCI_DEVICES}/{address}"
    if not tree.exists(folder):
        for name in tree.names(DRM):
            device = f"{DRM}/{name}/device"
            if name[4:].isdigit() and tree.pairs(device, "uevent").get("PCI_SLOT_NAME") == address:
                return device
    return folder


def _fill(tree: Tree, gpu: t.Mapping[str, t.Any], seen: Reading, found: dict[str, t.Any]) -> None:
    if gpu["apu"]:
        seen.unread["links"] = "an APU sits in no slot"
    elif gpu["virtual_function"]:
        seen.unread["links"] = "the link of a virtual function is its owner's"
    else:
        found["links"] = link.links(tree, seen)
        found["pcie_errors"] = link.errors(tree, seen)
    found["serial_number"] = seen.word("serial_number")
    found["vbios"] = seen.word("vbios_version", "vbios")
    found["firmware"] = sensors.firmware(seen)
    if Reading(tree, seen.folder).text("power/runtime_status") == "suspended":
        found["asleep"] = True
        seen.unread["sensors"] = ASLEEP
        return
    found["busy_percent"] = seen.count("gpu_busy_percent", "busy_percent", most=100)
    found["ras"] = sensors.ras(seen)
    found["bad_pages"] = sensors.bad_pages(seen, _threshold(tree, gpu))
    found["replay_count"] = seen.count("pcie_replay_count", "replay_count")
    found["xgmi"] = sensors.xgmi(seen)
    folder = sensors.hwmon(seen)
    if folder:
        found["temperatures"] = sensors.temperatures(seen, folder)
        found["power"] = sensors.power(seen, folder)
        found["clocks"] = sensors.clocks(seen, folder)
    found["records"] = _records(tree, str(gpu["pci_address"]), seen)
    _metrics(seen, found)


def _partitions(gpu: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The devices that it is divided into. Errors and sensors are those of the whole GPU."""
    nodes, names = gpu["kfd_nodes"], gpu["render_nodes"]
    return [
        {"kfd_node": node, "render_node": names[place] if place < len(names) else None}
        for place, node in enumerate(nodes)
    ]


def _threshold(tree: Tree, gpu: t.Mapping[str, t.Any]) -> int | None:
    """How many bad pages the driver accepts, where it says so."""
    asked = Reading(tree, PARAMETERS).number("bad_page_threshold")
    if asked is not None and asked > 0:
        return asked
    if asked == -2 and gpu["vram_bytes"]:
        return int(gpu["vram_bytes"]) // (100 * MIB)
    folder = _debug_folder(tree, str(gpu["pci_address"]))
    shown = Reading(tree, folder).number("ras/bad_page_cnt_threshold", base=0) if folder else None
    return None if shown in NO_THRESHOLD else shown


def _debug_folder(tree: Tree, address: str) -> str | None:
    debug = Reading(tree, DEBUG)
    for name in debug.names("."):
        # Folders go by minor number, and by address on newer kernels.
        if name == address or (name.isdigit() and address in (debug.text(f"{name}/name") or "")):
            return f"{DEBUG}/{name}"
    return None


def _records(tree: Tree, address: str, seen: Reading) -> dict[str, t.Any] | None:
    """The driver's error records. What they mean for AMD (AFID) is not in them."""
    debug = Reading(tree, DEBUG)
    debug.names(".")
    folder = _debug_folder(tree, address)
    if not folder:
        seen.fail("records", f"/{DEBUG} {debug.unread.get('.', 'has no folder of this GPU')}")
        return None
    ring = Reading(tree, folder, most=cper.MAX_BYTES)
    data = ring.raw(cper.FILE)
    if data is None:
        seen.fail("records", f"/{folder}/{cper.FILE} {ring.unread[cper.FILE]}")
        return None
    found = cper.count(data)
    if any(found[severity] for severity in cper.SEVERITIES):
        seen.fail("records.afid", cper.NO_AFID)
    return found


def _metrics(seen: Reading, found: dict[str, t.Any]) -> None:
    """What the table ``gpu_metrics`` adds, and what it knows where hwmon has nothing."""
    data = seen.raw("gpu_metrics", "metrics")
    if data is None:
        return
    try:
        version, fields = metrics.parse(data)
    except metrics.TableError as error:
        seen.fail("metrics", str(error))
        return
    number = metrics.number
    speed = number(fields, "pcie_speed")
    found["metrics"] = {
        "version": version,
        "throttled_by": _throttled_by(seen, version, fields),
        "residencies": {name: number(fields, name) for name in RESIDENCIES},
        "pcie_width": number(fields, "pcie_width") or None,
        "pcie_speed": speed / 10 if speed else None,
        **{f"pcie_{name}": number(fields, name) for name in PCIE},
    }
    if found["busy_percent"] is None:
        found["busy_percent"] = number(fields, "busy")
    for name, field in (("gfx", "gfxclk"), ("memory", "uclk")):
        if found["clocks"][name] is None:
            found["clocks"][name] = number(fields, field)
    if found["power"]["watts"] is None:
        found["power"]["watts"] = number(fields, "power")
    known = {each["name"] for each in found["temperatures"]}
    for name, field in (("edge", "edge"), ("junction", "hotspot"), ("mem", "mem")):
        degrees = number(fields, field)
        if degrees and degrees <= HIGHEST and name not in known:
            found["temperatures"].append(
                {"name": name, "celsius": degrees, "critical": None, "emergency": None}
            )
    if found["xgmi"]:
        _add_xgmi(found["xgmi"], fields)


def _throttled_by(seen: Reading, version: str, fields: t.Mapping[str, metrics.Value]) -> list[str] | None:
    """What holds the clocks down now, and why some of it is not known."""
    for about, names in (("metrics.residencies", RESIDENCIES), ("metrics.pcie", PCIE)):
        reason = metrics.missing(version, fields, names)
        if reason:
            seen.fail(about, reason)
    if metrics.counts_without_samples(fields):
        time.sleep(BETWEEN)
        return _risen(seen, fields)
    reason = metrics.missing(version, fields, ["throttle_bits"])
    if reason:
        seen.fail("metrics.throttled_by", reason)
    return metrics.causes(metrics.number(fields, "throttle_bits"))


def _risen(seen: Reading, fields: t.Mapping[str, metrics.Value]) -> list[str] | None:
    about = "metrics.throttled_by"
    data = seen.raw("gpu_metrics", about)
    try:
        causes = None if data is None else metrics.risen(fields, metrics.parse(data)[1])
    except metrics.TableError as error:
        seen.fail(about, f"the second reading {error}")
        return None
    if causes is None:
        seen.fail(about, "the table was not written anew between two readings")
    return causes


def _add_xgmi(xgmi: dict[str, t.Any], fields: t.Mapping[str, metrics.Value]) -> None:
    xgmi["width"] = metrics.number(fields, "xgmi_width")
    xgmi["speed"] = metrics.number(fields, "xgmi_speed")
    status = fields.get("xgmi_status")
    if isinstance(status, list) and any(each is not None for each in status):
        # 2 is a link that the board does not have.
        xgmi["links_up"], xgmi["links_down"] = status.count(1), status.count(0)
