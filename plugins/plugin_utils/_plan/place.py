# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the system runs, and what is whose business there.

In a system container, and under WSL2, kernel, firmware, driver, kernel arguments, module options and
partitions belong to the host that it runs on. Nothing of them is planned; the findings say what the host's
owner has to do."""

from __future__ import annotations

import dataclasses

from . import devices
from .driver import DriverPlan
from .firmware import FirmwarePlan
from .host import Host
from .kernel import KernelPlan
from .plan import Plan

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
OURS_TO_SAY = (
    "host.container",
    "host.wsl",
    "host.package_manager",
    "host.memory",
    "host.init",
    "host.machine",
)


def is_inside(host: Host) -> bool:
    return host.system["place"]["kind"] in NAMES


def check(host: Host) -> None:
    """Say where the system runs, where that leaves things to somebody else."""
    place = host.system["place"]
    if place["kind"] == "container":
        seen = f"{place['container'] or 'a container'} ({', '.join(place['signs'])})"
        host.findings.add("host.container", seen, "a host or a virtual machine", owner=_owner(host))
    elif place["kind"] == "wsl":
        host.findings.add("host.wsl", place["signs"][0], "a host or a virtual machine")


def _owner(host: Host) -> str:
    """What the owner of the host gives to a container, in the words of its manager."""
    manager = host.system["place"]["container"]
    if manager in ("lxc", "incus", "lxd"):
        return (
            "in its configuration pass /dev/kfd and the render nodes with the number of the group render in "
            "the "
            "container (Proxmox: dev0: /dev/kfd,gid=N; incus: a device of type gpu)"
        )
    if manager == "systemd-nspawn":
        return "start it with --bind=/dev/kfd --bind=/dev/dri and DeviceAllow= for both"
    if manager == "kubernetes":
        return "request amd.com/gpu in the resources of the pod"
    return "start it with --device /dev/kfd and --device /dev/dri"


def leave_to_the_owner(host: Host, plan: Plan) -> Plan:
    """Take out of the plan what belongs to the host, and tell its owner what it was."""
    wanted = _wanted(plan)
    if wanted:
        host.note("kernel", "left to the host", "; ".join(wanted), f"this is {_name(host)}", None)
    # An unprivileged container is shown all GPUs and may open its own: the others are not hidden from it by
    # mistake.
    hidden = ("gpu.hidden",) if host.gpus else ()
    host.findings.hand_over(
        drop=(*NOT_ASKED, *hidden),
        prefixes=OF_THE_HOST,
        keep=OURS_TO_SAY,
        words=f"On the host that {_name(host)} runs on, not in it",
    )
    return dataclasses.replace(
        plan,
        kernel=KernelPlan([], [], {}, {}, None, None, "absent"),
        firmware=FirmwarePlan(),
        driver=DriverPlan("none"),
        partition=dataclasses.replace(plan.partition, wanted=False, change=False, state="present"),
        devices=devices.left_alone(plan.devices),
    )


def _name(host: Host) -> str:
    return NAMES[host.system["place"]["kind"]]


def _wanted(plan: Plan) -> list[str]:
    """What the plan would have set on a host."""
    kernel, driver, found = plan.kernel, plan.driver, []
    if kernel.present:
        found.append(f"kernel arguments {' '.join(kernel.present)}")
    if kernel.absent:
        found.append(f"no kernel arguments {' '.join(kernel.absent)}")
    for module, options in kernel.module_options.items():
        found.append(f"options {module} {' '.join(f'{name}={value}' for name, value in options.items())}")
    if kernel.sysctl:
        found.append(f"sysctl {' '.join(f'{name}={value}' for name, value in kernel.sysctl.items())}")
    if driver.policy != "none":
        found.append(f"the {driver.policy} driver {driver.release or ''}".strip())
    return found
