# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else than this collection looks after the GPU driver of a host."""

from __future__ import annotations

import typing as t

from ._tree import Tree

OPERATOR_FILES = {
    "etc/modprobe.d/blacklist-amdgpu.conf": "# added by gpu operator",
    "etc/modprobe.d/blacklist-amdgpu-by-operator.conf": "",
    "etc/modprobe.d/amdgpu-blacklist.conf": "",
}
OPERATOR_FIRMWARE = "/var/lib/firmware"
INSTALLER_FILES = (
    "etc/apt/sources.list.d/amdgpu.list",
    "etc/apt/sources.list.d/amdgpu-proprietary.list",
    "etc/yum.repos.d/amdgpu.repo",
    "etc/amdgpu-install",
)


def owners(tree: Tree, packages: t.Mapping[str, str], packaged: bool) -> list[dict[str, t.Any]]:
    """``{name, signs}`` of each: gpu_operator, gim, amdgpu_install, runfile. ``packaged``: whether a module
    file lies on the disk that could be the loaded one."""
    found = []
    for name, signs in (
        ("gpu_operator", _operator(tree, packaged)),
        ("gim", [path for path in ("sys/module/gim", "etc/gim_config") if tree.exists(path)]),
        ("amdgpu_install", _installer(tree, packages)),
        ("runfile", [path for path in ("opt/rocm-installer",) if tree.exists(path)]),
    ):
        if signs:
            found.append({"name": name, "signs": [f"/{sign}" if "/" in sign else sign for sign in signs]})
    return found


def _operator(tree: Tree, packaged: bool) -> list[str]:
    """Any two of the signs of the GPU operator (kernel module management); one alone may be a person's."""
    signs = [
        path
        for path, first in OPERATOR_FILES.items()
        if (text := tree.text(path)) is not None and text.lower().startswith(first)
    ]
    if tree.exists("var/lib/kubelet"):
        signs.append("var/lib/kubelet")
    if tree.text("sys/module/firmware_class/parameters/path") == OPERATOR_FIRMWARE:
        signs.append("sys/module/firmware_class/parameters/path")
    if tree.exists("sys/module/amdgpu/version") and not packaged:
        signs.append("sys/module/amdgpu/version")
    return signs if len(signs) > 1 else []


def _installer(tree: Tree, packages: t.Mapping[str, str]) -> list[str]:
    signs = [path for path in INSTALLER_FILES if tree.exists(path)]
    return [*signs, *(["package amdgpu-install"] if "amdgpu-install" in packages else [])]
