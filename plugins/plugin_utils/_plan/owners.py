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
        "Leave the driver to it (driver_policy none or auto, no late_driver_load in kernel_opt_in), or take "
        "the node out of its DeviceConfig and remove its blacklist. Kernel arguments stay the host's"
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


# The module that manages memory in the drivers that the operator builds.
OPERATORS_TTM = "amdttm"


def of_the_operator(host: Host) -> bool:
    """Whether the operator loads the driver: a host shows it, or the inventory gives the driver to it."""
    given = host.wants.serve_kind == "kubernetes" and host.wants.kubernetes_driver_owner == "operator"
    return given or "gpu_operator" in names(host)


def names(host: Host) -> list[str]:
    return [owner["name"] for owner in host.rocm["driver"]["owners"]]


def check(host: Host, dkms: bool) -> None:
    """``dkms``: whether this collection would bring the driver. A unit of ours that loads it is as bad."""
    late = host.profile.get("host", {}).get("kernel", {}).get("opt_in", {})
    asked = [name for name in host.wants.kernel_opt_in if "load_at_boot" in late.get(name, {})]
    ours = dkms or bool(asked)
    for owner in host.rocm["driver"]["owners"]:
        name = owner["name"]
        exclusive = name in EXCLUSIVE
        if not (exclusive or ours):
            continue
        host.findings.add(
            "driver.owner",
            " beside ".join([f"{TITLES[name]} ({', '.join(owner['signs'])})", *(asked if exclusive else [])]),
            "one owner of the driver",
            severity="fail" if exclusive and ours else "warn",
            remedy=REMEDIES[name],
        )
