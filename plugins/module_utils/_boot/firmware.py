# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the firmware says of the boot loader that started the running system: EFI variables."""

from __future__ import annotations

import glob
import os
import re
import struct
from typing import NamedTuple

from .._write import below, read_bytes
from .next_boot import variable

FOLDER = "/sys/firmware/efi/efivars"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIMS = re.compile(r"(shim|grub|mm)[a-z0-9]*\.efi")


class Started(NamedTuple):
    """family: grub, systemd-boot, uki, limine, rEFInd, LILO, EFI stub, the name of another loader, or None
    where that is not known. seen: the variable that says so. visible: are there variables at all?"""

    family: str | None
    seen: str
    visible: bool


def started(root: str) -> Started:
    if not glob.glob(os.path.join(glob.escape(below(root, FOLDER)), "*")):
        return Started(None, "", False)
    stub, info = variable(root, "StubInfo"), variable(root, "LoaderInfo")
    if stub.startswith("systemd-stub"):
        return Started("uki", f"StubInfo says {stub!r}", True)
    if info:
        names = {"systemd-boot": "systemd-boot", "grub": "grub", "limine": "limine", "refind": "rEFInd"}
        family = next((name for start, name in names.items() if info.lower().startswith(start)), info[:60])
        return Started(family, f"LoaderInfo says {info[:60]!r}", True)
    path = boot_path(root)
    return Started(_family_of(path), f"the firmware started {path}", True)


def _family_of(path: str) -> str | None:
    """By the folder: what a shim loaded, its own name does not tell."""
    parts = path.lower().strip("\\").split("\\")
    folder, name = parts[:-1], parts[-1]
    if any("limine" in each for each in parts):
        return "limine"
    if name.startswith("elilo"):
        return "LILO"
    if "refind" in folder or name.startswith("refind"):
        return "rEFInd"
    if "systemd" in folder:
        return "systemd-boot"
    if name.startswith(("vmlinuz", "bzimage")):
        return "EFI stub"
    if folder[-1:] == ["linux"]:
        return "uki"
    # \EFI\BOOT is the place of whatever was installed as the fallback.
    return "grub" if SHIMS.fullmatch(name) and folder[-1:] != ["boot"] else None


def boot_path(root: str) -> str:
    """The file that the firmware started: BootCurrent names the entry, which holds a device path."""
    return _path_of(root, _numbers(root, "BootCurrent"))


def next_path(root: str) -> str:
    """The file that the firmware starts next: that of the entry for one boot, else the first of its order."""
    return _path_of(root, _numbers(root, "BootNext") or _numbers(root, "BootOrder"))


def _numbers(root: str, name: str) -> tuple[int, ...]:
    data = (read_bytes(below(root, f"{FOLDER}/{name}-{GLOBAL}")) or b"")[4:]
    return struct.unpack_from(f"<{len(data) // 2}H", data)


def _path_of(root: str, numbers: tuple[int, ...]) -> str:
    if not numbers:
        return ""
    number = numbers[0]
    data = (read_bytes(below(root, f"{FOLDER}/Boot{number:04X}-{GLOBAL}")) or b"")[4:]
    if len(data) < 8:
        return ""
    place = 6  # attributes, length of the path; then the description, which ends with a NUL
    while data[place : place + 2] not in (b"\0\0", b""):
        place += 2
    place += 2
    names = []
    while place + 4 <= len(data):
        kind, below_kind, length = struct.unpack_from("<BBH", data, place)
        if length < 4 or kind == 0x7F:
            break
        if (kind, below_kind) == (4, 4):
            names.append(data[place + 4 : place + length].decode("utf-16-le", "replace").rstrip("\0"))
        place += length
    return "\\".join(names).replace("/", "\\")[:200]
