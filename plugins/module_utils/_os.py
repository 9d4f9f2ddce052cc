# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution and its kernels: os-release, processor, command line, modules."""

from __future__ import annotations

import os
import re
import sys
import typing as t

from . import _cmdline
from ._tree import Tree

# Names of os-release, and the package manager of their family.
FAMILIES = (
    (("debian", "ubuntu"), "apt"),
    (("rhel", "fedora", "centos", "openEuler", "amzn", "azurelinux", "mariner"), "dnf"),
    (("suse", "opensuse"), "zypper"),
    (("arch", "cachyos"), "pacman"),
)
MANAGERS = {
    "apt": ("usr/bin/apt-get", "bin/apt-get"),
    "dnf": ("usr/bin/dnf", "usr/bin/dnf5", "usr/bin/dnf-3", "bin/dnf"),
    "zypper": ("usr/bin/zypper",),
    "pacman": ("usr/bin/pacman",),
}


def operating_system(tree: Tree) -> dict[str, t.Any]:
    """``{id, version, codename, name, package_manager}`` from os-release, what the running system says of
    ``machine`` and ``glibc``, and the ``init`` that starts services."""
    release = tree.pairs("etc/os-release") or tree.pairs("usr/lib/os-release")
    like = release.get("ID_LIKE", "").split()
    identity = [release.get("ID", ""), *like]
    manager = next((found for names, found in FAMILIES if set(names) & set(identity)), None)
    # A family is a hint; what lies on the disk decides where it says nothing or is not there.
    managers = [name for name, paths in MANAGERS.items() if any(tree.exists(path) for path in paths)]
    if _apt_of_rpm(tree):
        managers = [name for name in managers if name != "apt"]
    if managers and manager not in managers:
        manager = managers[0]
    return {
        "id": release.get("ID"),
        "version": release.get("VERSION_ID"),
        "codename": release.get("VERSION_CODENAME"),
        "name": release.get("PRETTY_NAME"),
        "like": like,
        # The release of the parent that a derivative was made from.
        "ubuntu_codename": release.get("UBUNTU_CODENAME"),
        "debian_codename": release.get("DEBIAN_CODENAME"),
        "platform": release.get("PLATFORM_ID"),
        "variant": release.get("VARIANT_ID"),
        "package_manager": manager,
        "machine": _noted(tree, "machine") if tree.root else machine(),
        "glibc": _noted(tree, "glibc") if tree.root else _glibc(),
        "init": init(tree),
    }


def machine() -> str:
    """What programs are built for: a kernel of 64 bits may run a system of 32."""
    kernels = os.uname().machine
    narrow = {"x86_64": "i686", "aarch64": "armv7l"}
    return narrow.get(kernels, kernels) if sys.maxsize < 1 << 32 else kernels


def init(tree: Tree) -> str | None:
    """What starts services, by the name of the first process. Only systemd makes this folder (sd_booted)."""
    name = tree.word("proc/1/comm", limit=40)
    if tree.exists("run/systemd/system") or name == "systemd":
        return "systemd"
    return name or ("openrc" if tree.exists("sbin/openrc") else None)


def _apt_of_rpm(tree: Tree) -> bool:
    """ALT and PCLinuxOS have an apt-get of their own, for packages of rpm."""
    rpm = any(tree.exists(path) for path in ("var/lib/rpm", "usr/lib/sysimage/rpm"))
    return rpm and not tree.exists("var/lib/dpkg/status")


def _noted(tree: Tree, name: str) -> str | None:
    found: str | None = getattr(tree.notes, name, None)
    return found


def _glibc() -> str | None:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2] or None
    except (OSError, ValueError):
        return None


def cpu_vendor(tree: Tree) -> str | None:
    """``amd``, ``intel`` or ``None``."""
    data = tree.raw("proc/cpuinfo", limit=4096) or b""
    match = re.search(rb"^vendor_id\s*:\s*(\S+)", data, re.M)
    names = {b"AuthenticAMD": "amd", b"GenuineIntel": "intel"}
    return names.get(match.group(1)) if match else None


def command_line(tree: Tree) -> list[str]:
    """The arguments the running kernel was started with; a quoted value is one argument, and keeps its
    quotes."""
    return _cmdline.split(tree.text("proc/cmdline") or "")


def installed_kernels(tree: Tree) -> list[str]:
    """Releases with modules and an image, whatever the next boot starts."""
    return [
        name
        for name in tree.names("lib/modules")
        if tree.exists("boot", f"vmlinuz-{name}") or tree.exists("lib/modules", name, "vmlinuz")
    ]


# What of a driver may be a part of the kernel.
DRIVERS = ("amdgpu", "ttm")


def builtin(tree: Tree, release: str | None) -> list[str]:
    """The GPU drivers that are a part of a kernel: there is no module of them to load."""
    listed = tree.text("lib/modules", release, "modules.builtin") if release else None
    names = {os.path.basename(line).removesuffix(".ko") for line in (listed or "").splitlines()}
    return [name for name in DRIVERS if name in names]
