# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a GPU shares the memory of the host, and how much of it an engine may use.

The architecture tells, except for gfx942, which is a card (MI300X) and an APU (MI300A). There the PCI id
tells, and where nobody knows the id, what the driver shows of memory, links and modes."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _kfd
from ansible_collections.amdgpu.fleet.plugins.module_utils._gpu_table import APUS, PRODUCTS
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree


class Shown(t.NamedTuple):
    """What the driver shows of a GPU. Bytes; ``None`` where it does not tell."""

    gfx: str | None
    pci_id: str | None
    nodes: list[_kfd.Node]
    modes: list[str]
    pool: int | None
    vram: int | None
    gtt: int | None


def is_apu(tree: Tree, gpu: Shown) -> bool:
    """Whether GPU and CPU share one memory."""
    if gpu.gfx in APUS:
        return APUS[gpu.gfx or ""]
    if gpu.pci_id in PRODUCTS:
        return PRODUCTS[gpu.pci_id or ""].apu
    if not gpu.nodes:
        return False
    return (
        any(node.properties.get("cpu_cores_count", 0) > 0 for node in gpu.nodes)
        # Only six dies can be divided by three: an MI300A.
        or "TPX" in gpu.modes
        # A card never offers more memory than it has.
        or (gpu.vram is not None and (gpu.pool or 0) > gpu.vram + gpu.vram // 8)
        or _on_the_module_of_a_cpu(tree, gpu.nodes[0])
    )


def _on_the_module_of_a_cpu(tree: Tree, node: _kfd.Node) -> bool:
    """Whether XGMI, and not PCIe, leads to a CPU. An MI250X can have that too, but its name says that it is a
    card."""
    for link in _kfd.links(tree, node):
        if link["type"] == "xgmi":
            other = tree.properties(_kfd.NODES, str(link["to"]), "properties", required=False) or {}
            if other.get("cpu_cores_count", 0) > 0 and not other.get("simd_count", 0):
                return True
    return False


def usable_bytes(apu: bool, gpu: Shown, memory: int | None) -> int | None:
    """What engines can allocate. ``memory`` is what the kernel has: the host's, less what the BIOS set
    aside."""
    if not apu:
        # A partition may show the memory of the whole GPU.
        return min(gpu.pool, gpu.vram) if gpu.pool and gpu.vram else gpu.pool or gpu.vram
    pool = gpu.pool or gpu.gtt
    if pool and gpu.vram and 0 <= gpu.vram - pool <= gpu.vram // 50:
        return pool  # the carve-out, which does not belong to the memory that the kernel has
    # The limit of the pool may be set beyond the memory of the host.
    return min(pool, memory) if pool and memory else pool
