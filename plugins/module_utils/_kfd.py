# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KFD topology: what the compute driver shows, one node for each CPU socket and each GPU partition."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._gfx import name_of
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, natural

TOPOLOGY = "sys/class/kfd/kfd/topology"
NODES = TOPOLOGY + "/nodes"
LINK_TYPES = {2: "pcie", 11: "xgmi"}
VRAM_HEAPS = (1, 2)  # public (CPU visible) and private frame buffer; heap 0 is system memory


class Node(t.NamedTuple):
    """One GPU (or one partition of one) as KFD describes it."""

    number: int
    properties: dict[str, int]

    @property
    def gfx(self) -> str | None:
        return name_of(self.properties.get("gfx_target_version", 0))

    @property
    def pci_id(self) -> str | None:
        vendor, device = self.properties.get("vendor_id"), self.properties.get("device_id")
        return f"{vendor:04x}:{device:04x}" if vendor and device else None

    @property
    def pci_address(self) -> str | None:
        """Domain, bus, device and function. The number of the partition stands in the bits above, or is the
        function, depending on the driver."""
        location = self.properties.get("location_id")
        if location is None:
            return None
        domain = self.properties.get("domain", 0)
        return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7:x}"

    @property
    def unique_id(self) -> str | None:
        number = self.properties.get("unique_id", 0)
        return f"{number:016x}" if number else None

    @property
    def compute_units(self) -> int | None:
        simds, per_cu = self.properties.get("simd_count"), self.properties.get("simd_per_cu")
        return simds // per_cu if simds and per_cu else None

    @property
    def render_node(self) -> str | None:
        minor = self.properties.get("drm_render_minor", 0)
        return f"renderD{minor}" if minor > 0 else None


def state(tree: Tree) -> str:
    """``present``, ``absent`` (driver not loaded, or no KFD in it) or ``denied`` (a device cgroup hides the
    GPUs)."""
    if not tree.exists(NODES):
        return "absent"
    return "present"


def gpu_nodes(tree: Tree) -> tuple[list[Node], int]:
    """The GPU nodes in order, and how many nodes a device cgroup or file permissions kept from being read."""
    nodes, denied = [], 0
    names = natural(tree.names(NODES))
    # The kernel numbers nodes without gaps.
    for number in sorted(set(range(len(names))) - set(map(int, names))):
        tree.problem(f"/{NODES}/{number}", "is missing: the node numbers have a gap")
    for name in names:
        before = tree.denied
        properties = tree.properties(NODES, name, "properties")
        if properties is None:
            denied += tree.denied > before
        elif properties.get("simd_count", 0) > 0:
            if "location_id" in properties or properties.get("unique_id"):
                nodes.append(Node(int(name), properties))
            else:
                tree.problem(f"/{NODES}/{name}/properties", "does not say which device it is")
    return nodes, denied


def memory_bytes(tree: Tree, node: Node) -> int | None:
    """The memory banks of a node that engines allocate from.

    ``local_mem_size`` is 0 on current kernels and the only source on kernels before 4.19, which have no bank
    for it.
    """
    total = 0
    banks = f"{NODES}/{node.number}/mem_banks"
    for name in natural(tree.names(banks)):
        bank = tree.properties(banks, name, "properties")
        if bank and bank.get("heap_type") in VRAM_HEAPS:
            total += bank.get("size_in_bytes", 0)
    return total or node.properties.get("local_mem_size") or None


def links(tree: Tree, node: Node) -> list[dict[str, t.Any]]:
    """The links of a node to others: ``{to, type, weight, bandwidth_mb_s}`` (KFD gives bandwidths in
    MB/s)."""
    found = []
    folder = f"{NODES}/{node.number}/io_links"
    for name in natural(tree.names(folder)):
        link = tree.properties(folder, name, "properties")
        if link:
            kind = link.get("type", 0)
            found.append(
                {
                    "to": link.get("node_to"),
                    "type": LINK_TYPES.get(kind, str(kind)),
                    "weight": link.get("weight"),
                    "bandwidth_mb_s": link.get("max_bandwidth"),
                }
            )
    return found
