# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One capture: the facts are found while everything that they are found in is recorded, and then it is
packed."""

from __future__ import annotations

import typing as t

from . import _all_facts, _notes
from ._capture import Packed, Packer, Recorder, answers
from ._reader import Reader


def capture(reader: Reader, questions: dict[str, t.Any], stream: t.BinaryIO) -> Packed:
    with Recorder(reader.root) as recorder:
        facts = _all_facts.facts(reader, questions)
    packer = Packer(reader.root)
    packer.take(recorder.seen)
    host = facts["amd_host"]
    notes = _notes.Notes(
        live=not reader.tree.bare,
        machine=host["os"]["machine"],
        glibc=host["os"]["glibc"],
        commands=answers(reader.asked),
        about=packer.about,
        unread=packer.unread,
        room={name: free for name, free in host["room"].items() if name not in ("image", "esp_path")},
        sizes=packer.sizes,
    )
    return packer.write(notes, stream)
