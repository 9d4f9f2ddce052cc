# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that nobody here has seen: nothing is written into what a loader that is not used left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from boot_hosts import (
    ASKED,
    LIMINE_CONF,
    ROOT,
    ZFS,
    entry,
    firmware,
    grub,
    host_of,
    left_over,
    proxmox,
    put,
    running,
    system,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modules"))
from unified_image import image

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot

# --- refused, by the right name


def zfsbootmenu(root: Path) -> None:
    left_over(root, "void")
    firmware(root, stub="systemd-stub 256", path=r"\EFI\ZBM\VMLINUZ.EFI")
    running(root, f"spl_hostid=0x00bab10c {ZFS} quiet")


def zfsbootmenu_beside_entries(root: Path) -> None:
    """The stub that it names is that of its own image: files of systemd-boot are no explanation."""
    zfsbootmenu(root)
    put(root, "etc/kernel/cmdline", f"{ZFS} quiet\n")
    entry(root, "boot/efi/loader/entries/void.conf", f"{ZFS} quiet")


def zfsbootmenu_on_proxmox(root: Path) -> None:
    proxmox(root, path=r"\EFI\zfsbootmenu\zfsbootmenu.efi")
    running(root, "root=ZFS=rpool/ROOT/pve-1 boot=zfs", "6.14.11-5-pve")


def zfsbootmenu_behind_refind(root: Path) -> None:
    system(root, "debian")
    put(root, "boot/efi/EFI/ZBM/VMLINUZ.EFI")
    firmware(root, path=r"\EFI\refind\refind_x64.efi")
    running(root, "root=ZFS=zroot/ROOT/debian quiet")


def zfsbootmenu_of_bios(root: Path) -> None:
    left_over(root, "void")
    put(root, "etc/zfsbootmenu/config.yaml", "Global:\n  ManageImages: true\n")
    put(root, "boot/syslinux/syslinux.cfg", "LABEL zbm\n")
    running(root, f"{ZFS} quiet")


def lilo(root: Path) -> None:
    left_over(root, "slackware")
    put(root, "etc/lilo.conf", 'append="quiet"\nimage = /boot/vmlinuz\n  root = /dev/sda1\n  label = Linux\n')
    running(root, "auto BOOT_IMAGE=Linux ro root=801 quiet")


def lilo_beside_an_old_menu(root: Path) -> None:
    lilo(root)
    grub(root, "root=801 ro quiet")


def elilo(root: Path) -> None:
    left_over(root, "slackware")
    firmware(root, path=r"\EFI\Slackware\elilo.efi")
    running(root, r"BOOT_IMAGE=dev000:\EFI\Slackware\vmlinuz root=/dev/nvme0n1p2 ro")


def extlinux(root: Path) -> None:
    left_over(root, "alpine")
    put(root, "boot/extlinux.conf", "LABEL lts\n  APPEND root=UUID=1\n")
    running(root, f"BOOT_IMAGE=vmlinuz-lts {ROOT} modules=ext4 quiet")


def refind_as_the_fallback(root: Path) -> None:
    left_over(root, "arch")
    put(root, "boot/refind_linux.conf", f'"Boot" "{ROOT} rw"\n')
    firmware(root, path=r"\EFI\BOOT\BOOTX64.EFI")
    running(root, rf"initrd=\boot\initramfs-linux.img {ROOT} rw")


def limine_in_a_folder_of_its_own(root: Path) -> None:
    left_over(root, "arch")
    put(root, "boot/EFI/arch-limine/limine.conf", LIMINE_CONF.format(line=f"quiet rw {ROOT}"))
    firmware(root, path=r"\EFI\arch-limine\BOOTX64.EFI")
    running(root, f"quiet rw {ROOT}")


def limine_before_8(root: Path) -> None:
    left_over(root, "arch")
    put(root, "boot/limine.cfg", ":Arch\nPROTOCOL=linux\nCMDLINE=quiet rw\n")
    running(root, f"quiet rw {ROOT}")


def efi_stub_by_another_name(root: Path) -> None:
    left_over(root, "gentoo")
    firmware(root, path=r"\EFI\gentoo\gentoo-6.12.8.efi")
    running(root, f"{ROOT} ro")


def direct_boot_of_a_guest(root: Path) -> None:
    left_over(root, "fedora")
    running(root, "root=/dev/vda1 ro console=ttyS0")


def warewulf(root: Path) -> None:
    """A rack that boots from the network: the image was built in a container, which had files of loaders."""
    left_over(root, "rocky", "rhel centos fedora")
    put(root, "usr/sbin/grubby", "", 0o755)
    entry(root, "boot/loader/entries/0a-5.14.0.conf", "root=wwclient ro quiet")
    running(root, "BOOT_IMAGE=kernel initrd=initramfs wwid=00:11 root=wwclient init=/init")


def grub_over_the_network(root: Path) -> None:
    grub(root, "root=LABEL=local ro quiet")
    running(root, "BOOT_IMAGE=(tftp,10.0.0.1)/vmlinuz root=LABEL=local ro quiet")


def stateless_over_http(root: Path) -> None:
    left_over(root, "rhel", "fedora")
    running(root, "imgurl=http://10.0.0.1/install/netboot/compute BOOTIF=01-00")


def live_ubuntu(root: Path) -> None:
    left_over(root, "ubuntu")
    put(root, "boot/grub/grub.cfg", "menuentry 'Try' {\n\tlinux /casper/vmlinuz boot=casper quiet\n}\n")
    running(root, "BOOT_IMAGE=/casper/vmlinuz boot=casper quiet splash ---")


def live_fedora(root: Path) -> None:
    left_over(root, "fedora")
    running(root, "BOOT_IMAGE=/images/pxeboot/vmlinuz root=live:CDLABEL=Fedora rd.live.image quiet")


def overlay(root: Path) -> None:
    grub(root)
    running(root, f"BOOT_IMAGE=/vmlinuz {ROOT} ro quiet overlayroot=tmpfs")


def endless(root: Path) -> None:
    system(root, "endless", "debian")
    put(root, "run/ostree-booted")
    put(root, "usr/bin/ostree", "", 0o755)
    entry(root, "boot/loader/entries/ostree-1-eos-0.conf", f"{ROOT} rw ostree=/ostree/boot.1/eos/0/0")
    running(root, f"BOOT_IMAGE=(hd0,gpt3)/ostree/vmlinuz {ROOT} rw ostree=/ostree/boot.1/eos/0/0")


def torizon(root: Path) -> None:
    endless(root)
    system(root, "torizon")


def sealed(root: Path) -> None:
    system(root, "org.gnome.os")
    put(root, "boot/efi/EFI/Linux/gnomeos_50.efi", image("rw quiet"))
    firmware(root, "systemd-boot 258", "systemd-stub 258")
    running(root, "rw quiet usrhash=00ff")


def chimera_os(root: Path) -> None:
    system(root, "chimeraos", "arch")
    line = f"{ROOT} rw rootflags=subvol=deployments/chimeraos-48"
    entry(root, "boot/loader/entries/frzr.conf", line)
    firmware(root, "systemd-boot 257")
    running(root, line)


def solus(root: Path) -> None:
    system(root, "solus")
    put(root, "usr/bin/clr-boot-manager", "", 0o755)
    entry(root, "boot/loader/entries/Solus-current-6.12.conf", f"{ROOT} quiet")
    firmware(root, "systemd-boot 257")
    running(root, f"{ROOT} quiet")


def esp_that_is_not_mounted(root: Path) -> None:
    left_over(root, "arch")
    firmware(root, "systemd-boot 258")
    running(root, rf"initrd=\initramfs-linux.img {ROOT} rw")


@pytest.mark.parametrize(
    ("make", "name", "where"),
    [
        (zfsbootmenu, "ZFSBootMenu", "org.zfsbootmenu:commandline"),
        (zfsbootmenu_beside_entries, "ZFSBootMenu", "zfs set"),
        (zfsbootmenu_on_proxmox, "ZFSBootMenu", "zfs set"),
        (zfsbootmenu_behind_refind, "ZFSBootMenu", "zfs set"),
        (zfsbootmenu_of_bios, "ZFSBootMenu", "zfs set"),
        (lilo, "LILO", "/etc/lilo.conf"),
        (lilo_beside_an_old_menu, "LILO", "/etc/lilo.conf"),
        (elilo, "LILO", "elilo.conf"),
        (extlinux, "SYSLINUX", "/boot/extlinux.conf"),
        (refind_as_the_fallback, "rEFInd", "refind_linux.conf"),
        (limine_in_a_folder_of_its_own, "Limine", "limine.conf"),
        (limine_before_8, "Limine", "limine.conf"),
        (efi_stub_by_another_name, "GRUB without grub.cfg", "once its partition is mounted"),
        (direct_boot_of_a_guest, "GRUB without grub.cfg", "what else starts this kernel"),
        (warewulf, "network boot", "the boot server"),
        (grub_over_the_network, "network boot", "the boot server"),
        (stateless_over_http, "network boot", "the boot server"),
        (live_ubuntu, "live system", "installed"),
        (live_fedora, "live system", "installed"),
        (overlay, "live system", "installed"),
        (endless, "Endless OS", "ostree admin instutil set-kargs"),
        (torizon, "OSTree", "ostree admin instutil set-kargs"),
        (sealed, "sealed image", "image build"),
        (chimera_os, "frzr", "image"),
        (solus, "clr-boot-manager", "/etc/kernel/cmdline.d"),
        (esp_that_is_not_mounted, "systemd-boot", "mount the partition"),
    ],
)
def test_a_loader_that_is_not_ours_is_named_and_no_other_is_written(tmp_path, make, name, where):
    make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = boot.find(str(tmp_path))
    assert found.loader is None and found.refused.system == name and where in found.refused.where
    with pytest.raises(boot.BootError, match="iommu=pt"):
        boot.plan(host_of(tmp_path), "auto", ASKED)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
