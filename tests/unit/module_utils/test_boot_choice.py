# SPDX-License-Identifier: GPL-3.0-or-later
"""Which boot loader is the host's, and which hosts are refused: the running system is the judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot_hosts import ROOT, entry, firmware, grub, limine, proxmox, put, running

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

ASKED = cmdline.wanted(["iommu=pt"], ["amdgpu.gttsize"])
ENTRY = "boot/loader/entries/arch.conf"


def proxmox_grub(root: Path) -> None:
    proxmox(root, "GRUB 2.12-9+pmx2")


def proxmox_bios(root: Path) -> None:
    proxmox(root, None)
    for place in sorted((root / "sys").rglob("*"), reverse=True):
        place.rmdir() if place.is_dir() else place.unlink()
    (root / "sys").rmdir()


def proxmox_shim(root: Path) -> None:
    proxmox(root, None, path=r"\EFI\proxmox\shimx64.efi")


def proxmox_plain(root: Path) -> None:
    """An ordinary installation on ext4: no partition that proxmox-boot-tool manages."""
    put(root, "etc/os-release", "ID=debian\n")
    put(root, "usr/bin/pveversion")
    grub(root)
    running(root, f"BOOT_IMAGE=/vmlinuz-6.14.8-2-pve {ROOT} ro quiet")


def limine_left_over_grub(root: Path) -> None:
    limine(root)
    put(root, "etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n')


def limine_left_over_grub_cfg(root: Path) -> None:
    limine(root)
    grub(root)


def limine_by_firmware(root: Path) -> None:
    limine_left_over_grub_cfg(root)
    firmware(root, path=r"\EFI\limine\limine_x64.efi")


def limine_uki(root: Path) -> None:
    limine(root)
    firmware(root, stub="systemd-stub 258")


def arch_systemd_boot(root: Path) -> None:
    entry(root, ENTRY)
    firmware(root, "systemd-boot 258")
    running(root, rf"initrd=\initramfs-linux.img {ROOT} ro quiet")


def systemd_boot_left_over_grub(root: Path) -> None:
    arch_systemd_boot(root)
    grub(root, "root=UUID=old ro quiet")


def grub_left_over_kernelstub(root: Path) -> None:
    """Ubuntu, which was Pop!_OS once; its GRUB leaves no name."""
    grub(root)
    put(root, "etc/kernelstub/configuration", "{}")
    firmware(root, path=r"\EFI\ubuntu\shimx64.efi")
    running(root, f"BOOT_IMAGE=/vmlinuz-6.8.0 {ROOT} ro quiet")


def grub_left_over_kernelstub_without_boot_current(root: Path) -> None:
    grub(root)
    put(root, "etc/kernelstub/configuration", "{}")
    put(root, "boot/efi/loader/loader.conf", "default Pop_OS-current\n")
    running(root, f"BOOT_IMAGE=/vmlinuz-6.8.0 {ROOT} ro quiet")


def endeavour(root: Path) -> None:
    put(root, "etc/os-release", "ID=endeavouros\nID_LIKE=arch\n")
    entry(root, "efi/loader/entries/0a1b-7.0.2-arch1-1.conf", kernel="/0a1b/7.0.2-arch1-1/linux")
    put(root, "etc/kernel/cmdline", f"{ROOT} ro quiet\n")
    put(root, "lib/modules/7.0.2-arch1-1/modules.dep")
    firmware(root, "systemd-boot 258")
    running(root, rf"initrd=\0a1b\7.0.2-arch1-1\initrd {ROOT} ro quiet")


def manjaro(root: Path) -> None:
    put(root, "etc/os-release", "ID=manjaro\nID_LIKE=arch\n")
    put(root, "usr/bin/grub-mkconfig", "no drop-ins are read here\n", 0o755)
    grub(root)
    running(root, f"BOOT_IMAGE=/boot/vmlinuz-6.12-x86_64 {ROOT} ro quiet")


def tumbleweed(root: Path, info: str = "systemd-boot 258.2") -> None:
    put(root, "etc/os-release", 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n')
    put(root, "usr/bin/sdbootutil", "", 0o755)
    put(root, "etc/kernel/cmdline", f"{ROOT} quiet\n")
    put(root, "etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    entry(root, "boot/efi/loader/entries/opensuse-tumbleweed-7.0.2-1-default-1.conf", f"{ROOT} quiet")
    firmware(root, info)
    running(root, f"{ROOT} quiet")


def tumbleweed_grub_bls(root: Path) -> None:
    tumbleweed(root, "GRUB 2.14")


def silverblue(root: Path) -> None:
    put(root, "etc/os-release", "ID=fedora\nVARIANT_ID=silverblue\n")
    put(root, "run/ostree-booted")
    put(root, "usr/bin/rpm-ostree", "", 0o755)
    put(root, "usr/bin/bootc", "", 0o755)
    running(root, f"BOOT_IMAGE=(hd0,gpt2)/ostree/fedora-00/vmlinuz-6.17.1 {ROOT} rw ostree=/ostree/boot.1/x")


def pending(root: Path) -> None:
    """Written and not yet booted: the second run before the reboot refuses itself nothing."""
    arch_systemd_boot(root)
    line = f"{ROOT} ro quiet iommu=pt resume=UUID=2"
    entry(root, ENTRY, f"{ROOT} ro quiet iommu=pt")
    put(
        root,
        "var/lib/amdgpu-fleet/kernel-arguments",
        '{"/boot/loader/entries/arch.conf": {"added": ["iommu=pt"], "removed": ["resume=UUID=2"]}}',
    )
    running(root, line.replace(" iommu=pt", ""))


@pytest.mark.parametrize(
    ("make", "loader"),
    [
        (proxmox, "proxmox"),
        (proxmox_grub, "proxmox"),
        (proxmox_bios, "proxmox"),
        (proxmox_shim, "proxmox"),
        (proxmox_plain, "grub"),
        (limine, "limine"),
        (limine_left_over_grub, "limine"),
        (limine_left_over_grub_cfg, "limine"),
        (limine_by_firmware, "limine"),
        (limine_uki, "limine"),
        (arch_systemd_boot, "systemd-boot"),
        (systemd_boot_left_over_grub, "systemd-boot"),
        (grub_left_over_kernelstub, "grub"),
        (grub_left_over_kernelstub_without_boot_current, "grub"),
        (endeavour, "systemd-boot"),
        (manjaro, "grub"),
        (tumbleweed, "sdbootutil"),
        (tumbleweed_grub_bls, "sdbootutil"),
        (silverblue, "rpm-ostree"),
        (pending, "systemd-boot"),
    ],
)
def test_the_loader_that_started_the_system(tmp_path, make, loader):
    make(tmp_path)
    assert boot.find(str(tmp_path)) == (loader, None)


def nixos(root: Path) -> None:
    put(root, "etc/os-release", "ID=nixos\n")
    put(root, "etc/NIXOS")
    line = f"init=/nix/store/x/init {ROOT} ttm.pages_limit=25165824"
    put(
        root,
        "boot/loader/entries/nixos-generation-42.conf",
        f"title NixOS\nversion Generation 42 NixOS 26.05\nlinux /EFI/nixos/a-linux-7.1-bzImage.efi\noptions {line}\n",
    )
    put(root, "lib/modules/7.1.0/modules.dep")
    firmware(root, "systemd-boot 258")
    running(root, line)


def image_mode(root: Path) -> None:
    put(root, "etc/os-release", 'ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.6"\n')
    put(root, "run/ostree-booted")
    put(root, "usr/bin/bootc", "", 0o755)
    put(
        root,
        "boot/loader/entries/ostree-1.conf",
        f"title Red Hat\nversion 1\nlinux /boot/ostree/default-1/vmlinuz-5.14.0-570.12.1.el9_6.x86_64\noptions {ROOT} rw\n",
    )
    put(root, "lib/modules/5.14.0-570.12.1.el9_6.x86_64/vmlinuz")
    running(root, f"{ROOT} rw ostree=/ostree/boot.1/default/1/0")


def image_mode_with_rpm_ostree(root: Path) -> None:
    image_mode(root)
    put(root, "usr/bin/rpm-ostree", "", 0o755)


def composefs(root: Path) -> None:
    put(root, "etc/os-release", "ID=fedora\n")
    entry(root, "boot/loader/entries/bootc-1.conf", f"{ROOT} composefs=00ff")
    running(root, f"{ROOT} composefs=00ff")


def open_shift(root: Path) -> None:
    put(root, "etc/os-release", 'ID="rhel"\nVARIANT_ID=coreos\n')
    put(root, "run/ostree-booted")
    put(root, "usr/bin/rpm-ostree", "", 0o755)
    put(root, "etc/machine-config-daemon/currentconfig", "{}")


def ubuntu_core(root: Path) -> None:
    put(root, "etc/os-release", "ID=ubuntu\nVERSION_ID=26.04\n")
    grub(root)
    running(root, f"snapd_recovery_mode=run {ROOT}")


def system(identity: str, *files: str):
    def make(root: Path) -> None:
        put(root, "etc/os-release", f"ID={identity}\n")
        grub(root)
        for path in files:
            put(root, path)

    make.__name__ = identity
    return make


def true_nas(root: Path) -> None:
    put(root, "etc/os-release", "ID=debian\n")
    grub(root)
    running(root, f"BOOT_IMAGE=/vmlinuz {ROOT} ro quiet", "6.12.15-production+truenas")


def micro_os(root: Path) -> None:
    put(root, "etc/os-release", "ID=opensuse-microos\n")
    put(root, "etc/fstab", "UUID=1 / btrfs ro,relatime 0 0\n")
    put(root, "usr/sbin/transactional-update", "", 0o755)
    grub(root)


def plain_limine(root: Path) -> None:
    limine(root, None, tools=False)


def plain_limine_left_over_grub(root: Path) -> None:
    plain_limine(root)
    put(root, "etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n')


def refind(root: Path) -> None:
    grub(root, "root=UUID=old ro")
    put(root, "boot/refind_linux.conf", f'"Boot" "{ROOT} rw"\n')
    firmware(root, path=r"\EFI\refind\refind_x64.efi")
    running(root, f"{ROOT} rw")


def efi_stub(root: Path) -> None:
    put(root, "etc/kernel/cmdline", f"{ROOT} rw\n")
    firmware(root, path=r"\EFI\Arch\vmlinuz-linux")
    running(root, f"{ROOT} rw")


def another(root: Path) -> None:
    grub(root)
    firmware(root, "OpenCore 1.0")


def netbooted(root: Path) -> None:
    """A disk with GRUB on it, and a kernel that the provisioning handed over."""
    grub(root)
    running(root, "BOOT_IMAGE=vmlinuz root=/dev/nfs nfsroot=10.0.0.1:/srv ip=dhcp")


def two_of_them(root: Path) -> None:
    entry(root, ENTRY)
    limine(root, line=f"{ROOT} ro quiet")


@pytest.mark.parametrize(
    ("make", "name", "where"),
    [
        (nixos, "NixOS", "boot.kernelParams in configuration.nix"),
        (image_mode, "bootc", "/usr/lib/bootc/kargs.d"),
        (image_mode_with_rpm_ostree, "bootc", "/usr/lib/bootc/kargs.d"),
        (composefs, "composefs", "image build"),
        (open_shift, "RHCOS", "MachineConfig"),
        (ubuntu_core, "Ubuntu Core", "snap set"),
        (system("steamos"), "SteamOS", "grub"),
        (system("vanilla", "etc/abroot/abroot.json"), "ABRoot", "abroot kargs"),
        (system("debian", "usr/bin/abroot"), "ABRoot", "abroot kargs"),
        (system("guix"), "Guix System", "operating-system"),
        (system("flatcar"), "Flatcar", "Ignition"),
        (system("slackware", "etc/unraid-version"), "Unraid", "syslinux.cfg"),
        (system("debian", "boot/firmware/cmdline.txt"), "Raspberry Pi", "cmdline.txt"),
        (system("raspbian", "boot/firmware/cmdline.txt"), "Raspberry Pi", "cmdline.txt"),
        (true_nas, "TrueNAS", "kernel_extra_options"),
        (micro_os, "transactional-update", "transactional-update grub.cfg"),
        (plain_limine, "Limine", "limine.conf"),
        (plain_limine_left_over_grub, "Limine", "limine.conf"),
        (refind, "rEFInd", "refind_linux.conf"),
        (efi_stub, "EFI stub", "efibootmgr"),
        (another, "OpenCore 1.0", "configuration of this boot loader"),
        (netbooted, "network boot", "the boot server"),
        (two_of_them, "limine", "left of the loader"),
    ],
)
def test_a_host_that_is_refused_is_named_and_left_as_it_is(tmp_path, make, name, where):
    make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = boot.find(str(tmp_path))
    assert found.loader is None and found.refused.system == name and where in found.refused.where
    assert boot.detect(str(tmp_path)) is None
    host = boot.Host(str(tmp_path), run=lambda command: (1, "", ""), find=lambda name: None)
    with pytest.raises(boot.BootError, match="iommu=pt"):
        boot.plan(host, "auto", ASKED)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_plain_limine_names_the_entry_and_the_words(tmp_path):
    limine(tmp_path, None, tools=False, line=f"quiet {ROOT} amdgpu.gttsize=9")
    host = boot.Host(str(tmp_path), run=lambda command: (1, "", ""), find=lambda name: None)
    with pytest.raises(boot.BootError) as raised:
        boot.plan(host, "auto", ASKED)
    assert "'CachyOS/linux-cachyos' of /boot/limine.conf" in str(raised.value)
    assert "add iommu=pt, remove amdgpu.gttsize=9" in str(raised.value)


@pytest.mark.parametrize(
    "line", ["root=UUID=2 ro quiet", f"{ROOT} ro resume=UUID=3", f"{ROOT} rd.luks.uuid=4"]
)
def test_a_running_line_that_cannot_have_come_from_there(tmp_path, line):
    arch_systemd_boot(tmp_path)
    running(tmp_path, line)
    assert boot.find(str(tmp_path)).refused.system == "systemd-boot"


@pytest.mark.parametrize(
    "line", [f"{ROOT} ro", f"{ROOT} rw single", f"BOOT_IMAGE=/v {ROOT} vt.handoff=7", "ro quiet", ""]
)
def test_a_running_line_that_was_edited_in_the_menu_is_no_reason_to_refuse(tmp_path, line):
    arch_systemd_boot(tmp_path)
    running(tmp_path, line)
    assert boot.find(str(tmp_path)) == ("systemd-boot", None)


def test_the_loader_that_the_operator_names_is_taken(tmp_path):
    arch_systemd_boot(tmp_path)
    running(tmp_path, "root=UUID=2")
    host = boot.Host(str(tmp_path), run=lambda command: (1, "", ""), find=lambda name: None)
    assert boot.plan(host, "systemd-boot", ASKED).changed


@pytest.mark.parametrize(
    ("make", "release"),
    [
        (image_mode, "5.14.0-570.12.1.el9_6.x86_64"),
        (nixos, None),
        (endeavour, "7.0.2-arch1-1"),
        (proxmox, "6.14.11-5-pve"),
        (limine, "7.0.2-1-cachyos"),
    ],
)
def test_the_release_is_that_of_the_kernel_that_the_entry_starts(tmp_path, make, release):
    make(tmp_path)
    loader = boot.detect(str(tmp_path))
    assert boot.default_release(Tree(str(tmp_path)), loader) == release


@pytest.mark.parametrize(
    ("kernel", "version", "release"),
    [
        ("/vmlinuz-linux", "linux", "7.0.2-arch1-1"),  # the name of the package, as its modules say
        ("/boot/ostree/fedora-0/vmlinuz-6.17.1-300.fc43", "2", "6.17.1-300.fc43"),
        ("/vmlinuz-6.16.0-gone", "6.16.0-gone", None),
        ("/EFI/nixos/a-linux-7.1-bzImage.efi", "Generation", None),
        ("/l", "6.17.1-300.fc43", "6.17.1-300.fc43"),
        ("/id/6.17.1-300.fc43/linux", "", "6.17.1-300.fc43"),
    ],
)
def test_a_release_is_one_whose_modules_are_there(tmp_path, kernel, version, release):
    put(tmp_path, "lib/modules/7.0.2-arch1-1/pkgbase", "linux\n")
    put(tmp_path, "lib/modules/6.17.1-300.fc43/modules.dep")
    put(tmp_path, ENTRY, f"title x\nversion {version}\nlinux {kernel}\noptions a\n")
    assert boot.default_release(Tree(str(tmp_path)), "systemd-boot") == release


@pytest.mark.parametrize("pin", ["etc/kernel/next-boot-pin", "etc/kernel/proxmox-boot-pin"])
def test_a_kernel_that_proxmox_pins(tmp_path, pin):
    proxmox(tmp_path)
    put(tmp_path, pin, "6.14.8-2-pve\n")
    assert boot.default_release(Tree(str(tmp_path)), "proxmox") == "6.14.8-2-pve"
