# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the system runs, and what is whose business there.

In a system container, and under WSL2, kernel, firmware, driver, kernel arguments, module options and partitions
belong to the host that it runs on. Nothing of them is planned; the findings say what the host's owner has to do.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

NAMES = {"container": "a system container", "wsl": "WSL2"}
# Findings about packages and files of the container say nothing about the host's.
NOT_ASKED = (
    "driver.",
    "firmware.refused",
    "firmware.series",
    "kernel.avoid",
    "kernel.hwe_package",
    "partition.",
    "packages.",
    "room.",
)
OF_THE_HOST = ("kernel.", "memory.", "firmware.", "host.", "devices.", "gpu.")
OURS_TO_SAY = ("host.container", "host.wsl", "host.package_manager", "host.memory")


def is_inside(host: Host) -> bool:
    return host.rocm["place"]["kind"] in NAMES


def check(host: Host) -> None:
    """Say where the system runs, where that leaves things to somebody else."""
    place = host.rocm["place"]
    if place["kind"] == "container":
        seen = f"{place['container'] or 'a container'} ({', '.join(place['signs'])})"
        host.findings.add("host.container", seen, "a host or a virtual machine", owner=_owner(host))
    elif place["kind"] == "wsl":
        host.findings.add("host.wsl", place["signs"][0], "a host or a virtual machine")


def _owner(host: Host) -> str:
    """What the owner of the host gives to a container, in the words of its manager."""
    manager = host.rocm["place"]["container"]
    if manager in ("lxc", "incus", "lxd"):
        return (
            "in its configuration pass /dev/kfd and the render nodes with the number of the group render in the "
            "container (Proxmox: dev0: /dev/kfd,gid=N; incus: a device of type gpu)"
        )
    if manager == "systemd-nspawn":
        return "start it with --bind=/dev/kfd --bind=/dev/dri and DeviceAllow= for both"
    return "start it with --device /dev/kfd and --device /dev/dri"


def leave_to_the_owner(host: Host, sections: dict[str, t.Any]) -> None:
    """Take out of the plan what belongs to the host, and tell its owner what it was."""
    if not is_inside(host):
        return
    wanted = _wanted(sections)
    if wanted:
        host.note("kernel", "left to the host", "; ".join(wanted), f"this is {_name(host)}", None)
    empty: dict[str, t.Any] = {"present": [], "absent": [], "module_options": {}, "sysctl": {}}
    sections["kernel"] |= {**empty, "reboot_into": None, "load_at_boot": None, "state": "absent"}
    sections["firmware"] |= {"install": [], "reboot": False}
    lists = ("install", "remove", "headers", "build", "hold", "unhold")
    sections["driver"] |= {"policy": "none", "release": None, "repository": None}
    sections["driver"] |= {**dict.fromkeys(("missing", "waits"), False), **{name: [] for name in lists}}
    sections["partition"] |= {"wanted": False, "change": False, "state": "present"}
    sections["devices"] |= {"enabled": False}
    # An unprivileged container is shown all GPUs and may open its own: the others are not hidden from it by
    # mistake.
    hidden = ("gpu.hidden",) if host.gpus else ()
    host.findings.hand_over(
        drop=(*NOT_ASKED, *hidden),
        prefixes=OF_THE_HOST,
        keep=OURS_TO_SAY,
        words=f"On the host that {_name(host)} runs on, not in it",
    )


def _name(host: Host) -> str:
    return NAMES[host.rocm["place"]["kind"]]


def _wanted(sections: dict[str, t.Any]) -> list[str]:
    """What the plan would have set on a host."""
    kernel, found = sections["kernel"], []
    if kernel["present"]:
        found.append(f"kernel arguments {' '.join(kernel['present'])}")
    if kernel["absent"]:
        found.append(f"no kernel arguments {' '.join(kernel['absent'])}")
    for module, options in kernel["module_options"].items():
        found.append(f"options {module} {' '.join(f'{name}={value}' for name, value in options.items())}")
    if kernel["sysctl"]:
        found.append(f"sysctl {' '.join(f'{name}={value}' for name, value in kernel['sysctl'].items())}")
    if sections["driver"]["policy"] != "none":
        found.append(
            f"the {sections['driver']['policy']} driver {sections['driver']['release'] or ''}".strip()
        )
    return found
