# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of a host and who is near it: NUMA nodes, huge pages, IOMMU."""

from __future__ import annotations

import re
import typing as t

from . import _cmdline
from ._tree import Tree


def iommu(tree: Tree, arguments: t.Sequence[str]) -> dict[str, t.Any]:
    """``mode``: off, pt (devices see physical addresses) or remap; ``groups``: how many the kernel made."""
    groups = len(tree.names("sys/kernel/iommu_groups"))
    mode = "off"
    if groups:
        kind = tree.word("sys/kernel/iommu_groups/0/type")
        mode = "pt" if kind == "identity" or _cmdline.holds(arguments, "iommu=pt") else "remap"
    return {"mode": mode, "groups": groups}


def transparent_hugepages(tree: Tree) -> str | None:
    """``always``, ``madvise`` or ``never``: the word in brackets."""
    match = re.search(r"\[(\w+)\]", tree.text("sys/kernel/mm/transparent_hugepage/enabled") or "")
    return match.group(1) if match else None


def numa_nodes(tree: Tree) -> dict[str, str]:
    """The CPUs of each node of memory that has some, as the kernel lists them (``0-63,128-191``)."""
    found = {}
    for name in tree.names("sys/devices/system/node"):
        cpus = (
            tree.text("sys/devices/system/node", name, "cpulist")
            if re.fullmatch(r"node[0-9]{1,4}", name)
            else None
        )
        if cpus and re.fullmatch(r"[0-9,-]{1,400}", cpus):
            found[name[4:]] = cpus
    return found
