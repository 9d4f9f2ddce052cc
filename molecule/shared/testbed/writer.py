# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing files below a root, the way pseudo file systems look."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path


class Writer:
    """Creates files, folders and links below one root folder; paths are relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # A host has thousands of files in few folders: each folder is made once, and paths stay texts.
        self._root = str(root)
        os.makedirs(root, exist_ok=True)
        self._made = {""}

    def file(self, path: str, content: str | int | bytes) -> None:
        """Write one file. Text gets the final newline that sysfs prints; bytes are written as they are."""
        if not isinstance(content, bytes):
            text = str(content)
            content = (text if text.endswith("\n") or not text else f"{text}\n").encode()
        # A host has thousands of files, for each of which a file object takes longer than the file.
        file = os.open(self._place(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            while content:
                content = content[os.write(file, content) :]
        finally:
            os.close(file)

    def files(self, folder: str, contents: Mapping[str, str | int | bytes]) -> None:
        """Write several files of one folder."""
        for name, content in contents.items():
            self.file(f"{folder}/{name}", content)

    def properties(self, path: str, values: Mapping[str, int]) -> None:
        """Write KFD's `key value` lines."""
        self.file(path, "".join(f"{key} {value}\n" for key, value in values.items()))

    def folder(self, path: str) -> None:
        """Create an empty folder."""
        self._place(f"{path}/.")

    def link(self, path: str, target: str) -> None:
        """Create a relative link at `path` to `target`, both given from the root."""
        folder = os.path.dirname(path)
        os.symlink(os.path.relpath(f"/{target}", f"/{folder}"), self._place(path))

    def _place(self, path: str) -> str:
        """The path below the root, its folder made."""
        folder, _slash, name = path.rpartition("/")
        self._make(folder)
        return f"{self._root}/{folder}/{name}" if folder else f"{self._root}/{name}"

    def _make(self, folder: str) -> None:
        if folder in self._made:
            return
        self._make(folder.rpartition("/")[0])
        with contextlib.suppress(FileExistsError):
            os.mkdir(f"{self._root}/{folder}")
        self._made.add(folder)


def kernel_module(fields: Mapping[str, str]) -> bytes:
    """A relocatable ELF file with nothing but a .modinfo section: what `modinfo` reads of a kernel module."""
    info = b"".join(f"{key}={value}".encode() + b"\0" for key, value in fields.items())
    names = b"\0.modinfo\0.shstrtab\0"
    header_size, section_size = 64, 64
    table = header_size + len(info) + len(names)
    padding = -table % 8
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01" + bytes(9),
        1,
        62,
        1,
        0,
        0,
        table + padding,
        0,
        header_size,
        0,
        0,
        section_size,
        3,
        2,
    )
    sections = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, flags, 0, offset, size, 0, 0, 1, 0)
        for name, kind, flags, offset, size in (
            (0, 0, 0, 0, 0),
            (1, 1, 2, header_size, len(info)),
            (10, 3, 0, header_size + len(info), len(names)),
        )
    )
    return header + info + names + bytes(padding) + sections
