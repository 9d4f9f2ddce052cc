# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of an initramfs that the plan needs built again, on a host whose tool for that is not known."""

from __future__ import annotations

from .host import Host
from .plan import Plan


def check(host: Host, plan: Plan) -> None:
    boot = host.system["boot"]
    if not boot["initramfs_images"] or boot["initramfs"] is not None:
        return
    options = [f"the options of {module}" for module in plan.kernel.module_options]
    # Packages of apt build the images themselves, with whatever tool there is.
    firmware = plan.firmware.install and host.package_manager != "apt"
    what = [*options, *(["the new firmware"] if firmware else [])]
    if what:
        host.findings.add(
            "kernel.initramfs",
            "images, and none of their known tools",
            "a tool that builds them",
            what=" and ".join(what),
        )
