# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel of the next boot, from the files that Debian, EL and systemd-boot hosts have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._boot import default_release
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

# As update-grub of Debian 13 writes it, shortened.
GRUB = """
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="DEFAULT"
fi
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  fi
}
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-1a' {
\tload_video
\tlinux	/boot/vmlinuz-6.12.57+deb13-amd64 root=UUID=1a ro  quiet
\tinitrd	/boot/initrd.img-6.12.57+deb13-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1a' {
\tmenuentry 'Debian GNU/Linux, with Linux 6.12.57+deb13-amd64' --class debian $menuentry_id_option 'gnulinux-6.12.57-advanced-1a' {
\t\tlinux	/boot/vmlinuz-6.12.57+deb13-amd64 root=UUID=1a ro  quiet
\t}
\tmenuentry 'Debian GNU/Linux, with Linux 6.12.48+deb13-amd64' --class debian $menuentry_id_option 'gnulinux-6.12.48-advanced-1a' {
\t\tif [ x$grub_platform = xxen ]; then insmod xzio; fi
\t\tlinux	/boot/vmlinuz-6.12.48+deb13-amd64 root=UUID=1a ro  quiet
\t}
}
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
\tfwsetup
}
"""
NEW, OLD = "6.12.57+deb13-amd64", "6.12.48+deb13-amd64"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.mark.parametrize(
    ("default", "environment", "release"),
    [
        ("0", "", NEW),
        ("1", "", NEW),
        ("1>1", "", OLD),
        ("gnulinux-advanced-1a>gnulinux-6.12.48-advanced-1a", "", OLD),
        ("Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.12.48+deb13-amd64", "", OLD),
        ("${saved_entry}", "saved_entry=1>1\n", OLD),
        ("${saved_entry}", "", NEW),
        ("0", "next_entry=1>1\n", OLD),
        ("no such entry", "", NEW),
        ("7", "", NEW),
    ],
)
def test_grub(tmp_path, default, environment, release):
    write(tmp_path, "boot/grub/grub.cfg", GRUB.replace("DEFAULT", default))
    write(tmp_path, "boot/grub/grubenv", "# GRUB Environment Block\n" + environment + "#" * 900)
    assert default_release(Tree(str(tmp_path))) == release


def bls(root: Path, folder: str = "boot/loader/entries") -> None:
    for release in ("5.14.0-570.12.1.el9_6.x86_64", "5.14.0-570.9.1.el9_6.x86_64", "0-rescue-8f"):
        version = release if "rescue" in release else release
        write(
            root,
            f"{folder}/8f-{release}.conf",
            f"title Rocky\nversion {version}\nlinux /vmlinuz-{release}\noptions root=/dev/vda1\n",
        )


@pytest.mark.parametrize(
    ("environment", "release"),
    [
        ("", "5.14.0-570.12.1.el9_6.x86_64"),
        ("saved_entry=8f-5.14.0-570.9.1.el9_6.x86_64\n", "5.14.0-570.9.1.el9_6.x86_64"),
        ("saved_entry=8f-of-a-kernel-that-was-removed\n", "5.14.0-570.12.1.el9_6.x86_64"),
    ],
)
def test_bls_with_grub(tmp_path, environment, release):
    write(tmp_path, "boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n")
    write(tmp_path, "boot/grub2/grubenv", environment)
    bls(tmp_path)
    assert default_release(Tree(str(tmp_path))) == release


@pytest.mark.parametrize(
    ("configuration", "release"),
    [
        ("timeout 3\n", "5.14.0-570.12.1.el9_6.x86_64"),
        ("default 8f-*570.9*\n", "5.14.0-570.9.1.el9_6.x86_64"),
        ("default @saved\n", "5.14.0-570.12.1.el9_6.x86_64"),
    ],
)
def test_systemd_boot(tmp_path, configuration, release):
    bls(tmp_path, "boot/efi/loader/entries")
    write(tmp_path, "boot/efi/loader/loader.conf", configuration)
    assert default_release(Tree(str(tmp_path))) == release


def efi(root: Path, **variables: str) -> None:
    folder = root / "sys/firmware/efi/efivars"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in variables.items():
        content = b"\6\0\0\0" + text.encode("utf-16-le") + b"\0\0"
        (folder / f"{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f").write_bytes(content)


OLDER, NEWEST = "5.14.0-570.9.1.el9_6.x86_64", "5.14.0-570.12.1.el9_6.x86_64"


@pytest.mark.parametrize(
    ("configuration", "variables", "release"),
    [
        ("timeout 3\n", {"LoaderEntryDefault": f"8f-{OLDER}.conf"}, OLDER),
        (
            "timeout 3\n",
            {"LoaderEntryOneShot": f"8f-{OLDER}.conf", "LoaderEntryDefault": f"8f-{NEWEST}.conf"},
            OLDER,
        ),
        ("default 8f-*570.9*\n", {"LoaderEntryDefault": f"8f-{NEWEST}.conf"}, NEWEST),
        ("default @saved\n", {"LoaderEntryLastBooted": f"8f-{OLDER}.conf"}, OLDER),
        ("timeout 3\n", {"LoaderEntryDefault": "@saved", "LoaderEntryLastBooted": f"8f-{OLDER}.conf"}, OLDER),
        ("timeout 3\n", {"LoaderEntryDefault": "of a kernel that was removed"}, NEWEST),
    ],
)
def test_systemd_boot_with_what_bootctl_set(tmp_path, configuration, variables, release):
    bls(tmp_path, "boot/efi/loader/entries")
    write(tmp_path, "boot/efi/loader/loader.conf", configuration)
    write(tmp_path, "boot/grub/grub.cfg", GRUB)  # left by the loader that was there before
    efi(tmp_path, **variables)
    assert default_release(Tree(str(tmp_path)), "systemd-boot") == release


def test_tries_that_are_used_up_count_against_an_entry(tmp_path):
    for name in ("6.1+0-3", "6.0+2-1", "5.9"):
        write(tmp_path, f"efi/loader/entries/id-{name}.conf", f"linux /l\nversion {name}\noptions a\n")
    assert default_release(Tree(str(tmp_path)), "systemd-boot") == "6.0+2-1"
    efi(tmp_path, LoaderEntryDefault="id-6.0.conf")
    assert default_release(Tree(str(tmp_path)), "systemd-boot") == "6.0+2-1", (
        "the tries are no part of its name"
    )


def test_variables_of_the_loader_that_are_garbage(tmp_path):
    bls(tmp_path, "boot/efi/loader/entries")
    efi(tmp_path, LoaderEntryDefault="")
    (
        tmp_path / "sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    ).write_bytes(b"\6\0\0\0\xd8\xd8\0")
    assert default_release(Tree(str(tmp_path)), "systemd-boot") == NEWEST


@pytest.mark.parametrize(
    "text",
    ["", "}\n}\n}\n", "menuentry 'x' {\n", "submenu 'a' {\nsubmenu 'b' {\n", "\0\0\0", "set default=\n"],
)
def test_nothing_that_can_be_told(tmp_path, text):
    write(tmp_path, "boot/grub/grub.cfg", text)
    assert default_release(Tree(str(tmp_path))) is None
