# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing what detection reads of a host into one archive.

What is read is recorded while it is read, so no list of paths can fall behind the code.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import stat
import tarfile
import typing as t

from . import _kernel_log, _notes
from ._capture_secrets import is_secret, reduced, without_secrets

MAX_ENTRIES = 60_000
MAX_FILE = 1 << 20
# The list of packages of a host, and the names of its images.
LARGER = {"var/lib/dpkg/status": 64 << 20, "images.json": 16 << 20}
MODULES = 256 << 20
MAX_TOTAL = 64 << 20
MAX_LOG_LINES = 4000
MAX_HOPS = 40
# Their names come and go, and their numbers of owners and times say nothing.
VOLATILE = ("proc", "sys")
Call = t.Callable[..., t.Any]


class Seen:
    """Paths below the root, as they were asked for: opened, listed, or looked at."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.listed: set[str] = set()
        self.looked_at: set[str] = set()


class Recorder:
    """While it is entered, what this process reads below a root is remembered."""

    def __init__(self, root: str) -> None:
        self._base = root.rstrip("/")
        self._real = os.path.realpath(root).rstrip("/")
        self.seen = Seen()
        self._before: list[tuple[t.Any, str, Call]] = []

    def __enter__(self) -> Recorder:
        for owner, name, kind in (
            (os, "open", self.seen.opened),
            (builtins, "open", self.seen.opened),
            (os, "listdir", self.seen.listed),
            (os, "scandir", self.seen.listed),
            *((os, name, self.seen.looked_at) for name in ("stat", "lstat", "access", "readlink")),
        ):
            call = getattr(owner, name)
            self._before.append((owner, name, call))
            setattr(owner, name, self._noted(call, kind))
        return self

    def __exit__(self, *_error: object) -> None:
        for owner, name, call in reversed(self._before):
            setattr(owner, name, call)

    def _noted(self, call: Call, kind: set[str]) -> Call:
        def noted(*values: t.Any, **named: t.Any) -> t.Any:
            if values and isinstance(values[0], str):
                path = self._below(values[0])
                if path is not None:
                    kind.add(path)
            return call(*values, **named)

        return noted

    def _below(self, path: str) -> str | None:
        if "\0" in path:
            return None
        for base in (self._base, self._real):
            if path.startswith(base + "/"):
                found = path[len(base) :].strip("/")
                return None if found == _notes.NAME else found
        return None


class Packed(t.NamedTuple):
    """``left_out``: paths that are secret, or beyond the bounds."""

    entries: int
    left_out: list[str]


class Packer:
    """Collects the entries of an archive; every name is a physical one, so that no entry lies behind a
    link."""

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = set()
        self.links: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.about: dict[str, _notes.About] = {}
        self.unread: dict[str, int] = {}
        self.left_out: set[str] = set()
        self._total = 0

    def take(self, seen: Seen) -> None:
        for path in sorted(seen.opened):
            self._add(path, content=True)
        for path in sorted(seen.looked_at | seen.listed):
            self._add(path, content=False)
        for path in sorted(seen.listed):
            # Of processes only those that were looked at.
            if path.split("/")[0] != "proc" or path.count("/") > 2:
                for name in self._names(path):
                    self._add(f"{path}/{name}" if path else name, content=False)

    def _names(self, path: str) -> list[str]:
        try:
            return sorted(name for name in os.listdir(f"{self._root}/{path}") if name != _notes.NAME)
        except OSError as error:
            self._denied(path, error)
            return []

    def _denied(self, path: str, error: OSError) -> None:
        if error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
            self.unread[path] = int(error.errno or 0)

    def _add(self, path: str, content: bool) -> None:
        if len(self.files) + len(self.folders) + len(self.links) >= MAX_ENTRIES:
            self.left_out.add(path)
            return
        place = self._place(path)
        if place is None:
            return
        if is_secret(path) or is_secret(place):
            self.left_out.add(place)
            return
        try:
            info = os.stat(f"{self._root}/{place}")
        except OSError as error:
            self._denied(path, error)
            return
        if place.split("/", maxsplit=1)[0] not in VOLATILE:
            known = _notes.About(info.st_mode, info.st_uid, info.st_gid, info.st_ino)
            self.about[place] = self.about[path] = known
        if stat.S_ISDIR(info.st_mode):
            self.folders.add(place)
            return
        if content and stat.S_ISREG(info.st_mode):
            self._read(path, place, info)
        elif (
            place not in self.files
            and stat.S_ISREG(info.st_mode)
            and place.split("/", maxsplit=1)[0] not in VOLATILE
        ):
            self.sizes[place] = info.st_size
        self.files.setdefault(place, b"")
        self.folders.update(_parents(place))

    def _read(self, path: str, place: str, info: os.stat_result) -> None:
        limit = next((size for end, size in LARGER.items() if place.endswith(end)), MAX_FILE)
        limit = MODULES if place.endswith(".ko") else limit
        try:
            with open(f"{self._root}/{place}", "rb") as file:
                data = reduced(place, file.read(limit))
        except OSError as error:
            self._denied(path, error)
            self._denied(place, error)
            return
        if self._total + len(data) > MAX_TOTAL:
            self.left_out.add(place)
            return
        self._total += len(data)
        self.files[place] = data
        self.sizes.pop(place, None)
        if info.st_size > limit or (place.endswith(".safetensors") and info.st_size > len(data)):
            self.sizes[place] = info.st_size

    def _place(self, path: str) -> str | None:
        """Where a path leads below the root, ``None`` where there is nothing; the links on the way are
        packed."""
        done: list[str] = []
        todo = path.split("/")[::-1]
        followed: list[str] = []
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            try:
                link = os.readlink(f"{self._root}/{here}")
            except OSError:
                if not os.path.lexists(f"{self._root}/{here}"):
                    return None
                done.append(part)
                continue
            followed.append(here)
            if len(followed) > MAX_HOPS:  # a circle
                for each in followed:
                    self.links.pop(each, None)
                return None
            if not self._link(here, link):
                return None
            done = [] if link.startswith("/") else done
            todo += link.split("/")[::-1]
        return "/".join(done)

    def _link(self, here: str, link: str) -> bool:
        """Pack a link, as a relative one; whether it is followed."""
        if is_secret(here):
            self.left_out.add(here)
            return False
        self.folders.update(_parents(here))
        parts = here.split("/")
        if parts[0] == "proc" and "fd" in parts:
            # What else a process has open is its own business.
            if link.startswith("socket:["):
                self.links[here] = link
            return False
        if link.startswith("/"):
            link = os.path.relpath(link.strip("/") or ".", os.path.dirname(here) or ".")
        self.links[here] = link
        return True

    def write(self, notes: _notes.Notes, stream: t.BinaryIO) -> Packed:
        with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
            _put(archive, _notes.NAME, _notes.to_json(notes), None)
            for path in sorted(self.folders - {""}):
                self._put_at(archive, path, None)
            for path in sorted(self.files):
                self._put_at(archive, path, self.files[path])
            for path in sorted(set(self.links) - set(self.files)):
                entry = tarfile.TarInfo(path)
                entry.type, entry.linkname = tarfile.SYMTYPE, self.links[path]
                archive.addfile(entry)
        return Packed(len(self.files) + len(self.folders) + len(self.links), sorted(self.left_out))

    def _put_at(self, archive: tarfile.TarFile, path: str, data: bytes | None) -> None:
        try:
            info: os.stat_result | None = os.stat(f"{self._root}/{path}")
        except OSError:
            info = None
        _put(archive, path, data, info)


def _put(archive: tarfile.TarFile, path: str, data: bytes | None, info: os.stat_result | None) -> None:
    entry = tarfile.TarInfo(path)
    entry.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
    entry.mode = stat.S_IMODE(info.st_mode) & 0o777 if info else 0o644
    entry.mtime = info.st_mtime if info else 0  # PAX keeps fractions of a second
    entry.size = len(data or b"")
    archive.addfile(entry, io.BytesIO(data or b""))


def _parents(path: str) -> t.Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def answers(asked: t.Mapping[str, _notes.Answer]) -> dict[str, _notes.Answer]:
    """What commands printed, without secrets; of the kernel log what is about GPUs."""
    found = {}
    for command, answer in asked.items():
        text = answer.output
        if command == "dmesg" and text:
            text = "\n".join(_kernel_log.relevant(text)[-MAX_LOG_LINES:])
        found[command] = answer._replace(output=without_secrets(text) if text else text)
    return found
