# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of the code of a place: a fact of a host, and what is remembered."""

from __future__ import annotations

import typing as t

# A fact of a few hundred bytes, whatever was found.
MOST_SETS, MOST_NAMES, MOST_REASONS, MOST_REQUIRED = 16, 3, 3, 16


class Required(t.TypedDict):
    """A library without whose code the engine does not start."""

    path: str
    targets: list[str]
    # Why not all of it is known, or None.
    unread: str | None


class Set(t.TypedDict):
    """Libraries that have code for the same targets."""

    targets: list[str]
    count: int
    # The first of them.
    names: list[str]


class Code(t.TypedDict):
    """What a place has code for, as short as it can be told."""

    complete: bool
    # Why it is not all known.
    reasons: list[str]
    libraries: int
    # Libraries for GPUs of NVIDIA.
    nvidia: int
    sets: list[Set]
    required: list[Required]
