# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""MessagePack, as far as archives of kernels use it."""

from __future__ import annotations

import struct
import typing as t

from .blob import Damaged

DEEPEST, MOST = 16, 2_000_000
_FIXED: dict[int, tuple[str, int]] = {
    0xCA: (">f", 4), 0xCB: (">d", 8), 0xCC: (">B", 1), 0xCD: (">H", 2), 0xCE: (">I", 4), 0xCF: (">Q", 8),
    0xD0: (">b", 1), 0xD1: (">h", 2), 0xD2: (">i", 4), 0xD3: (">q", 8),
}  # fmt: skip
_SIMPLE: dict[int, t.Any] = {0xC0: None, 0xC2: False, 0xC3: True}
# How many bytes say how long they are: of texts, bytes, lists and maps.
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_LISTS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


def unpack(data: bytes) -> t.Any:
    """The value at the beginning of ``data``."""
    return _Unpacker(data).value(0)


class _Unpacker:
    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._count = data, 0, 0

    def _take(self, length: int) -> bytes:
        piece = self._data[self._at : self._at + length]
        if len(piece) != length:
            raise Damaged("is cut off: its table of contents does not end")
        self._at += length
        return piece

    def _number(self, length: int) -> int:
        return int.from_bytes(self._take(length), "big")

    def value(self, depth: int) -> t.Any:
        self._count += 1
        if depth > DEEPEST or self._count > MOST:
            raise Damaged("has a table of contents that is too deep or too long")
        kind = self._number(1)
        if kind <= 0x7F:
            return kind
        if kind >= 0xE0:
            return kind - 256
        if kind in _SIMPLE:
            return _SIMPLE[kind]
        if kind in _FIXED:
            layout, length = _FIXED[kind]
            return struct.unpack(layout, self._take(length))[0]
        if 0xA0 <= kind <= 0xBF or kind in _TEXTS:
            length = kind & 0x1F if kind <= 0xBF else self._number(_TEXTS[kind])
            return self._take(length).decode("utf-8", "replace")
        if kind in _BYTES:
            return self._take(self._number(_BYTES[kind]))
        if 0x90 <= kind <= 0x9F or kind in _LISTS:
            length = kind & 0x0F if kind <= 0x9F else self._number(_LISTS[kind])
            return [self.value(depth + 1) for _each in range(length)]
        if 0x80 <= kind <= 0x8F or kind in _MAPS:
            length = kind & 0x0F if kind <= 0x8F else self._number(_MAPS[kind])
            return self._map(length, depth)
        raise Damaged(f"has a table of contents with something of kind 0x{kind:x}")

    def _map(self, length: int, depth: int) -> dict[str, t.Any]:
        found = {}
        for _each in range(length):
            key = self.value(depth + 1)
            found[str(key)] = self.value(depth + 1)
        return found
