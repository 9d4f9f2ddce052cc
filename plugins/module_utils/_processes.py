# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes hold something open or run code of a folder, and which units of systemd they run in."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, natural

_UNIT = re.compile(r"([^/\s]+\.(?:service|scope))(?=/|$)", re.M)


class Holder(t.NamedTuple):
    """A process that holds things open, and the systemd units it runs in, the innermost last."""

    pid: int
    process: str
    units: tuple[str, ...]
    held: tuple[str, ...]

    def __str__(self) -> str:
        where = self.units[-1] if self.units else "no unit of systemd"
        return f"{self.process} (pid {self.pid}, {where}) has {self.held[0]} open"


def holders(tree: Tree, targets: set[str]) -> t.Iterator[Holder]:
    """The processes, in the order of their numbers, that have one of ``targets`` open: paths, or
    ``socket:[12345]``."""
    for pid in natural(tree.names("proc")) if targets else ():
        # A descriptor that is closed while we look must not hide the others; a process that ended has none.
        held = targets.intersection(
            tree.link_target("proc", pid, "fd", number) or "" for number in _descriptors(tree, pid)
        )
        if held:
            yield _holder(tree, pid, *sorted(held))


def users_of(tree: Tree, folders: t.Sequence[str]) -> t.Iterator[Holder]:
    """The processes that run code of some folders."""
    for pid in natural(tree.names("proc")) if folders else ():
        try:
            with open(tree.path("proc", pid, "maps"), encoding="utf-8", errors="replace") as maps:
                text = maps.read()
            for folder in folders:
                # A container may have a folder of the same name.
                if f" {folder}/" in text and os.path.samefile(
                    tree.path("proc", pid, "root") + folder, tree.path(folder.lstrip("/"))
                ):
                    yield _holder(tree, pid, folder)
        except (OSError, ValueError):  # the process ended while we looked
            continue


def _holder(tree: Tree, pid: str, *held: str) -> Holder:
    units = tuple(dict.fromkeys(_UNIT.findall(tree.text("proc", pid, "cgroup") or "")))
    return Holder(int(pid), tree.text("proc", pid, "comm") or "a process", units, held)


def _descriptors(tree: Tree, pid: str) -> list[str]:
    try:
        return os.listdir(tree.path("proc", pid, "fd"))
    except OSError:
        return []
