# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tool that builds the initramfs of this host: by what is installed and configured, never by the package
manager. The name of a program proves nothing: dracut brings an update-initramfs of its own.

A tool is one entry of INITRAMFS_TOOLS.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from typing import NamedTuple

from .._write import below, read_bytes, read_text
from . import ostree, uki
from .base import TOOLS, exists

BOOSTER = "/usr/lib/booster/regenerate_images"
LIMINE = ("limine-mkinitcpio", "limine-dracut")
# Of dracut on EndeavourOS, whose images stand beside the kernels of the EFI system partition.
DRACUT_WRAPPERS = ("reinstall-kernels", "dracut-rebuild")

Commands = list[list[str]]


class Initramfs(NamedTuple):
    """tool: None where it is not known, or where images are not the host's to build. commands build every
    image again."""

    tool: str | None
    commands: Commands


class Tool(NamedTuple):
    name: str
    used: Callable[[str], bool]
    commands: Callable[[str], Commands]


def has(root: str, name: str) -> bool:
    return any(exists(root, f"{folder}/{name}") for folder in TOOLS)


def _first(root: str, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if has(root, name)), None)


def _made_by_dracut(root: str) -> bool:
    """Is update-initramfs the one that dracut brings?"""
    place = next(
        (f"{folder}/update-initramfs" for folder in TOOLS if exists(root, f"{folder}/update-initramfs")), ""
    )
    text = (read_bytes(below(root, place)) or b"") if place else b""
    return b"dracut" in text and b"mkinitramfs" not in text


def _initramfs_tools(root: str) -> bool:
    """Its configuration outlives it, so the program counts where there is a program at all."""
    if has(root, "update-initramfs"):
        return not _made_by_dracut(root)
    return exists(root, "/etc/initramfs-tools") and not any(has(root, name) for name in ("dracut", "mktirfs"))


def _mkinitcpio(root: str) -> bool:
    """Beside dracut the presets decide: without one it builds nothing."""
    presets = glob.glob(os.path.join(glob.escape(below(root, "/etc/mkinitcpio.d")), "*.preset"))
    return has(root, "mkinitcpio") and (bool(presets) or not has(root, "dracut"))


def _dracut(root: str) -> bool:
    return has(root, "dracut") or exists(root, "/etc/dracut.conf")


def _debian_images(root: str) -> Commands:
    pattern = os.path.join(glob.escape(below(root, "/boot")), "initrd.img-*")
    releases = [os.path.basename(place)[len("initrd.img-") :] for place in sorted(glob.glob(pattern))]
    kernels = [name for name in releases if exists(root, f"/lib/modules/{name}")]
    return [["dracut", "--force", f"/boot/initrd.img-{name}", name] for name in kernels]


def _dracut_commands(root: str) -> Commands:
    wrapper = _first(root, DRACUT_WRAPPERS)
    if wrapper:
        return [[wrapper]]
    if has(root, "update-initramfs"):
        return [["update-initramfs", "-u", "-k", "all"]]
    return _debian_images(root) or [["dracut", "--force", "--regenerate-all"]]


def _kernel_install(root: str) -> bool:
    """Images that hold kernel and initramfs, built by kernel-install."""
    return bool(uki.images(root)) and any(command[:1] == ["kernel-install"] for command in _builders(root))


def _builders(root: str) -> Commands:
    return uki.builders(root, lambda name: [name] if has(root, name) else None)


def _limine(root: str) -> bool:
    return has(root, "limine-entry-tool") and _first(root, LIMINE) is not None


INITRAMFS_TOOLS = (
    Tool("limine", _limine, lambda root: [[_first(root, LIMINE) or ""]]),
    Tool("kernel-install", _kernel_install, _builders),
    Tool(
        "booster",
        lambda root: exists(root, BOOSTER) and not _mkinitcpio(root) and not has(root, "dracut"),
        lambda root: [[BOOSTER]],
    ),
    Tool("mkinitcpio", _mkinitcpio, lambda root: [["mkinitcpio", "--allpresets"]]),
    Tool("initramfs-tools", _initramfs_tools, lambda root: [["update-initramfs", "-u", "-k", "all"]]),
    Tool("dracut", _dracut, _dracut_commands),
    # Holds no modules, so modprobe.d is read from the disk.
    Tool("tiny-initramfs", lambda root: has(root, "mktirfs"), lambda root: []),
)


def initramfs_of(root: str) -> Initramfs:
    if ostree.detect(root):
        return Initramfs(None, [])
    tool = next((each for each in INITRAMFS_TOOLS if each.used(root)), None)
    return Initramfs(tool.name, tool.commands(root)) if tool else Initramfs(None, [])


def writable_root(root: str) -> bool:
    """Can packages be installed, as far as mounts tell? An image's /usr is read-only whatever they say."""
    if ostree.detect(root):
        return False
    for path in ("/proc/self/mounts", "/proc/mounts"):
        text = read_text(below(root, path)) if exists(root, path) else None
        for line in (text or "").splitlines():
            fields = line.split()
            if len(fields) > 3 and fields[1] in ("/", "/usr") and "ro" in fields[3].split(","):
                return False
    return True
