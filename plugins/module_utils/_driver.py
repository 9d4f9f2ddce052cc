# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The amdgpu kernel driver and its firmware: what is loaded, what is installed, what stands in the way."""

from __future__ import annotations

import mmap
import os
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, natural, whole

MODULE = "sys/module/amdgpu"
DKMS = "var/lib/dkms/amdgpu"
MODPROBE_FOLDERS = ("etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d")
FIRMWARE_PACKAGES = (
    "amdgpu-dkms-firmware",
    "firmware-amd-graphics",
    "linux-firmware-amdgpu",
    "amd-gpu-firmware",
    "linux-firmware",
)


def release_of(module_version: str | None) -> str | None:
    """``7.1.3.31500000 -> 31.50.0``: the last group is the driver release as ``MMmmpp00``.

    Source: ROCm/rocm-docs, versions page; for example 30300400 is release 30.30.4.
    """
    group = (module_version or "").rpartition(".")[2]
    if not re.fullmatch(r"[0-9]{8}", group):
        return None
    return f"{int(group[:2])}.{int(group[2:4])}.{int(group[4:6])}"


def module_files(tree: Tree, release: str) -> list[str]:
    """Where the amdgpu module of a kernel may lie; depmod prefers ``updates`` over the kernel's own."""
    base = f"lib/modules/{release}"
    found = []
    for folder in ("updates/dkms", "extra", "updates", "kernel/drivers/gpu/drm/amd/amdgpu"):
        for suffix in ("", ".zst", ".xz", ".gz"):
            path = f"{base}/{folder}/amdgpu.ko{suffix}"
            if tree.exists(path):
                found.append(path)
    return found


Modinfo = t.Callable[[str, str], t.Optional[str]]


def srcversion_of(tree: Tree, path: str, modinfo: Modinfo) -> str | None:
    """The ``srcversion`` of a module file; a compressed one is left to ``modinfo``."""
    if not path.endswith(".ko"):
        return modinfo("srcversion", tree.path(path))
    try:
        with (
            open(tree.path(path), "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            match = re.search(rb"(?:^|\0)srcversion=([0-9A-F]+)", data)
            return match.group(1).decode() if match else None
    except (OSError, ValueError):
        tree.problem("/" + path, "cannot be read")
        return None


def dkms_builds(tree: Tree) -> list[dict[str, t.Any]]:
    """``{version, kernel, state}`` of every amdgpu build DKMS knows; ``state`` is ``added``, ``built`` or
    ``installed``.

    Read from DKMS's own tree, which is the same for DKMS 2 and 3, while the lines of ``dkms status`` are not:
    a link ``kernel-RELEASE-ARCH`` leads to the build that is installed for a kernel.
    """
    names = tree.names(DKMS)
    installed = {name: tree.link_target(DKMS, name) or "" for name in names if name.startswith("kernel-")}
    builds = []
    for version in names:
        if version == "original_module" or version in installed:
            continue
        kernels = [name for name in tree.names(DKMS, version) if name not in ("source", "build")]
        if not kernels:
            builds.append({"version": version, "kernel": None, "state": "added"})
        for kernel in kernels:
            linked = any(
                name.startswith(f"kernel-{kernel}-") and target.split("/")[-3:-1] == [version, kernel]
                for name, target in installed.items()
            )
            outside = [path for path in module_files(tree, kernel) if "/kernel/drivers/" not in path]
            builds.append(
                {
                    "version": version,
                    "kernel": kernel,
                    "state": "installed" if linked and outside else "built",
                }
            )
    return builds


def build_log(tree: Tree) -> str | None:
    """The log of a build that did not come to its end: DKMS moves that of a good one away."""
    logs = [f"{DKMS}/{version}/build/make.log" for version in tree.names(DKMS)]
    return next((f"/{log}" for log in logs if tree.exists(log)), None)


def blacklisted_by(tree: Tree, command_line: t.Sequence[str]) -> list[str]:
    """The files and kernel arguments that keep amdgpu from loading by itself."""
    found = []
    seen = set()
    for folder in MODPROBE_FOLDERS:
        for name in tree.names(folder):
            if not name.endswith(".conf") or name in seen:
                continue
            seen.add(name)
            for line in (tree.text(folder, name) or "").splitlines():
                if line.split()[:2] == ["blacklist", "amdgpu"] or _loads_nothing(line):
                    found.append(f"/{folder}/{name}")
                    break
    for argument in command_line:
        name, value = _cmdline.parse(argument)
        words = (value or "").split(",")
        if name in ("modprobe.blacklist", "module_blacklist") and "amdgpu" in words:
            found.append(argument)
        if name == "initcall_blacklist" and "amdgpu_init" in words:
            found.append(argument)
    return found


def _loads_nothing(line: str) -> bool:
    """Another command in place of loading the module, as ``install amdgpu /bin/false``."""
    words = line.split()
    return words[:2] == ["install", "amdgpu"] and not any("modprobe" in word for word in words[2:])


def next_module(tree: Tree, release: str | None) -> str | None:
    """The kind of amdgpu module that a kernel would load: ``dkms`` (outside of its own modules), ``inbox`` or
    ``None``."""
    files = module_files(tree, release) if release else []
    if not files:
        return None
    return "inbox" if "/kernel/drivers/" in files[0] else "dkms"


class Boot(t.NamedTuple):
    """How the host was started."""

    kernel: str | None
    # The kernel of the next boot.
    following: str | None
    arguments: t.Sequence[str]
    secure_boot: bool | None


def driver(tree: Tree, boot: Boot, modinfo: Modinfo) -> dict[str, t.Any]:
    """The fact ``driver``. ``/sys/module/amdgpu/version`` is
    there with DKMS only. Signatures matter under Secure Boot only."""
    loaded = tree.exists(MODULE) and (tree.exists(MODULE, "initstate") or tree.exists(MODULE, "srcversion"))
    version = tree.word(MODULE, "version") if loaded else None
    builds = dkms_builds(tree)
    files = module_files(tree, boot.kernel) if boot.kernel else []
    running = tree.word(MODULE, "srcversion") if loaded else None
    installed = srcversion_of(tree, files[0], modinfo) if files and running else None
    source = None
    if loaded:
        source = "dkms" if version else "inbox"
    return {
        "loaded": loaded,
        "source": source,
        "version": version,
        "release": release_of(version),
        "dkms": builds,
        "build_log": build_log(tree),
        "built_for_running_kernel": bool(files),
        "next_module": next_module(tree, boot.following or boot.kernel),
        "reload_needed": bool(running and installed and running != installed),
        "signer": modinfo("signer", tree.path(files[0])) if files and boot.secure_boot else None,
        "blacklisted_by": blacklisted_by(tree, boot.arguments),
    }


def mes_version(tree: Tree) -> str | None:
    """The loaded MES firmware (``0x80``), from debugfs: root only, and only where debugfs is mounted."""
    base = "sys/kernel/debug/dri"
    for name in natural(tree.names(base)) if os.access(tree.path(base), os.R_OK | os.X_OK) else []:
        text = tree.text(base, name, "amdgpu_firmware_info") or ""
        match = re.search(
            r"^MES feature version: \S+ firmware version: (0x[0-9a-fA-F]+)", text.replace(",", ""), re.M
        )
        if match:
            return hex(int(match.group(1), 16) & 0xFFF)
    return None


TICKS = 100  # of a second, as /proc counts on every architecture


def booted_at(tree: Tree) -> float | None:
    """When the first process began: of a machine its boot, and of a container host, which shares the kernel,
    its own start."""
    btime = re.search(rb"^btime ([0-9]{1,15})$", tree.raw("proc/stat") or b"", re.M)
    fields = (tree.raw("proc/1/stat") or b"").rpartition(b")")[2].split()
    started = whole(fields[19].decode("ascii", "replace")) if len(fields) > 19 else None
    return int(btime.group(1)) + started / TICKS if btime and started is not None else None


def installed_at(tree: Tree, package: str, rpm_time: t.Callable[[str], t.Optional[str]]) -> float | None:
    """When a package was installed: dpkg writes its list of files then, rpm remembers it."""
    for name in (f"{package}.list", f"{package}:amd64.list"):
        try:
            return os.stat(tree.path("var/lib/dpkg/info", name)).st_mtime
        except (OSError, ValueError):
            continue
    seconds = rpm_time(package) or ""
    return float(seconds) if re.fullmatch(r"\d{1,12}", seconds) else None


def firmware(
    tree: Tree, packages: dict[str, str], rpm_time: t.Callable[[str], t.Optional[str]]
) -> dict[str, t.Any]:
    """The fact ``firmware``: the package that wins, its version, and what is loaded."""
    package = next((name for name in FIRMWARE_PACKAGES if name in packages), None)
    vbios = None
    for name in tree.names("sys/class/drm"):
        if name.startswith("card") and name[4:].isdigit():
            vbios = vbios or tree.word("sys/class/drm", name, "device/vbios_version")
    boot, installed = booted_at(tree), installed_at(tree, package, rpm_time) if package else None
    return {
        "package": package,
        "version": packages[package] if package else None,
        "newer_than_boot": None if boot is None or installed is None else installed > boot,
        "mes": mes_version(tree),
        "vbios": vbios,
    }
