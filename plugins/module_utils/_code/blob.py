# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes at any place of a file, and what is said where they are not what they should be."""

from __future__ import annotations

import os
import stat
import struct
import typing as t


class Damaged(Exception):
    """A file that is not what it says; the text says what is wrong, without the name of the file."""


class NotRead(Exception):
    """A file that is right as far as it was read, but not all of it can be; the text says why."""


class Blob(t.Protocol):
    """What is read from, at any place."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """What lies there, less than ``length`` at the end."""


class Bytes:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class File:
    """An open file."""

    def __init__(self, descriptor: int, size: int | None = None) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size if size is None else size

    def read(self, offset: int, length: int) -> bytes:
        pieces, wanted = [], min(length, max(0, self.size - offset))
        while wanted:
            piece = os.pread(self.descriptor, wanted, offset)
            if not piece:
                break
            pieces.append(piece)
            offset, wanted = offset + len(piece), wanted - len(piece)
        return b"".join(pieces)


def opened(path: str) -> int:
    """A descriptor of a regular file. A link is not followed, and a pipe does not keep us waiting."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged("is no regular file")
    return descriptor


def exactly(blob: Blob, offset: int, length: int, what: str) -> bytes:
    """So many bytes, or a sentence on what ends too early."""
    data = blob.read(offset, length) if 0 <= offset <= blob.size else b""
    if len(data) != length:
        raise Damaged(f"is cut off: {what} ends beyond its {blob.size} bytes")
    return data


def numbers(blob: Blob, offset: int, layout: str, what: str) -> tuple[t.Any, ...]:
    return struct.unpack(layout, exactly(blob, offset, struct.calcsize(layout), what))
