# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``devices`` of the plan: who may open the GPUs, and what containers need for it."""

from __future__ import annotations

import dataclasses

from .host import Host
from .wants import INVENTORY


@dataclasses.dataclass(frozen=True)
class CdiDevice:
    """One device of a CDI specification: its name, and its nodes below /dev/dri."""

    name: str
    nodes: list[str]


@dataclasses.dataclass(frozen=True)
class Selinux:
    """Booleans to switch on and off, and those that are ours afterwards."""

    on: list[str]
    off: list[str]
    ours: list[str]


@dataclasses.dataclass(frozen=True)
class DevicesPlan:
    """What the role devices applies."""

    enabled: bool
    mode: str
    memlock: str | None
    cdi: list[CdiDevice]
    # AMD's toolkit writes the specification itself: two of the same names would make both unusable.
    cdi_toolkit: bool
    render_gid: int | None
    video_gid: int | None
    # Accounts that are not in the groups of the GPUs yet.
    join: list[str]
    state: str
    selinux: Selinux


def section(host: Host, containers: bool) -> DevicesPlan:
    """``containers``: whether servers run in containers."""
    wants, gpu = host.wants, host.gfx != "cpu"
    wanted = gpu and wants.devices_state == "present"
    if gpu:
        few = wants.devices_mode == "0660"
        reason = "members of render may use the GPUs" if few else "every user may use the GPUs"
        source = "systemd rules.d/50-udev-default.rules.in" if few else INVENTORY
        host.note("devices", "mode", wants.devices_mode, reason, source)
    memlock = host.profile.get("host", {}).get("limits", {}).get("memlock")
    if memlock:
        host.note("devices", "memlock", memlock["value"], memlock["reason"], memlock["source"])
    return DevicesPlan(
        enabled=gpu,
        mode=wants.devices_mode,
        memlock=memlock["value"] if memlock else None,
        cdi=_cdi_devices(host) if wanted and wants.devices_cdi else [],
        cdi_toolkit="amd-container-toolkit" in host.system["packages"],
        render_gid=host.system["groups"]["render"],
        video_gid=host.system["groups"]["video"],
        join=_joining(host) if wanted else [],
        state=wants.devices_state,
        selinux=_selinux(host, containers),
    )


def left_alone(plan: DevicesPlan) -> DevicesPlan:
    """Of a container: its device files, and what describes and confines them, are the host's."""
    return dataclasses.replace(
        plan, enabled=False, cdi=[], join=[], selinux=Selinux([], [], plan.selinux.ours)
    )


def _joining(host: Host) -> list[str]:
    wants, members, account = host.wants, host.system["group_members"], host.system["user"]
    serves = wants.serve_state == "present" and wants.serve_accelerator != "cpu"
    own = [account["name"]] if account and account["uid"] and serves else []
    users = dict.fromkeys([*wants.devices_users, *own])
    return [user for user in users if any(user not in members[group] for group in ("render", "video"))]


def _cdi_devices(host: Host) -> list[CdiDevice]:
    """One for each KFD device, numbered as ROCm numbers them: by GPU, then by partition."""
    nodes = [node for gpu in host.gpus for node in gpu["render_nodes"]]
    return [CdiDevice(str(number), [node]) for number, node in enumerate(nodes)]


def _selinux(host: Host, containers: bool) -> Selinux:
    seen, wants = host.system["selinux"], host.wants
    asked = wants.devices_state == "present" and wants.devices_selinux
    wanted = bool(host.gfx != "cpu" and (wants.devices_cdi or containers) and asked)
    enforcing = wanted and seen["mode"] == "enforcing"
    rule = host.profile.get("host", {}).get("selinux_booleans", {}) if enforcing else {}
    for name, entry in rule.items():
        if name in seen["booleans"]:
            host.note(
                "devices", "SELinux boolean", f"{name}={entry['value']}", entry["reason"], entry["source"]
            )
    on = [name for name in rule if seen["booleans"].get(name) is False]
    # Without SELinux there is nothing that could be asked to switch them off.
    back = [] if wanted or seen["mode"] == "disabled" else seen["ours"]
    # One that the policy no longer has, or that somebody switched off, is no longer ours to take back.
    off = [name for name in back if seen["booleans"].get(name)]
    return Selinux(on, off, sorted({*seen["ours"], *on} - {*back}))
