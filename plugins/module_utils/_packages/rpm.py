# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of rpm, from the lines that rpm prints, and the locks of dnf."""

from __future__ import annotations

import re

from .._tree import Tree

MANAGERS = ("dnf", "zypper")
FORMAT = "%{NAME} %{VERSION}-%{RELEASE}\n"
VERSIONLOCK = "etc/dnf/plugins/versionlock.list"
LOCKS = (
    "var/lib/rpm/.rpm.lock",
    "usr/lib/sysimage/rpm/.rpm.lock",
    "run/dnf/rpmtransaction.lock",
)
# Files with the number of the process that works. One that was killed leaves it, and that is no lock.
NUMBERS = ("run/zypp.pid", "var/run/zypp.pid", "var/lib/dnf/rpmdb_lock.pid")
# Packages that may be installed in several versions at once.
SEVERAL = re.compile(r"kernel(-.*)?|gpg-pubkey.*|.*-debuginfo|.*-debugsource|kmod-.*|.*-kmp-.*")
MAX_DUPLICATES = 8


def installed(lines: str | None, wanted: re.Pattern[str]) -> dict[str, str]:
    """``{name: version}`` of the installed packages that are ``wanted``, from lines of ``FORMAT``."""
    pairs = (line.partition(" ") for line in (lines or "").splitlines())
    return {name: version for name, _space, version in pairs if version and wanted.fullmatch(name)}


def duplicates(lines: str | None) -> list[str]:
    """Packages of which two versions are installed, as a transaction leaves them that was broken off."""
    versions: dict[str, set[str]] = {}
    for line in (lines or "").splitlines():
        name, _space, version = line.partition(" ")
        versions.setdefault(name, set()).add(version)
    twice = (name for name, seen in versions.items() if len(seen) > 1 and not SEVERAL.fullmatch(name))
    return sorted(twice)[:MAX_DUPLICATES]


def held(tree: Tree) -> list[str]:
    """The versions that this collection locked."""
    block = re.search(
        r"^# BEGIN amdgpu\.fleet$(.*?)^# END amdgpu\.fleet$", tree.text(VERSIONLOCK) or "", re.M | re.S
    )
    return block.group(1).split() if block else []


def busy(tree: Tree) -> str | None:
    """The process that wrote its number into a file of zypper or dnf, and that still runs."""
    for path in NUMBERS:
        number = (tree.text(path) or "").strip("\0 \n")
        if not (number.isascii() and number.isdigit()):
            continue
        name = tree.word("proc", number, "comm")
        if name:
            # libzypp gives its thread a name of its own (Zypp-main); of dnf the program is Python.
            program = tree.link_name("proc", number, "exe") if "zypp" in path else None
            return f"{program or name} ({number})"
    return None
