# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with other boot loaders than the test bed has, in a few lines each."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline

LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
EFIVARS = "sys/firmware/efi/efivars"
ROOT = "root=UUID=1"
ZFS = "root=zfs:zroot/ROOT/void"
ASKED = cmdline.wanted(["iommu=pt"], ["amdgpu.gttsize"])


def put(root: Path, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)
    place.chmod(mode)
    return place


def firmware(root: Path, info: str | None = None, stub: str | None = None, path: str | None = None) -> None:
    """What a loader and the firmware leave in the EFI variables; path: the file that the firmware started."""
    put(root, f"{EFIVARS}/SecureBoot-{GLOBAL}", b"\6\0\0\0\0")
    for name, text in (("LoaderInfo", info), ("StubInfo", stub)):
        if text is not None:
            put(root, f"{EFIVARS}/{name}-{LOADER}", b"\6\0\0\0" + text.encode("utf-16-le") + b"\0\0")
    if path is not None:
        name = path.encode("utf-16-le") + b"\0\0"
        node = struct.pack("<BBH", 4, 4, 4 + len(name)) + name
        nodes = struct.pack("<BBH", 4, 1, 42) + b"\0" * 38 + node + b"\x7f\xff\4\0"
        option = struct.pack("<IH", 1, len(nodes)) + "Linux".encode("utf-16-le") + b"\0\0" + nodes
        put(root, f"{EFIVARS}/BootCurrent-{GLOBAL}", b"\6\0\0\0" + struct.pack("<H", 3))
        put(root, f"{EFIVARS}/Boot0003-{GLOBAL}", b"\7\0\0\0" + option)


def running(root: Path, line: str, release: str = "") -> None:
    put(root, "proc/cmdline", line + "\n")
    if release:
        put(root, "proc/sys/kernel/osrelease", release + "\n")


def grub(root: Path, line: str = f"{ROOT} ro quiet", release: str = "6.12.1-amd64") -> None:
    words = " ".join(word for word in line.split() if not word.startswith("root=") and word != "ro")
    put(root, "etc/default/grub", f'GRUB_CMDLINE_LINUX_DEFAULT="{words}"\nGRUB_CMDLINE_LINUX=""\n')
    put(root, "boot/grub/grub.cfg", f"menuentry 'Linux' {{\n\tlinux /vmlinuz-{release} {line}\n}}\n")


def entry(root: Path, path: str, line: str = f"{ROOT} ro quiet", kernel: str = "/vmlinuz-6.12.1") -> Path:
    return put(root, path, f"title Linux\nlinux {kernel}\noptions {line}\n")


def proxmox(root: Path, info: str | None = "systemd-boot 257.9-1", path: str | None = None) -> None:
    """Proxmox VE 9 on ZFS: the partitions are not mounted, GRUB's files lie about."""
    zfs = "root=ZFS=rpool/ROOT/pve-1"
    put(root, "etc/os-release", 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n')
    put(root, "usr/bin/pveversion")
    put(root, "etc/kernel/proxmox-boot-uuids", "AAAA-0001\nAAAA-0002\n")
    put(root, "etc/kernel/cmdline", f"{zfs} boot=zfs\n")
    put(root, "etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n')
    put(root, "etc/default/grub.d/proxmox-ve.cfg", "GRUB_DISTRIBUTOR='Proxmox VE'\n")
    put(
        root,
        "boot/grub/grub.cfg",
        "menuentry 'old' {\n\tlinux /vmlinuz-6.8.12-1-pve root=UUID=9 ro quiet\n}\n",
    )
    put(root, "usr/sbin/grub-mkconfig", ". ${sysconfdir}/default/grub.d/*.cfg\n", 0o755)
    firmware(root, info, path=path)
    for release in ("6.14.8-2-pve", "6.14.11-5-pve"):
        put(root, f"lib/modules/{release}/modules.dep")
        put(root, f"boot/vmlinuz-{release}")
    started = r"initrd=\EFI\proxmox\6.14.11-5-pve\initrd.img-6.14.11-5-pve"
    by_grub = info is None or info.startswith("GRUB")
    prefix = "BOOT_IMAGE=/vmlinuz-6.14.11-5-pve" if by_grub else started
    running(root, f"{prefix} {zfs} boot=zfs{' quiet' if by_grub else ''}", "6.14.11-5-pve")


LIMINE_CONF = """\
timeout: 3
default_entry: 2
/+CachyOS
//linux-cachyos
    comment: kernel-id=linux-cachyos
    protocol: linux
    path: boot():/MACHINE/linux-cachyos/vmlinuz-linux-cachyos#00ff
    cmdline: {line}
    module_path: boot():/MACHINE/linux-cachyos/initramfs-linux-cachyos#00ff
/Snapshots
//1
    protocol: linux
    path: boot():/MACHINE/snap/vmlinuz-linux-cachyos
    cmdline: quiet old root=UUID=1
/Windows
    protocol: efi
    path: boot():/EFI/Microsoft/Boot/bootmgfw.efi
"""


def limine(
    root: Path, defaults: str | None = "=", tools: bool = True, line: str = f"quiet rw {ROOT}"
) -> None:
    """CachyOS with Limine; defaults: how /etc/default/limine sets the line."""
    put(root, "etc/os-release", "ID=cachyos\nBUILD_ID=rolling\n")
    put(root, "boot/limine.conf", LIMINE_CONF.format(line=line))
    put(root, "lib/modules/7.0.2-1-cachyos/pkgbase", "linux-cachyos\n")
    if defaults:
        put(root, "etc/default/limine", f'ESP_PATH="/boot"\nKERNEL_CMDLINE[default]{defaults}"{line}"\n')
    if tools:
        put(root, "usr/bin/limine-entry-tool", "", 0o755)
        put(root, "usr/bin/limine-mkinitcpio", "", 0o755)
    running(root, line)


def system(root: Path, identity: str, like: str = "") -> None:
    put(root, "etc/os-release", f'ID="{identity}"\nID_LIKE="{like}"\n')


def left_over(root: Path, identity: str, like: str = "") -> None:
    """A distribution whose package of GRUB is there, and nothing boots with it."""
    system(root, identity, like)
    put(
        root,
        "etc/default/grub",
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet amdgpu.gttsize=9"\nGRUB_CMDLINE_LINUX=""\n',
    )
    put(root, "usr/sbin/grub-mkconfig", "no drop-ins are read here\n", 0o755)


def run(command: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def host_of(root: Path) -> boot.Host:
    return boot.Host(str(root), run=run, find=lambda name: None)


def written(root: Path) -> set[str]:
    """The files that a plan changes."""
    found = boot.plan(host_of(root), "auto", ASKED)
    base = root.resolve()
    return {
        str(Path(place).resolve().relative_to(base))
        for place, (old, new) in found.files.items()
        if old != new
    }
