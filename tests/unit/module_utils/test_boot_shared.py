# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot partitions with files of several loaders or systems: what the next boot of this one reads is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from boot_hosts import (
    ASKED,
    ROOT,
    entry,
    firmware,
    grub,
    host_of,
    left_over,
    put,
    running,
    system,
    written,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modules"))
from unified_image import image

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils._boot import uki
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

# --- taken, and only the files that the next boot reads are written


def rhel_for_edge(root: Path) -> None:
    system(root, "rhel", "fedora")
    put(root, "run/ostree-booted")
    put(root, "usr/bin/rpm-ostree", "", 0o755)
    running(root, f"BOOT_IMAGE=(hd0,gpt3)/ostree/vmlinuz {ROOT} rw ostree=/ostree/boot.1/x")


def zfs_started_by_grub(root: Path) -> None:
    """ZFSBootMenu is installed as a rescue system; GRUB started this one."""
    grub(root, "root=ZFS=rpool/ROOT/a ro quiet")
    put(root, "etc/zfsbootmenu/config.yaml")
    running(root, "BOOT_IMAGE=/ROOT/a@/boot/vmlinuz root=ZFS=rpool/ROOT/a ro quiet")


def grub_beside_traces_of_others(root: Path) -> None:
    grub(root)
    put(root, "etc/lilo.conf", 'append="quiet"\n')
    put(root, "boot/refind_linux.conf", '"Boot" "root=UUID=9"\n')
    running(root, f"BOOT_IMAGE=/vmlinuz {ROOT} ro quiet")


def root_on_nfs_behind_a_grub_of_the_disk(root: Path) -> None:
    grub(root, "root=/dev/nfs nfsroot=10.0.0.1:/srv ro quiet")
    running(root, "BOOT_IMAGE=/vmlinuz root=/dev/nfs nfsroot=10.0.0.1:/srv ro quiet")


def gentoo_whose_boot_is_not_mounted(root: Path) -> None:
    left_over(root, "gentoo")
    running(root, f"BOOT_IMAGE=/vmlinuz-6.12-gentoo {ROOT} ro quiet")


@pytest.mark.parametrize(
    ("make", "loader"),
    [
        (rhel_for_edge, "rpm-ostree"),
        (zfs_started_by_grub, "grub"),
        (grub_beside_traces_of_others, "grub"),
        (root_on_nfs_behind_a_grub_of_the_disk, "grub"),
        (gentoo_whose_boot_is_not_mounted, "grub"),
    ],
)
def test_a_loader_of_ours_beside_traces_of_others(tmp_path, make, loader):
    make(tmp_path)
    assert boot.find(str(tmp_path)) == (loader, None)


def test_no_reboot_is_asked_for_where_no_grub_cfg_can_bring_the_arguments(tmp_path):
    gentoo_whose_boot_is_not_mounted(tmp_path)
    plan = boot.plan(host_of(tmp_path), "auto", ASKED)
    assert plan.blind and "grub.cfg was not generated" in plan.warnings[0]


def el9_with_a_menu_of_its_own(root: Path) -> None:
    """GRUB_ENABLE_BLSCFG=false, as on hosts that were EL 7: the entries are there and nobody reads them."""
    system(root, "rhel", "fedora")
    put(root, "etc/default/grub", 'GRUB_CMDLINE_LINUX="quiet"\nGRUB_ENABLE_BLSCFG=false\n')
    put(root, "boot/grub2/grub.cfg", f"menuentry 'EL' {{\n\tlinux /vmlinuz-5.14 {ROOT} ro quiet\n}}\n")
    put(root, "usr/sbin/grub2-mkconfig", "no drop-ins are read here\n", 0o755)
    put(root, "usr/sbin/grubby", "", 0o755)
    entry(root, "boot/loader/entries/0a-5.14.conf")
    running(root, f"BOOT_IMAGE=(hd0,msdos1)/vmlinuz-5.14 {ROOT} ro quiet")


def two_folders(root: Path) -> None:
    """Entries that GRUB once read, and those that systemd-boot reads now; the kernels are told apart."""
    system(root, "arch")
    entry(root, "boot/loader/entries/old.conf", kernel="/vmlinuz-5")
    entry(root, "efi/loader/entries/arch.conf", kernel="/vmlinuz-linux")
    firmware(root, "systemd-boot 258")
    running(root, rf"initrd=\initramfs-linux.img {ROOT} ro quiet")


def shared_partition(root: Path) -> None:
    system(root, "arch")
    entry(root, "efi/loader/entries/arch.conf")
    entry(root, "efi/loader/entries/fedora-7.0.conf", "root=UUID=other ro rhgb")
    firmware(root, "systemd-boot 258")
    running(root, rf"initrd=\initramfs-linux.img {ROOT} ro quiet")


def entry_of_ours_by_its_token(root: Path) -> None:
    """The same root by another name, in an entry whose name begins with the token of kernel-install."""
    shared_partition(root)
    put(root, "etc/kernel/entry-token", "debian\n")
    entry(root, "efi/loader/entries/debian-6.12.1.conf", "root=/dev/mapper/vg-root ro quiet")


def pop_with_its_recovery(root: Path) -> None:
    system(root, "pop", "ubuntu debian")
    put(root, "etc/kernelstub/configuration", "{}")
    entry(root, "boot/efi/loader/entries/Pop_OS-current.conf")
    entry(root, "boot/efi/loader/entries/Recovery-9F.conf", "boot=casper hostname=recovery noprompt")
    firmware(root, "systemd-boot 249")
    running(root, rf"initrd=\EFI\Pop_OS-1\initrd.img {ROOT} ro quiet")


def fedora_beside_a_clone(root: Path) -> None:
    """A tool that edits all entries (grubby) is not called."""
    system(root, "fedora")
    put(root, "usr/sbin/grubby", "", 0o755)
    put(root, "boot/grub2/grub.cfg", "blscfg\n")
    entry(root, "boot/loader/entries/aaaa-6.17.1.conf")
    entry(root, "boot/loader/entries/bbbb-7.17.1.conf", "root=UUID=2 ro rhgb")
    running(root, f"BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.17.1 {ROOT} ro quiet")


LATER = "etc/kernel/cmdline"


@pytest.mark.parametrize(
    ("make", "files"),
    [
        (el9_with_a_menu_of_its_own, {"etc/default/grub"}),
        (two_folders, {"boot/loader/entries/old.conf", "efi/loader/entries/arch.conf", LATER}),
        (shared_partition, {"efi/loader/entries/arch.conf", LATER}),
        (
            entry_of_ours_by_its_token,
            {"efi/loader/entries/arch.conf", "efi/loader/entries/debian-6.12.1.conf", LATER},
        ),
        (pop_with_its_recovery, {"boot/efi/loader/entries/Pop_OS-current.conf", LATER}),
        (fedora_beside_a_clone, {"boot/loader/entries/aaaa-6.17.1.conf", LATER}),
    ],
)
def test_only_what_starts_this_system_is_written(tmp_path, make, files):
    make(tmp_path)
    plan = boot.plan(host_of(tmp_path), "auto", ASKED)
    assert written(tmp_path) == files and plan.commands == []


def test_the_release_of_the_next_boot_is_found_in_every_folder(tmp_path):
    two_folders(tmp_path)
    put(tmp_path, "efi/loader/loader.conf", "default arch.conf\n")
    put(tmp_path, "lib/modules/7.0.2-arch1-1/pkgbase", "linux\n")
    assert boot.default_release(Tree(str(tmp_path)), "systemd-boot") == "7.0.2-arch1-1"


def test_an_image_that_started_the_system_beats_entries_beside_it(tmp_path):
    """The stub says that the running kernel came out of an image: entries that GRUB left are read by nobody."""
    system(tmp_path, "fedora")
    entry(tmp_path, "boot/loader/entries/aaaa-6.17.1.conf")
    put(tmp_path, "boot/efi/EFI/Linux/aaaa-6.17.1.efi", image(f"{ROOT} ro quiet"))
    firmware(tmp_path, "GRUB 2.12", "systemd-stub 258")
    running(tmp_path, f"{ROOT} ro quiet")
    with pytest.raises(boot.BootError, match=r"boots unified kernel images .*aaaa-6.17.1.efi"):
        boot.plan(host_of(tmp_path), "auto", ASKED)


def test_an_entry_that_is_the_default_beats_an_image(tmp_path):
    test_an_image_that_started_the_system_beats_entries_beside_it(tmp_path)
    put(tmp_path, "boot/loader/loader.conf", "default aaaa-*.conf\n")
    assert "boot/loader/entries/aaaa-6.17.1.conf" in written(tmp_path)


def test_an_image_of_another_system_is_not_the_next_one(tmp_path):
    system(tmp_path, "arch")
    put(tmp_path, "etc/kernel/cmdline", f"{ROOT} rw iommu=pt\n")
    put(tmp_path, "efi/EFI/Linux/arch-linux.efi", image(f"{ROOT} rw iommu=pt"))
    put(tmp_path, "efi/EFI/Linux/fedora-9.efi", image("root=UUID=2 ro"))
    firmware(tmp_path, "systemd-boot 258", "systemd-stub 258")
    running(tmp_path, f"{ROOT} rw")
    plan = boot.plan(host_of(tmp_path), "auto", ASKED)
    assert plan.image.endswith("arch-linux.efi") and not plan.changed


# --- chains of loaders, and words that they write in their own way


def test_grub_behind_refind_is_grub(tmp_path):
    grub(tmp_path)
    put(tmp_path, "boot/refind_linux.conf", '"Boot" "root=UUID=9"\n')
    firmware(tmp_path, path=r"\EFI\refind\refind_x64.efi")
    running(tmp_path, f"BOOT_IMAGE=/vmlinuz-6.12.1-amd64 {ROOT} ro quiet")
    assert boot.find(str(tmp_path)) == ("grub", None)


def test_quotes_of_grub_cfg_are_not_part_of_the_line(tmp_path):
    """Ubuntu on ZFS."""
    menu = """menuentry 'Ubuntu' {
\tlinux "/BOOT/ubuntu_1@/vmlinuz-6.8.0-45-generic" root=ZFS="rpool/ROOT/ubuntu_1" ro quiet
}
"""
    put(tmp_path, "etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    put(tmp_path, "boot/grub/grub.cfg", menu)
    put(tmp_path, "lib/modules/6.8.0-45-generic/modules.dep")
    image = "/BOOT/ubuntu_1@/vmlinuz-6.8.0-45-generic"
    running(tmp_path, f"BOOT_IMAGE={image} root=ZFS=rpool/ROOT/ubuntu_1 ro quiet")
    assert boot.find(str(tmp_path)) == ("grub", None)
    assert boot.default_release(Tree(str(tmp_path)), "grub") == "6.8.0-45-generic"


@pytest.mark.parametrize(
    "files",
    [
        {"etc/kernel/install.conf": "layout=uki\n"},
        {"etc/kernel/install.conf.d/10-uki.conf": "layout=uki\n"},
        {"usr/lib/kernel/install.conf": "layout=bls\n", "etc/kernel/install.conf.d/z.conf": "layout=uki\n"},
        {"etc/kernel/install.conf": "layout=uki\n", "usr/lib/kernel/install.conf": "layout=bls\n"},
    ],
)
def test_the_layout_of_kernel_install_may_stand_in_a_drop_in(tmp_path, files):
    for path, text in {**files, "lib/modules/6.12.1/vmlinuz": ""}.items():
        put(tmp_path, path, text)
    commands = uki.builders(str(tmp_path), lambda name: [name])
    assert commands == [["kernel-install", "add", "6.12.1", "/lib/modules/6.12.1/vmlinuz"]]


@pytest.mark.parametrize(
    "files",
    [
        {"etc/kernel/install.conf": "#layout=uki\n"},
        {"etc/kernel/install.conf": "layout=uki\n", "etc/kernel/install.conf.d/z.conf": "layout=bls\n"},
        {
            "etc/kernel/install.conf.d/a.conf": "layout=bls\n",
            "usr/lib/kernel/install.conf.d/a.conf": "layout=uki\n",
        },
    ],
)
def test_another_layout_builds_no_unified_images(tmp_path, files):
    for path, text in {**files, "lib/modules/6.12.1/vmlinuz": ""}.items():
        put(tmp_path, path, text)
    assert uki.builders(str(tmp_path), lambda name: [name]) == []


def test_a_line_that_mkinitcpio_puts_together_is_its_owners(tmp_path):
    system(tmp_path, "arch")
    put(tmp_path, "etc/mkinitcpio.d/linux.preset", 'default_uki="/efi/EFI/Linux/arch-linux.efi"\n')
    put(tmp_path, "etc/cmdline.d/root.conf", f"{ROOT} rw\n")
    put(tmp_path, "etc/cmdline.d/limits.conf", "amdgpu.gttsize=9\n")
    put(tmp_path, "efi/EFI/Linux/arch-linux.efi", image(f"{ROOT} rw amdgpu.gttsize=9"))
    firmware(tmp_path, "systemd-boot 258", "systemd-stub 258")
    running(tmp_path, f"{ROOT} rw amdgpu.gttsize=9")
    host = host_of(tmp_path)._replace(root=str(tmp_path), find=lambda name: f"/usr/sbin/{name}")
    put(tmp_path, "usr/bin/mkinitcpio", "", 0o755)
    with pytest.raises(boot.BootError, match=r"/etc/cmdline.d/limits.conf, /etc/cmdline.d/root.conf"):
        boot.plan(host, "auto", ASKED)


def open_euler(root: Path) -> None:
    system(root, "openEuler")
    put(root, "etc/default/grub", 'GRUB_CMDLINE_LINUX="quiet"\n')
    put(root, "usr/sbin/grub2-mkconfig", "no drop-ins are read here\n", 0o755)
    put(
        root,
        "boot/efi/EFI/openEuler/grub.cfg",
        f"menuentry 'E' {{\n\tlinux /vmlinuz-6.6.0 {ROOT} ro quiet\n}}\n",
    )
    put(root, "lib/modules/6.6.0/modules.dep")
    firmware(root, path=r"\EFI\openEuler\shimx64.efi")
    running(root, f"BOOT_IMAGE=/vmlinuz-6.6.0 {ROOT} ro quiet")


def test_a_menu_on_the_efi_partition_is_the_one_that_is_generated(tmp_path):
    open_euler(tmp_path)
    assert boot.find(str(tmp_path)) == ("grub", None)
    assert boot.default_release(Tree(str(tmp_path)), "grub") == "6.6.0"
    host = host_of(tmp_path)._replace(find=lambda name: f"/usr/sbin/{name}")
    plan = boot.plan(host, "auto", ASKED)
    assert plan.commands[0][-2:] == ["-o", "/boot/efi/EFI/openEuler/grub.cfg"] and not plan.blind


def test_a_file_there_that_leads_to_boot_is_none(tmp_path):
    grub(tmp_path)
    put(tmp_path, "boot/efi/EFI/debian/grub.cfg", "search.fs_uuid 1 root\nconfigfile $prefix/grub.cfg\n")
    firmware(tmp_path, path=r"\EFI\debian\shimx64.efi")
    running(tmp_path, f"BOOT_IMAGE=/vmlinuz-6.12.1-amd64 {ROOT} ro quiet")
    host = host_of(tmp_path)._replace(find=lambda name: f"/usr/sbin/{name}")
    put(tmp_path, "usr/sbin/update-grub", "", 0o755)
    (command,) = boot.plan(host, "auto", ASKED).commands
    assert command[-1].endswith("update-grub")
