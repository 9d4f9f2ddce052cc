# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many compilers of a build run at once: so many that the memory lasts."""

from __future__ import annotations

import re
import typing as t

from ._tree import Tree, whole

GIB = 1 << 30
# Files of cgroups say "max" where there is no limit; version 1 says a number beyond any memory.
UNLIMITED = 1 << 60


class SizeError(Exception):
    """A step that the memory does not last for. The message says which, and how much it takes."""


class Size(t.NamedTuple):
    """What a build may use."""

    jobs: dict[str, int]
    memory_bytes: int
    # Whether a container can be held to it.
    limited: bool = True


def size(free_bytes: int, cpus: int, steps: t.Mapping[str, float], reserve_gib: float, most: int = 0) -> Size:
    """``steps`` are GiB that one job takes. The limit is what is free but for the reserve: a build that needs
    more ends, and nothing else on the host does."""
    limit = free_bytes - int(reserve_gib * GIB)
    jobs = {}
    for step, gib in steps.items():
        fitting = int(limit // (gib * GIB))
        if fitting < 1:
            raise SizeError(
                f"One job of {step} takes {gib:g} GiB, and {max(limit, 0) / GIB:.1f} GiB are free beside the "
                f"reserve of {reserve_gib:g} GiB. Stop what uses the memory, build on a larger host, or set "
                f"build_memory_gib."
            )
        jobs[step] = max(1, min(cpus, fitting, most or fitting))
    return Size(jobs, max(limit, GIB))


def free_memory(tree: Tree) -> int | None:
    """What the kernel says is available, or what a cgroup above this process leaves where that is less."""
    available = tree.pairs("proc/meminfo", separator=":").get("MemAvailable", "").split()
    kib = whole(available[0]) if available else None
    if kib is None:
        return None
    return min([kib * 1024, *_left_of_limits(tree)])


def can_limit(tree: Tree) -> bool:
    """Whether the kernel hands the memory controller to cgroups, of version 2 or 1."""
    controllers = (tree.text("sys/fs/cgroup/cgroup.controllers") or "").split()
    return "memory" in controllers or tree.exists("sys/fs/cgroup/memory/memory.limit_in_bytes")


def _left_of_limits(tree: Tree) -> t.Iterator[int]:
    """Of this process's cgroup and of each one above it."""
    match = re.search(r"^0::(/.*)$", tree.text("proc/self/cgroup") or "", re.MULTILINE)
    parts = [part for part in (match[1] if match else "/").split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        folder = ("sys/fs/cgroup", *parts[:length])
        limit, used = (whole(tree.word(*folder, name) or "") for name in ("memory.max", "memory.current"))
        if limit is not None and limit < UNLIMITED:
            yield max(limit - (used or 0), 0)
