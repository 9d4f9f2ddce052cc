# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where code lies: in a folder, a wheel, or one file. Each place gives its files one after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import tarfile
import tempfile
import typing as t
import zipfile
import zlib

from . import blob, bundles, elf, kpack
from .blob import Blob, Damaged, File, NotRead

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it
    LZMAError = Damaged  # type: ignore[misc,assignment]

# What reading something that is damaged ends in.
BROKEN = (
    *(OSError, EOFError, ValueError, ArithmeticError),
    *(zlib.error, zipfile.BadZipFile, tarfile.TarError, LZMAError),
)
UNABLE = (NotImplementedError, RuntimeError)
# Texts, of which an installation has some ten thousand. Nothing loads code from them.
TEXTS = (
    ".py",
    ".pyc",
    ".pyi",
    ".h",
    ".hpp",
    ".cuh",
    ".txt",
    ".md",
    ".rst",
    ".html",
    ".json",
    ".cmake",
    ".pod",
)
MAGICS = (elf.MAGIC, bundles.PLAIN, bundles.COMPRESSED, kpack.MAGIC)
HEAD = 24
SMALLEST = 48
CHUNK = 1 << 20
ZIP = b"PK\x03\x04"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is enough for an image of vLLM many times over, and ends with something hostile."""

    files: int = 1_000_000
    file_bytes: int = 16 << 30


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file of a place. ``open`` works until the next one is asked for."""

    path: str
    open: t.Callable[[], t.ContextManager[Blob]]


Say = t.Callable[[str, str], None]


def interesting(head: bytes) -> bool:
    return head.startswith(MAGICS)


def printable(path: str) -> str:
    """A name as it can stand in a sentence."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in path)[:300]


def one_file(path: str, shown: str) -> t.Iterator[Entry]:
    yield Entry(shown, lambda: _opened(path))


@contextlib.contextmanager
def _opened(path: str) -> t.Iterator[Blob]:
    descriptor = blob.opened(path)
    try:
        yield File(descriptor)
    finally:
        os.close(descriptor)


def folder(path: str, say: Say, hidden: t.Callable[[str], bool] | None = None) -> t.Iterator[Entry]:
    """All files below a folder, those in folders with a dot too, named relative to it. Links are not
    followed: what they lead to is visited where it is, or is not part of the folder."""
    device = os.stat(path).st_dev

    def cannot(error: OSError) -> None:
        say(os.path.relpath(error.filename or path, path), f"cannot be read ({error.strerror or error})")

    for base, folders, names in os.walk(path, onerror=cannot):
        inside = os.path.relpath(base, path)
        inside = "" if inside == "." else f"{inside}/"
        folders[:] = [name for name in sorted(folders) if _same_device(base, name, device, inside, say)]
        for name in sorted(names):
            if name.endswith(TEXTS):
                continue
            full, shown = f"{base}/{name}", f"{inside}{name}"
            try:
                state = os.lstat(full)
                if not stat.S_ISREG(state.st_mode) or state.st_size < SMALLEST:
                    continue
                if hidden is None or not hidden(shown):
                    yield Entry(shown, lambda full=full: _opened(full))  # type: ignore[misc]
            except OSError as error:
                say(shown, f"cannot be read ({error.strerror or error})")


def _same_device(base: str, name: str, device: int, inside: str, say: Say) -> bool:
    try:
        state = os.lstat(f"{base}/{name}")
    except OSError as error:
        say(f"{inside}{name}", f"cannot be read ({error.strerror or error})")
        return False
    if stat.S_ISDIR(state.st_mode) and state.st_dev != device:
        say(f"{inside}{name}", "is another file system, which was not entered")
        return False
    return stat.S_ISDIR(state.st_mode)


@contextlib.contextmanager
def spooled(head: bytes, rest: t.IO[bytes], limit: int) -> t.Iterator[Blob]:
    """What can be read in one direction only, on the disk for as long as it is looked at."""
    with tempfile.TemporaryFile() as copy:
        copy.write(head)
        size = len(head)
        while size <= limit:
            data = rest.read(CHUNK)
            if not data:
                break
            size += len(data)
            copy.write(data)
        if size > limit:
            raise NotRead(f"has more than the {limit} bytes that are read of one file")
        copy.flush()
        yield File(copy.fileno())


def wheel(path: str, say: Say, limits: Limits) -> t.Iterator[Entry]:
    """The files of a wheel, or of any other zip."""
    with _opened(path) as whole, os.fdopen(os.dup(t.cast("File", whole).descriptor), "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except (*BROKEN, *UNABLE) as error:
            raise Damaged(f"is a zip that cannot be read ({error})") from error
        for member in archive.infolist():
            name = member.filename
            if member.is_dir() or name.endswith(TEXTS) or member.file_size < SMALLEST:
                continue
            if outside(name):
                say(name, "is named outside of its archive, and was not read")
            else:
                yield Entry(name, lambda member=member: _member(archive, member, limits))  # type: ignore[misc]


def outside(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: Limits) -> t.Iterator[Blob]:
    with archive.open(member) as file:
        head = file.read(HEAD)
        if interesting(head):
            with spooled(head, file, limits.file_bytes) as copy:
                yield copy
        else:
            yield blob.Bytes(head)
