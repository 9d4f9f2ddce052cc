# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a GGUF file: its metadata and its table of tensors. Weights are never read.

A file may be cut off, or made to hurt: every length is held against what is left of the file and of a limit
before anything is read or kept, so that a bad file costs neither memory nor time and
ends in one ``GgufError``.
"""

from __future__ import annotations

import os
import stat
import struct
import typing as t

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# The largest headers hold a vocabulary of 260 000 words and a million merges: 30 MB.
HEADER_LIMIT = 96 << 20
KEYS_LIMIT = 4096
TENSORS_LIMIT = 1 << 17
STRINGS_LIMIT = 1 << 22
TEXTS_BLOCK = 1 << 20
# What is kept of a text and of a list of numbers; the rest is skipped.
TEXT_LIMIT = 256
NAME_LIMIT, TENSOR_NAME_LIMIT = 1024, 128
LIST_LIMIT = 2048
# Of all lists of a file together.
NUMBERS_LIMIT = 1 << 16
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Elements and bytes of a block, by the number of the type (llama.cpp's gguf-py/gguf/constants.py).
BLOCKS = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip


class GgufError(ValueError):
    """Why a file cannot be taken for what it is called; the message goes on a sentence about the file."""


def shown(text: str) -> str:
    """A text of a file, as a sentence can have it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:80])


class Tensor(t.NamedTuple):
    """One entry of the table."""

    name: str
    kind: str
    size: int


class Header(t.NamedTuple):
    """What a file says of itself. Long texts and lists are ``True``: they are there."""

    values: dict[str, t.Any]
    tensors: list[Tensor]
    # Whether the file ends before its last tensor does.
    cut_off: bool
    # Bytes of the header itself.
    length: int


class _Reader:
    """Takes bytes from the head of a file, and never more than there are."""

    def __init__(self, file: t.BinaryIO, size: int) -> None:
        self.file, self.size, self.at, self.strings, self.numbers = file, size, 0, 0, 0
        self.end = min(size, HEADER_LIMIT)

    def _hold(self, count: int) -> None:
        if count > self.size - self.at:
            raise GgufError("is cut off in its header, or says lengths that it does not have")
        if count > self.end - self.at:
            raise GgufError(f"has a header of more than {HEADER_LIMIT >> 20} MiB")

    def take(self, count: int) -> bytes:
        self._hold(count)
        data = self.file.read(count)
        self.at += count
        if len(data) < count:
            raise GgufError("became shorter while it was read")
        return data

    def skip(self, count: int) -> None:
        self._hold(count)
        self.file.seek(count, os.SEEK_CUR)
        self.at += count

    def number(self, form: str) -> t.Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def name(self, limit: int = NAME_LIMIT) -> str:
        length = self.number("Q")
        if not 0 < length <= limit:
            raise GgufError(f"has a name of {length} bytes in its header")
        return self.take(length).decode("utf-8", "replace")

    def text(self) -> t.Any:
        length = self.number("Q")
        if length > TEXT_LIMIT:
            self.skip(length)
            return True
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> t.Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self._array()
        if kind not in SCALARS:
            raise GgufError(f"has a value of the unknown type {kind}: it was made for a newer llama.cpp")
        return self.number(SCALARS[kind])

    def _array(self) -> t.Any:
        kind, count = self.number("I"), self.number("Q")
        if kind == STRING:
            self.strings += count
            # Each has at least its length.
            self._hold(8 * count)
            if self.strings > STRINGS_LIMIT:
                raise GgufError(f"has lists of {self.strings} texts in its header")
            self._skip_texts(count)
            return True
        if kind not in SCALARS:
            raise GgufError(f"has a list of the type {kind}, which no list has")
        self.numbers += count if count <= LIST_LIMIT else 0
        if count <= LIST_LIMIT and self.numbers <= NUMBERS_LIMIT:
            return list(
                struct.unpack(f"<{count}{SCALARS[kind]}", self.take(count * struct.calcsize(SCALARS[kind])))
            )
        self.skip(count * struct.calcsize(f"<{SCALARS[kind]}"))
        return True

    def _skip_texts(self, count: int) -> None:
        """A vocabulary: by the block, as each text for itself would take seconds."""
        block, at = b"", 0
        while count:
            if at + 8 > len(block):
                left = block[at:]
                block, at = left + self.take(min(TEXTS_BLOCK, self.end - self.at)), 0
                if len(block) < 8:
                    self._hold(8)
            (length,) = struct.unpack_from("<Q", block, at)
            at += 8 + length
            if at > len(block):
                self.skip(at - len(block))
                at = len(block)
            count -= 1
        # What was read ahead belongs to the next value.
        self.file.seek(at - len(block), os.SEEK_CUR)
        self.at += at - len(block)


def read(path: str) -> Header:
    """The header of a file; ``GgufError`` where it has none that can be believed."""
    try:
        # Whatever is no file, a pipe for one, could keep a reader waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise GgufError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        with os.fdopen(descriptor, "rb", buffering=1 << 18) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise GgufError("is no file")
            return _header(_Reader(file, state.st_size))
    except OSError as error:
        raise GgufError(f"cannot be read ({error.strerror})") from error


def _header(reader: _Reader) -> Header:
    if reader.size < 24 or reader.take(4) != MAGIC:
        raise GgufError("is no GGUF file")
    version = reader.number("I")
    if version in [number << 24 for number in VERSIONS]:
        raise GgufError("is for machines of the other byte order")
    if version not in VERSIONS:
        raise GgufError(f"is GGUF of version {version}, and llama.cpp on these hosts reads 2 and 3")
    tensors, keys = reader.number("Q"), reader.number("Q")
    if keys > KEYS_LIMIT or tensors > TENSORS_LIMIT:
        raise GgufError(f"claims {keys} keys and {tensors} tensors")
    values: dict[str, t.Any] = {}
    for _at in range(keys):
        name = reader.name()
        if name in values:
            raise GgufError(f"says {shown(name)} twice")
        values[name] = reader.value(reader.number("I"))
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise GgufError("has no alignment that it could have")
    table, end = _tensors(reader, tensors, alignment)
    start = -(-reader.at // alignment) * alignment
    return Header(values, table, cut_off=bool(table) and start + end > reader.size, length=reader.at)


def _tensors(reader: _Reader, count: int, alignment: int) -> tuple[list[Tensor], int]:
    """The table, and where the last tensor ends."""
    table: list[Tensor] = []
    names: set[str] = set()
    places: list[tuple[int, int]] = []
    for _at in range(count):
        name, dimensions = reader.name(TENSOR_NAME_LIMIT), reader.number("I")
        if name in names:
            raise GgufError(f"has the tensor {shown(name)} twice")
        if not 0 < dimensions <= 4:
            raise GgufError(f"has a tensor of {dimensions} dimensions")
        sides = [reader.number("Q") for _side in range(dimensions)]
        kind, offset = reader.number("I"), reader.number("Q")
        if kind not in BLOCKS:
            raise GgufError(f"has weights of the unknown type {kind}: it was made for a newer llama.cpp")
        label, elements, size = BLOCKS[kind]
        total = 1
        for side in sides:
            total *= side
        if not 0 < total < 1 << 50 or offset >= 1 << 50 or sides[0] % elements:
            raise GgufError(f"has a tensor of a size that {label} cannot have")
        if offset % alignment:
            raise GgufError(f"has the tensor {shown(name)} where none can begin")
        names.add(name)
        table.append(Tensor(name, label, total // elements * size))
        places.append((offset, offset + table[-1].size))
    places.sort()
    # Weights that were counted twice would be more than the file has.
    if any(after[0] < before[1] for before, after in zip(places, places[1:])):
        raise GgufError("has tensors that lie over each other")
    return table, places[-1][1] if places else 0
