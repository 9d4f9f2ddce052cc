# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_args on hosts whose tools own what boots: Limine, Proxmox, sdbootutil. The tools are small shells that
read the settings as the real ones do."""

from __future__ import annotations

import os

import pytest
from test_kernel_args_killed import ARGUMENTS, BOOT_FILES, FILES

NEW = [name for name in FILES if name.startswith(("limine", "proxmox", "sdbootutil"))]
BOOTS = {
    "limine": "boot/limine.conf",
    "proxmox": "partition",
    "sdbootutil": "boot/efi/loader/entries/suse-7.0.conf",
}


@pytest.fixture
def make_host(tmp_path, run_module):
    class Host:
        root = tmp_path / "root"

        def __init__(self, loader: str) -> None:
            self.loader = loader
            for name, text in {**FILES[loader], "proc/cmdline": "ro quiet amdgpu.gttsize=1\n"}.items():
                self.put(name, text, 0o755 if "/sbin/" in name else 0o644)
            (tmp_path / "bin").mkdir()
            chroot = tmp_path / "bin/chroot"
            chroot.write_text('#!/bin/sh\nFAKE_ROOT="$1"; export FAKE_ROOT\nexec "$1$2"\n')
            chroot.chmod(0o755)

        def put(self, name: str, text: str, mode: int = 0o644) -> None:
            place = self.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(mode)

        def texts(self) -> dict[str, str]:
            return {
                str(path.relative_to(self.root)): path.read_text("latin-1")
                for path in sorted(self.root.rglob("*"))
                if path.is_file()
            }

        def boots(self) -> list[str]:
            return (self.root / BOOTS[self.loader.split()[0]]).read_text().split()

        def __call__(self, _check: bool = False, **arguments: object) -> dict:
            env = {"PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"}
            return run_module("kernel_args", _check=_check, _env=env, root=str(self.root), **arguments)

    return Host


@pytest.mark.parametrize("loader", NEW)
def test_check_real_again_and_back(make_host, loader):
    host = make_host(loader)
    before = host.texts()
    checked = host(_check=True, **ARGUMENTS)
    assert checked["changed"] and host.texts() == before
    real = host(**ARGUMENTS)
    for key in ("before", "after", "actions", "boot_loader", "reboot_required", "diff"):
        assert checked[key] == real[key], key
    assert real["boot_loader"] == loader.split()[0] and real["reboot_required"]
    assert {"iommu=pt", "pci=realloc=off"} <= set(host.boots()) and "amdgpu.gttsize=1" not in host.boots()
    assert "quiet" in host.boots() or loader == "proxmox"
    assert "amdgpu.gttsize=1" in real["before"] and "iommu=pt" in real["after"]
    settled = host.texts()
    for check in (True, False):
        again = host(_check=check, **ARGUMENTS)
        assert not again["changed"] and again["actions"] == []
    assert host.texts() == settled
    back = host(purge=True)
    assert back["changed"] and not host(purge=True)["changed"]
    assert {name: sorted(text.split()) for name, text in host.texts().items()} == {
        name: sorted(text.split()) for name, text in before.items()
    }


@pytest.mark.parametrize("loader", NEW)
def test_a_tool_that_fails_leaves_everything_as_it_was(make_host, loader):
    host = make_host(loader)
    tool = next(
        name for name in FILES[loader] if name.startswith("usr/sbin/") and name != "usr/sbin/grub-mkconfig"
    )
    host.put(tool, "#!/bin/sh\necho 'error: no space' >&2\nexit 1\n", 0o755)
    before = host.texts()
    failed = host(**ARGUMENTS)
    assert failed["failed"] and "return code 1: error: no space" in failed["msg"]
    assert host.texts() == before


@pytest.mark.parametrize("loader", ["limine appends", "limine replaces", "sdbootutil"])
def test_a_tool_that_ends_well_and_did_nothing_is_seen(make_host, loader):
    host = make_host(loader)
    tool = next(name for name in FILES[loader] if name.startswith("usr/sbin/"))
    host.put(tool, "#!/bin/sh\nexit 0\n", 0o755)
    before = host.texts()
    failed = host(**ARGUMENTS)
    assert failed["failed"] and "does not show" in failed["msg"] and "put back" in failed["msg"]
    assert host.texts() == before


def test_a_line_of_limine_that_replaces_takes_what_a_drop_in_would_lose(make_host):
    host = make_host("limine replaces")
    host(**ARGUMENTS)
    assert host.texts()["etc/default/limine"] == (
        'KERNEL_CMDLINE[default]="root=UUID=1 quiet iommu=pt pci=realloc=off"\n'
    )
    assert BOOT_FILES["limine replaces"][2] not in host.texts()


def test_a_line_of_limine_that_appends_is_left_and_a_drop_in_adds(make_host):
    host = make_host("limine appends")
    assert host(present=["iommu=pt"])["changed"]
    assert host.texts()["etc/default/limine"] == FILES["limine appends"]["etc/default/limine"]
    assert 'KERNEL_CMDLINE[default]+=" iommu=pt "\n' in host.texts()[BOOT_FILES["limine appends"][2]]


def test_a_value_of_another_drop_in_is_replaced_in_its_place_and_given_back(make_host):
    host = make_host("limine appends")
    name = "etc/limine-entry-tool.d/10-mine.conf"
    host.put(name, "# mine\nKERNEL_CMDLINE[default]+=' iommu=off splash'  # note\n")
    host(present=["iommu=pt"])
    assert host.texts()[name] == '# mine\nKERNEL_CMDLINE[default]+=" iommu=pt splash"  # note\n'
    host(purge=True)
    assert "iommu=off splash" in host.texts()[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ESP_PATH=/boot\n", "is set in none of"),
        ('KERNEL_CMDLINE[default]="$(cat /etc/kernel/cmdline)"\n', "computed by the shell"),
        ('KERNEL_CMDLINE[default]="a \\\n b"\n', "cannot be read safely"),
    ],
)
def test_settings_of_limine_that_cannot_be_edited_are_refused(make_host, text, message):
    host = make_host("limine replaces")
    host.put("etc/default/limine", text)
    before = host.texts()
    failed = host(present=["iommu=pt"])
    assert failed["failed"] and message in failed["msg"] and host.texts() == before


def test_two_configurations_of_limine_that_differ_are_refused(make_host):
    host = make_host("limine replaces")
    host.put("boot/EFI/limine/limine.conf", "/Other\n")
    assert "several limine.conf that differ" in host(present=["iommu=pt"])["msg"]


def test_a_line_of_proxmox_without_a_root_is_refused(make_host):
    host = make_host("proxmox")
    host.put("etc/kernel/cmdline", "quiet\n")
    before = host.texts()
    failed = host(present=["iommu=pt"])
    assert "names no root=" in failed["msg"] and host.texts() == before


def test_without_a_file_proxmox_starts_from_the_running_line(make_host):
    host = make_host("proxmox")
    (host.root / "etc/kernel/cmdline").unlink()
    host.put("proc/cmdline", "initrd=\\EFI\\proxmox\\initrd.img root=ZFS=rpool/ROOT/pve-1 boot=zfs\n")
    host(present=["iommu=pt"])
    assert host.boots() == ["root=ZFS=rpool/ROOT/pve-1", "boot=zfs", "iommu=pt"]
