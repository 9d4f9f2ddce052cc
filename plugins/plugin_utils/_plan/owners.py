# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who looks after the GPU driver: two owners undo each other's work, so a second one is named and left
alone."""

from __future__ import annotations

from .host import Host

TITLES = {
    "gpu_operator": "the AMD GPU operator (kernel module management of Kubernetes)",
    "gim": "gim, the driver of SR-IOV hosts",
    "amdgpu_install": "amdgpu-install",
    "runfile": "AMD's runfile installer",
}
REMEDIES = {
    "gpu_operator": (
        "Set driver_policy, firmware_policy and kernel_state so that this collection leaves the driver alone "
        "(driver_policy: none), or take the node out of the operator's DeviceConfig and remove its blacklist"
    ),
    "gim": "Leave the host to gim (driver_policy: none) and run this collection in its guests",
    "amdgpu_install": "Run `amdgpu-install --uninstall`, or set driver_policy to none",
    "runfile": "Uninstall the driver with the runfile that brought it, or set driver_policy to none",
}
# How the driver comes where it is not loaded.
LOADS = {
    "gpu_operator": "Let the operator load it: look at its DeviceConfig and at the pods that build it",
    "gim": "Serve in the guests: the GPUs of this host are given to them",
}
# With these the driver is in use by somebody who will put it back.
EXCLUSIVE = ("gpu_operator", "gim")


def names(host: Host) -> list[str]:
    return [owner["name"] for owner in host.rocm["driver"]["owners"]]


def check(host: Host, dkms: bool) -> None:
    """``dkms``: whether this collection would bring the driver."""
    ours = dkms
    for owner in host.rocm["driver"]["owners"]:
        name = owner["name"]
        exclusive = name in EXCLUSIVE
        if not (exclusive or ours):
            continue
        host.findings.add(
            "driver.owner",
            f"{TITLES[name]} ({', '.join(owner['signs'])})",
            "one owner of the driver",
            severity="fail" if exclusive and ours else "warn",
            remedy=REMEDIES[name],
        )
