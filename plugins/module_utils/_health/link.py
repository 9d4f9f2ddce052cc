# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCIe link of a GPU. Most AMD boards have a switch of their own, so the link to the host is that of a
bridge above the GPU, and the GPU's own link is always full."""

from __future__ import annotations

import os
import re
import typing as t

from .._tree import Tree
from .reading import Reading

_ADDRESS = re.compile(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
AMD_VENDORS = ("0x1002", "0x1022")
AMD_GPU_VENDOR = "0x1002"
BRIDGE = "0x0604"
MAX_HOPS = 4
LANES = range(1, 33)


def chain(tree: Tree, folder: str) -> list[str]:
    """The folders of the GPU and of the bridges above it, up to the root port, as the path in sysfs says."""
    path = os.path.realpath(tree.path(folder))
    root = os.path.realpath(tree.root or "/")
    found = []
    while len(path) > len(root) and _ADDRESS.fullmatch(os.path.basename(path)):
        found.append(path[len(root.rstrip("/")) :].lstrip("/"))
        path = os.path.dirname(path)
    return found[: MAX_HOPS + 1]


def links(tree: Tree, gpu: Reading) -> list[dict[str, t.Any]]:
    """Each hop from the GPU to the slot that it sits in: what it runs at, and what both ends can do."""
    folders = chain(tree, gpu.folder) or [gpu.folder]
    found = []
    for number, folder in enumerate(folders):
        device = Reading(tree, folder)
        partner = Reading(tree, folders[number + 1]) if number + 1 < len(folders) else None
        # A root port has no link of its own to the GPU's side of it.
        if number and partner is None and _is_bridge(device):
            break
        width, speed = _lanes(device, "current_link_width"), _speed(device, "current_link_speed")
        widths = [_lanes(end, "max_link_width") for end in (device, partner) if end]
        speeds = [_speed(end, "max_link_speed") for end in (device, partner) if end]
        place = "" if number == 0 else f"{os.path.basename(folder)}."
        gpu.unread.update({f"link.{place}{name}": why for name, why in device.unread.items()})
        found.append(
            {
                "device": os.path.basename(folder),
                "partner": os.path.basename(partner.folder) if partner else None,
                "width": width,
                "max_width": min((each for each in widths if each), default=None),
                "speed": speed,
                "max_speed": min((each for each in speeds if each), default=None),
            }
        )
        if partner is None or not _is_of_the_board(partner):
            break
    return found


def _is_bridge(device: Reading) -> bool:
    return (device.text("class") or "").startswith(BRIDGE)


def _is_of_the_board(bridge: Reading) -> bool:
    """Whether the bridge is part of the GPU's board: ports of AMD's processors have the processors' vendor,
    and are at the root."""
    vendor = bridge.text("vendor") or ""
    if vendor == AMD_GPU_VENDOR:
        return True
    above = os.path.basename(os.path.dirname(bridge.folder))
    return vendor in AMD_VENDORS and bool(_ADDRESS.fullmatch(above))


def _lanes(device: Reading, name: str) -> int | None:
    width = device.number(name)
    if width is not None and width not in LANES:
        # 0 and 255 are what a function without a link of its own shows.
        device.fail(name, f"shows {width} lanes")
        return None
    return width


def _speed(device: Reading, name: str) -> float | None:
    text = device.text(name) or ""
    match = re.match(r"(\d{1,3}(?:\.\d)?) GT/s", text)
    if not match:
        device.fail(name, f"shows {text[:20]!r}")
        return None
    return float(match.group(1))


def errors(tree: Tree, gpu: Reading) -> dict[str, int | None]:
    """Errors that PCIe itself reports (AER) of the GPU and the bridges of its board, by how bad they are."""
    totals: dict[str, int | None] = {}
    for kind, name in (("correctable", "COR"), ("nonfatal", "NONFATAL"), ("fatal", "FATAL")):
        counts = []
        for each in chain(tree, gpu.folder) or [gpu.folder]:
            device = Reading(tree, each)
            text = device.text(f"aer_dev_{kind}")
            match = re.search(rf"^TOTAL_ERR_{name} (\d{{1,18}})$", text or "", re.M)
            if match:
                counts.append(int(match.group(1)))
            elif each == gpu.folder or text is not None:
                reason = device.unread.get(f"aer_dev_{kind}", "holds no sum of errors")
                gpu.fail(f"pcie_errors.{kind}", reason)
        totals[kind] = sum(counts) if counts else None
    return totals
