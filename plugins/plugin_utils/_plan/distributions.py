# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a derivative has of the distribution that it is made from, and whose kernel runs.

The names of os-release choose packages. The name of the kernel chooses the floors: a derivative with a
kernel of its own (Proxmox, Pop, TUXEDO, CachyOS) has the packages of its parent and the fixes of nobody's
table."""

from __future__ import annotations

import re
import typing as t

from .facts_host import AmdHost, Os

UBUNTU = {"jammy": "22.04", "noble": "24.04", "resolute": "26.04"}
DEBIAN = {"bookworm": "12", "trixie": "13"}
# The first that fits the release of a kernel says who built it. A release of Ubuntu ends in its ABI and
# flavour; Pop counts its ABI in eight digits.
KERNELS = (
    (r"-pve$", "proxmox"),
    (r"microsoft|WSL", "wsl"),
    (r"\+truenas", "truenas"),
    (r"uek", "ol"),
    (r"[-.](xanmod|liquorix|zen|cachyos|tkg|tuxedo|fsync|surface)|-76\d{6}-", "another"),
    (r"\.amzn\d", "amzn"),
    (r"\.azl\d|\.cm\d", "azurelinux"),
    (r"\.oe\d", "openEuler"),
    (r"\.fc\d", "fedora"),
    (r"\.el\d", "rhel"),
    (r"-arch\d", "arch"),
    (r"-((cloud|rt)-)?(amd64|arm64)$", "debian"),
    # The third number of Ubuntu's is always 0: 6.12.40-0-lts is one of Alpine.
    (r"^\d+\.\d+\.0-\d{1,4}-[a-z][a-z0-9.-]*$", "ubuntu"),
)
# Kernels that no distribution of the tables has built.
FOREIGN = ("proxmox", "wsl", "truenas", "another")
CLOUDS = ("azure", "aws", "gcp", "oracle", "ibm")


class Base(t.NamedTuple):
    id: str | None
    version: str | None
    codename: str | None


def base(os: Os) -> Base:
    """The distribution whose packages a host has."""
    for codename, versions, name in (
        (os["ubuntu_codename"], UBUNTU, "ubuntu"),
        (os["debian_codename"], DEBIAN, "debian"),
        (os["codename"] if "debian" in os["like"] else None, DEBIAN, "debian"),
    ):
        if os["id"] not in ("ubuntu", "debian") and codename in versions:
            return Base(name, versions[codename], codename)
    return Base(os["id"], os["version"], os["codename"])


def kernel_vendor(release: str | None) -> str | None:
    """Who built a kernel, as far as its name tells."""
    return next((name for pattern, name in KERNELS if re.search(pattern, release or "")), None)


def own_kernel(system: AmdHost) -> bool:
    """Whether the running kernel is the one of the base distribution, so that its tables of kernels apply."""
    return kernel_vendor(system["kernel"]["release"]) not in FOREIGN


def kernel_base(system: AmdHost) -> Base:
    """The distribution whose table of kernels applies; none where the kernel is another one's."""
    return base(system["os"]) if own_kernel(system) else Base(None, None, None)


def cloud(system: AmdHost) -> str | None:
    """The flavour of a cloud that the kernel is built for."""
    flavour = str(system["kernel"]["flavour"] or "").partition("-")[0]
    return flavour if flavour in CLOUDS and kernel_vendor(system["kernel"]["release"]) == "ubuntu" else None


def kernel_remedy(system: AmdHost, floor: str) -> str:
    """How the owner of a host gets a newer kernel."""
    refused = system["boot"]["refused"]
    if system["boot"]["bootc"] or (refused and refused["whole"]):
        return f"Boot an image with kernel {floor} or later (rpm-ostree or bootc upgrade, or its own tool)"
    vendor, parent, flavour = kernel_vendor(system["kernel"]["release"]), base(system["os"]), cloud(system)
    if vendor == "proxmox":
        return f"Install a newer kernel of Proxmox (proxmox-kernel-X.Y, {floor} or later) and reboot"
    if vendor == "another" or not own_kernel(system):
        return (
            f"Install {floor} or later from where the kernel {system['kernel']['release']} came, and reboot"
        )
    if flavour:
        return f"Install linux-{flavour}, the newest kernel for this cloud, and reboot"
    if parent.id == "debian":
        codename = parent.codename or ""
        if codename not in DEBIAN:
            return "Install the newest kernel of the distribution (apt full-upgrade) and reboot"
        return (
            f"Install a kernel from backports (apt install -t {codename}-backports "
            f"linux-image-amd64) and reboot"
        )
    if parent.id == "ubuntu" and parent.version == "24.04":
        return "Install linux-oem-24.04c or the HWE kernel and reboot"
    if parent.id == "ubuntu" and parent.version in UBUNTU.values():
        return "Install the HWE kernel and reboot"
    if parent.id == "ubuntu":
        return f"Upgrade to a release of Ubuntu with kernel {floor} or later; this one gets no other series"
    return f"Install kernel {floor} or later and reboot"


def ga_remedy(system: AmdHost) -> str:
    """How a host of Ubuntu stays on the series that AMD tests."""
    flavour, version = cloud(system), base(system["os"]).version
    if flavour:
        return (
            f"Install linux-{flavour}-lts-{version}, which stays on the series of the release, and remove "
            f"linux-{flavour}"
        )
    return "Install linux-generic, the GA kernel, and remove the HWE meta-package"


def module_remedy(kernel: str | None) -> str | None:
    """How a kernel gets the inbox driver that its package leaves out; ``None`` where nothing is known."""
    vendor = kernel_vendor(kernel)
    if vendor == "debian" and "-cloud-" in (kernel or ""):
        return "Install linux-image-amd64, whose modules hold amdgpu, remove the cloud kernel and reboot"
    if vendor == "ubuntu":
        return f"Install linux-modules-extra-{kernel}, where the release has such a package, and reboot"
    return None
