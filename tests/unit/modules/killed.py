# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module and end the process, as a power failure would, at one of the places where it touches files or
starts a program.

run(MODULE, N): N counts the calls that change something, each twice (before and after). Without that many, the
module runs to its end, and the last line on standard error is how many there were.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

CHANGES = (
    "replace",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "chmod",
    "fchmod",
    "fchown",
    "fsync",
    "link",
    "symlink",
    "write",
)
KILLED = 137


def run(module: str, place: int) -> None:
    """Everything here lasts as long as this process, which runs one module."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1
        if counted == place:
            os._exit(KILLED)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*arguments: Any, **words: Any) -> Any:
            count()
            result = call(*arguments, **words)
            count()
            return result

        return watch

    for name in CHANGES:
        setattr(os, name, watched(getattr(os, name)))
    subprocess.Popen.__init__ = watched(subprocess.Popen.__init__)  # type: ignore[method-assign]
    try:
        runpy.run_module(module, run_name="__main__")
    finally:
        print(counted, file=sys.stderr)
