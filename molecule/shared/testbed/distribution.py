# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operating system of a described host looks like: release files, boot files, packages, ROCm
trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .writer import Writer, kernel_module

INBOX_MODULE = "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko"
DKMS_MODULE = "updates/dkms/amdgpu.ko"
SRCVERSIONS = {"inbox": "5F2A9C4E1B7D83A6C0E4F19", "dkms": "B1D07E93C5A2846FEE3D5A7"}


@dataclass(frozen=True)
class System:
    """What differs between the distributions the test bed poses as."""

    os_release: str
    render_gid: int
    video_gid: int
    dkms_suffix: str
    bls: bool = False


def _os_release(name: str, identifier: str, version: str, codename: str, like: str = "") -> str:
    lines = [
        f'PRETTY_NAME="{name}"',
        f'NAME="{name.split(" ")[0]}"',
        f'VERSION_ID="{version}"',
        f"VERSION_CODENAME={codename}",
        f"ID={identifier}",
    ]
    return "\n".join(lines + ([f'ID_LIKE="{like}"'] if like else []))


SYSTEMS = {
    "debian12": System(
        _os_release("Debian GNU/Linux 12 (bookworm)", "debian", "12", "bookworm"), 106, 44, "22.04"
    ),
    "debian13": System(
        _os_release("Debian GNU/Linux 13 (trixie)", "debian", "13", "trixie"), 992, 44, "24.04"
    ),
    "ubuntu2404": System(
        _os_release("Ubuntu 24.04.4 LTS", "ubuntu", "24.04", "noble", "debian"), 993, 44, "24.04"
    ),
    "ubuntu2604": System(
        _os_release("Ubuntu 26.04.1 LTS", "ubuntu", "26.04", "resolute", "debian"), 992, 44, "26.04"
    ),
    "el9": System(
        _os_release("Rocky Linux 9.6 (Blue Onyx)", "rocky", "9.6", "", "rhel centos fedora"),
        105,
        39,
        "el9",
        bls=True,
    ),
    "sles16": System(
        _os_release("SUSE Linux Enterprise Server 16.0", "sles", "16.0", "", "suse"),
        480,
        483,
        "sles16",
        bls=True,
    ),
}
_EL_REPOSITORIES = "".join(
    f"[{name}]\nname={name}\nbaseurl=http://mirror.example/{name}\n\n" for name in ("baseos", "crb", "epel")
)


def dkms_package_version(driver: str, system: System) -> str:
    """The version DKMS knows the driver by: `7.1.3.31500000` is `7.1.3-2390945.24.04` on Ubuntu 24.04."""
    return f"{'.'.join(driver.split('.')[:3])}-2390945.{system.dkms_suffix}"


def driver_release(driver: str) -> str:
    """`7.1.3.31500000` -> `31.50.0.0`, the number AMD publishes the driver under."""
    digits = driver.split(".")[-1]
    return f"{int(digits[:2])}.{int(digits[2:4])}.{int(digits[4:6])}.{int(digits[6:])}"


def write_distribution(out: Writer, host: dict[str, Any]) -> None:
    """Everything of a host outside /sys, /proc and /dev."""
    system = SYSTEMS[host["os"]]
    out.file("etc/os-release", system.os_release)
    out.file("etc/group", f"root:x:0:\nvideo:x:{system.video_gid}:\nrender:x:{system.render_gid}:\n")
    out.file("etc/machine-id", "8f0c1b6a5e3d4c2b9a7f6e5d4c3b2a19")
    for release in [host["kernel"]["release"], *host["kernel"]["others"]]:
        _write_kernel(out, host, release)
    _write_boot_loader(out, host, system)
    if host["os"] == "el9":
        out.file("etc/dracut.conf", 'hostonly="yes"')
    else:
        out.file("etc/initramfs-tools/initramfs.conf", "MODULES=most")
    _write_rocm(out, host)
    _write_packages(out, host, system)
    if host["os"] == "el9":
        out.file("etc/yum.repos.d/rocky.repo", _EL_REPOSITORIES)
    for path, content in host["files"].items():
        out.file(path.lstrip("/"), content)


def inbox_module_fields(release: str) -> dict[str, str]:
    """What `modinfo amdgpu` tells of the kernel's own module, which carries no version."""
    return {
        "license": "GPL and additional rights",
        "name": "amdgpu",
        "srcversion": SRCVERSIONS["inbox"],
        "vermagic": f"{release} SMP preempt mod_unload modversions",
    }


def dkms_module_fields(release: str, version: str) -> dict[str, str]:
    """What `modinfo amdgpu` tells of AMD's module."""
    return {"version": version, **inbox_module_fields(release), "srcversion": SRCVERSIONS["dkms"]}


def _write_kernel(out: Writer, host: dict[str, Any], release: str) -> None:
    out.file(f"boot/vmlinuz-{release}", b"kernel image of the test bed\n")
    out.file(f"boot/initrd.img-{release}", b"initramfs of the test bed\n")
    out.file(
        f"boot/config-{release}", "CONFIG_DRM_AMDGPU=m\nCONFIG_HSA_AMD=y\nCONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y"
    )
    modules = f"lib/modules/{release}"
    out.file(f"{modules}/{INBOX_MODULE}", kernel_module(inbox_module_fields(release)))
    present = [INBOX_MODULE]
    if host["driver"]["source"] == "dkms":
        version = host["driver"]["version"]
        dkms = dkms_package_version(version, SYSTEMS[host["os"]])
        module = kernel_module(dkms_module_fields(release, version))
        out.file(f"{modules}/{DKMS_MODULE}", module)
        out.file(f"var/lib/dkms/amdgpu/{dkms}/{release}/x86_64/module/amdgpu.ko", module)
        out.link(
            f"var/lib/dkms/amdgpu/kernel-{release}-x86_64", f"var/lib/dkms/amdgpu/{dkms}/{release}/x86_64"
        )
        if release == host["kernel"]["release"]:
            out.link(f"var/lib/dkms/amdgpu/{dkms}/source", f"usr/src/amdgpu-{dkms}")
            out.file(
                f"usr/src/amdgpu-{dkms}/dkms.conf",
                f'PACKAGE_NAME="amdgpu"\nPACKAGE_VERSION="{dkms}"\nBUILT_MODULE_NAME[0]="amdgpu"\nAUTOINSTALL="yes"',
            )
        present = [DKMS_MODULE]
    out.file(f"{modules}/modules.dep", "".join(f"{path}:\n" for path in present))
    out.file(f"{modules}/modules.order", f"{INBOX_MODULE}\n")
    out.file(f"{modules}/modules.builtin", "")


def _write_boot_loader(out: Writer, host: dict[str, Any], system: System) -> None:
    command_line = host["kernel"]["command_line"]
    release = host["kernel"]["release"]
    extra = " ".join(
        word for word in command_line.split() if not word.startswith("root=") and word not in ("ro", "quiet")
    )
    default = "quiet" if "quiet" in command_line.split() else ""
    settings = [
        "GRUB_DEFAULT=0",
        "GRUB_TIMEOUT=5",
        f'GRUB_CMDLINE_LINUX_DEFAULT="{default}"',
        f'GRUB_CMDLINE_LINUX="{extra}"',
    ]
    if system.bls:
        out.file("etc/default/grub", "\n".join([*settings, "GRUB_ENABLE_BLSCFG=true"]))
        out.file("etc/kernel/cmdline", command_line)
        out.file("boot/grub2/grub.cfg", "blscfg")
        out.file(
            f"boot/loader/entries/8f0c1b6a5e3d4c2b9a7f6e5d4c3b2a19-{release}.conf",
            f"title {release}\nversion {release}\nlinux /vmlinuz-{release}\ninitrd "
            f"/initrd.img-{release}\noptions {command_line}",
        )
        return
    out.file("etc/default/grub", "\n".join(settings))
    out.file(
        "boot/grub/grub.cfg",
        f"menuentry 'Linux {release}' --class gnu-linux {{\n\tlinux\t/boot/vmlinuz-{release} {command_line}\n"
        f"\tinitrd\t/boot/initrd.img-{release}\n}}",
    )


def _write_rocm(out: Writer, host: dict[str, Any]) -> None:
    out.folder("opt")
    for item in host["rocm"]:
        version = item["version"]
        if item["layout"] == "legacy":
            out.file(f"opt/rocm-{version}/.info/version", f"{version}-1")
            out.file(f"opt/rocm-{version}/bin/amd-smi", "#!/bin/sh")
            if item["current"]:
                out.link("opt/rocm", f"opt/rocm-{version}")
            continue
        core = f"core-{'.'.join(version.split('.')[:2])}"
        out.file(f"opt/rocm/{core}/.info/version", version)
        out.file(f"opt/rocm/{core}/bin/amd-smi", "#!/bin/sh")
        if item["current"]:
            for name in ("core", f"core-{version.split('.')[0]}"):
                out.link(f"opt/rocm/{name}", f"opt/rocm/{core}")
            out.link("opt/rocm/bin", f"opt/rocm/{core}/bin")


def packages_of(host: dict[str, Any]) -> dict[str, str]:
    """Installed packages: the described ones, the firmware and the driver."""
    system, driver = SYSTEMS[host["os"]], host["driver"]["version"]
    packages = dict(host["packages"])
    if host["firmware"]:
        packages[host["firmware"]["package"]] = host["firmware"]["version"]
    if driver:
        build = f"{driver.split('.')[-1]}-2390945.{system.dkms_suffix}"
        packages.setdefault("amdgpu-dkms", f"1:{driver}-2390945.{system.dkms_suffix}")
        packages.setdefault("amdgpu-dkms-firmware", f"1:{driver_release(driver)}.{build}")
    return packages


def _write_packages(out: Writer, host: dict[str, Any], system: System) -> None:
    if system.bls:
        return  # the rpm database is binary: nothing reads it without rpm
    stanzas = [
        f"Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: misc\n"
        "Maintainer: test bed <root@localhost>\n"
        f"Architecture: all\nVersion: {version}\nDescription: {name} of the test bed\n"
        for name, version in sorted(packages_of(host).items())
    ]
    out.file("var/lib/dpkg/status", "\n".join(stanzas))
