# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The running system is the judge: can its command line have come from what a loader's files give?

What the files give and the running line lacks may wait for a reboot. What names the root file system, its
encryption or the place to resume from is in both, or another loader started this system.
"""

from __future__ import annotations

import re

from .. import _cmdline as cmdline
from .._write import below, read_bytes, read_text
from .record import RECORD, RecordError, parse

STANDING = re.compile(
    r"root|boot|resume|zfs|cryptdevice|luks\.(uuid|name)|rd\.luks\.(uuid|name)|rd\.(lvm\.(lv|vg)|md\.uuid)"
)


def line(root: str) -> list[str]:
    """The arguments of the running kernel; none where they are not to be seen."""
    text = (read_bytes(below(root, "/proc/cmdline")) or b"").replace(b"\0", b" ")
    return cmdline.for_kernel(cmdline.split(text.decode("utf-8", "replace")))


def not_of_grub(root: str) -> list[str]:
    """GRUB names the kernel by its path, from / or with a disk before it. LILO names a label, PXE a file."""
    return [entry for entry in line(root) if re.match(r"BOOT_IMAGE=(?![/(])", entry)]


def of_grub(root: str) -> bool:
    return any(re.match(r"BOOT_IMAGE=[/(]", entry) for entry in line(root))


def unexplained(root: str, lines: list[list[str]]) -> list[str]:
    """Arguments of the running kernel that none of these lines can have given it."""
    lines = [each for each in lines if each]
    if not lines:
        return []
    return _not_in(root, lines)


def standing(root: str) -> list[str]:
    """What only a source that is right can have given."""
    return _not_in(root, [])


def _not_in(root: str, lines: list[list[str]]) -> list[str]:
    given = [entry for each in lines for entry in each] + _pending(root)
    return [
        entry
        for entry in line(root)
        if STANDING.fullmatch(cmdline.parse(entry).name) and not any(_gives(other, entry) for other in given)
    ]


def _gives(source: str, entry: str) -> bool:
    """A variable of the loader may stand for anything, or for the value."""
    if source.startswith("$"):
        return True
    # GRUB takes quotes away: root=ZFS="rpool/ROOT/a" in grub.cfg of Ubuntu.
    have, want = (cmdline.parse(each.replace('"', "")) for each in (source, entry))
    return have.name == want.name and ("$" in (have.value or "") or have.value == want.value)


def _pending(root: str) -> list[str]:
    """What we took out and the running kernel still has."""
    try:
        return [
            entry
            for change in parse(read_text(below(root, RECORD))).values()
            for entry in [*change.removed, *change.added]
        ]
    except RecordError:
        return []
