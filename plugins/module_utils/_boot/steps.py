# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a change: files, the record, and what a failure has to put right."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .._write import (
    WriteError,
    discard,
    make_parents,
    move,
    read_text,
    remove,
    stage,
    write_text,
)
from .base import Plan


def lacking_folders(places: Iterable[str]) -> set[str]:
    """The folders that will have to be made for these files."""
    found = set()
    for place in places:
        folder = os.path.dirname(place)
        while not os.path.isdir(folder):
            found.add(folder)
            folder = os.path.dirname(folder)
    return found


def full_folders(decided: Plan) -> list[str]:
    """Folders on file systems without room. Tools say "I/O error" of them, or nothing."""
    folders = {os.path.dirname(place) for place in [*decided.files, *decided.touched]}
    room = {folder: os.statvfs(folder) for folder in sorted(folders) if os.path.isdir(folder)}
    return [folder for folder, seen in room.items() if seen.f_bavail * seen.f_frsize < 4096]


def write_record(decided: Plan, done: bool) -> None:
    """Also of a plan that changes nothing else: what a person put back is nothing to take back any more."""
    if decided.record is None:
        return
    place, text = decided.record.place, decided.record.afterwards if done else decided.record.meanwhile
    if text is None:
        remove(place)
    elif text != read_text(place):
        make_parents(place)
        write_text(place, text)


def write_files(decided: Plan) -> None:
    """All of them beside their places first: a file system that is full shows before one is changed."""
    staged: list[tuple[str, str]] = []
    try:
        for place, (old, new) in decided.files.items():
            if new is not None and new != old:
                make_parents(place)
                staged.append((stage(place, new.encode("utf-8", "surrogateescape")), place))
        for temporary, place in staged:
            move(temporary, place)
    except WriteError:
        discard(temporary for temporary, _place in staged)
        raise
    remove_files(decided)


def remove_files(decided: Plan) -> None:
    for place, (_old, new) in decided.files.items():
        if new is None:
            remove(place)
