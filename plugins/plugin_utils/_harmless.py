# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of a host, made harmless for a terminal and for a page.

A host chooses its texts: a control character moves the cursor and writes over other lines, a mark of
direction shows a text in another order than it is."""

from __future__ import annotations

import re
import typing as t

MARK = "\ufffd"
# A user and a password in front of the host of an address: a proxy, an index, a registry.
_ACCOUNT = re.compile(r"(?<=://)[^/?#\s'\"]+@")
# C0 but for tabulator and line break, DEL, C1, marks of direction, invisible characters, line and paragraph
# separators.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def text(value: str) -> str:
    """The text with a mark in the place of each character that does something, and without the passwords of
    addresses; lines stay lines."""
    return _ACCOUNT.sub("***@", _CONTROL.sub(MARK, value.replace("\r\n", "\n")))


def line(value: str) -> str:
    """The same in one line."""
    return " ".join(part for part in text(value).replace("\t", " ").splitlines() if part)


def everywhere(value: t.Any) -> t.Any:
    """All texts of a value, keys included."""
    if isinstance(value, str):
        return text(value) if _CONTROL.search(value) or "://" in value else value
    if isinstance(value, dict):
        return {everywhere(key): everywhere(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [everywhere(entry) for entry in value]
    return value
