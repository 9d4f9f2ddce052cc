# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers, times and lists as people read them, and texts of hosts made harmless."""

from __future__ import annotations

import datetime
import re
import typing as t

STAMP = "%Y-%m-%dT%H:%M:%SZ"
# What would move the cursor of a terminal, or turn the direction of a text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: t.Any) -> str:
    """The text without what a terminal would obey."""
    return _CONTROL.sub("\ufffd", str(text)).replace("\t", " ")


def line(text: t.Any) -> str:
    """The text on one line."""
    return " ".join(harmless(text).split())


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def gib(value: float, digits: int = 0) -> str:
    if value >= 10 << 40:
        return f"{value / (1 << 40):.1f} TiB"
    return f"{value / (1 << 30):.{digits}f} GiB"


def natural(text: str) -> list[t.Any]:
    """For sorting: node2 comes before node10."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]{1,18})", text)
    ]


def age(at: str, now: str) -> str:
    """How long ago a time was, in its largest unit; empty for none."""
    try:
        then, today = (datetime.datetime.strptime(each, STAMP) for each in (at, now))
    except ValueError:
        return ""
    seconds = max((today - then).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def names(hosts: t.Sequence[str], most: int = 8) -> str:
    """The hosts, or the first of them and how many more there are."""
    shown = ", ".join(line(host) for host in hosts[:most])
    return shown if len(hosts) <= most else f"{shown} and {len(hosts) - most} more"
