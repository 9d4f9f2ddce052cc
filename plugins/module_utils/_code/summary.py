# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found, told in short: libraries that have code for the same targets are one entry."""

from __future__ import annotations

import fnmatch
import typing as t

from . import targets
from .scan import Found, Library
from .told import MOST_NAMES, MOST_REASONS, MOST_REQUIRED, MOST_SETS, Code, Required


def short(found: Found, patterns: t.Sequence[str] = ()) -> Code:
    """``patterns``: paths of libraries that the engine needs, as in ``*/vllm/_rocm_C*.so``."""
    sets: dict[tuple[str, ...], list[str]] = {}
    for library in found.libraries:
        sets.setdefault(tuple(targets.in_order(library.targets)), []).append(library.path)
    ordered = sorted(sets.items(), key=lambda each: (-len(each[1]), each[0]))
    reasons = [f"{entry['path']}: {entry['problem']}".lstrip(": ") for entry in found.problems]
    reasons += [f"{library.path}: {library.unread[0]}" for library in found.libraries if library.unread]
    return {
        "complete": found.complete,
        "reasons": [reason[:200] for reason in reasons[:MOST_REASONS]],
        "libraries": len(found.libraries),
        "nvidia": found.nvidia,
        "sets": [
            {"targets": list(each), "count": len(names), "names": names[:MOST_NAMES]}
            for each, names in ordered[:MOST_SETS]
        ],
        "required": [_required(library) for library in _needed(found, patterns)][:MOST_REQUIRED],
    }


def _needed(found: Found, patterns: t.Sequence[str]) -> list[Library]:
    return [
        library
        for library in found.libraries
        if any(fnmatch.fnmatchcase(f"/{library.path}", pattern) for pattern in patterns)
    ]


def _required(library: Library) -> Required:
    # A part of it that is damaged may be the part that is wanted.
    why = [*library.unread, *library.problems]
    return {
        "path": library.path[:200],
        "targets": targets.in_order(library.targets),
        "unread": why[0][:200] if why else None,
    }
