# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a parser makes of a test's output. What is not there stays away: a number is never made up."""

from __future__ import annotations

import dataclasses
import re
import typing as t

# Strict on purpose: no sign, no "inf", no "nan", and never thousands of digits.
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?")
MOST_NOTES = 12


class Metric(t.NamedTuple):
    """One figure. ``each`` has it for every device where the tool tells; ``value`` is then the lowest."""

    value: float
    unit: str
    each: dict[str, float]


@dataclasses.dataclass
class Parsed:
    """The figures, what the tool itself calls wrong, and what the output lacks."""

    metrics: dict[str, Metric] = dataclasses.field(default_factory=dict)
    # What the tool says of itself; null where it judges nothing.
    own: bool | None = None
    failures: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def add(self, name: str, value: float | None, unit: str) -> None:
        if value is not None:
            self.metrics[name] = Metric(value, unit, {})

    def add_each(self, name: str, each: t.Mapping[str, float], unit: str) -> None:
        if each:
            self.metrics[name] = Metric(min(each.values()), unit, dict(each))

    def fail(self, text: str) -> None:
        self.own = False
        _note(self.failures, text)

    def lacks(self, text: str) -> None:
        _note(self.problems, text)


def _note(notes: list[str], text: str) -> None:
    if len(notes) < MOST_NOTES and text not in notes:
        notes.append(text[:200])


def number(text: str | None) -> float | None:
    """A figure of a table; null for N/A and for whatever is no plain number."""
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def quantity(value: t.Any) -> float | None:
    """A figure of a JSON document."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Comparisons with NaN are false, so that it goes the same way as a negative one.
    return float(value) if 0 <= value < 1e18 else None
