# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installed packages and the repositories that they come from, read from the files of dpkg, pacman, apt and
dnf."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

RPM_MANAGERS = ("dnf", "zypper")
DPKG_STATUS = "var/lib/dpkg/status"
PACMAN_LOCAL = "var/lib/pacman/local"
# Only what a plan can need: a host with the whole SDK has hundreds of packages, and facts stay small.
WANTED = re.compile(
    r"amdgpu-(dkms|dkms-firmware|install|exporter)|amdrocm(-(amdsmi|sysdeps|base|core|runtime)\S*|\d\S*)?"
    r"|rocm-(core|runtime|hip-runtime)|rocminfo|libhsa-runtime64-1|hsa-rocr|amd-smi-lib|amd-container-toolkit"
    r"|linux-firmware(-amdgpu)?|amd-gpu-firmware|firmware-amd-graphics|amd64-microcode|dkms|podman|crun"
    r"|libatomic1?|libquadmath0?"
    # What always leads to the newest kernel: never a kernel itself, whose name holds its release.
    r"|linux-(image-|headers-)?((generic-hwe|virtual-hwe|oem)-\S+|(cloud-)?amd64|generic|virtual|lowlatency)"
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
HELD = "var/lib/amdgpu-fleet/held"
VERSIONLOCK = "etc/dnf/plugins/versionlock.list"


def packages(
    tree: Tree, manager: str | None, rpm: t.Callable[[], str | None], wanted: re.Pattern[str] = WANTED
) -> dict[str, str]:
    """``{name: version}`` of the installed packages that are ``wanted``. ``rpm`` gives ``name version``
    lines.

    The distribution decides whose database is asked: a host with rpm may have dpkg as well, and the other way
    round.
    """
    if manager not in RPM_MANAGERS and tree.exists(DPKG_STATUS):
        return {name: version for name, (version, _on_hold) in _dpkg(tree, wanted).items()}
    if manager not in RPM_MANAGERS and tree.exists(PACMAN_LOCAL):
        # Folders are called name-version-release.
        split = (name.rsplit("-", 2) for name in tree.names(PACMAN_LOCAL))
        return {
            parts[0]: f"{parts[1]}-{parts[2]}"
            for parts in split
            if len(parts) == 3 and wanted.fullmatch(parts[0])
        }
    pairs = (line.partition(" ") for line in (rpm() or "").splitlines())
    return {name: version for name, _space, version in pairs if version and wanted.fullmatch(name)}


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


def _dpkg(tree: Tree, wanted: re.Pattern[str] = WANTED) -> dict[str, tuple[str, bool]]:
    """Version of each installed package that is wanted, and whether it is on hold."""
    found = {}
    data = tree.raw(DPKG_STATUS, limit=64 << 20) or b""
    for stanza in re.split(r"\n\n+", data.decode("utf-8", "replace")):
        name = stanza[9 : stanza.find("\n")]
        if stanza.startswith("Package: ") and wanted.fullmatch(name):
            status = re.search(r"^Status: (install|hold) ok installed$", stanza, re.M)
            version = re.search(r"^Version: (\S+)", stanza, re.M)
            if status and version:
                found[name] = (version.group(1), status.group(1) == "hold")
    return found


def held(tree: Tree, manager: str | None) -> list[str]:
    """What this collection keeps from being upgraded; what a person holds is not in it."""
    if manager in RPM_MANAGERS:
        found = re.search(
            r"^# BEGIN amdgpu\.fleet$(.*?)^# END amdgpu\.fleet$", tree.text(VERSIONLOCK) or "", re.M | re.S
        )
        return found.group(1).split() if found else []
    ours = (tree.text(HELD) or "").split()
    known = _dpkg(tree) if ours else {}
    return [name for name in ours if known.get(name, ("", False))[1]]


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
