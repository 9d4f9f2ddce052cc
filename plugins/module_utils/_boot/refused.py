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

from .. import _cmdline as cmdline
from .._write import below, read_bytes, read_text
from . import firmware, running
from .base import TOOLS, exists, release_ids


class Refusal(NamedTuple):
    """reason: a part of a sentence. where: the place of the kernel arguments. whole: packages, sysctls and
    module options are not ours to write either. units: whether units and rules that are written into /etc
    stay there."""

    system: str
    reason: str
    where: str
    whole: bool = False
    units: bool = True


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
    """An image of RHEL's kind may hold rpm-ostree too; what it changes is not the image's. RHEL for Edge has
    rpm-ostree and no bootc."""
    if not exists(root, "/run/ostree-booted") or _core_os_of_openshift(root):
        return False
    if enterprise(root):
        return _has(root, "bootc") or not _has(root, "rpm-ostree")
    family = set(release_ids(root))
    of_fedora = not family or bool(family & {"fedora", "rhel", "centos"})
    return not _has(root, "rpm-ostree") and (of_fedora or _has(root, "bootc"))


def _ostree(root: str) -> bool:
    """Deployments that neither rpm-ostree nor bootc makes."""
    return (
        exists(root, "/run/ostree-booted")
        and not _core_os_of_openshift(root)
        and not _has(root, "bootc", "rpm-ostree")
    )


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


def _live(root: str) -> bool:
    """Booted from a medium, or with a root file system that forgets what is written."""
    words = [cmdline.parse(entry) for entry in running.line(root)]
    return any(
        (name == "boot" and value in ("live", "casper"))
        or (name == "root" and (value or "").startswith("live:"))
        or (name == "overlayroot" and value not in ("disabled", ""))
        or name in ("rd.live.image", "rd.live.ram", "archisobasedir", "archisolabel")
        for name, value in words
    )


def _from_network(root: str) -> bool:
    """A boot server gives kernel and line; the files of a loader came with the image. GRUB of a disk may
    start a system whose root is far away."""
    words = [cmdline.parse(entry) for entry in running.line(root)]
    far = re.compile(r"(live:)?(nfs4?|https?|tftp|iscsi|nbd)(:.*)?|wwclient|/dev/(nfs|nbd\d.*)")
    return any(
        (name == "root" and far.fullmatch(value or "") and not running.of_grub(root))
        or (name == "BOOT_IMAGE" and re.match(r"\((tftp|http|https|pxe)\b", value or ""))
        or name in ("imgurl", "wwid", "wwinit.uri")
        for name, value in words
    )


def _of_zfs(root: str) -> bool:
    values = [entry.lower() for entry in running.line(root)]
    return any(re.match(r"root=(zfs[:=]|zfs$)|zfs=", value) for value in values)


def zfsbootmenu(root: str) -> bool:
    """It starts the kernel by kexec, so the variables name its own image and the line bears no mark."""
    folders = firmware.boot_path(root).lower().split("\\")
    if any(each == "zbm" or each.startswith("zfsbootmenu") for each in folders):
        return True
    if not _of_zfs(root) or _argument(root, "BOOT_IMAGE", "initrd"):
        return False
    places = [f"{esp}/EFI/{name}" for esp in ("/boot/efi", "/efi", "/boot") for name in ("ZBM", "zbm")]
    return _has(root, "generate-zbm", "zbm-kcl") or any(
        exists(root, path) for path in ("/etc/zfsbootmenu", *places, "/boot/efi/EFI/zfsbootmenu")
    )


def _talos(root: str) -> bool:
    return _id(root) == "talos" or _argument(root, "talos.platform", "talos.config")


def _of_cos(root: str) -> bool:
    """Systems that are made with the toolkit of cOS: Kairos, Elemental, Harvester."""
    return exists(root, "/etc/kairos-release") or any(
        entry.startswith(("cos-img/", "rd.cos.", "rd.immucore.")) for entry in running.line(root)
    )


_FORGETS = "its root is an image, and what is written into /etc is gone after a reboot"
_IMAGE = "its kernel arguments and packages belong to the image that it boots"
_DECLARED = "it is built from a configuration, and what is written beside that is lost at the next build"
SYSTEMS = (
    System(
        Refusal("NixOS", _DECLARED, "boot.kernelParams in configuration.nix", units=False),
        lambda root: _id(root) == "nixos" or exists(root, "/etc/NIXOS"),
    ),
    System(
        Refusal(
            "Guix System", _DECLARED, "kernel-arguments in the operating-system declaration", units=False
        ),
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
        Refusal("Endless OS", _IMAGE, "ostree admin instutil set-kargs --merge"),
        lambda root: _ostree(root) and _id(root) in ("endless", "eos"),
    ),
    System(Refusal("OSTree", _IMAGE, "ostree admin instutil set-kargs --merge"), _ostree),
    System(
        Refusal(
            "Talos",
            _FORGETS,
            "customization of the schematic that its image is made from (with GRUB machine.install of its "
            "machine config)",
            units=False,
        ),
        _talos,
    ),
    System(
        Refusal("Bottlerocket", _FORGETS, "its user data, or apiclient apply", units=False),
        lambda root: _id(root) == "bottlerocket",
    ),
    System(Refusal("Kairos or Elemental", _FORGETS, "extra_cmdline of /oem/grubenv", units=False), _of_cos),
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
            units=False,
        ),
        lambda root: exists(root, "/etc/unraid-version"),
    ),
    System(
        Refusal(
            "TrueNAS",
            "its middleware owns the configuration",
            "kernel_extra_options of midclt call system.advanced.update",
            units=False,
        ),
        _true_nas,
    ),
    System(
        Refusal("Flatcar", _IMAGE, "linux_append in /oem/grub.cfg, or kernelArguments in Ignition"),
        lambda root: _id(root) == "flatcar",
    ),
    System(
        Refusal("frzr", _IMAGE, "the image: each deployment writes its loader entry anew"),
        lambda root: _has(root, "frzr-deploy", "frzr") or _id(root) == "chimeraos",
    ),
    System(
        Refusal("sealed image", _IMAGE, "the kernel arguments of the image build"),
        lambda root: _argument(root, "roothash", "usrhash", "verity.usr", "verity.root"),
    ),
    System(
        Refusal("live system", "what is written is gone after a reboot", "an installed system", units=False),
        _live,
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
    "ZFSBootMenu": Refusal(
        "ZFSBootMenu",
        "the line is a property of the root dataset",
        "the property org.zfsbootmenu:commandline of the dataset of / (zbm-kcl, or zfs set)",
    ),
    "clr-boot-manager": Refusal(
        "clr-boot-manager",
        "it writes the loader entries anew at each update",
        "/etc/kernel/cmdline.d/*.conf, then clr-boot-manager update",
    ),
    "network boot": Refusal(
        "network boot",
        "kernel and arguments come from a server at each boot",
        "the configuration of the boot server",
    ),
    "LILO": Refusal(
        "LILO",
        "its configuration is written by hand",
        "append= in /etc/lilo.conf (then run lilo) or elilo.conf",
    ),
    "SYSLINUX": Refusal(
        "SYSLINUX", "this boot loader is not known", "the APPEND line of extlinux.conf or syslinux.cfg"
    ),
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


REFIND = ("/boot/refind_linux.conf", "/boot/efi/EFI/refind/refind.conf", "/efi/EFI/refind/refind.conf")
SYSLINUX = ("/boot/extlinux/extlinux.conf", "/boot/extlinux.conf", "/boot/syslinux/syslinux.cfg")
LILO = ("/etc/lilo.conf", "/etc/elilo.conf")


def owner(root: str) -> Refusal | None:
    """What stands between the firmware and the kernel, whatever other loaders left behind."""
    owners = (
        ("ZFSBootMenu", zfsbootmenu),
        ("network boot", _from_network),
        ("clr-boot-manager", lambda root: _has(root, "clr-boot-manager")),
    )
    return next((LOADERS[name] for name, here in owners if here(root)), None)


def trace(root: str) -> Refusal | None:
    """A loader that is not ours to write, by its files alone."""
    places = (("LILO", LILO), ("rEFInd", REFIND), ("SYSLINUX", SYSLINUX))
    for name, paths in places:
        path = next((path for path in paths if exists(root, path)), None)
        if path:
            return LOADERS[name]._replace(where=path) if name == "SYSLINUX" else LOADERS[name]
    return None


def unknown(name: str) -> Refusal:
    return Refusal(name, "this boot loader is not known", "the configuration of this boot loader")
