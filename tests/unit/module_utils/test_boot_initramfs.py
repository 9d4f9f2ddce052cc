# SPDX-License-Identifier: GPL-3.0-or-later
"""The tool that builds the initramfs: by what is installed and configured, not by the package manager."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot_hosts import limine, put

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils._modprobe_effect import installed_images

UPDATE = [["update-initramfs", "-u", "-k", "all"]]


def debian_dracut(root: Path, shim: bool = False) -> None:
    """Trixie's dracut has no update-initramfs; forky's has one of its own."""
    put(root, "usr/bin/dracut", "", 0o755)
    put(root, "etc/initramfs-tools/initramfs.conf", "of a package that was removed")
    for release in ("6.12.1-amd64", "7.0.1-amd64"):
        put(root, f"boot/initrd.img-{release}")
        put(root, f"lib/modules/{release}/modules.dep")
    put(root, "boot/initrd.img-5.10-gone")
    if shim:
        put(root, "usr/sbin/update-initramfs", "#!/bin/sh\nexec dracut --force --kver $1\n", 0o755)


def endeavour(root: Path) -> None:
    """H12: mkinitcpio may lie about, and has no preset."""
    put(root, "etc/os-release", "ID=endeavouros\nID_LIKE=arch\n")
    for name in ("dracut", "reinstall-kernels", "mkinitcpio"):
        put(root, f"usr/bin/{name}", "", 0o755)
    put(root, "efi/0a1b/7.0.2-arch1-1/linux")
    put(root, "efi/0a1b/7.0.2-arch1-1/initrd")
    put(root, "lib/modules/7.0.2-arch1-1/modules.dep")


def endeavour_grub(root: Path) -> None:
    for name in ("dracut", "dracut-rebuild"):
        put(root, f"usr/bin/{name}", "", 0o755)


def arch(root: Path) -> None:
    put(root, "usr/bin/mkinitcpio", "", 0o755)
    put(root, "usr/bin/dracut", "", 0o755)
    put(root, "etc/mkinitcpio.d/linux.preset", "PRESETS=('default')\n")


@pytest.mark.parametrize(
    ("make", "tool", "commands"),
    [
        (
            lambda root: put(root, "usr/sbin/update-initramfs", "mkinitramfs ${OPTS}\n", 0o755),
            "initramfs-tools",
            UPDATE,
        ),
        (
            lambda root: put(root, "usr/bin/dracut", "", 0o755),
            "dracut",
            [["dracut", "--force", "--regenerate-all"]],
        ),
        (
            debian_dracut,
            "dracut",
            [
                ["dracut", "--force", f"/boot/initrd.img-{release}", release]
                for release in ("6.12.1-amd64", "7.0.1-amd64")
            ],
        ),
        (lambda root: debian_dracut(root, shim=True), "dracut", UPDATE),
        (endeavour, "dracut", [["reinstall-kernels"]]),
        (endeavour_grub, "dracut", [["dracut-rebuild"]]),
        (arch, "mkinitcpio", [["mkinitcpio", "--allpresets"]]),
        (
            lambda root: put(root, "usr/lib/booster/regenerate_images", "", 0o755),
            "booster",
            [["/usr/lib/booster/regenerate_images"]],
        ),
        (lambda root: put(root, "usr/sbin/mktirfs", "", 0o755), "tiny-initramfs", []),
        (limine, "limine", [["limine-mkinitcpio"]]),
        (lambda root: [put(root, "run/ostree-booted"), put(root, "usr/bin/dracut", "", 0o755)], None, []),
    ],
)
def test_the_tool_that_the_host_uses(tmp_path, make, tool, commands):
    make(tmp_path)
    assert boot.initramfs_of(str(tmp_path)) == (tool, commands)


def test_images_of_the_efi_system_partition_are_found(tmp_path):
    endeavour(tmp_path)
    assert installed_images(str(tmp_path)) == [str(tmp_path / "efi/0a1b/7.0.2-arch1-1/initrd")]


@pytest.mark.parametrize("folder", ["efi", "boot", "boot/efi"])
def test_a_unified_image_holds_an_initramfs(tmp_path, folder):
    """Without the tool that builds it an option is not known to take effect, so no argument goes for it."""
    put(tmp_path, f"{folder}/EFI/Linux/arch-linux.efi", b"MZ")
    assert installed_images(str(tmp_path)) == [str(tmp_path / folder / "EFI/Linux/arch-linux.efi")]


@pytest.mark.parametrize(
    ("path", "text", "writable"),
    [
        ("proc/mounts", "/dev/sda1 / ext4 rw,relatime 0 0\n", True),
        ("proc/mounts", "/dev/sda1 / btrfs ro,relatime 0 0\n", False),
        ("proc/mounts", "/dev/sda1 / ext4 rw 0 0\noverlay /usr overlay ro 0 0\n", False),
        ("run/ostree-booted", "", False),
    ],
)
def test_whether_packages_can_be_installed(tmp_path, path, text, writable):
    put(tmp_path, path, text)
    assert boot.writable_root(str(tmp_path)) is writable


DRACUT = {"usr/bin/dracut": ""}
MKINITCPIO = {"usr/bin/mkinitcpio": ""}


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        # Debian and Ubuntu say nothing, and dracut is not in host-only mode then.
        (DRACUT, False),
        ({**DRACUT, "usr/lib/dracut/dracut.conf.d/01-dist.conf": 'hostonly="yes"\n'}, True),
        ({**DRACUT, "etc/dracut.conf": "hostonly=yes\n"}, True),
        # dracut-config-generic of cloud images.
        (
            {
                **DRACUT,
                "usr/lib/dracut/dracut.conf.d/01-dist.conf": 'hostonly="yes"\n',
                "usr/lib/dracut/dracut.conf.d/02-generic-image.conf": 'hostonly="no"\n',
            },
            False,
        ),
        # A file of /etc hides the one of the same name.
        (
            {
                **DRACUT,
                "usr/lib/dracut/dracut.conf.d/01-dist.conf": 'hostonly="yes"\n',
                "etc/dracut.conf.d/01-dist.conf": "# nothing\n",
            },
            False,
        ),
        ({**DRACUT, "etc/dracut.conf.d/a.conf": '# hostonly="yes"\n'}, False),
        (
            {**DRACUT, "etc/dracut.conf.d/a.conf": 'install_optional_items+=" /etc/modprobe.d/ttm.conf "\n'},
            True,
        ),
        (MKINITCPIO, True),
        ({**MKINITCPIO, "etc/mkinitcpio.conf": "HOOKS=(base udev modconf kms)\n"}, True),
        ({**MKINITCPIO, "etc/mkinitcpio.conf": "HOOKS=(base systemd kms)\n"}, False),
        (
            {
                **MKINITCPIO,
                "etc/mkinitcpio.conf": "HOOKS=(base udev modconf kms)\n",
                "etc/mkinitcpio.conf.d/omarchy.conf": "HOOKS=(base udev kms)\n",
            },
            False,
        ),
        (
            {
                **MKINITCPIO,
                "etc/mkinitcpio.conf": "HOOKS=(base udev)\n",
                "etc/mkinitcpio.conf.d/mine.conf": "HOOKS+=(modconf)\n",
            },
            True,
        ),
        ({"usr/sbin/update-initramfs": "mkinitramfs"}, True),
        ({"usr/sbin/mktirfs": ""}, True),
    ],
)
def test_whether_an_initramfs_holds_the_options(tmp_path, files, holds):
    for path, text in files.items():
        put(tmp_path, path, text, 0o755 if "bin/" in path else 0o644)
    assert boot.holds_options(str(tmp_path)) is holds
