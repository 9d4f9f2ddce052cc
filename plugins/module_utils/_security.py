# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may keep a module from loading or a container from a device: Secure Boot, enrolled keys, SELinux,
locked memory."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

EFI_VARIABLES = "sys/firmware/efi/efivars"
SECURE_BOOT = EFI_VARIABLES + "/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# Where DKMS keeps the certificate of the key it signs with: Debian and upstream, Ubuntu, EL.
CERTIFICATES = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der", "etc/pki/tls/mok/mok.der")
SELINUX = "sys/fs/selinux"
SELINUX_OURS = "var/lib/amdgpu-fleet/selinux-booleans"
SELINUX_BOOLEANS = ("container_use_devices", "container_use_dri_devices")


def secure_boot(tree: Tree) -> bool | None:
    """``None`` on a host without EFI variables."""
    data = tree.raw(SECURE_BOOT)
    return bool(data[4]) if data and len(data) >= 5 else None


def signatures_enforced(tree: Tree, arguments: t.Sequence[str]) -> bool | None:
    """Whether the kernel takes signed modules alone, by lockdown or by a parameter of its own; ``None`` where
    it tells neither."""
    asked = _cmdline.holds(arguments, "module.sig_enforce=1") or "module.sig_enforce" in arguments
    lockdown = tree.text("sys/kernel/security/lockdown") or ""
    parameter = tree.word("sys/module/module/parameters/sig_enforce")
    if asked or parameter == "Y" or re.search(r"\[(?!none\])", lockdown):
        return True
    return False if lockdown or parameter else None


def mok_enrolled(tree: Tree) -> bool | None:
    """Whether shim trusts the key that DKMS signs modules with; ``None`` where there is no such key or no
    list to look in.

    shim lists what it trusts in ``MokListRT`` (continued in ``MokListRT1`` and so on), each certificate as it
    is.
    """
    certificates = [data for data in (tree.raw(path) for path in CERTIFICATES) if data]
    lists = [
        tree.raw(EFI_VARIABLES, name) or b""
        for name in tree.names(EFI_VARIABLES)
        if name.startswith("MokListRT")
    ]
    if not certificates or not lists:
        return None
    return any(certificate in trusted for certificate in certificates for trusted in lists)


def selinux(tree: Tree) -> dict[str, t.Any]:
    """``mode`` (enforcing, permissive or disabled), the ``booleans`` that let containers use devices, where
    they exist, and those of them that this collection switched on (``ours``)."""
    enforce = tree.number(SELINUX, "enforce")
    mode = "disabled" if enforce is None else "enforcing" if enforce else "permissive"
    booleans = {}
    for name in SELINUX_BOOLEANS:
        # "current pending"
        value = tree.text(SELINUX, "booleans", name)
        if value:
            booleans[name] = value.split()[0] == "1"
    return {"mode": mode, "booleans": booleans, "ours": (tree.text(SELINUX_OURS) or "").split()}


def _configurations(tree: Tree, file: str, folder: str) -> list[str]:
    """A file and its drop-ins. Nobody reads files with other endings, such as ``.dpkg-old``."""
    return [file, *(f"{folder}/{name}" for name in tree.names(folder) if name.endswith(".conf"))]


def memlock(tree: Tree) -> dict[str, str | None]:
    """Limits of locked memory as they are set: ``users`` (for everybody, in KiB or ``unlimited``),
    ``services`` (systemd's default)."""
    users = None
    for path in _configurations(tree, "etc/security/limits.conf", "etc/security/limits.d"):
        for domain, kind, value in re.findall(
            r"^\s*(\S+)\s+(soft|hard|-)\s+memlock\s+(\S+)", tree.text(path) or "", re.M
        ):
            if domain == "*" and kind != "soft":
                users = value
    services = None
    for path in _configurations(tree, "etc/systemd/system.conf", "etc/systemd/system.conf.d"):
        for value in re.findall(r"^\s*DefaultLimitMEMLOCK\s*=\s*(\S+)", tree.text(path) or "", re.M):
            services = value
    return {"users": users, "services": services}
