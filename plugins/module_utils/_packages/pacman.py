# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of pacman, read from the names in its local database."""

from __future__ import annotations

import re

from .._tree import Tree

LOCAL = "var/lib/pacman/local"
LOCK = "var/lib/pacman/db.lck"


def used(tree: Tree) -> bool:
    return tree.exists(LOCAL)


def installed(tree: Tree, wanted: re.Pattern[str]) -> dict[str, str]:
    """``{name: version}`` of the installed packages that are ``wanted``."""
    # Folders are called name-version-release.
    parts = (name.rsplit("-", 2) for name in tree.names(LOCAL))
    return {part[0]: f"{part[1]}-{part[2]}" for part in parts if len(part) == 3 and wanted.fullmatch(part[0])}


def busy(tree: Tree) -> str | None:
    """The file that says that pacman runs, or that it was killed."""
    return f"/{LOCK}" if tree.exists(LOCK) else None
