# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Systems whose kernel arguments are not ours to write: each with the place where its owner writes them.

One system is one entry of SYSTEMS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .._write import below, read_bytes, read_text
from . import running
from .base import TOOLS, exists


class Refusal(NamedTuple):
    """reason: a part of a sentence. where: the place of the kernel arguments. whole: packages, units and
    module options are not ours to write either."""

    system: str
    reason: str
    where: str
    whole: bool = False


class System(NamedTuple):
    refusal: Refusal
    recognise: Callable[[str], bool]


def _id(root: str) -> str:
    text = read_text(below(root, "/etc/os-release")) or read_text(below(root, "/usr/lib/os-release")) or ""
    found = re.search(r"^ID=[\"']?([^\"'\n]*)", text, re.MULTILINE)
    return found.group(1) if found else ""


def _has(root: str, *programs: str) -> bool:
    return any(exists(root, f"{folder}/{program}") for folder in TOOLS for program in programs)


def _argument(root: str, *names: str) -> bool:
    return any(entry.partition("=")[0] in names for entry in running.line(root))


def _bootc(root: str) -> bool:
    """An image of RHEL's kind may hold rpm-ostree too; what it changes is not the image's."""
    if not exists(root, "/run/ostree-booted") or _core_os_of_openshift(root):
        return False
    return enterprise(root) or not _has(root, "rpm-ostree")


def enterprise(root: str) -> bool:
    return _id(root) in ("rhel", "centos", "almalinux", "rocky", "ol")


def _core_os_of_openshift(root: str) -> bool:
    return _id(root) == "rhcos" or exists(root, "/etc/machine-config-daemon/currentconfig")


def _read_only_root(root: str) -> bool:
    text = read_text(below(root, "/etc/fstab")) or ""
    return bool(re.search(r"^[^#\s]\S*\s+/\s+\S+\s+(?:\S*,)?ro(?:,\S*)?(?:\s|$)", text, re.MULTILINE))


def _transactional(root: str) -> bool:
    return _has(root, "transactional-update") and _read_only_root(root) and not _has(root, "sdbootutil")


def _true_nas(root: str) -> bool:
    release = (read_bytes(below(root, "/proc/sys/kernel/osrelease")) or b"").decode("utf-8", "replace")
    return release.strip().endswith("+truenas") or _has(root, "midclt")


def _raspberry(root: str) -> bool:
    model = read_bytes(below(root, "/proc/device-tree/model")) or b""
    return model.startswith(b"Raspberry Pi") or exists(root, "/boot/firmware/cmdline.txt")


_IMAGE = "its kernel arguments and packages belong to the image that it boots"
_DECLARED = "it is built from a configuration, and what is written beside that is lost at the next build"
SYSTEMS = (
    System(
        Refusal("NixOS", _DECLARED, "boot.kernelParams in configuration.nix"),
        lambda root: _id(root) == "nixos" or exists(root, "/etc/NIXOS"),
    ),
    System(
        Refusal("Guix System", _DECLARED, "kernel-arguments in the operating-system declaration"),
        lambda root: _id(root) == "guix",
    ),
    System(
        Refusal(
            "RHCOS",
            "the machine config operator owns it, and a node that was changed by hand becomes degraded",
            "spec.kernelArguments of a MachineConfig",
        ),
        _core_os_of_openshift,
    ),
    System(Refusal("bootc", _IMAGE, "/usr/lib/bootc/kargs.d/*.toml in the image"), _bootc),
    System(
        Refusal("composefs", _IMAGE, "the kernel arguments of the image build"),
        lambda root: _argument(root, "composefs") and not exists(root, "/run/ostree-booted"),
    ),
    System(
        Refusal("Ubuntu Core", "snapd owns its kernel and its boot loader", "snap set system system.kernel"),
        lambda root: _id(root) == "ubuntu-core" or _argument(root, "snapd_recovery_mode"),
    ),
    System(
        Refusal("SteamOS", _IMAGE, "/etc/default/grub after steamos-readonly disable, lost at each update"),
        lambda root: _id(root) == "steamos",
    ),
    System(
        Refusal("ABRoot", _IMAGE, "abroot kargs edit"),
        lambda root: _has(root, "abroot") or exists(root, "/etc/abroot"),
    ),
    System(
        Refusal(
            "Unraid",
            "its system is unpacked into memory at each boot",
            "the append line of /boot/syslinux/syslinux.cfg",
        ),
        lambda root: exists(root, "/etc/unraid-version"),
    ),
    System(
        Refusal(
            "TrueNAS",
            "its middleware owns the configuration",
            "kernel_extra_options of midclt call system.advanced.update",
        ),
        _true_nas,
    ),
    System(
        Refusal("Flatcar", _IMAGE, "linux_append in /oem/grub.cfg, or kernelArguments in Ignition"),
        lambda root: _id(root) == "flatcar",
    ),
    System(
        Refusal(
            "transactional-update",
            "its root is read-only and changes in snapshots",
            "/etc/default/grub, then transactional-update grub.cfg",
        ),
        _transactional,
    ),
    System(
        Refusal("Raspberry Pi", "no AMD GPU is known to work there", "/boot/firmware/cmdline.txt"), _raspberry
    ),
)

# Loaders that start this system and are not ours to write, by what the firmware says.
LOADERS = {
    "rEFInd": Refusal(
        "rEFInd", "its configuration is written by hand", "the first line of /boot/refind_linux.conf"
    ),
    "EFI stub": Refusal(
        "EFI stub", "the firmware starts the kernel itself", "efibootmgr --unicode, with the whole line"
    ),
}
PLAIN_LIMINE = Refusal(
    "Limine",
    "without limine-entry-tool its configuration is written by hand",
    "cmdline: of the entry in limine.conf",
)


def system(root: str) -> Refusal | None:
    """The system whose owner has to write the arguments; None where they are ours to write."""
    found = next((each.refusal for each in SYSTEMS if each.recognise(root)), None)
    return found._replace(whole=True) if found else None


def unknown(name: str) -> Refusal:
    return Refusal(name, "this boot loader is not known", "the configuration of this boot loader")
