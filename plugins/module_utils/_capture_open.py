# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a capture, which may come from anybody: nothing is written outside of its folder, no link leads out
of it, and it cannot fill a disk."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import tempfile
import typing as t
import zlib

from . import _notes

MAX_ENTRIES = 100_000
MAX_BYTES = 256 << 20
MAX_PATH = 1000
# Of a file that is packed in part; it is written as a hole.
MAX_SIZE = 1 << 44
MAX_HOPS = 40


class CaptureError(ValueError):
    """The archive cannot be opened; of unpack() the text is the second half of a sentence."""


class _Bounded:
    """Reads until there was too much: a small archive may hold a disk full of zeros."""

    def __init__(self, stream: t.Any) -> None:
        self._stream, self._left = stream, MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size if 0 <= size <= self._left else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise CaptureError(f"holds more than {MAX_BYTES >> 20} MiB")
        return data


def opened(root: str, spare: str) -> str:
    """The folder to read: ``root`` itself, or for an archive a new folder in ``spare`` that its tree is
    in."""
    if not os.path.isfile(root):
        if not os.path.isdir(root):
            raise CaptureError(
                f"root: there is no folder and no archive {root}; name one that amdgpu.fleet.capture made."
            )
        return root
    folder = tempfile.mkdtemp(prefix="capture-", dir=spare)
    try:
        unpack(root, folder)
    except CaptureError as error:
        raise CaptureError(f"{root} {error}; make it anew with the playbook amdgpu.fleet.capture.") from error
    return folder


def unpack(archive: str, folder: str) -> None:
    """Write the tree of a capture into an empty folder."""
    links: dict[str, str] = {}
    folders: dict[str, tarfile.TarInfo] = {}
    names: set[str] = set()
    try:
        with (
            open(archive, "rb") as raw,
            gzip.GzipFile(fileobj=raw) as stream,
            tarfile.open(fileobj=t.cast(t.Any, _Bounded(stream)), mode="r|") as entries,
        ):
            for entry in entries:
                path = _checked(entry, names, links)
                if entry.issym():
                    links[path] = entry.linkname
                elif entry.isdir():
                    folders[path] = entry
                    os.makedirs(os.path.join(folder, path), mode=0o700, exist_ok=True)
                else:
                    _write(entries, entry, os.path.join(folder, path))
        _link(folder, links)
        _finish(folder, folders)
    except CaptureError:
        raise
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError) as error:
        raise CaptureError(f"is not a capture ({str(error)[:80] or type(error).__name__})") from error


def _checked(entry: tarfile.TarInfo, names: set[str], links: dict[str, str]) -> str:
    """The path of an entry below the folder."""
    path = entry.name.rstrip("/")
    shown = repr(path[:80])
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or "" in parts or "." in parts or "\0" in path:
        raise CaptureError(f"has the entry {shown}, whose path leads out of it")
    if len(path) > MAX_PATH or len(entry.linkname) > MAX_PATH:
        raise CaptureError(f"has the entry {shown} with a path of more than {MAX_PATH} characters")
    if path in names:
        raise CaptureError(f"has the entry {shown} twice")
    if entry.sparse or entry.type not in (
        tarfile.REGTYPE,
        tarfile.AREGTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
    ):
        raise CaptureError(f"has the entry {shown}, which is neither a file nor a folder nor a symbolic link")
    if any("/".join(parts[:count]) in links for count in range(1, len(parts))):
        raise CaptureError(f"has the entry {shown} behind a symbolic link")
    names.add(path)
    if len(names) > MAX_ENTRIES:
        raise CaptureError(f"has more than {MAX_ENTRIES} entries")
    return path


def _write(entries: tarfile.TarFile, entry: tarfile.TarInfo, place: str) -> None:
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    source = entries.extractfile(entry)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(place, flags, 0o600), "wb") as target:
        while source:
            data = source.read(1 << 16)
            if not data:
                break
            target.write(data)
    # Never more than the owner's own rights: no program of the archive belongs to somebody else.
    os.chmod(place, stat.S_IMODE(entry.mode) & 0o777 | 0o600)
    os.utime(place, ns=_times(entry))


def _times(entry: tarfile.TarInfo) -> tuple[int, int]:
    when = int(min(max(float(entry.mtime), 0.0), float(1 << 33)) * 1_000_000_000)
    return when, when


def _link(folder: str, links: dict[str, str]) -> None:
    for path in links:
        if not _stays_inside(path, links):
            raise CaptureError(
                f"has the symbolic link {path[:80]!r} to {links[path][:80]!r}, which leads out of it"
            )
    for path, target in links.items():
        place = os.path.join(folder, path)
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        os.symlink(target, place)


def _stays_inside(path: str, links: dict[str, str]) -> bool:
    """Follow a link as the kernel would, the links on its way too."""
    done: list[str] = []
    todo = path.split("/")[::-1]
    hops = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                return False
            done.pop()
            continue
        target = links.get("/".join([*done, part]))
        if target is None:
            done.append(part)
            continue
        hops += 1
        if target.startswith("/") or "\0" in target:
            return False
        if hops > MAX_HOPS:
            return False  # the kernel gives up here, and what resolves links by itself does not
        todo += target.split("/")[::-1]
    return True


def _finish(folder: str, folders: dict[str, tarfile.TarInfo]) -> None:
    """Sizes of files that are packed in part, and times of folders, the innermost first."""
    place = os.path.join(folder, _notes.NAME)
    if os.path.isfile(place) and not os.path.islink(place):
        with open(place, "rb") as file:
            data = file.read(_notes.MAX_BYTES)
        try:
            notes = _notes.of_json(data)
        except _notes.NotesError as error:
            raise CaptureError(f"holds {_notes.NAME}, which {error}") from error
        for path, size in notes.sizes.items():
            _extend(folder, path, size)
    for path, entry in sorted(folders.items(), reverse=True):
        os.chmod(os.path.join(folder, path), stat.S_IMODE(entry.mode) & 0o777 | 0o700)
        os.utime(os.path.join(folder, path), ns=_times(entry))


def _extend(folder: str, path: str, size: int) -> None:
    place = os.path.join(folder, path)
    base = os.path.realpath(folder)
    inside = ".." not in path.split("/") and os.path.realpath(place) == os.path.join(base, path)
    if not inside or not os.path.isfile(place) or not os.path.getsize(place) < size <= MAX_SIZE:
        return
    times = os.stat(place)
    os.truncate(place, size)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
