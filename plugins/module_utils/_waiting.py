# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules that look again and again have in common."""

from __future__ import annotations

LONGEST = 3600


def wrong_interval(interval: float) -> str | None:
    """What is wrong with the seconds between two looks, or ``None``."""
    if 0 <= interval <= LONGEST:
        return None
    return f"interval must be between 0 and {LONGEST} seconds, not {interval}."
