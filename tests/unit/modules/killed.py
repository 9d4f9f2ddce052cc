# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module and end the process, as a power failure would, at one of the places where it touches files or
starts a program.

run(MODULE, N): N counts the calls that change something, each twice (before and after). Without that many, the
module runs to its end, and the last line on standard error is how many there were.

run(MODULE, 0, (ROOT, FOLDER)) runs it to its end and keeps what lies below ROOT at each of these places: what a
process that ends there leaves, as nothing of it runs any more. `places.json` in FOLDER names a folder for each
place: the one before where nothing was changed, and null while a program runs that changes files by itself.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """All that lies below a folder: kind and mode, content, and when it was written."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            place = os.path.join(folder, name)
            state = os.lstat(place)
            content: object = None
            if stat.S_ISLNK(state.st_mode):
                content = os.readlink(place)
            elif stat.S_ISREG(state.st_mode):
                content = Path(place).read_bytes()
            written = None if stat.S_ISDIR(state.st_mode) else state.st_mtime_ns
            found[os.path.relpath(place, root)] = (state.st_mode, content, written)
    return found


class Keeper:
    """Copies of a folder, one for each state in which it was."""

    def __init__(self, root: str, folder: str) -> None:
        self.root, self.folder = Path(root), Path(folder)
        self.last: dict[str, tuple[object, ...]] = {}
        self.places: list[str | None] = []
        self.name = ""

    def keep(self, programs: list[subprocess.Popen[Any]]) -> None:
        if any(program.returncode is None for program in programs):
            self.places.append(None)
            return
        now = tree(self.root)
        if now != self.last:
            self.last, self.name = now, str(len(self.places) + 1)
            shutil.copytree(self.root, self.folder / self.name, symlinks=True)
        self.places.append(self.name)

    def write(self) -> None:
        (self.folder / "places.json").write_text(json.dumps(self.places), encoding="utf-8")


def run(module: str, place: int, keep: tuple[str, str] | None = None) -> None:
    """Everything here lasts as long as this process, which runs one module."""
    counted = 0
    own = False
    keeper = Keeper(*keep) if keep else None
    programs: list[subprocess.Popen[Any]] = []

    def count() -> None:
        nonlocal counted, own
        counted += 1
        if counted == place:
            os._exit(KILLED)
        if keeper:
            own = True
            keeper.keep(programs)
            own = False

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*arguments: Any, **words: Any) -> Any:
            if own:
                return call(*arguments, **words)
            count()
            result = call(*arguments, **words)
            if arguments and isinstance(arguments[0], subprocess.Popen):
                programs.append(arguments[0])
            count()
            return result

        return watch

    for name in CHANGES:
        setattr(os, name, watched(getattr(os, name)))
    subprocess.Popen.__init__ = watched(subprocess.Popen.__init__)  # type: ignore[method-assign]
    try:
        runpy.run_module(module, run_name="__main__")
    finally:
        if keeper:
            own = True
            keeper.write()
        print(counted, file=sys.stderr)
