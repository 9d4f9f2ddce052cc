# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much of a GPU's memory is in use, and by which processes, from sysfs."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._sysfs import Tree, natural

# What the firmware of an APU sets aside is smaller; its models lie in GTT. The GTT of a discrete GPU is memory of the host.
SMALLEST_VRAM = 4 << 30


class Usage(t.NamedTuple):
    """The memory of the GPU behind a render node."""

    node: str
    used: int
    total: int

    @property
    def percent(self) -> float:
        return 100 * self.used / self.total


def usage(tree: Tree, node: str) -> Usage | None:
    """The pool that models lie in, or ``None`` where the driver shows none, as for a further partition of a GPU."""
    vram, gtt = _pool(tree, node, "vram"), _pool(tree, node, "gtt")
    return vram if vram and (vram.total >= SMALLEST_VRAM or not gtt) else gtt


def _pool(tree: Tree, node: str, pool: str) -> Usage | None:
    used, total = (tree.number(f"sys/class/drm/{node}/device/mem_info_{pool}_{what}", base=10) for what in ("used", "total"))
    return Usage(node, used, total) if used is not None and total else None


def holders(tree: Tree) -> list[str]:
    """Processes that have /dev/kfd open, as KFD lists them: ``VLLM::EngineCore (4711)``."""
    found = []
    for pid in natural(tree.names("sys/class/kfd/kfd/proc")):
        name = re.search(r"^Name:\s+(.+)$", tree.text(f"proc/{pid}/status") or "", re.M)
        found.append(f"{name.group(1)} ({pid})" if name else pid)
    return found
