# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's own code in a container of a toolbox: what it needs is Python's standard library alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from .descriptions import REPOSITORY
from .toolbox import Toolbox

INSIDE = "ansible_collections/amdgpu/fleet/plugins"
PYTHON = "PYTHONPATH=/work PYTHONDONTWRITEBYTECODE=1 python3"


def lay_down(folder: Path) -> None:
    """Copy the module utilities into a folder, under the name that they are imported by."""
    target = folder / INSIDE / "module_utils"
    if not target.exists():
        shutil.copytree(
            REPOSITORY / "plugins/module_utils", target, ignore=shutil.ignore_patterns("__pycache__")
        )


def run(box: Toolbox, folder: Path, script: str, **programs: str) -> str:
    """What a shell script says; ``programs``: texts of Python that it starts as ``$NAME``."""
    lay_down(folder)
    lines = []
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        lines.append(f'{name}() {{ {PYTHON} /work/{name}.py "$@"; }}')
    (folder / "script.sh").write_text("\n".join([*lines, script]), encoding="utf-8")
    # The first process inherits what others leave behind, and a shell that waits for its own would wait for ever.
    return box.run(folder, "sh", "-c", "timeout 300 sh -eu script.sh; exit $?")
