# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only a tool builds from the files that we write (entries of Limine, partitions of Proxmox): a mark
stands until the tool is through, so that a run that was killed is finished by the next."""

from __future__ import annotations

from collections.abc import Callable

from .._write import below, make_parents, read_text, remove, write_text
from .base import Host, Plan, checked
from .steps import write_files, write_record

PENDING = "/var/lib/amdgpu-fleet/boot-pending"


def waits(root: str) -> bool:
    """Was a run killed between the files and the tool?"""
    return read_text(below(root, PENDING)) is not None


def perform(host: Host, decided: Plan, verify: Callable[[], None]) -> None:
    place = below(host.root, PENDING)
    if decided.commands:
        make_parents(place)
        write_text(place, "The boot loader's tool has to run.\n")
    write_files(decided)
    for command in decided.commands:
        checked(host, command)
    verify()
    write_record(decided, done=True)
    remove(place)
