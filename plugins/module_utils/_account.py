# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An account that runs containers without root: who it is, and what rootless Podman needs of it."""

from __future__ import annotations

import pwd
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, whole

COMMANDS = ("newuidmap", "newgidmap", "crun", "pasta", "slirp4netns")
STORE = ".local/share/containers/storage"


def account(tree: Tree, name: str) -> dict[str, t.Any] | None:
    """Who a name is: ``uid`` and ``home`` (``None`` where there is no such account), whether it has
    ``subordinate_ids``, whether its services run without a login (``linger``), the ``lowest_port`` it may
    listen on, and which of ``COMMANDS`` the host has. ``None`` without a name."""
    if not name:
        return None
    uid, home = _passwd(tree, name)
    lowest = tree.number("proc/sys/net/ipv4/ip_unprivileged_port_start")
    return {
        "name": name,
        "uid": uid,
        "home": home if home and tree.exists(home) else None,
        "subordinate_ids": uid is not None
        and all(_subordinate(tree, kind, name, uid) for kind in ("subuid", "subgid")),
        "linger": tree.exists("var/lib/systemd/linger", name),
        "lowest_port": 1024 if lowest is None else lowest,
        "commands": [
            command
            for command in COMMANDS
            if any(tree.exists(folder, command) for folder in ("usr/bin", "usr/local/bin"))
        ],
    }


def image_store(tree: Tree, who: dict[str, t.Any]) -> str | None:
    """Where Podman keeps the images of an account, as containers-storage.conf(5) says."""
    home = who["home"]
    if home is None:
        return None
    own = storage_setting(tree.text(home, ".config/containers/storage.conf"), "graphroot")
    common = storage_setting(tree.text("etc/containers/storage.conf"), "rootless_storage_path")
    path = own or common or f"{home}/{STORE}"
    for word, value in (("$HOME", home), ("$USER", who["name"]), ("$UID", str(who["uid"]))):
        path = path.replace(word, value)
    return path


def storage_setting(text: str | None, key: str) -> str | None:
    """The value of a text in containers-storage.conf(5)."""
    match = re.search(rf"^\s*{key}\s*=\s*\"([^\"]+)\"", text or "", re.M)
    return match.group(1) if match else None


def additional_stores(text: str | None) -> list[str]:
    """Stores of images that are read beside the own, in containers-storage.conf(5)."""
    match = re.search(r"^\s*additionalimagestores\s*=\s*\[(.*?)\]", text or "", re.M | re.S)
    return re.findall(r"\"([^\"]+)\"", match.group(1)) if match else []


def _passwd(tree: Tree, name: str) -> tuple[int | None, str | None]:
    for line in (tree.text("etc/passwd") or "").splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[0] == name and whole(fields[2]) is not None:
            return whole(fields[2]), fields[5]
    if not tree.root:  # accounts of a directory service are in no file
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            return None, None
        return found.pw_uid, found.pw_dir
    return None, None


def _subordinate(tree: Tree, kind: str, name: str, uid: int) -> bool:
    ranges = [line.split(":") for line in (tree.text("etc", kind) or "").splitlines()]
    if any(
        len(fields) == 3 and fields[0] in (name, str(uid)) and (whole(fields[2]) or 0) > 0
        for fields in ranges
    ):
        return True
    # A directory service gives them out: nobody but newuidmap can say.
    return bool(re.search(r"^subid:\s*(?!files\s*$)\S", tree.text("etc/nsswitch.conf") or "", re.M))
