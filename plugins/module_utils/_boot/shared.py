# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Partitions that hold more than one loader's files, or those of more than one system."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence

from .. import _cmdline as cmdline
from .._write import below, read_text
from . import running
from .next_boot import reads_all_folders


def files_of_loader(root: str, folders: Sequence[str], pattern: str) -> list[str]:
    """systemd-boot lists the files of the EFI system partition and of the boot partition, GRUB those
    of one."""
    found: dict[tuple[int, int], str] = {}
    for folder in folders:
        for place in sorted(glob.glob(os.path.join(glob.escape(below(root, folder)), pattern))):
            about = os.stat(place) if os.path.exists(place) else os.lstat(place)
            found.setdefault((about.st_dev, about.st_ino), place)
        if found and not reads_all_folders(root):
            break
    return list(found.values())


def _tokens(root: str) -> list[str]:
    """How files of this system begin: the machine id, or the token of kernel-install."""
    texts = [read_text(below(root, path)) or "" for path in ("/etc/machine-id", "/etc/kernel/entry-token")]
    return [text.strip() for text in texts if re.fullmatch(r"[\w.-]{2,64}\s*", text)]


def _roots(arguments: Sequence[str]) -> set[str]:
    words = [cmdline.parse(entry) for entry in arguments]
    return {value for name, value in words if name == "root" and value}


def of_this_system(root: str, given: Mapping[str, list[str] | None]) -> list[str]:
    """The files that start this system, by the root file system that each gives (None: not to be read).

    Where none names the running one, nothing is known, and all of them count.
    """
    mine, tokens = _roots(running.line(root)), _tokens(root)
    if not any(mine & _roots(arguments or []) for arguments in given.values()):
        return list(given)
    return [
        place
        for place, arguments in given.items()
        if arguments is None
        or mine & _roots(arguments)
        or any(entry.startswith(("$", "root=$")) for entry in arguments)
        or any(os.path.basename(place).startswith(token) for token in tokens)
    ]
