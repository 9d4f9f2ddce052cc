# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of dpkg, read from its status file."""

from __future__ import annotations

import re
import typing as t

from .._tree import Tree

STATUS = "var/lib/dpkg/status"
HELD = "var/lib/amdgpu-fleet/held"
UPDATES = "var/lib/dpkg/updates"
LOCKS = ("var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/apt/lists/lock")
# The third word of Status, where work was begun and not done. Triggers wait under every apt that runs.
UNFINISHED = ("half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending")
MAX_UNFINISHED = 8


class Package(t.NamedTuple):
    version: str
    on_hold: bool


def used(tree: Tree) -> bool:
    return tree.exists(STATUS)


def installed(tree: Tree, wanted: re.Pattern[str]) -> dict[str, str]:
    """``{name: version}`` of the installed packages that are ``wanted``."""
    return {name: package.version for name, package in _read(tree, wanted).items()}


def unfinished(tree: Tree) -> list[dict[str, str]]:
    """``{name, version, state}`` of packages that were begun and not finished."""
    data = tree.raw(STATUS, limit=64 << 20) or b""
    if not any(f" {state}\n".encode() in data for state in UNFINISHED):
        return []
    found = []
    for stanza in re.split(r"\n\n+", data.decode("utf-8", "replace")):
        status = re.search(r"^Status: \S+ \S+ (\S+)$", stanza, re.M)
        if status and status.group(1) in UNFINISHED and stanza.startswith("Package: "):
            version = re.search(r"^Version: (\S+)", stanza, re.M)
            found.append(
                {
                    "name": stanza[9 : stanza.find("\n")],
                    "version": version.group(1) if version else "",
                    "state": status.group(1),
                }
            )
    return found[:MAX_UNFINISHED]


def interrupted(tree: Tree) -> bool:
    """Whether dpkg was stopped while it wrote its status."""
    return any(name.isdigit() for name in tree.names(UPDATES))


def on_hold(tree: Tree, wanted: re.Pattern[str]) -> list[str]:
    """Packages that are ``wanted`` and on hold, whoever holds them."""
    if b"\nStatus: hold " not in (tree.raw(STATUS, limit=64 << 20) or b""):
        return []
    return sorted(name for name, package in _read(tree, wanted).items() if package.on_hold)


def held(tree: Tree) -> list[str]:
    """The packages that this collection put on hold, and that still are."""
    ours = (tree.text(HELD) or "").split()
    found = _read(tree, re.compile("|".join(map(re.escape, ours)))) if ours else {}
    return [name for name in ours if name in found and found[name].on_hold]


def _read(tree: Tree, wanted: re.Pattern[str]) -> dict[str, Package]:
    found = {}
    data = tree.raw(STATUS, limit=64 << 20) or b""
    for stanza in re.split(r"\n\n+", data.decode("utf-8", "replace")):
        name = stanza[9 : stanza.find("\n")]
        if stanza.startswith("Package: ") and wanted.fullmatch(name):
            status = re.search(r"^Status: (install|hold) ok installed$", stanza, re.M)
            version = re.search(r"^Version: (\S+)", stanza, re.M)
            if status and version:
                found[name] = Package(version.group(1), status.group(1) == "hold")
    return found
