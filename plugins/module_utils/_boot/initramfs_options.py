# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does the initramfs that a host builds hold /etc/modprobe.d? A driver that starts in it knows no others.

dracut takes that folder in host-only mode alone, which Fedora and EL switch on and Debian and Ubuntu do not.
mkinitcpio takes it with its hook modconf.
"""

from __future__ import annotations

import glob
import os
import re

from .._write import below, read_text
from .initramfs import has, initramfs_of

FOLDER = "/etc/modprobe.d"


def holds_options(root: str) -> bool:
    """False where the images are known to be without the folder."""
    tool = initramfs_of(root).tool
    if tool in ("kernel-install", "limine"):
        tool = "dracut" if has(root, "dracut") else "mkinitcpio"
    if tool == "dracut":
        return _dracut(root)
    return _mkinitcpio(root) if tool == "mkinitcpio" else True


def _dropins(root: str, *folders: str) -> list[str]:
    """Texts by the names of the files; a file of a later folder hides one of the same name."""
    found: dict[str, str] = {}
    for folder in folders:
        for place in glob.glob(os.path.join(glob.escape(below(root, folder)), "*.conf")):
            found[os.path.basename(place)] = read_text(place) or ""
    return [found[name] for name in sorted(found)]


def _plain(texts: list[str]) -> str:
    return re.sub(r"^[ \t]*#.*$", "", "\n".join(texts), flags=re.MULTILINE)


def _dracut(root: str) -> bool:
    folders = ("/usr/lib/dracut/dracut.conf.d", "/etc/dracut.conf.d")
    text = _plain([read_text(below(root, "/etc/dracut.conf")) or "", *_dropins(root, *folders)])
    if re.search(rf"^\s*install_(?:optional_)?items\+?=.*{FOLDER}", text, re.MULTILINE):
        return True
    modes = re.findall(r"""^\s*hostonly=["']?(\w+)""", text, re.MULTILINE)
    return modes[-1:] == ["yes"]


def _mkinitcpio(root: str) -> bool:
    main = read_text(below(root, "/etc/mkinitcpio.conf"))
    text = _plain([main or "", *_dropins(root, "/etc/mkinitcpio.conf.d")])
    hooks: list[str] = []
    for appends, names in re.findall(r"^\s*HOOKS(\+?)=\(([^)]*)\)", text, re.MULTILINE):
        hooks = [*(hooks if appends else []), *names.split()]
    return "modconf" in hooks or not hooks or f"FILES=({FOLDER}" in text
