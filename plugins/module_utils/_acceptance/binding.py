# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a result holds for: these GPUs with this firmware, this driver and these modes. Another board in the
same slot has passed nothing."""

from __future__ import annotations

import hashlib
import json
import typing as t

from .._gpus import detect
from .._health import sensors
from .._health.reading import Reading
from .._tree import Tree

PCI_DEVICES = "sys/bus/pci/devices"


def of(tree: Tree, gpus: t.Sequence[t.Mapping[str, t.Any]] | None = None) -> dict[str, t.Any]:
    """What the files of the host say. ``gpus``: where ``gpu_facts`` have found them already."""
    found = detect(tree)["gpus"] if gpus is None else gpus
    return {"gpus": [_gpu(tree, gpu) for gpu in found], "driver": _driver(tree)}


def _driver(tree: Tree) -> str | None:
    """Its version; that of the kernel where it is part of it."""
    version = tree.word("sys/module/amdgpu/version")
    if version or not tree.exists("sys/module/amdgpu"):
        return version
    return f"of kernel {tree.word('proc/sys/kernel/osrelease')}"


def _gpu(tree: Tree, gpu: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    address = str(gpu["pci_address"])
    seen = Reading(tree, f"{PCI_DEVICES}/{address}")
    return {
        "address": gpu["pci_address"],
        "pci_id": gpu["pci_id"],
        "product": gpu["product"],
        "serial": seen.word("serial_number") or gpu["unique_id"],
        "vbios": seen.word("vbios_version"),
        "firmware": sensors.firmware(seen),
        "compute_partition": gpu["compute_partition"],
        "memory_partition": gpu["memory_partition"],
    }


def digest(value: t.Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changed(before: t.Mapping[str, t.Any], now: t.Mapping[str, t.Any]) -> list[str]:
    """What is another one, in words."""
    found = ["driver"] if before.get("driver") != now.get("driver") else []
    old, new = (
        {str(gpu.get("address")): gpu for gpu in _listed(each) if isinstance(gpu, dict)}
        for each in (before, now)
    )
    for address in sorted(old.keys() | new.keys()):
        if address not in old or address not in new:
            found.append(f"GPU {address} {'is new' if address in new else 'is gone'}")
            continue
        words = sorted(
            key.replace("_", " ") for key in new[address] if old[address].get(key) != new[address][key]
        )
        if words:
            found.append(f"{', '.join(words)} of GPU {address}")
    return found


def _listed(bound: t.Mapping[str, t.Any]) -> list[t.Any]:
    found = bound.get("gpus")
    return found if isinstance(found, list) else []
