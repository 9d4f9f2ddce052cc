# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that is to run the containers, held against what rootless Podman needs."""

from __future__ import annotations

import typing as t

from .catalog import version_key
from .facts import User
from .host import Host
from .wants import INVENTORY


def check(host: Host, kind: str, accelerator: str, ports: t.Sequence[int]) -> None:
    """One finding for what is in the way first, or none; and a warning where the account may not use the GPUs
    yet. ``ports``: those that Podman publishes."""
    user: User | None = host.system["user"]
    if user is None:
        return
    host.note("serve", "user", user["name"], "asked for", INVENTORY)
    wrong = _account(user, kind) or _needs(host, user, accelerator, ports)
    if wrong:
        seen, expected, remedy = wrong
        host.findings.add("serve.user", seen, expected, remedy=remedy)
        return
    name, members = user["name"], host.system["group_members"]
    lacking = [group for group in ("render", "video") if name not in members[group]]
    if accelerator == "rocm" and lacking and host.wants.devices_mode != "0666":
        groups = " and ".join(lacking)
        remedy = f"Apply the role devices, which adds {name} to {groups}"
        seen, fix = f"{name} outside of {groups}", "devices"
        host.findings.add("serve.user", seen, "a member", severity="warn", mended_by=fix, remedy=remedy)


def _account(user: User, kind: str) -> tuple[str, str, str] | None:
    """What was seen, what is expected, and the remedy."""
    name = user["name"]
    if kind != "podman":
        return (
            f"serve_kind {kind} with serve_user {name}",
            "serve_kind podman or auto",
            f"Remove serve_user, or serve_kind {kind}",
        )
    if user["uid"] is None:
        return (
            f"no account {name}",
            "an account",
            f"Create it (useradd --create-home {name}), or correct serve_user",
        )
    if user["uid"] == 0:
        return f"{name}, which is root", "another account", "Leave serve_user empty: root needs no mention"
    if user["home"] is None:
        return f"{name} without its home", "a home, for images and caches", f"Create the home of {name}"
    if not user["subordinate_ids"]:
        remedy = (
            f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, with a range that "
            "nobody has"
        )
        return f"{name} without subordinate ids", "a range in /etc/subuid and /etc/subgid", remedy
    return None


def _needs(host: Host, user: User, accelerator: str, ports: t.Sequence[int]) -> tuple[str, str, str] | None:
    commands, rpm = set(user["commands"]), host.package_manager == "dnf"
    if not {"newuidmap", "newgidmap"} <= commands:
        return "no newuidmap", "newuidmap and newgidmap", f"Install {'shadow-utils' if rpm else 'uidmap'}"
    if accelerator == "rocm" and "crun" not in commands:
        return "no crun", "crun, which alone hands the groups of the GPUs on to a container", "Install crun"
    low = [str(port) for port in ports if port < user["lowest_port"]]
    if low:
        least = user["lowest_port"]
        return (
            f"port {', '.join(low)}",
            f"{least} or above",
            "Choose another port, or lower net.ipv4.ip_unprivileged_port_start",
        )
    release = host.system["podman"]["version"]
    if ports and "pasta" not in commands and release and version_key(release) >= version_key("6.0"):
        return f"Podman {release} without pasta", "pasta: Podman 6 knows no other way", "Install passt"
    if ports and not {"pasta", "slirp4netns"} & commands:
        return (
            "neither pasta nor slirp4netns",
            "one of them",
            "Install passt, or slirp4netns with Podman before 5.0",
        )
    return None
