# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the file systems that kernels, images of the initramfs and DKMS builds are written to."""

from __future__ import annotations

import os
import typing as t

from ._tree import Tree

IMAGES = ("initrd", "initramfs", "booster")
# Where what is written, with the folders above it that stand for it where it does not exist yet.
PLACES = {"boot": "boot", "modules": "lib/modules", "var": "var"}

Statvfs = t.Callable[[str], t.Any]


def room(tree: Tree, statvfs: Statvfs = os.statvfs) -> dict[str, t.Any]:
    """``boot``, ``modules`` and ``var``: bytes that root can still write, ``None`` where that is not known;
    ``image``: the size of the largest image of an initramfs."""
    sizes = []
    for name in tree.names("boot"):
        if name.startswith(IMAGES):
            try:
                sizes.append(os.stat(tree.path("boot", name)).st_size)
            except (OSError, ValueError):
                continue
    # Below a root that is not the running system the file systems are those of another machine.
    known = not tree.root or statvfs is not os.statvfs
    if tree.root and tree.notes:
        return {**{name: tree.notes.room.get(name) for name in PLACES}, "image": max(sizes, default=None)}
    free = {name: _free(tree, path, statvfs) if known else None for name, path in PLACES.items()}
    return {**free, "image": max(sizes, default=None)}


def _free(tree: Tree, path: str, statvfs: Statvfs) -> int | None:
    try:
        found = statvfs(tree.path(path))
    except (OSError, ValueError):
        return None
    return int(found.f_bfree * found.f_frsize)
