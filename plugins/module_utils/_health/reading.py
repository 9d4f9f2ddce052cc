# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the health files of one GPU: what cannot be read is ``None``, and the reason is kept."""

from __future__ import annotations

import errno
import os
import re

from .._tree import Tree

MAX_BYTES = 1 << 17
_REASONS = {
    errno.ENOENT: "is missing",
    errno.ENOTDIR: "is missing",
    errno.EPERM: "may not be read",
    errno.EACCES: "may not be read",
    errno.EBUSY: "is busy: the GPU starts or resets",
    errno.EINVAL: "is not supported by this GPU",
    errno.EOPNOTSUPP: "is not supported by this GPU",
    errno.ENODATA: "is not supported by this GPU",
}
# The driver answers with text instead of an error while it starts and resets.
_NOT_NOW = re.compile(r"currently inaccessible", re.I)
MISSING = "is missing"
# All ones, which is what firmware and drivers show where they have no value.
NO_VALUE = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


class Reading:
    """The files below one folder, of which at most about ``most`` bytes are read. ``unread`` says of each
    value that is ``None`` why it is."""

    def __init__(self, tree: Tree, folder: str, most: int = MAX_BYTES) -> None:
        self.tree, self.folder, self.most = tree, folder, most
        self.unread: dict[str, str] = {}

    def raw(self, name: str, about: str = "") -> bytes | None:
        """The bytes of a file. ``about`` is the value that depends on it, where that is not its name."""
        try:
            descriptor = os.open(
                self.tree.path(self.folder, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except (OSError, ValueError) as error:
            self.fail(about or name, _reason(error))
            return None
        try:
            data = piece = os.read(descriptor, 65536)
            while piece and len(data) < self.most:
                piece = os.read(descriptor, 65536)
                data += piece
            return data
        except OSError as error:
            self.fail(about or name, _reason(error))
            return None
        finally:
            os.close(descriptor)

    def text(self, name: str, about: str = "") -> str | None:
        data = self.raw(name, about)
        if data is None:
            return None
        try:
            text = data.rstrip(b"\0\n ").decode("ascii").strip()
        except UnicodeDecodeError:
            self.fail(about or name, "is not text")
            return None
        if "\0" in text or (not text and b"\0" in data):
            self.fail(about or name, "holds binary data")
            return None
        if _NOT_NOW.search(text):
            self.fail(about or name, "is inaccessible while the GPU starts or resets")
            return None
        return text

    def word(self, name: str, about: str = "") -> str | None:
        """The text of a file that holds a name or a version; empty is unknown."""
        text = self.text(name, about)
        if text == "":
            self.fail(about or name, "is empty")
            return None
        return text[:100] if text else None

    def number(self, name: str, about: str = "", base: int = 10) -> int | None:
        text = self.text(name, about)
        if text is None:
            return None
        if not re.fullmatch(r"-?(0x)?[0-9a-fA-F]{1,20}", text):
            self.fail(about or name, "does not hold a number")
            return None
        try:
            return int(text, base)
        except ValueError:
            self.fail(about or name, "does not hold a number")
            return None

    def count(self, name: str, about: str = "", most: int | None = None) -> int | None:
        """A number that is never negative, and at most ``most``; what stands for no value is none."""
        number = self.number(name, about)
        if number is None:
            return None
        if number < 0 or (number in NO_VALUE if most is None else number > most):
            self.fail(about or name, f"shows {number}, which is no value")
            return None
        return number

    def fail(self, about: str, reason: str) -> None:
        """Remember why a value is unknown."""
        self.unread.setdefault(about, reason)

    def names(self, name: str) -> list[str]:
        try:
            return sorted(entry for entry in os.listdir(self.tree.path(self.folder, name)) if entry.isascii())
        except (OSError, ValueError) as error:
            self.fail(name, _reason(error))
            return []


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    return _REASONS.get(code or 0) or f"cannot be read ({getattr(error, 'strerror', None) or error})"
