# SPDX-License-Identifier: GPL-3.0-or-later
"""A process and all below it. Ansible's workers have sessions of their own, so a process group does not hold them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def family(pid: int) -> list[int]:
    """The process, its children, and theirs."""
    found = [pid]
    for each in found:
        try:
            words = Path(f"/proc/{each}/task/{each}/children").read_text(encoding="utf-8").split()
        except OSError:
            continue
        found += map(int, words)
    return found


def kill(pid: int) -> None:
    """Kill all of them at once: stopped first, so that none starts another one meanwhile."""
    members: list[int] = []
    while members != family(pid):
        members = family(pid)
        for each in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
    for each in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
