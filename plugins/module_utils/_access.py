# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use the GPUs: device files and the groups that own them."""

from __future__ import annotations

import grp
import stat
import typing as t

from ._tree import Tree, whole


def groups(tree: Tree) -> tuple[dict[str, int | None], dict[str, list[str]]]:
    """Numbers and members of the groups that own GPU devices: names mean other numbers inside a container."""
    numbers: dict[str, int | None] = {"render": None, "video": None}
    members: dict[str, list[str]] = {"render": [], "video": []}
    for line in (tree.text("etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[0] in numbers and whole(fields[2]) is not None:
            numbers[fields[0]] = whole(fields[2])
            members[fields[0]] = [name for name in fields[3].split(",") if name]
    return numbers, members


def _group_name(tree: Tree, gid: int) -> str | None:
    for line in (tree.text("etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[2] == str(gid):
            return fields[0]
    if tree.root:
        return None
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def _device(tree: Tree, path: str) -> dict[str, t.Any] | None:
    try:
        info = tree.about(path)
    except (OSError, ValueError):
        return None
    return {
        "owner": info.st_uid,
        "group": _group_name(tree, info.st_gid),
        "gid": info.st_gid,
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
    }


def devices(tree: Tree) -> dict[str, t.Any]:
    """``/dev/kfd`` and the render nodes; render nodes with equal permissions are one entry with a count."""
    kfd = _device(tree, "dev/kfd")
    render: list[dict[str, t.Any]] = []
    for name in tree.names("dev/dri"):
        entry = _device(tree, f"dev/dri/{name}") if name.startswith("renderD") else None
        if entry is None:
            continue
        same = next((known for known in render if all(known[key] == entry[key] for key in entry)), None)
        if same:
            same["count"] += 1
        else:
            render.append({"first": name, "count": 1, **entry})
    absent = {"owner": None, "group": None, "gid": None, "mode": None}
    return {"kfd": {"present": kfd is not None, **(kfd or absent)}, "render": render}
