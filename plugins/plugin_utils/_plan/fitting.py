# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which releases of driver and ROCm fit a host together. Remedies take the releases that they name from here:
none leads to a refusal."""

from __future__ import annotations

import typing as t

from .catalog import version_key
from .host import Host


def next_kernel(host: Host) -> str | None:
    """The kernel that the next boot starts; where no boot configuration tells, the running one."""
    return host.system["kernel"]["default_release"] or host.system["kernel"]["release"]


def builds_for(known: dict[str, t.Any], kernel: str) -> bool:
    """Whether a driver release of the catalog is for a kernel."""
    limits, key = known["kernels"], version_key(kernel)
    # A stable release may have taken over what a driver does not build with.
    broken = any(
        version_key(span["from"]) <= key < version_key(span["below"]) for span in limits.get("except", [])
    )
    return version_key(limits["minimum"]) <= key[:2] < version_key(limits["below"]) and not broken


def refused(host: Host, version: str) -> bool:
    """Whether a release of ROCm does not work with the GPUs of a host."""
    rule = host.profile.get("host", {}).get("rocm", {})
    named = any(version_key(version)[:2] == version_key(entry) for entry in rule.get("refused", []))
    return named or version_key(version) < version_key(rule.get("minimum", "0"))


def rocm_releases(host: Host) -> list[str]:
    """What can be installed and works with the GPUs, the default first."""
    known = host.catalog.releases["rocm"]
    usable = [
        name
        for name, entry in known["releases"].items()
        if entry["line"] == "therock" and not refused(host, name)
    ]
    return sorted(usable, key=lambda name: name != known["default"])


def wanted_rocm(host: Host) -> str | None:
    """The release of ROCm that goes onto the host, ``None`` where none of AMD's does."""
    wants = host.wants
    if wants.rocm_state == "absent" or wants.rocm_userspace == "distribution":
        return None
    return wants.rocm_version or host.catalog.releases["rocm"]["default"]


def combinations(host: Host) -> list[tuple[str, str | None]]:
    """Releases of driver and ROCm that fit each other and the kernel of the next boot. Those with the ROCm
    that is wanted come first."""
    kernel, wanted = next_kernel(host), wanted_rocm(host)
    drivers = host.catalog.releases["drivers"]
    fits = [name for name, known in drivers["releases"].items() if not kernel or builds_for(known, kernel)]
    fits.sort(key=lambda name: name != drivers["default"])
    if wanted is None:
        return [(driver, None) for driver in fits]
    versions = sorted(rocm_releases(host), key=lambda name: name != wanted)
    listed = host.catalog.releases["rocm"]["releases"]
    return [
        (driver, version) for version in versions for driver in fits if driver in listed[version]["drivers"]
    ]


def remedy(host: Host) -> str:
    """What to set so that driver, ROCm and kernel fit."""
    fits, wanted = combinations(host), wanted_rocm(host)
    if not fits:
        limits = [known["kernels"] for known in host.catalog.releases["drivers"]["releases"].values()]
        below = max((entry["below"] for entry in limits), key=version_key)
        return (
            f"Boot a kernel from {min((entry['minimum'] for entry in limits), key=version_key)} to "
            f"below {below}"
        )
    driver, version = fits[0]
    steps = f"Set driver_release to {driver}" + (
        f" and rocm_version to {version}" if version != wanted else ""
    )
    # The driver that was asked for may fit another ROCm.
    others = [
        other for name, other in fits if name == host.wants.driver_release and other not in (None, wanted)
    ]
    return steps + (f", or rocm_version to {others[0]}" if others and version == wanted else "")
