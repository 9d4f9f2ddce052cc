# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the file systems that kernels, images of the initramfs and DKMS builds are written to."""

from __future__ import annotations

import os
import typing as t

from ._tree import Tree

IMAGES = ("initrd", "initramfs", "booster")
ESP = ("efi", "boot/efi")
NO_ENTRIES = ("EFI", "loader", "System Volume Information")
# The folders that are written to. One that does not exist yet is looked for above.
PLACES = {"boot": "boot", "modules": "lib/modules", "var": "var"}

Statvfs = t.Callable[[str], t.Any]


def room(tree: Tree, statvfs: Statvfs = os.statvfs) -> dict[str, t.Any]:
    """``boot``, ``modules``, ``var`` and ``esp``: bytes that root can still write, ``None`` where that is not
    known; ``esp_path``: an EFI system partition that images lie on; ``image``: the size of the largest
    one."""
    names = [f"boot/{name}" for name in tree.names("boot") if name.startswith(IMAGES)]
    esp = next((path for path in ESP if _on_esp(tree, path)), None)
    names += _on_esp(tree, esp) if esp else []
    sizes = []
    for name in names:
        try:
            sizes.append(os.stat(tree.path(name)).st_size)
        except (OSError, ValueError):
            continue
    # Below a root that is not the running system the file systems are those of another machine.
    known = not tree.root or statvfs is not os.statvfs
    if tree.root and tree.notes:
        free = {name: tree.notes.room.get(name) for name in [*PLACES, "esp"]}
    else:
        places = {**PLACES, **({"esp": esp} if esp else {})}
        free = {name: _free(tree, path, statvfs) if known else None for name, path in places.items()}
    path = f"/{esp}" if esp else None
    return {"esp": None, **free, "image": max(sizes, default=None), "esp_path": path}


def _on_esp(tree: Tree, path: str) -> list[str]:
    """The images on an EFI system partition: unified ones, and those of loader entries
    (ENTRY/RELEASE/initrd)."""
    unified = [f"{path}/EFI/Linux/{name}" for name in tree.names(path, "EFI/Linux") if name.endswith(".efi")]
    plain = [f"{path}/{name}" for name in tree.names(path) if name.startswith(IMAGES)]
    folders = [f"{path}/{entry}" for entry in tree.names(path) if entry not in NO_ENTRIES]
    releases = [
        f"{folder}/{name}" for folder in folders if _folder(tree, folder) for name in tree.names(folder)
    ]
    entries = [
        f"{release}/{name}"
        for release in releases
        if _folder(tree, release)
        for name in tree.names(release)
        if name.startswith(IMAGES)
    ]
    return [*unified, *plain, *entries]


def _folder(tree: Tree, path: str) -> bool:
    return os.path.isdir(tree.path(path))


def _free(tree: Tree, path: str, statvfs: Statvfs) -> int | None:
    try:
        found = statvfs(tree.path(path))
    except (OSError, ValueError):
        return None
    return int(found.f_bfree * found.f_frsize)
