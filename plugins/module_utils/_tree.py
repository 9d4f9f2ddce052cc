# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading small kernel and configuration files below a root, without ever raising.

A host that is being brought up is often half broken. Whatever cannot be read becomes ``None`` and one entry
in ``problems``, so that detection says what it could not see instead of ending in a traceback.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _notes
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import readable

# Not str.isdigit(): that takes superscripts, and Python refuses to convert thousands of digits.
_WHOLE = re.compile(r"[0-9]{1,20}")
# A line as KFD writes it: a host has thousands of such files.
_PROPERTIES = re.compile(r"(?m)^([!-~]+) ([0-9]{1,20})$")
MAX_BYTES = 1 << 20
# Long texts are cut, so that a damaged file does not become a fact of a megabyte.
MAX_WORD = 300
# A broken tree repeats the same defect in hundreds of files: a fact of a few KB names the first ones and
# counts the rest.
MAX_PROBLEMS = 12


class Tree:
    """The files of one host, seen below ``root``."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")
        self._problems: dict[str, dict[str, t.Any]] = {}
        self.denied = 0

    def path(self, *parts: str) -> str:
        """Where a path of the host is on this machine."""
        return "/".join((self.root, *(part.strip("/") for part in parts)))

    def host_path(self, path: str) -> str:
        """The path as the host names it."""
        return path[len(self.root) :] or "/"

    @functools.cached_property
    def notes(self) -> _notes.Notes | None:
        """What a capture knows beside its files; ``None`` on a running system and in any other folder."""
        return _notes.below(self.root)

    @property
    def bare(self) -> bool:
        """Nothing but files is known: no command of the host can be asked, and none was."""
        return bool(self.root) and not (self.notes and self.notes.live)

    def about(self, *parts: str) -> os.stat_result | _notes.About:
        """What ``os.stat`` tells, also of a file whose owner a captured tree cannot have."""
        path = self.path(*parts)
        if self.notes:
            known = self.notes.about.get(self.host_path(path).strip("/"))
            if known:
                return known
        return os.stat(path)

    def problem(self, path: str, what: str) -> None:
        """Remember what was wrong, folding the same defect of many files into one entry with a count."""
        entry = self._problems.get(what)
        if entry is None:
            self._problems[what] = {"path": path, "problem": what, "count": 1}
        else:
            entry["count"] += 1

    @property
    def problems(self) -> list[dict[str, t.Any]]:
        """At most ``MAX_PROBLEMS`` entries ``{path, problem, count}``; the last one says how many were left
        out."""
        entries = list(self._problems.values())
        if len(entries) <= MAX_PROBLEMS:
            return entries
        kept = entries[: MAX_PROBLEMS - 1]
        left = sum(entry["count"] for entry in entries[MAX_PROBLEMS - 1 :])
        return [*kept, {"path": "", "problem": "further problems, not listed", "count": left}]

    def raw(self, *parts: str, required: bool = False, limit: int = MAX_BYTES) -> bytes | None:
        """The bytes of a file, ``None`` when it cannot be read. A missing file is a problem only when
        ``required``."""
        path = self.path(*parts)
        try:
            self._raise_as_noted(path)
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            self._unreadable(path, error, required)
            return None
        try:
            # Until nothing comes: of a long list the kernel gives the lines that fill a page, and the rest
            # when asked again.
            data = piece = os.read(descriptor, 65536)
            while piece and len(data) < limit:
                piece = os.read(descriptor, 65536)
                data += piece
            return data
        except OSError as error:
            self._unreadable(path, error, required)
            return None
        finally:
            os.close(descriptor)

    def text(self, *parts: str, required: bool = False) -> str | None:
        """The stripped text of a file; ``None`` when it is missing, unreadable, empty or not text."""
        data = self.raw(*parts, required=required)
        if data is None:
            return None
        if b"\0" in data:
            data = data.rstrip(b"\0\n ")
            if b"\0" in data:
                self.problem(self.host_path(self.path(*parts)), "holds binary data")
                return None
        try:
            text = data.decode("utf-8").strip()
        except UnicodeDecodeError:
            self.problem(self.host_path(self.path(*parts)), "is not UTF-8 text")
            return None
        if not text:
            if required:
                self.problem(self.host_path(self.path(*parts)), "is empty")
            return None
        return text

    def word(self, *parts: str, required: bool = False, limit: int = MAX_WORD) -> str | None:
        """The text of a file that holds a name or a version, cut where it is too long to be one."""
        text = self.text(*parts, required=required)
        return text[:limit] if text else None

    def number(self, *parts: str, required: bool = False, base: int = 0) -> int | None:
        """A file that holds one whole number (``0x`` prefix allowed)."""
        text = self.text(*parts, required=required)
        if text is None:
            return None
        try:
            return int(text, base)
        except ValueError:
            self.problem(self.host_path(self.path(*parts)), "does not hold a number")
            return None

    def properties(self, *parts: str, required: bool = True) -> dict[str, int] | None:
        """A KFD ``properties`` file: ``key value`` a line. ``None`` when nothing in it can be used."""
        text = self.text(*parts, required=required)
        if text is None:
            return None
        whole = _PROPERTIES.findall(text)
        if len(whole) == text.count("\n") + 1:
            return {key: int(value) for key, value in whole}
        found: dict[str, int] = {}
        for line in text.splitlines():
            key, _separator, value = line.partition(" ")
            if _WHOLE.fullmatch(value):
                found[key] = int(value)
            else:
                self.problem(self.host_path(self.path(*parts)), "has a line that is not 'name number'")
        return found or None

    def pairs(self, *parts: str, separator: str = "=") -> dict[str, str]:
        """A file of ``KEY=value`` lines, quotes taken off (uevent, os-release)."""
        pairs = {}
        for line in (self.text(*parts) or "").splitlines():
            key, found, value = line.partition(separator)
            if found and not key.startswith("#"):
                pairs[key.strip()] = value.strip().strip("\"'")[:MAX_WORD]
        return pairs

    def names(self, *parts: str) -> list[str]:
        """The names in a folder that are text, sorted; none when there is no such folder."""
        try:
            self._raise_as_noted(self.path(*parts))
            found = sorted(os.listdir(self.path(*parts)))
            found = [name for name in found if name != _notes.NAME]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            self._unreadable(self.path(*parts), error, required=True)
            return []
        names = [name for name in found if name.isascii() or readable(name) == name]
        if len(names) < len(found):
            self.problem(self.host_path(self.path(*parts)), "holds a name that is not UTF-8 text")
        return names

    def exists(self, *parts: str) -> bool:
        """Whether there is such a path (a link that leads nowhere does not count)."""
        return os.path.exists(self.path(*parts))

    def link_target(self, *parts: str) -> str | None:
        """What a symbolic link points to, as it is written."""
        try:
            return os.readlink(self.path(*parts))
        except (OSError, ValueError):
            return None

    def link_name(self, *parts: str) -> str | None:
        """The last part of what a symbolic link points to."""
        target = self.link_target(*parts)
        return os.path.basename(target) if target else None

    def _raise_as_noted(self, path: str) -> None:
        """What the host itself could not read."""
        code = self.notes.unread.get(self.host_path(path).strip("/")) if self.notes else None
        if code:
            raise OSError(code, os.strerror(code))

    def _unreadable(self, path: str, error: Exception, required: bool) -> None:
        code = getattr(error, "errno", None)
        if code in (errno.EPERM, errno.EACCES):
            self.denied += 1
            self.problem(self.host_path(path), "may not be read (permission denied)")
        elif code in (errno.ENOENT, errno.ENOTDIR):
            if required:
                self.problem(self.host_path(path), "is missing")
        else:
            self.problem(
                self.host_path(path), f"cannot be read ({getattr(error, 'strerror', None) or error})"
            )


def memory_bytes(tree: Tree) -> int | None:
    """``MemTotal`` in bytes."""
    match = re.search(r"^MemTotal:\s+([0-9]{1,15}) kB", tree.text("proc/meminfo") or "", re.M)
    return int(match.group(1)) * 1024 if match else None


def whole(text: str) -> int | None:
    """A whole number that stands alone; ``None`` for anything else."""
    return int(text) if _WHOLE.fullmatch(text) else None


def natural(names: t.Iterable[str]) -> list[str]:
    """Names that are whole numbers, in the order of the numbers."""
    return sorted((name for name in names if _WHOLE.fullmatch(name)), key=int)
