# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fact ``amd_host``: what a host is apart from its GPUs and from ROCm, and the answers to the planner's
questions."""

from __future__ import annotations

import re
import typing as t

from . import (
    _access,
    _account,
    _kernel_log,
    _memory,
    _model,
    _modprobe,
    _network,
    _os,
    _packages,
    _parameters,
    _place,
    _podman,
    _room,
    _security,
    _serving,
)
from ._acceptance import summary
from ._boot import next_system
from ._code import record
from ._reader import Reader
from ._tree import Tree, memory_bytes
from ._write import WriteError

_NAMES = {"type": "list", "elements": "str", "default": []}
# What the planner asks, as options of a module.
QUESTIONS = {
    "search_paths": _NAMES,
    "ports": {"type": "list", "elements": "int", "default": []},
    "paths": _NAMES,
    "images": _NAMES,
    "programs": _NAMES,
    "user": {"type": "str", "default": ""},
    "network": {"type": "bool", "default": False},
    "health": {"type": "bool", "default": False},
}
GPU_MODULES = "kernel/drivers/gpu/drm/amd"


def facts(reader: Reader, questions: dict[str, t.Any]) -> dict[str, t.Any]:
    """The fact. ``questions``: what the planner asks, the options of the module ``host_facts``."""
    tree = reader.tree
    numbers, members = _access.groups(tree)
    account = _account.account(tree, questions["user"])
    podman = _podman.podman(tree, reader.packages, questions["images"], account)
    numa_balancing = tree.number("proc/sys/kernel/numa_balancing")
    return {
        "os": reader.os,
        "place": _place.place(tree, reader.release),
        "memory_bytes": memory_bytes(tree),
        "cpu_vendor": _os.cpu_vendor(tree),
        "packages": reader.packages,
        "package_state": _packages.state(tree, reader.manager, reader.rpm),
        "room": _room.room(tree),
        "held": _packages.held(tree, reader.manager),
        "repositories": _packages.repositories(tree),
        "dnf_repositories": _packages.dnf_repositories(tree) if reader.manager == "dnf" else [],
        "kernel": _kernel(reader),
        "boot": _boot(reader),
        "iommu": _memory.iommu(tree, reader.arguments),
        "numa_nodes": _memory.numa_nodes(tree),
        "numa_balancing": None if numa_balancing is None else numa_balancing > 0,
        "transparent_hugepages": _memory.transparent_hugepages(tree),
        "memlock": _security.memlock(tree),
        "selinux": _security.selinux(tree),
        "devices": _access.devices(tree),
        "groups": numbers,
        "group_members": members,
        "podman": podman,
        "user": account,
        "ports": _serving.ports(tree, questions["ports"]),
        "paths": _model.paths(tree, questions["paths"]),
        "serve_units": _serving.serve_units(tree),
        "acceptance": summary.of(tree),
        "environments": _serving.environments(tree, questions["search_paths"]),
        "code_objects": record.recall_all(tree, podman["image_digests"], questions["search_paths"]),
        "programs": _serving.programs(tree, questions["programs"]),
        "venvs": _serving.venvs(tree),
        "network": _network.network(tree) if questions["network"] else None,
        "problems": tree.problems,
    }


def _kernel(reader: Reader) -> dict[str, t.Any]:
    tree, release = reader.tree, reader.release
    kernels = _os.installed_kernels(tree)
    options = _module_options(tree, reader.root)
    flavour = re.search(r"-([a-z][a-z0-9+._]*)$", release or "")
    return {
        "release": release,
        "flavour": flavour.group(1) if flavour else None,
        "command_line": reader.arguments,
        "default_release": reader.default_release,
        "installed": kernels,
        "headers": bool(release) and tree.exists("lib/modules", release or "", "build"),
        "modules": bool(release) and tree.exists("lib/modules", release or "", GPU_MODULES),
        "without_headers": [name for name in kernels if not tree.exists("lib/modules", name, "build")],
        "without_modules": [name for name in kernels if not tree.exists("lib/modules", name, GPU_MODULES)],
        "module_options": options,
        "builtin": _os.builtin(tree, release),
        "module_parameters": {
            name: tree.names("sys/module", name, "parameters")
            for name in ("ttm", "amdttm")
            if tree.exists("sys/module", name, "parameters")
        },
        "unknown_parameters": _parameters.unknown(tree, reader.arguments, options),
        "trouble": _kernel_log.trouble(tree, reader.dmesg),
    }


def _module_options(tree: Tree, root: str) -> list[dict[str, t.Any]]:
    """Options of amdgpu and TTM in files of modprobe.d that we did not write."""
    unread: list[dict[str, str]] = []
    try:
        options: list[dict[str, t.Any]] = _modprobe.of_others(root, unread)
    except WriteError as error:
        options, unread = [], [{"path": "/etc/modprobe.d", "problem": str(error)}]
    for entry in unread:
        tree.problem(entry["path"], entry["problem"])
    return options


def _boot(reader: Reader) -> dict[str, t.Any]:
    tree = reader.tree
    found, images, initramfs, writable = reader.boot
    mark = (tree.word("var/lib/amdgpu-fleet/rebooted", limit=1000) or "").partition(" ")
    # Where nobody saw the host come back, the mark names the boot that was to end.
    unseen = mark[0].startswith("from:")
    return {
        "loader": found.loader,
        "refused": found.refused._asdict() if found.refused else None,
        "next_system": next_system(tree, found.loader),
        "initramfs": initramfs.tool,
        "initramfs_commands": initramfs.commands,
        "initramfs_images": images,
        "initramfs_options": reader.initramfs_options,
        "writable_root": writable,
        "secure_boot": reader.secure_boot,
        "signatures_enforced": _security.signatures_enforced(tree, reader.arguments),
        "mok_enrolled": _security.mok_enrolled(tree),
        "bootc": tree.exists("run/ostree-booted"),
        "id": tree.word("proc/sys/kernel/random/boot_id"),
        "rebooted_from": mark[0][5:] if unseen else None,
        "rebooted_into": None if unseen else mark[0] or None,
        "rebooted_for": mark[2] or None,
    }
