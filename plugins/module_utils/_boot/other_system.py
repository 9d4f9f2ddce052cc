# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the next boot starts another system: a host that is rebooted into Windows does not come back.

Only what is known to start something else counts; where nothing tells, the next boot is taken for ours."""

from __future__ import annotations

import fnmatch
import os
import re

from .._tree import Tree
from .._write import WriteError, read_text
from . import firmware, limine, limine_conf
from .entries import entry_files, starts_linux
from .next_boot import default_entry, entry_id, grub_default, grub_text, loader_named, menu, variable

# What systemd-boot calls the systems that it finds by itself; reboots into the firmware stay there.
AUTOMATIC = {
    "auto-windows": "Windows",
    "auto-osx": "macOS",
    "auto-efi-shell": "the EFI shell",
    "auto-reboot-to-firmware-setup": "the firmware's own menu",
}
KERNELS = ("linux", "configfile", "xen_hypervisor", "multiboot")
# Programs and titles of systems that are not Linux. A program of another name may be a kernel in an image.
FOREIGN = re.compile(
    r"microsoft|bootmgfw|\bbootmgr\b|\bntldr\b|coreservices|\bwindows\b|\bmac ?os\b", re.IGNORECASE
)


def next_system(tree: Tree, loader: str | None) -> str | None:
    """The title of what the next boot starts instead of Linux; None where it is Linux, or nothing tells."""
    root = tree.root or "/"
    try:
        return _of_firmware(root) or _of_loader(tree, root, loader)
    except WriteError:  # the facts name what cannot be read
        return None


def _of_firmware(root: str) -> str | None:
    """The firmware itself goes past the loader that started this system."""
    path = firmware.next_path(root)
    return f"Windows ({path})" if path.lower().startswith("\\efi\\microsoft\\") else None


def _of_loader(tree: Tree, root: str, loader: str | None) -> str | None:
    found = limine.configurations(root) if loader in (None, limine.NAME) else []
    if found or loader == limine.NAME:
        program = limine_conf.firmware_program(tree.text(found[0]) or "") if found else None
        return program.title if program and FOREIGN.search(f"{program.path} {program.title}") else None
    if variable(root, "LoaderInfo").startswith("systemd-boot"):
        return _of_entries(root)
    return _of_grub(tree)


def _of_entries(root: str) -> str | None:
    named = (variable(root, "LoaderEntryOneShot") or loader_named(root)).removesuffix(".conf")
    if not named:
        return None
    files = [place for place in entry_files(root) if fnmatch.fnmatchcase(entry_id(place), named)]
    texts = [read_text(place) or "" for place in files]
    if texts:
        other = not any(starts_linux(text) for text in texts) and FOREIGN.search(texts[0])
        return (_title(texts[0]) or os.path.basename(files[0])) if other else None
    return next((title for name, title in AUTOMATIC.items() if fnmatch.fnmatchcase(name, named)), None)


def _title(text: str) -> str:
    found = re.search(r"^title[ \t]+(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _of_grub(tree: Tree) -> str | None:
    text = grub_text(tree)
    if text is None:
        return None
    named = grub_default(tree, text)
    if "blscfg" in text and not any(named in (entry.titles[-1], entry.ids[-1]) for entry in menu(text)):
        return None  # an entry of a kernel, which another file holds
    entry = default_entry(text, named)
    if entry is None or not entry.commands or any(each.startswith(KERNELS) for each in entry.commands):
        return None
    seen = " ".join([*entry.commands, entry.titles[-1]])
    return entry.titles[-1] if FOREIGN.search(seen) else None
