# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution and its kernels: os-release, processor, command line, modules."""

from __future__ import annotations

import os
import re
import typing as t

from . import _cmdline
from ._tree import Tree


def operating_system(tree: Tree) -> dict[str, t.Any]:
    """``{id, version, codename, name, package_manager}`` from os-release, and what the running system says of
    ``machine`` and ``glibc``."""
    release = tree.pairs("etc/os-release") or tree.pairs("usr/lib/os-release")
    identity = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    manager = None
    if "debian" in identity or "ubuntu" in identity:
        manager = "apt"
    elif {"rhel", "fedora", "centos"} & set(identity):
        manager = "dnf"
    elif "suse" in identity or "opensuse" in identity:
        manager = "zypper"
    elif "arch" in identity:
        manager = "pacman"
    return {
        "id": release.get("ID"),
        "version": release.get("VERSION_ID"),
        "codename": release.get("VERSION_CODENAME"),
        "name": release.get("PRETTY_NAME"),
        "package_manager": manager,
        "machine": None if tree.root else os.uname().machine,
        "glibc": None if tree.root else _glibc(),
    }


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
