# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what each release has to the first and the last release that has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def spans(releases: Mapping[str, Mapping[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """``releases`` from the oldest to the newest, each with its names and what is known of them.

    ``first`` is ``None`` for what the oldest release has, ``last`` for what the newest has. What is known is
    what the newest release with the name says; choices are kept with their own first and last.
    """
    order = list(releases)
    found = {}
    for name in sorted({name for names in releases.values() for name in names}):
        having = [release for release in order if name in releases[release]]
        entry = dict(releases[having[-1]][name])
        span = _span(order, having)
        if entry.get("choices"):
            entry["choices"] = _choices(having, {release: releases[release][name] for release in having})
        found[name] = {**span, **entry}
    return found


def _span(order: list[str], having: list[str]) -> dict[str, Any]:
    span: dict[str, Any] = {
        "first": None if having[0] == order[0] else having[0],
        "last": None if having[-1] == order[-1] else having[-1],
    }
    between = order[order.index(having[0]) : order.index(having[-1])]
    gaps = [release for release in between if release not in having]
    return {**span, "gaps": gaps} if gaps else span


def _choices(having: list[str], entries: dict[str, dict[str, Any]]) -> dict[Any, list[str | None]]:
    """Each value with the first and the last release that takes it, as far as they differ from those of the
    name."""
    values = sorted({value for entry in entries.values() for value in entry.get("choices", [])}, key=str)
    # A type that had no choices in an older release took any text there.
    limited = [release for release in having if entries[release].get("choices")]
    found = {}
    for value in values:
        taking = [release for release in limited if value in entries[release]["choices"]]
        found[value] = [
            None if taking[0] == limited[0] else taking[0],
            None if taking[-1] == limited[-1] else taking[-1],
        ]
    return found
