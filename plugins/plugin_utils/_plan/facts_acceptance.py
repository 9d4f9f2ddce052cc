# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host passed, as the fact ``amd_host`` tells it: a summary of what the role acceptance wrote."""

from __future__ import annotations

import typing as t


class Acceptance(t.TypedDict):
    level: str  # quick, full or burn_in.
    verdict: str  # pass, fail or incomplete.
    finished: str  # When it was written.
    age_hours: int | None  # How long ago that is.
    plan: str  # What of the plan it holds for.
    failed: list[str]  # Names of the tests that failed.
    warnings: int  # How many figures are worth a look.
    changed: list[str]  # What is another one since, in words.
