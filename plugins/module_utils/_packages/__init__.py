# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installed packages and the repositories that they come from, read from the files of dpkg, pacman, apt and
dnf."""

from __future__ import annotations

import re
import typing as t

from .._tree import Tree
from . import dpkg, pacman
from . import rpm as rpmdb

RPM_MANAGERS = rpmdb.MANAGERS
RPM_FORMAT = rpmdb.FORMAT
# Only what a plan can need: a host with the whole SDK has hundreds of packages, and facts stay small.
WANTED = re.compile(
    r"amdgpu-(dkms|dkms-firmware|install|exporter)|amdrocm(-(amdsmi|sysdeps|base|core|runtime)\S*|\d\S*)?"
    r"|rocm-(core|runtime|hip-runtime)|rocminfo|libhsa-runtime64-1|hsa-rocr|amd-smi-lib|amd-container-toolkit"
    r"|linux-firmware(-amdgpu)?|amd-gpu-firmware|firmware-amd-graphics|amd64-microcode|dkms|podman|crun"
    r"|libatomic1?|libquadmath0?"
    r"|llama\.cpp\S*|libllama\S*|libggml\S*|ggml\S*|mesa-vulkan\S*"
    # What always leads to the newest kernel: never a kernel itself, whose name holds its release.
    r"|linux-(image-|headers-)?((generic-hwe|virtual-hwe|oem|azure|aws|gcp|oracle|ibm)-\D\S*"
    r"|(cloud-)?amd64|generic|virtual|lowlatency|azure|aws|gcp|oracle|ibm|kvm)"
    r"|linux-(image-|headers-)?(generic-hwe|virtual-hwe|oem)-\S+"
    r"|proxmox-default-(kernel|headers)|pve-headers|gim-dkms"
)
AMD_HOSTS = re.compile(
    r"https?://(?:[\w.-]+\.)?(?:repo\.amd\.com|repo\.radeon\.com|rocm\.nightlies\.amd\.com)/\S*"
)
# A repository is enabled unless it says otherwise, in the words of dnf or of apt.
SWITCHED_OFF = re.compile(r"^\s*enabled\s*[=:]\s*(0|no|false)\s*$", re.M | re.I)
# The kernel driver and the graphics stack carry the release of a legacy ROCm in their versions too, and are
# not part of it.
OF_LEGACY_ROCM = re.compile(r"amdgpu-install|(?!.*amdgpu).+")
OURS = "amdgpu-fleet-"


def packages(
    tree: Tree, manager: str | None, rpm: t.Callable[[], str | None], wanted: re.Pattern[str] = WANTED
) -> dict[str, str]:
    """``{name: version}`` of the installed packages that are ``wanted``. ``rpm`` gives ``name version``
    lines.

    The distribution decides whose database is asked: a host with rpm may have dpkg as well, and the other way
    round.
    """
    if manager not in RPM_MANAGERS and dpkg.used(tree):
        return dpkg.installed(tree, wanted)
    if manager not in RPM_MANAGERS and pacman.used(tree):
        return pacman.installed(tree, wanted)
    return rpmdb.installed(rpm(), wanted)


def legacy_rocm(
    tree: Tree, manager: str | None, rpm: t.Callable[[], str | None], releases: t.Iterable[str]
) -> list[str]:
    """The packages of legacy ROCm releases: AMD writes the release into the version of each, 7.2.4 as
    ``.70204-``."""
    codes = []
    for release in releases:
        major, minor, patch = [*(int(part) for part in release.split(".")), 0][:3]
        codes.append(f"{major}{minor:02}{patch:02}")
    if not codes:
        return []
    code = re.compile(rf"\.({'|'.join(codes)})-")
    return sorted(
        name for name, version in packages(tree, manager, rpm, OF_LEGACY_ROCM).items() if code.search(version)
    )


def held(tree: Tree, manager: str | None) -> list[str]:
    """What this collection keeps from being upgraded; what a person holds is not in it."""
    return rpmdb.held(tree) if manager in RPM_MANAGERS else dpkg.held(tree)


def state(tree: Tree, manager: str | None, rpm: t.Callable[[], str | None]) -> dict[str, t.Any]:
    """What would stop the package manager: packages that are ``unfinished``, whether it was ``interrupted``,
    ``duplicates`` of rpm, packages that are ``on_hold``, and who holds its lock (``busy``)."""
    found: dict[str, t.Any] = {
        "unfinished": [],
        "interrupted": False,
        "duplicates": [],
        "on_hold": [],
        "busy": None,
    }
    if manager in RPM_MANAGERS:
        found["duplicates"] = rpmdb.duplicates(rpm())
        found["busy"] = rpmdb.busy(tree) or _locked(tree, rpmdb.LOCKS)
    elif dpkg.used(tree):
        found["unfinished"] = dpkg.unfinished(tree)
        found["interrupted"] = dpkg.interrupted(tree)
        found["on_hold"] = dpkg.on_hold(tree, WANTED)
        found["busy"] = _locked(tree, dpkg.LOCKS)
    elif pacman.used(tree):
        found["busy"] = pacman.busy(tree)
    return found


def _locked(tree: Tree, paths: t.Sequence[str]) -> str | None:
    """The process that holds the lock of one of these files: the files themselves are always there."""
    numbers = {}
    for path in paths:
        try:
            numbers[tree.about(path).st_ino] = path
        except (OSError, ValueError):
            continue
    for line in (tree.text("proc/locks") or "").splitlines() if numbers else []:
        # 1: POSIX  ADVISORY  WRITE 1234 08:01:131104 0 EOF
        fields = line.split()
        inode = fields[5].rpartition(":")[2] if len(fields) > 5 else ""
        if inode.isascii() and inode.isdigit() and int(inode) in numbers:
            name = tree.word("proc", fields[4], "comm") if fields[4].isdigit() else None
            return f"{name or 'process'} ({fields[4]})"
    return None


def dnf_repositories(tree: Tree) -> list[str]:
    """The names of the enabled repositories of dnf."""
    found = []
    for file in tree.names("etc/yum.repos.d"):
        text = tree.text("etc/yum.repos.d", file) if file.endswith(".repo") else None
        sections = re.split(r"^\[(.+?)\]\s*$", text or "", flags=re.M)[1:]
        for name, body in zip(sections[::2], sections[1::2]):
            if not SWITCHED_OFF.search(body):
                found.append(name)
    return found


def repositories(tree: Tree) -> list[dict[str, t.Any]]:
    """AMD's repositories that somebody else configured: ``{path, uri, signed, mixed}``.

    ``signed``: a key is named, or gpgcheck is on. ``mixed``: the file holds repositories of others too.
    """
    found = []
    for folder, suffixes in (
        ("etc/apt/sources.list.d", (".list", ".sources")),
        ("etc/yum.repos.d", (".repo",)),
    ):
        for name in tree.names(folder):
            if name.endswith(suffixes) and not name.startswith(OURS):
                found += _repositories_in(tree, f"{folder}/{name}")
    return found + _repositories_in(tree, "etc/apt/sources.list")


def _repositories_in(tree: Tree, path: str) -> list[dict[str, t.Any]]:
    found = []
    text = "\n".join(
        line for line in (tree.text(path) or "").splitlines() if not line.lstrip().startswith("#")
    )
    mixed = any(not AMD_HOSTS.match(uri) for uri in re.findall(r"https?://\S+", text))
    # One line of a .list file is a repository; stanzas and sections of the other kinds are parted by blank
    # lines or brackets.
    blocks = text.splitlines() if path.endswith(".list") else re.split(r"\n\s*\n|^(?=\[)", text, flags=re.M)
    for block in blocks:
        if SWITCHED_OFF.search(block):
            continue
        signed = bool(re.search(r"signed-by\s*[:=]|^\s*gpgcheck\s*=\s*1", block, re.I | re.M))
        found += [
            {"path": f"/{path}", "uri": uri, "signed": signed, "mixed": mixed}
            for uri in AMD_HOSTS.findall(block)
            if not uri.endswith((".key", ".gpg"))
        ]
    return found
