# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with two systems: does the next boot start the other one?"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from boot_hosts import (
    ASKED,
    EFIVARS,
    GLOBAL,
    LIMINE_CONF,
    LOADER,
    ROOT,
    entry,
    firmware,
    grub,
    host_of,
    limine,
    put,
    running,
)

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._boot.limine_conf import next_entry
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

WINDOWS = r"\EFI\Microsoft\Boot\bootmgfw.efi"
MENU = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="%s"
fi
menuentry 'Debian' --id 'gnulinux-simple' {
\tlinux /vmlinuz-6.12.1-amd64 root=UUID=1 ro quiet
}
submenu 'Advanced' {
\tmenuentry 'Debian, 6.12' {
\t\tlinux /vmlinuz-6.12.1-amd64 root=UUID=1 ro single
\t}
}
menuentry 'Windows Boot Manager (on /dev/nvme0n1p1)' --class windows {
\tinsmod part_gpt
\tchainloader /EFI/Microsoft/Boot/bootmgfw.efi
}
menuentry 'Memory test' {
\tlinux16 /boot/memtest86+x64.bin
}
menuentry 'Another Linux' {
\tconfigfile /other/grub.cfg
}
menuentry 'Arch in an image' {
\tchainloader /EFI/Linux/arch-linux.efi
}
menuentry 'Windows 10' {
\tchainloader +1
}
"""


def seen(root: Path) -> str | None:
    return boot.next_system(Tree(str(root)), boot.detect(str(root)))


def with_entries(root: Path, default: str = "", **variables: str) -> None:
    entry(root, "boot/efi/loader/entries/arch.conf")
    put(
        root,
        "boot/efi/loader/entries/windows.conf",
        "title Windows 11\nefi /EFI/Microsoft/Boot/bootmgfw.efi\n",
    )
    put(root, "boot/efi/loader/entries/own.conf", "title Kernel of my own\nefi /EFI/own/kernel.efi\n")
    put(root, "boot/efi/loader/loader.conf", f"timeout 3\n{default}\n")
    firmware(root, "systemd-boot 258")
    running(root, f"{ROOT} ro quiet")
    for name, text in variables.items():
        put(root, f"{EFIVARS}/{name}-{LOADER}", b"\6\0\0\0" + text.encode("utf-16-le") + b"\0\0")


def order(root: Path, name: str, *numbers: int) -> None:
    put(root, f"{EFIVARS}/{name}-{GLOBAL}", b"\7\0\0\0" + struct.pack(f"<{len(numbers)}H", *numbers))


def by_number(root: Path, number: int, path: str) -> None:
    """An entry of the firmware under another number than the one that started this system."""
    other = root.parent / f"{root.name}-other"
    firmware(other, path=path)
    content = (other / EFIVARS / f"Boot0003-{GLOBAL}").read_bytes()
    put(root, f"{EFIVARS}/Boot{number:04X}-{GLOBAL}", content)


@pytest.mark.parametrize(
    ("default", "title"),
    [
        ("0", None),
        ("gnulinux-simple", None),
        ("1>0", None),
        ("2", "Windows Boot Manager (on /dev/nvme0n1p1)"),
        ("Windows Boot Manager (on /dev/nvme0n1p1)", "Windows Boot Manager (on /dev/nvme0n1p1)"),
        ("3", None),
        ("4", None),
        ("5", None),
        ("6", "Windows 10"),
        ("9", None),
    ],
)
def test_the_default_of_grub(tmp_path, default, title):
    grub(tmp_path)
    put(tmp_path, "boot/grub/grub.cfg", MENU % default)
    running(tmp_path, f"BOOT_IMAGE=/vmlinuz-6.12.1-amd64 {ROOT} ro quiet")
    assert seen(tmp_path) == title


@pytest.mark.parametrize(
    ("environment", "title"),
    [
        ("saved_entry=2\n", "Windows Boot Manager (on /dev/nvme0n1p1)"),
        ("saved_entry=0\nnext_entry=2\n", "Windows Boot Manager (on /dev/nvme0n1p1)"),
        ("saved_entry=2\nnext_entry=gnulinux-simple\n", None),
        ("", None),
    ],
)
def test_what_grub_saved(tmp_path, environment, title):
    grub(tmp_path)
    put(tmp_path, "boot/grub/grub.cfg", MENU % "${saved_entry}")
    put(tmp_path, "boot/grub/grubenv", "# GRUB Environment Block\n" + environment)
    running(tmp_path, f"BOOT_IMAGE=/vmlinuz-6.12.1-amd64 {ROOT} ro quiet")
    assert seen(tmp_path) == title


@pytest.mark.parametrize(
    ("saved", "title"),
    [
        ("0a-6.17.1-300.fc43.x86_64", None),
        ("1", None),
        ("Windows Boot Manager (on /dev/nvme0n1p1)", "Windows Boot Manager (on /dev/nvme0n1p1)"),
    ],
)
def test_grub_of_fedora_saves_an_entry_or_a_title(tmp_path, saved, title):
    put(tmp_path, "etc/os-release", "ID=fedora\n")
    put(tmp_path, "usr/sbin/grubby", "", 0o755)
    put(tmp_path, "etc/default/grub", "GRUB_ENABLE_BLSCFG=true\n")
    entry(tmp_path, "boot/loader/entries/0a-6.17.1-300.fc43.x86_64.conf")
    put(tmp_path, "boot/grub2/grub.cfg", 'set default="${saved_entry}"\nblscfg\n' + MENU.partition("fi\n")[2])
    put(tmp_path, "boot/grub2/grubenv", f"saved_entry={saved}\n")
    running(tmp_path, f"BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.12.1 {ROOT} ro quiet")
    assert seen(tmp_path) == title


@pytest.mark.parametrize(
    ("default", "variables", "title"),
    [
        ("", {}, None),
        ("default arch.conf", {}, None),
        ("default arch*", {}, None),
        ("default windows.conf", {}, "Windows 11"),
        ("default auto-windows", {}, "Windows"),
        ("default auto-windows", {"LoaderEntryDefault": "arch.conf"}, None),
        ("default arch.conf", {"LoaderEntryOneShot": "auto-windows"}, "Windows"),
        (
            "default arch.conf",
            {"LoaderEntryOneShot": "auto-reboot-to-firmware-setup"},
            "the firmware's own menu",
        ),
        ("default @saved", {"LoaderEntryLastBooted": "auto-windows"}, "Windows"),
        ("default somebodys.conf", {}, None),
        ("default own.conf", {}, None),
    ],
)
def test_the_default_of_systemd_boot(tmp_path, default, variables, title):
    with_entries(tmp_path, default, **variables)
    assert seen(tmp_path) == title


@pytest.mark.parametrize(
    ("lines", "title"),
    [
        ("default_entry: 2", None),
        ("default_entry: 1", None),
        # 1 is the folder, 2 the kernel in it, 3 the folder of snapshots, which is shut.
        ("default_entry: 4", "Windows"),
        ("remember_last_entry: yes\ndefault_entry: 4", None),
        ("timeout: 5", None),
    ],
)
def test_the_default_of_limine(tmp_path, lines, title):
    limine(tmp_path)
    line = f"quiet rw {ROOT}"
    text = LIMINE_CONF.format(line=line).replace("default_entry: 2", lines)
    put(tmp_path, "boot/limine.conf", text)
    assert boot.detect(str(tmp_path)) == "limine"
    assert seen(tmp_path) == title
    # The arguments are those of our kernel all the same.
    kernel = next_entry(text)
    assert kernel is not None and kernel.arguments == line.split()


def test_limine_that_is_written_by_hand_is_read_all_the_same(tmp_path):
    limine(tmp_path, None, tools=False)
    put(
        tmp_path,
        "boot/limine.conf",
        LIMINE_CONF.format(line=ROOT).replace("default_entry: 2", "default_entry: 4"),
    )
    assert boot.detect(str(tmp_path)) is None
    assert seen(tmp_path) == "Windows"


@pytest.mark.parametrize(
    ("variables", "title"),
    [
        ({"BootOrder": (3, 7)}, None),
        ({"BootOrder": (7, 3)}, f"Windows ({WINDOWS})"),
        ({"BootOrder": (3, 7), "BootNext": (7,)}, f"Windows ({WINDOWS})"),
        ({"BootOrder": (7, 3), "BootNext": (3,)}, None),
        ({"BootOrder": (9,)}, None),
        ({"BootOrder": ()}, None),
    ],
)
def test_the_firmware_may_go_past_every_loader(tmp_path, variables, title):
    grub(tmp_path)
    running(tmp_path, f"BOOT_IMAGE=/vmlinuz-6.12.1-amd64 {ROOT} ro quiet")
    firmware(tmp_path, path=r"\EFI\debian\shimx64.efi")
    by_number(tmp_path, 7, WINDOWS)
    for name, numbers in variables.items():
        order(tmp_path, name, *numbers)
    assert seen(tmp_path) == title


@pytest.mark.parametrize("damage", [b"", b"\7\0\0", b"\7\0\0\0\1", b"\xff" * 9])
def test_damaged_variables_tell_nothing(tmp_path, damage):
    grub(tmp_path)
    firmware(tmp_path, path=r"\EFI\debian\shimx64.efi")
    for name in ("BootOrder", "BootNext", "BootCurrent"):
        put(tmp_path, f"{EFIVARS}/{name}-{GLOBAL}", damage)
    assert seen(tmp_path) is None


@pytest.mark.parametrize("loader", ["grub", "systemd-boot"])
def test_a_line_that_the_kernel_would_cut_off_is_refused(tmp_path, loader):
    """The argument at its end would never come, and a reboot be asked for again and again."""
    long = f"{ROOT} ro quiet isolcpus={'1,' * 1012}1"
    if loader == "grub":
        grub(tmp_path, long)
        running(tmp_path, f"BOOT_IMAGE=/vmlinuz-6.12.1-amd64 {long}")
        put(tmp_path, "usr/sbin/grub-mkconfig", ". ${sysconfdir}/default/grub.d/*.cfg\n", 0o755)
    else:
        entry(tmp_path, "boot/efi/loader/entries/arch.conf", long)
        firmware(tmp_path, "systemd-boot 258")
        running(tmp_path, long)
    host = host_of(tmp_path)
    with pytest.raises(boot.BootError, match="and the kernel reads 2047 of them"):
        boot.plan(host, loader, ASKED)
    # What takes away is never too long.
    shorter = cmdline.wanted([], ["quiet"])
    assert "quiet" not in boot.plan(host, loader, shorter).after
