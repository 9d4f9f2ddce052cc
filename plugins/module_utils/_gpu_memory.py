# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much of a GPU's memory is in use, and by which processes, from sysfs."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, natural

# What the firmware of an APU sets aside is smaller; its models lie in GTT. The GTT of a discrete GPU is
# memory of the host.
SMALLEST_VRAM = 4 << 30
# Bytes of memory that no GPU has.
BEYOND = 1 << 60


class Garbled(ValueError):
    """A counter that says nothing; the text is a whole sentence."""


class Usage(t.NamedTuple):
    """The memory of the GPU behind a render node."""

    node: str
    used: int
    total: int

    @property
    def percent(self) -> float:
        return 100 * self.used / self.total


def usage(tree: Tree, node: str) -> Usage | None:
    """The pool that models lie in, or ``None`` where the driver shows none, as for a further partition of a
    GPU."""
    vram = _pool(tree, node, "vram")
    if vram is None or vram.total >= SMALLEST_VRAM:
        return vram
    pool = _pool(tree, node, "gtt") or vram
    return pool if pool.total else None


def _pool(tree: Tree, node: str, pool: str) -> Usage | None:
    used, total = (
        _counter(tree, f"sys/class/drm/{node}/device/mem_info_{pool}_{what}") for what in ("used", "total")
    )
    return Usage(node, used, total) if used is not None and total is not None else None


def _counter(tree: Tree, path: str) -> int | None:
    if not tree.exists(path):
        return None
    value = tree.number(path, base=10)
    if value is None or not 0 <= value < BEYOND:
        raise Garbled(
            f"/{path} does not say how many bytes of the GPU's memory are in use. Look at dmesg: the GPU may "
            f"be in a reset."
        )
    return value


def holders(tree: Tree) -> list[str]:
    """Processes that have /dev/kfd open, as KFD lists them: ``VLLM::EngineCore (4711)``."""
    found = []
    for pid in natural(tree.names("sys/class/kfd/kfd/proc")):
        name = re.search(r"^Name:\s+(.+)$", tree.text(f"proc/{pid}/status") or "", re.M)
        found.append(f"{name.group(1)} ({pid})" if name else pid)
    return found
