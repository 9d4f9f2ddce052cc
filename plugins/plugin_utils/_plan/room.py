# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for what the plan writes: images of the initramfs, modules, DKMS builds. A full /boot is found before
apt runs into it."""

from __future__ import annotations

from .host import Host
from .plan import Plan

MIB = 1 << 20
# The tools write a new image beside the old one; where there is none to measure, Ubuntu's with the firmware.
SPARE = 20 * MIB
UNKNOWN_IMAGE = 200 * MIB
# Seen: a build of amdgpu-dkms takes 1.5 GB of /var, its modules 60 MB a kernel.
BUILD = 1536 * MIB
MODULES = 64 * MIB


def check(host: Host, plan: Plan) -> None:
    """What the plan writes, held to what is free."""
    room, driver, firmware = host.system["room"], plan.driver, bool(plan.firmware.install)
    builds = driver.policy == "dkms" and bool(driver.install or driver.build)
    images = builds or firmware or bool(plan.kernel.module_options)
    image = int((room["image"] or UNKNOWN_IMAGE) * 1.1) + SPARE if images else 0
    modules = MODULES * max(len(driver.build), 1) if builds else 0
    for path, free, size in (
        ("/boot", room["boot"], image),
        (room.get("esp_path") or "", room.get("esp"), image if room.get("esp_path") else 0),
        ("/lib/modules", room["modules"], modules),
        ("/var", room["var"], BUILD if builds else 0),
    ):
        if free is not None and free < size:
            host.findings.add(
                "room.full",
                f"{free // MIB} MiB free in {path}",
                f"{-(-size // MIB)} MiB",
                # Settings that are in place already write no image again.
                severity="fail" if builds or firmware else "warn",
                path=path,
                remedy=_remedy(host, path),
            )


def _remedy(host: Host, path: str) -> str:
    old = [
        kernel
        for kernel in host.system["kernel"]["installed"]
        if kernel not in (host.system["kernel"]["release"], host.system["kernel"]["default_release"])
    ]
    if path == "/var":
        return "Make room in /var/lib/dkms, /var/cache and /var/log, or give /var a larger file system"
    clean = "`apt-get autoremove --purge`" if host.package_manager == "apt" else "the package manager"
    if old:
        return f"Remove the kernels {' and '.join(old)} with {clean}"
    return "Make room there: remove old kernels and images, or give it a larger file system"
