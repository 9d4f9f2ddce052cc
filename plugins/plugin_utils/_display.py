# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts for people. Where a program reads standard output, they are in the result of the task alone."""

from __future__ import annotations

from ansible import constants
from ansible.utils.display import Display


def for_people() -> bool:
    """Whether the callback writes for people. One that writes JSON is broken by any other line."""
    name = str(constants.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2]
    return "json" not in name and name not in ("null", "oneline")


def show(text: str) -> None:
    """Print a text as it is, in one call, so that the texts of several hosts never mix."""
    if for_people():
        Display().display(text)
