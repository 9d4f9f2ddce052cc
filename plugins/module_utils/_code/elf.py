# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ELF files of 64 bit: their sections, and code objects, which are ELF files of the machine AMDGPU."""

from __future__ import annotations

import dataclasses
import typing as t

from . import targets
from .blob import Blob, Damaged, exactly, numbers

MAGIC = b"\x7fELF"
EM_AMDGPU, OSABI_HSA = 224, 64
NOBITS = 8
# Libraries have some fifty. Objects of `-ffunction-sections` have many more, and no device code that runs.
MOST_SECTIONS, LONGEST_NAMES = 100_000, 16 << 20


@dataclasses.dataclass(frozen=True)
class Header:
    machine: int
    osabi: int
    abi: int
    flags: int
    # Where the table of sections is, the length of an entry, how many there are, and which one has the names.
    table: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Section:
    name: str
    # Where its bytes are in the file; nowhere for those that only take memory.
    offset: int
    size: int


def header(blob: Blob) -> Header | None:
    """The header of an ELF file of 64 bit, little-endian; ``None`` for anything else."""
    ident = blob.read(0, 16)
    if len(ident) < 16 or ident[:6] != MAGIC + b"\x02\x01":
        return None
    machine, _version, _entry, _segments, table, flags, _sizes, _each, _count, length, count, names = numbers(
        blob, 18, "<HIQQQIHHHHHH", "the header"
    )
    return Header(machine, ident[7], ident[8], flags, (table, length, count, names))


def target(blob: Blob) -> str | None:
    """What a code object was compiled for; ``None`` where it is no code object of HSA."""
    found = header(blob)
    if found is None or found.machine != EM_AMDGPU or found.osabi != OSABI_HSA:
        return None
    named = targets.of_flags(found.flags, found.abi)
    if named is None:
        raise Damaged(f"is for the machine 0x{found.flags & 0xFF:x} of AMDGPU, which is not known here")
    return named


def sections(blob: Blob, found: Header, wanted: t.Container[str]) -> list[Section]:
    """The sections of these names that have bytes in the file."""
    table, length, count, names = found.table
    if not table:
        return []
    if length < 64:
        raise Damaged(f"has entries of {length} bytes in its table of sections")
    if count == 0 or names == 0xFFFF:
        # More than a header can count: the first entry says how many.
        size, link = numbers(blob, table + 32, "<QI", "the table of sections")
        count, names = count or size, link if names == 0xFFFF else names
    if count > MOST_SECTIONS or not 0 <= names < max(count, 1):
        raise Damaged(f"says that it has {count} sections, the names in the one numbered {names}")
    entries = exactly(blob, table, count * length, "the table of sections")
    read = [_entry(entries[at : at + 64]) for at in range(0, len(entries), length)]
    _name, _kind, offset, size = read[names]
    if size > LONGEST_NAMES:
        raise Damaged(f"has {size} bytes of names of sections")
    texts = exactly(blob, offset, size, "the names of sections")
    chosen = []
    for position, kind, offset, size in read:
        name = texts[position : texts.find(b"\0", position)].decode("ascii", "replace")
        if name in wanted and kind != NOBITS and size:
            if offset + size > blob.size:
                raise Damaged(f"is cut off: the section {name} ends beyond its {blob.size} bytes")
            chosen.append(Section(name, offset, size))
    return chosen


def _entry(data: bytes) -> tuple[int, int, int, int]:
    """Place of the name, kind, place and size of a section."""
    whole = int.from_bytes
    return (
        whole(data[0:4], "little"),
        whole(data[4:8], "little"),
        whole(data[24:32], "little"),
        whole(data[32:40], "little"),
    )
