# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk of the virtual machine: Debian 12 with its own kernel, GRUB, DKMS and a PCI function that calls
itself an MI300A."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from .descriptions import REPOSITORY
from .images import ssh_key
from .machine import debian_sources, digest, run, step

CACHE = REPOSITORY / ".cache" / "vm"
GUEST = Path(__file__).parent / "guest_vm"
SUITE = "bookworm"
SIZE_MIB = 4096
PARTITION_MIB = 1

_PACKAGES = (
    "systemd,systemd-sysv,systemd-resolved,dbus,openssh-server,python3,python3-apt,python3-debian,sudo,udev,kmod,iproute2,procps,"
    "ca-certificates,pciutils,initramfs-tools,zstd,linux-image-amd64,linux-headers-amd64,dkms,grub-pc,systemd-boot,dosfstools,fdisk"
)
_MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer man-db.timer dpkg-db-backup.timer"
)

# What a person wrote before the collection came: one argument that it removes, one that it must keep.
ARGUMENTS_BY_HAND = "quiet amdgpu.gttsize=131072 audit=0"
_FILES = {
    "etc/hostname": "vm\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 vm\n",
    "etc/fstab": "/dev/vda1 / ext4 defaults 0 1\n",
    "etc/modules-load.d/bedgpu.conf": "bedgpu\n",
    "etc/systemd/network/20-wired.network": "[Match]\nName=en*\n[Network]\nDHCP=yes\n",
    # The packages come from a loopback server of the machine that runs the VM; nothing else is asked.
    "etc/apt/sources.list": "",
    # Emulated without KVM everything takes ten times as long.
    "etc/systemd/system.conf.d/slow.conf": "[Manager]\nDefaultTimeoutStartSec=300\nDefaultDeviceTimeoutSec=300\n",
    # An initramfs of every module takes two minutes to write there.
    "etc/initramfs-tools/conf.d/bed": "MODULES=list\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
    "etc/default/grub.d/20-bed.cfg": 'GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"\nGRUB_TERMINAL=serial\n',
}
# Until update-grub has run in the machine itself, where it finds its disk.
_FIRST_MENU = "linux /vmlinuz root=/dev/vda1 console=ttyS0\ninitrd /initrd.img\nboot\n"


ESP_MIB = 96
ESP = "/dev/vdb"
# In the machine itself, with the kernel's vfat: the second disk becomes an EFI system partition with
# systemd-boot and the kernel on it.
INSTALL_SYSTEMD_BOOT = f"""
echo 'type=uefi' | sfdisk --quiet --label gpt {ESP}
udevadm settle
mkfs.vfat -n ESP {ESP}1 >/dev/null
mkdir -p /boot/efi
mount -o umask=0077 {ESP}1 /boot/efi
bootctl --quiet install
echo 'root=/dev/vda1 ro console=ttyS0 mitigations=off {ARGUMENTS_BY_HAND}' > /etc/kernel/cmdline
kernel-install add $(uname -r) /boot/vmlinuz-$(uname -r) /boot/initrd.img-$(uname -r)
rm /etc/kernel/cmdline
umount /boot/efi
"""


def esp_of(disk: Path) -> Path:
    """The second disk of an image."""
    return disk.with_name(disk.name.replace("disk", "esp"))


def kernel_files() -> tuple[Path, Path]:
    """Kernel and initramfs of the image, beside it: to probe an accelerator with."""
    return CACHE / "vmlinuz", CACHE / "initrd.img"


def image(first_boot: Callable[[Path], None]) -> Path:
    """The disk image, built when its inputs changed. `first_boot` starts it once and leaves it shut down."""
    sources, public = debian_sources(SUITE), ssh_key()
    disk = (
        CACHE
        / f"disk-{digest(sources, public, _PACKAGES, ARGUMENTS_BY_HAND, str(_FILES), GUEST / 'gpu', Path(__file__))}.qcow2"
    )
    if disk.exists():
        return disk
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in (*CACHE.glob("disk-*.qcow2"), *CACHE.glob("esp-*.qcow2")):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        root, raw, made = Path(scratch) / "root", Path(scratch) / "disk.raw", Path(scratch) / "disk.qcow2"
        with step("installing Debian with its kernel, headers and DKMS into a folder"):
            _install(root, Path(scratch) / "debian.sources", sources)
            _configure(root, public)
            run(["chroot", root, "update-initramfs", "-u", "-k", "all"])
        with step("writing the disk"):
            _write_disk(root, raw)
            for name, file in zip(("vmlinuz", "initrd.img"), kernel_files(), strict=True):
                shutil.copy(root / name, file)
            (CACHE / "known_host_keys").write_text(
                "".join(
                    path.read_text(encoding="utf-8")
                    for path in sorted((root / "etc/ssh").glob("ssh_host_*_key.pub"))
                ),
                encoding="utf-8",
            )
            run(["qemu-img", "convert", "-O", "qcow2", raw, made])
            run(["qemu-img", "create", "-q", "-f", "qcow2", esp_of(made), f"{ESP_MIB}M"])
        first_boot(made)
        esp_of(made).rename(esp_of(disk))
        made.rename(disk)
    return disk


def _install(root: Path, listed: Path, sources: str) -> None:
    listed.write_text(sources, encoding="utf-8")
    no_disk = 'echo grub-pc grub-pc/install_devices_empty boolean true | chroot "$1" debconf-set-selections'
    masked = f'chroot "$1" systemctl mask --quiet {_MASKED}'
    enabled = 'chroot "$1" systemctl enable --quiet systemd-networkd systemd-resolved ssh'
    build = (
        'mkdir -p "$1/usr/src/bedgpu-1" && cp GPU/* "$1/usr/src/bedgpu-1/" && release=$(ls "$1/lib/modules") &&'
        ' chroot "$1" dkms install bedgpu/1 -k "$release"'
    ).replace("GPU", str(GUEST / "gpu"))
    hooks = [
        f"--customize-hook={hook}" for hook in (masked, enabled, build, 'rm -f "$1"/etc/apt/sources.list.d/*')
    ]
    run(
        [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={_PACKAGES}",
            f"--essential-hook={no_disk}",
            *hooks,
            SUITE,
            root,
            listed,
        ]
    )


def _configure(root: Path, public: str) -> None:
    files = {**_FILES, "root/.ssh/authorized_keys": public, "boot/grub/grub.cfg": _FIRST_MENU}
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(content, encoding="utf-8")
    (root / "root/.ssh").chmod(0o700)
    defaults = root / "etc/default/grub"
    text = defaults.read_text(encoding="utf-8")
    defaults.write_text(text.replace('DEFAULT="quiet"', f'DEFAULT="{ARGUMENTS_BY_HAND}"'), encoding="utf-8")
    if ARGUMENTS_BY_HAND not in defaults.read_text(encoding="utf-8"):
        raise ValueError(f"{defaults} has no line with quiet any more: adapt vm_image.py")


def _write_disk(root: Path, raw: Path) -> None:
    """Partition table, file system and GRUB, without a loop device: the core image goes behind the boot
    sector, as GRUB does it."""
    core = root / "boot/grub/core.img"
    modules = ["biosdisk", "part_msdos", "ext2", "normal", "linux", "boot"]
    prefix = "(hd0,msdos1)/boot/grub"
    run(
        ["chroot", root, "grub-mkimage", "-O", "i386-pc", "-o", "/boot/grub/core.img", "-p", prefix, *modules]
    )
    run(["truncate", f"--size={SIZE_MIB}M", raw])
    run(["sfdisk", "--quiet", raw], stdin=f"label: dos\nstart={PARTITION_MIB}MiB, type=83, bootable\n")
    offset = PARTITION_MIB << 20
    # GRUB 2.06 reads neither of the two features, which newer e2fsprogs switch on.
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^orphan_file,^metadata_csum_seed", "-E", f"offset={offset},root_owner=0:0", "-d", root, raw,
         f"{SIZE_MIB - PARTITION_MIB}M"])  # fmt: skip
    with raw.open("r+b") as disk:
        disk.write((root / "usr/lib/grub/i386-pc/boot.img").read_bytes()[:440])
        disk.seek(512)
        disk.write(core.read_bytes())


def overlay(base: Path, target: Path) -> None:
    """A disk of its own that starts as the image is."""
    target.unlink(missing_ok=True)
    run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            os.path.relpath(base, target.parent),
            target,
        ]
    )


def boots_with_kvm(seconds: int = 20) -> bool:
    """Whether KVM runs this kernel: /dev/kvm may be there and do so only by half (nested virtualisation)."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    kernel, _initrd = kernel_files()
    command = [
        "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nodefaults", "-display", "none", "-serial", "stdio",
        "-no-reboot", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    # There is no root file system: the kernel has come as far as it can.
    return b"Unable to mount root fs" in done.stdout
