# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that is to run the containers, held against what rootless Podman needs."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host


def check(host: Host, kind: str, accelerator: str, instances: list[dict[str, t.Any]]) -> None:
    """One finding for what is in the way first, or none; and a warning where the account may not use the GPUs
    yet."""
    if host.rocm["user"] is None:
        return
    host.note("serve", "user", host.rocm["user"]["name"], "asked for", INVENTORY)
    wrong = _account(host.rocm["user"], kind) or _host(host, accelerator, instances)
    if wrong:
        seen, expected, remedy = wrong
        host.findings.add("serve.user", seen, expected, remedy=remedy)
        return
    name, members = host.rocm["user"]["name"], host.rocm["group_members"]
    lacking = [group for group in ("render", "video") if name not in members[group]]
    if accelerator == "rocm" and lacking and host.wants["devices_mode"] != "0666":
        remedy = f"Apply the role devices, which adds {name} to {' and '.join(lacking)}"
        seen = f"{name} outside of {' and '.join(lacking)}"
        host.findings.add("serve.user", seen, "a member", severity="warn", mended_by="devices", remedy=remedy)


def _account(user: dict[str, t.Any], kind: str) -> tuple[str, str, str] | None:
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
        remedy = f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, with a range that nobody has"
        return f"{name} without subordinate ids", "a range in /etc/subuid and /etc/subgid", remedy
    return None


def _host(host: Host, accelerator: str, instances: list[dict[str, t.Any]]) -> tuple[str, str, str] | None:
    there, rpm = host.rocm["user"]["commands"], host.package_manager == "dnf"
    if not {"newuidmap", "newgidmap"} <= set(there):
        return "no newuidmap", "newuidmap and newgidmap", f"Install {'shadow-utils' if rpm else 'uidmap'}"
    if accelerator == "rocm" and "crun" not in there:
        return "no crun", "crun, which alone hands the groups of the GPUs on to a container", "Install crun"
    # Only those that serve with other hosts use the network of the host.
    own = [instance for instance in instances if not instance["nodes"]]
    low = [str(instance["port"]) for instance in own if instance["port"] < host.rocm["user"]["lowest_port"]]
    if low:
        least = host.rocm["user"]["lowest_port"]
        return (
            f"port {', '.join(low)}",
            f"{least} or above",
            "Choose another port, or lower net.ipv4.ip_unprivileged_port_start",
        )
    if own and not {"pasta", "slirp4netns"} & set(there):
        return (
            "neither pasta nor slirp4netns",
            "one of them",
            "Install passt, or slirp4netns with Podman before 5.0",
        )
    return None
