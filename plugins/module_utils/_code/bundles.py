# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HIP fat binaries: bundles of code objects, plain (``__CLANG_OFFLOAD_BUNDLE__``) or compressed (``CCOB``).

A section holds one bundle for each source file, with zeros between them. A compressed one says how long it
is: the next is there, and is never searched for, because its magic may occur in what is compressed.
Source of the formats: LLVM, OffloadBundler.cpp and OffloadBundle.cpp.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib

from . import elf, targets, unzstd
from .blob import Blob, Bytes, Damaged, NotRead, exactly, numbers

PLAIN, COMPRESSED = b"__CLANG_OFFLOAD_BUNDLE__", b"CCOB"
MAGIC_LENGTH = len(PLAIN)
MOST_ENTRIES, LONGEST_ID, MOST_BUNDLES = 4096, 1024, 100_000
CHUNK = 64 << 10
# Of a compressed bundle: what is read, and what is wanted of it. The table of 28 targets has 2 kB.
PAYLOAD_HEAD, TABLE_HEAD = 256 << 10, 128 << 10
ZLIB, ZSTD = 0, 1
# A bundle of version 1 is unpacked to find its end. A few bytes can stand for gigabytes.
MOST_INFLATED = 4 << 30


@dataclasses.dataclass
class Fat:
    """What bundles hold."""

    bundles: int = 0
    compressed: int = 0
    targets: set[str] = dataclasses.field(default_factory=set)
    # What could not be read, and what is wrong; each kind once.
    unread: dict[str, int] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    # Bytes that were unpacked to find the end of bundles.
    inflated: int = 0

    def cannot(self, why: str) -> None:
        self.unread[why] = self.unread.get(why, 0) + 1

    def wrong(self, why: str) -> None:
        if why not in self.problems:
            self.problems.append(why)

    def reasons(self) -> list[str]:
        return [f"{why}; {count} bundle{'s' if count > 1 else ''}" for why, count in self.unread.items()]


@dataclasses.dataclass(frozen=True)
class Packed:
    """The header of a compressed bundle."""

    method: int
    # Where the payload begins, and where the bundle ends; nobody says the end of one of version 1.
    start: int
    end: int | None
    size: int


def is_one(data: bytes) -> bool:
    return data.startswith((PLAIN, COMPRESSED))


def read(blob: Blob, start: int, end: int) -> Fat:
    """All bundles between two places of a file."""
    found, at = Fat(), start
    after: int | None
    try:
        while True:
            at = _next(blob, at, end)
            if at >= end:
                return found
            if found.bundles >= MOST_BUNDLES:
                raise Damaged(f"has more than {MOST_BUNDLES} bundles")
            magic = blob.read(at, min(MAGIC_LENGTH, end - at))
            if magic == PLAIN:
                after = _plain(found, blob, at, end)
            elif magic.startswith(COMPRESSED):
                after = _compressed(found, blob, at, end)
            else:
                raise Damaged(f"holds something that is no bundle, {at - start} bytes from where they begin")
            found.bundles += 1
            if after is None:
                return found
            at = after
    except Damaged as error:
        found.wrong(str(error))
    return found


def _next(blob: Blob, at: int, end: int) -> int:
    """The first place from here on that is not zero."""
    while at < end:
        data = blob.read(at, min(CHUNK, end - at))
        if not data:
            return end
        left = data.lstrip(b"\0")
        if left:
            return at + len(data) - len(left)
        at += len(data)
    return end


def _plain(found: Fat, blob: Blob, start: int, end: int, whole: bool = True) -> int:
    """The entries of one bundle, and where it ends. Not ``whole``: of a compressed one the beginning alone is
    there, with the entries in it."""
    what = "the table of a bundle"
    (count,) = numbers(blob, start + MAGIC_LENGTH, "<Q", what)
    if count > MOST_ENTRIES:
        raise Damaged(f"has a bundle that says it has {count} entries")
    at, last = start + MAGIC_LENGTH + 8, start
    for _number in range(count):
        offset, size, length = numbers(blob, at, "<QQQ", what)
        if length > LONGEST_ID:
            raise Damaged(f"has a bundle with a name of {length} bytes")
        identifier = exactly(blob, at + 24, length, what).decode("ascii", "replace")
        at += 24 + length
        if start + offset + size > end:
            raise Damaged(f"is cut off: the code for {_shown(identifier)} ends beyond its bundles")
        last = max(last, start + offset + size)
        if not identifier.startswith("host-"):
            _entry(found, blob, identifier, (start + offset, size, whole))
    if at > end:
        raise Damaged(f"is cut off: {what} ends beyond its bundles")
    return max(at, last)


def _shown(identifier: str) -> str:
    return identifier[:80].rpartition("--")[2] or identifier[:80]


def _entry(found: Fat, blob: Blob, identifier: str, place: tuple[int, int, bool]) -> None:
    """One code object: what its name says, held to what it says itself."""
    offset, size, whole = place
    named = targets.of_bundle(identifier)
    if named is None:
        if identifier.startswith("hip"):
            found.cannot(f"names a target that is not known here, {_shown(identifier)}")
        return
    if size == 0:
        found.wrong(f"has an empty entry for {named}")
        return
    data = blob.read(offset, min(size, 64))
    if named == targets.PORTABLE or (not whole and len(data) < min(size, 64)):
        found.targets.add(named)
        return
    try:
        own = elf.target(Bytes(data))
    except Damaged as error:
        found.wrong(f"has code named {named} that {error}")
        return
    if own is None:
        found.wrong(f"has something for {named} that is no code object")
    elif own != named and not (data[8] < 2 and targets.gfx(own) == targets.gfx(named)):
        found.wrong(f"has code for {own} that is named {named}")
    else:
        found.targets.add(named)


def _compressed(found: Fat, blob: Blob, start: int, end: int) -> int | None:
    """One compressed bundle, and where it ends; ``None`` where nobody knows."""
    packed = _packed(blob, start)
    if packed.end is not None and not packed.start <= packed.end <= end:
        raise Damaged("is cut off: a compressed bundle ends beyond its section")
    stop = end if packed.end is None else packed.end
    after = packed.end
    found.compressed += 1
    try:
        data = blob.read(packed.start, min(PAYLOAD_HEAD, stop - packed.start))
        if packed.method == ZLIB:
            head = _inflated(data)
            if packed.end is None:
                after = _end_of_zlib(found, blob, (packed.start, end), packed.size)
        elif packed.method == ZSTD:
            if packed.end is None:
                found.cannot("has zstd of version 1, which does not say where it ends")
            head = unzstd.head(data, TABLE_HEAD)
        else:
            raise NotRead(f"is compressed with method {packed.method}, which is not known here")
        _table(found, head, packed.size)
    except NotRead as error:
        found.cannot(str(error))
    except Damaged as error:
        # The others of the section are where they are, whatever this one holds.
        found.wrong(str(error))
        if after is None:
            return None
    return after


def _packed(blob: Blob, start: int) -> Packed:
    what = "the header of a compressed bundle"
    version, method = numbers(blob, start + 4, "<HH", what)
    if version == 1:
        (size,) = numbers(blob, start + 8, "<I", what)
        return Packed(method, start + 20, None, size)
    if version not in (2, 3):
        raise Damaged(f"has a compressed bundle of version {version}, which is not known here")
    layout = "<II" if version == 2 else "<QQ"
    total, size = numbers(blob, start + 8, layout, what)
    return Packed(method, start + 16 + struct.calcsize(layout), start + total, size)


def _table(found: Fat, head: bytes, size: int) -> None:
    if len(head) > size:
        raise Damaged(f"has a compressed bundle of more than the {size} bytes that it says")
    if not head.startswith(PLAIN):
        raise Damaged("has a compressed bundle that holds no bundle")
    whole = len(head) == size
    try:
        _plain(found, Bytes(head), 0, size, whole)
    except Damaged as error:
        if whole or len(head) >= TABLE_HEAD:
            raise
        raise Damaged("has a compressed bundle that is cut off or does not decode") from error


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, TABLE_HEAD)
    except zlib.error as error:
        raise Damaged(f"holds zlib that does not decode ({error})") from error


def _end_of_zlib(found: Fat, blob: Blob, place: tuple[int, int], size: int) -> int:
    """Where a stream ends that does not say it. Nothing of it is kept."""
    stream, (at, end), before = zlib.decompressobj(), place, found.inflated
    while at < end:
        data = blob.read(at, min(CHUNK, end - at))
        if not data:
            break
        at += len(data)
        try:
            while data:
                found.inflated += len(stream.decompress(data, 1 << 20))
                data = stream.unconsumed_tail
                if found.inflated - before > size:
                    raise Damaged(f"has a compressed bundle of more than the {size} bytes that it says")
                if found.inflated > MOST_INFLATED:
                    raise NotRead(
                        f"is compressed in a way of which {MOST_INFLATED} bytes are unpacked, not more"
                    )
        except zlib.error as error:
            raise Damaged(f"holds zlib that does not decode ({error})") from error
        if stream.eof:
            return at - len(stream.unused_data)
    raise Damaged("is cut off: a compressed bundle has no end")
