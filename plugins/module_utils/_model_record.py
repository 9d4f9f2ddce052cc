# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which manifest a model folder was checked against, remembered outside of it."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.parse

from ._tree import Tree

# A model on a share cannot be written to.
RECORDS = "/var/lib/amdgpu-fleet/checked"


def fingerprint(folder: str) -> str:
    """Names, sizes and times of all files of a folder: it changes when somebody replaces one."""
    total = hashlib.sha256()
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != ".cache")
        for name in sorted(names):
            path = os.path.join(base, name)
            state = os.stat(path)
            total.update(
                f"{os.path.relpath(path, folder)} {state.st_size} {state.st_mtime_ns}\n".encode(
                    "utf-8", "surrogateescape"
                )
            )
    return total.hexdigest()


def record(path: str) -> str:
    """The file that remembers which manifest a folder was checked against."""
    return f"{RECORDS}/{urllib.parse.quote(path, safe='')}.json"


def checked_by(tree: Tree, path: str) -> str | None:
    """The manifest that the folder, as it is now, was found to be right by."""
    data = tree.raw(record(path))
    if not data:
        return None
    try:
        remembered = json.loads(data)
        return remembered["manifest"] if remembered["fingerprint"] == fingerprint(tree.path(path)) else None
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return None
