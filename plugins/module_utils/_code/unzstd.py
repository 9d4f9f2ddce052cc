# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Zstandard. Python has it from 3.14 on; before that the program ``zstd`` does it, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import typing as t

from .blob import Damaged, NotRead

try:  # Python 3.14
    from compression import zstd as _zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    _zstd = None

MISSING = "Python here has no zstd (3.14 has), and the program zstd is not installed"


def available() -> bool:
    return _zstd is not None or shutil.which("zstd") is not None


def head(data: bytes, length: int) -> bytes:
    """The first ``length`` bytes of what was compressed, less where ``data`` is the beginning of it alone."""
    if _zstd is not None:
        try:
            found: bytes = _zstd.ZstdDecompressor().decompress(data, max_length=length)
        except _zstd.ZstdError as error:
            raise Damaged(f"holds zstd that does not decode ({error})") from error
        return found
    program = shutil.which("zstd")
    if program is None:
        raise NotRead(f"is compressed with zstd: {MISSING}")
    with tempfile.TemporaryFile() as source:
        source.write(data)
        source.seek(0)
        process = subprocess.Popen(
            [program, "-dcq"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        output = t.cast("t.IO[bytes]", process.stdout)
        # No more than is asked for: a few bytes can stand for gigabytes.
        with output:
            found = output.read(length)
        if len(found) == length:
            process.kill()
        # Of a beginning it says that the end is missing; what it could decode it has written.
        if process.wait() and not found:
            raise Damaged("holds zstd that does not decode")
    return found


class Stream(t.NamedTuple):
    """The bytes of a compressed file, one after the other, and the process that gives them."""

    file: t.IO[bytes]
    process: subprocess.Popen[bytes] | None

    def close(self) -> None:
        self.file.close()
        if self.process:
            self.process.kill()
            self.process.wait()


def stream(source: t.IO[bytes]) -> Stream:
    """``source`` is an open file at the beginning of the frame; the program reads its descriptor."""
    if _zstd is not None:
        return Stream(_zstd.ZstdFile(source), None)
    program = shutil.which("zstd")
    if program is None:
        raise NotRead(f"is compressed with zstd: {MISSING}")
    process = subprocess.Popen(
        [program, "-dcq"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return Stream(t.cast("t.IO[bytes]", process.stdout), process)
