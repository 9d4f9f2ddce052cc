# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for what the plan writes: images of the initramfs, modules, DKMS builds. A full /boot is found before
apt runs into it."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

MIB = 1 << 20
# The tools write a new image beside the old one; where there is none to measure, Ubuntu's with the firmware.
SPARE = 20 * MIB
UNKNOWN_IMAGE = 200 * MIB
# Seen: a build of amdgpu-dkms takes 1.5 GB of /var, its modules 60 MB a kernel.
BUILD = 1536 * MIB
MODULES = 64 * MIB


def check(host: Host, sections: dict[str, t.Any]) -> None:
    room, driver, kernel = host.rocm["room"], sections["driver"], sections["kernel"]
    builds = driver["policy"] == "dkms" and bool(driver["install"] or driver["build"])
    images = builds or bool(sections["firmware"]["install"]) or bool(kernel["module_options"])
    needed = {
        "boot": ("/boot", int((room["image"] or UNKNOWN_IMAGE) * 1.1) + SPARE if images else 0),
        "modules": ("/lib/modules", MODULES * max(len(driver["build"]), 1) if builds else 0),
        "var": ("/var", BUILD if builds else 0),
    }
    for name, (path, size) in needed.items():
        free = room[name]
        if free is not None and free < size:
            host.findings.add(
                "room.full",
                f"{free // MIB} MiB free in {path}",
                f"{-(-size // MIB)} MiB",
                # What is set already writes no image again.
                severity="fail" if builds or sections["firmware"]["install"] else "warn",
                path=path,
                remedy=_remedy(host, name),
            )


def _remedy(host: Host, name: str) -> str:
    old = [
        kernel
        for kernel in host.rocm["kernel"]["installed"]
        if kernel not in (host.rocm["kernel"]["release"], host.rocm["kernel"]["default_release"])
    ]
    if name == "var":
        return "Make room in /var/lib/dkms, /var/cache and /var/log, or give /var a larger file system"
    clean = "`apt-get autoremove --purge`" if host.package_manager == "apt" else "the package manager"
    if old:
        return f"Remove the kernels {' and '.join(old)} with {clean}"
    return "Make room there: remove old kernels and images, or give it a larger file system"
