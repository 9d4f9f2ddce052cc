# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image or a virtual environment was found to have code for, remembered on the host. Looking again
would cost minutes, and an image never changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t

from .._answer import readable
from .._tree import Tree
from .._write import move, stage
from .told import Code

RECORDS = "/var/lib/amdgpu-fleet/code-objects"
# The shape of a record. One of another shape is not read.
VERSION = 1
LIMIT = 256 << 10
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def name(identity: str) -> str:
    """The file of an image (its id) or of a folder (its path)."""
    match = _ID.fullmatch(identity)
    key = match.group(1) if match else hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{RECORDS}/{key}.json"


def fingerprint(folder: str) -> str:
    """What changes when packages of a virtual environment do: the names and times of their metadata."""
    total = hashlib.sha256()
    lib = os.path.join(folder, "lib")
    for python in sorted(_names(lib)):
        packages = os.path.join(lib, python, "site-packages")
        for each in sorted(_names(packages)):
            if each.endswith(".dist-info"):
                state = os.stat(os.path.join(packages, each))
                total.update(f"{each} {state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def remember(tree: Tree, identity: str, mark: str, code: Code) -> None:
    """``mark``: what it must be for this to count, a fingerprint, or nothing for an image."""
    path = tree.path(name(identity))
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    record = {"version": VERSION, "identity": identity, "mark": mark, "code": readable(code)}
    move(stage(path, (json.dumps(record, indent=1) + "\n").encode(), 0o644), path)


def recall(tree: Tree, identity: str, mark: str) -> Code | None:
    """What is remembered of it as it is now; ``None`` where nothing is."""
    data = tree.raw(name(identity), limit=LIMIT)
    if not data:
        return None
    try:
        record = json.loads(data)
        known = record["version"] == VERSION and record["identity"] == identity and record["mark"] == mark
        return _checked(record["code"]) if known else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        tree.problem(name(identity), "is not a record of code objects")
        return None


def recall_all(
    tree: Tree, images: t.Mapping[str, t.Sequence[str]], folders: t.Iterable[str]
) -> dict[str, Code]:
    """What is remembered of images, by name, each with its digests (one of which is its id), and of virtual
    environments whose packages are still the same."""
    found = {}
    for image, digests in images.items():
        for digest in digests:
            code = recall(tree, digest.rpartition(":")[2], "")
            if code:
                found[image] = _brief(code)
    for folder in folders:
        code = recall(tree, folder, fingerprint(tree.path(folder))) if tree.exists(name(folder)) else None
        if code:
            found[folder] = _brief(code)
    return found


def _brief(code: Code) -> Code:
    """A fact has no more than what decides."""
    return {**code, "sets": []} if code["required"] else code


def _checked(code: dict[str, t.Any]) -> Code:
    """The record held to its shape: it becomes a fact."""
    return {
        "complete": code["complete"] is True,
        "reasons": _texts(code["reasons"]),
        "libraries": int(code["libraries"]),
        "nvidia": int(code["nvidia"]),
        "sets": [
            {"targets": _texts(each["targets"]), "count": int(each["count"]), "names": _texts(each["names"])}
            for each in code["sets"]
        ],
        "required": [
            {
                "path": str(each["path"]),
                "targets": _texts(each["targets"]),
                "unread": None if each["unread"] is None else str(each["unread"]),
            }
            for each in code["required"]
        ],
    }


def _texts(found: t.Iterable[t.Any]) -> list[str]:
    return [str(text) for text in found]
