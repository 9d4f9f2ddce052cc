# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the system runs: on a host of its own, in a virtual machine, in a system container, or in WSL2.

No single sign tells a container: a file may be left in an image, and a name space may hide another. Signs
that only a container manager makes decide alone; of the others it takes two."""

from __future__ import annotations

import re
import typing as t

from ._tree import Tree

# Made in the images of the test bed alone: its hosts are containers that stand for real hosts. Nothing of
# this collection writes it on a host, and a person has no reason to.
STANDS_FOR_A_HOST = "etc/amdgpu-fleet-test-bed-host"
MANAGERS = (
    "lxc",
    "lxc-libvirt",
    "systemd-nspawn",
    "docker",
    "podman",
    "incus",
    "lxd",
    "openvz",
    "rkt",
    "oci",
    "kubernetes",
)
# Where container managers keep the layers of images.
STORES = r"/(containerd|docker|containers/storage|crio|kubelet|buildkit)\b"
WHOLE_RANGE = ["0", "0", "4294967295"]
# The first name space of processes has this number on every kernel (PROC_PID_INIT_INO).
FIRST_PROCESSES = "pid:[4026531836]"
# Vendors that DMI names in virtual machines.
MACHINES = {
    "QEMU": "kvm",
    "KVM": "kvm",
    "Microsoft Corporation": "hyperv",
    "VMware": "vmware",
    "Xen": "xen",
    "Google": "google",
    "Amazon EC2": "amazon",
    "DigitalOcean": "kvm",
    "OpenStack": "kvm",
    "innotek": "virtualbox",
    "Parallels": "parallels",
}


def place(tree: Tree, release: str | None) -> dict[str, t.Any]:
    """``kind`` (host, guest, container or wsl), the ``container`` manager, the ``machine`` that a guest runs
    in, and the ``signs`` of a container."""
    machine = _machine(tree)
    if re.search(r"microsoft|WSL", release or "", re.I) and not tree.exists("run/systemd/container"):
        return {"kind": "wsl", "container": None, "machine": "hyperv", "signs": [f"kernel {release}"]}
    name, certain, others = _container(tree, release)
    signs = [*certain, *others]
    if (certain or len(others) > 1) and not tree.exists(STANDS_FOR_A_HOST):
        return {"kind": "container", "container": name, "machine": machine, "signs": signs}
    return {"kind": "guest" if machine else "host", "container": None, "machine": machine, "signs": []}


def _container(tree: Tree, release: str | None) -> tuple[str | None, list[str], list[str]]:
    """Its manager, the signs that decide alone, and those that do not."""
    certain: dict[str, str | None] = {}
    mounts = tree.text("proc/self/mountinfo") or ""
    for path in ("run/host/container-manager", "run/systemd/container"):
        if tree.exists(path):
            certain[f"/{path}"] = tree.word(path, limit=40)
    started_with = re.search(rb"(?:^|\0)container=([\w.-]{1,40})", _environment(tree))
    if started_with:
        certain["container= of the first process"] = started_with.group(1).decode("ascii", "replace")
    for path, name in (("run/.containerenv", "podman"), ("dev/.lxc", "lxc"), ("dev/incus/sock", "incus")):
        if tree.exists(path):
            certain[f"/{path}"] = name
    if b"KUBERNETES_SERVICE_HOST=" in _environment(tree):
        certain["KUBERNETES_SERVICE_HOST of the first process"] = "kubernetes"
    layers = re.search(r" / / (?:\S+ )+- (?:overlay|fuse-overlayfs) .*lowerdir=(\S+)", mounts)
    if layers and re.search(STORES, layers.group(1)):
        certain["layers of an image below /"] = None
    if tree.exists("proc/vz") and not tree.exists("proc/bc"):
        certain["/proc/vz"] = "openvz"
    others: dict[str, str | None] = {}
    # Images of containers that became virtual machines keep this one; virtual machines of LXD have the other.
    for path, name in ((".dockerenv", "docker"), ("dev/lxd/sock", "lxd")):
        if tree.exists(path):
            others[f"/{path}"] = name
    if re.search(r" /proc/\S+ .* - fuse\.lxcfs ", mounts):
        others["lxcfs below /proc"] = "lxc"
    mapped = (tree.text("proc/self/uid_map") or "").split()
    if mapped and mapped != WHOLE_RANGE:
        others["/proc/self/uid_map"] = None
    if (tree.link_target("proc/self/ns/pid") or FIRST_PROCESSES) != FIRST_PROCESSES:
        others["/proc/self/ns/pid"] = None
    if release and not tree.exists("lib/modules", release) and not _kernels(tree):
        others[f"no kernel in /boot and no /lib/modules/{release}"] = None
    names = [*certain.values(), *others.values()]
    return next((name for name in names if name in MANAGERS), None), list(certain), list(others)


def _environment(tree: Tree) -> bytes:
    """Of the first process. Nobody but root may read it, and that is no problem of the host."""
    try:
        with open(tree.path("proc/1/environ"), "rb") as file:
            return file.read(65536)
    except (OSError, ValueError):
        return b""


def _kernels(tree: Tree) -> bool:
    return any(name.startswith(("vmlinuz", "vmlinux", "Image", "kernel")) for name in tree.names("boot"))


def _machine(tree: Tree) -> str | None:
    """The kind of a virtual machine. Bare metal of a cloud has the name of the cloud and no such flag."""
    if "control_d" in (tree.word("proc/xen/capabilities") or ""):
        return None  # dom0 of Xen: the hypervisor is its own
    data = tree.raw("proc/cpuinfo", limit=8192) or b""
    if not re.search(rb"^flags\s*:.*\bhypervisor\b", data, re.M):
        return None
    vendor = tree.word("sys/class/dmi/id/sys_vendor") or ""
    return next((kind for name, kind in MACHINES.items() if vendor.startswith(name)), "unknown")
