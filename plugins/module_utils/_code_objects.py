# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``gpu_code_objects`` answers."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ._account import account
from ._code import record, scan, summary, targets, verdict
from ._code.places import Limits
from ._code.told import Code
from ._tree import Tree
from ._write import follow

# An image of vLLM has some three hundred.
SHOWN = 1000


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked about each place."""

    gfx: list[str]
    xnack: bool
    required: list[str]
    remember: bool
    # Nothing is written.
    check: bool
    limits: Limits


def of_path(tree: Tree, path: str, asked: Asked) -> dict[str, t.Any]:
    """What a file or folder of the host has."""
    place = follow(tree.root or "/", path)
    mark = record.fingerprint(place) if os.path.isdir(place) else ""
    known = record.recall(tree, path, mark) if asked.remember else None
    if known:
        return {"path": path, **_remembered(known, asked)}
    found = scan.path(place, asked.limits)
    code = summary.short(found, asked.required)
    if asked.remember and not asked.check:
        record.remember(tree, path, mark, code)
    return {"path": path, "recorded": asked.remember, **_answer(found, code, asked)}


def of_image(tree: Tree, image: str, user: str, asked: Asked) -> dict[str, t.Any]:
    """What an image in Podman's store has."""
    owner = account(tree, user) if user else None
    identity = scan.identity(tree, image, owner) if asked.remember else ""
    known = record.recall(tree, identity, "") if identity else None
    if known:
        return {"image": image, "identity": identity, **_remembered(known, asked)}
    found = scan.image(tree, image, owner, asked.limits)
    code = summary.short(found, asked.required)
    if asked.remember and not asked.check and found.identity:
        record.remember(tree, found.identity, "", code)
    recorded = asked.remember and bool(found.identity)
    return {
        "image": image,
        "identity": found.identity,
        "recorded": recorded,
        **_answer(found, code, asked),
    }


def _remembered(code: Code, asked: Asked) -> dict[str, t.Any]:
    return {"remembered": True, "recorded": False, **_common(code, asked)}


def _answer(found: scan.Found, code: Code, asked: Asked) -> dict[str, t.Any]:
    return {
        "remembered": False,
        "kind": found.kind,
        "files": found.files,
        "problems": found.problems,
        "problems_left_out": found.left_out,
        "libraries": [_library(library, asked) for library in found.libraries[:SHOWN]],
        "libraries_left_out": max(0, len(found.libraries) - SHOWN),
        **_common(code, asked),
    }


def _common(code: Code, asked: Asked) -> dict[str, t.Any]:
    return {
        "complete": code["complete"],
        "reasons": code["reasons"],
        "targets": targets.in_order(target for each in code["sets"] for target in each["targets"]),
        "sets": code["sets"],
        "required": code["required"],
        "nvidia": code["nvidia"],
        "verdicts": [dataclasses.asdict(verdict.judge(code, gfx, asked.xnack)) for gfx in asked.gfx],
    }


def _library(library: scan.Library, asked: Asked) -> dict[str, t.Any]:
    serves = {gfx: targets.best(library.targets, gfx, asked.xnack)[1] for gfx in asked.gfx}
    return {
        "path": library.path,
        "kind": library.kind,
        "targets": targets.in_order(library.targets),
        "serves": serves,
        "source": library.source,
        "files": library.files,
        "bundles": library.bundles,
        "compressed": library.compressed,
        "unread": library.unread,
        "problems": library.problems,
    }
