# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_args as a process, on a GRUB host whose update-grub really sources the files and writes a
grub.cfg."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._boot.grub_dropin import DROPIN_EMPTY

DROPIN = "etc/default/grub.d/60-amdgpu-fleet.cfg"

UPDATE_GRUB = """#!/bin/sh
set -e
cd "$FAKE_ROOT"
if [ -f etc/default/grub ]; then . ./etc/default/grub; fi
for x in ./etc/default/grub.d/*.cfg; do if [ -e "$x" ]; then . "$x"; fi; done
echo run >> update-grub.log
if [ -e break-early ]; then echo "/usr/sbin/grub-probe: error: failed to get canonical path of /" >&2; exit 1; fi
if [ -e break-late ]; then echo garbage > boot/grub/grub.cfg; echo "error: out of disk" >&2; exit 7; fi
if [ -e handmade ]; then exit 0; fi
cat > boot/grub/grub.cfg <<END
set default="0"
menuentry 'Debian GNU/Linux' --class debian \\$menuentry_id_option 'gnulinux-simple-1' {
\tlinux	/vmlinuz-6.1 root=UUID=1-2 ro ${GRUB_CMDLINE_LINUX} ${GRUB_CMDLINE_LINUX_DEFAULT}
\tinitrd	/initrd.img-6.1
}
END
"""
CHROOT = """#!/bin/sh
FAKE_ROOT="$1"; export FAKE_ROOT
exec "$1$2"
"""


class GrubHost:
    def __init__(self, base: Path, run_module):
        self.root = base / "root"
        self.run_module = run_module
        for folder in ("etc/default/grub.d", "boot/grub", "proc", "usr/sbin"):
            (self.root / folder).mkdir(parents=True)
        self.put("usr/sbin/update-grub", UPDATE_GRUB, 0o755)
        self.put("usr/sbin/grub-mkconfig", ". ${sysconfdir}/default/grub.d/*.cfg\n", 0o755)
        self.put(
            "etc/default/grub",
            '# mine\nGRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
        )
        self.put(
            "boot/grub/grub.cfg",
            "menuentry 'Debian' {\n\tlinux /vmlinuz-6.1 root=UUID=1-2 ro quiet\n}\n",
            0o444,
        )
        self.put("proc/cmdline", "BOOT_IMAGE=/vmlinuz-6.1 root=UUID=1-2 ro quiet\n")
        self.bin = base / "bin"
        self.bin.mkdir()
        (self.bin / "chroot").write_text(CHROOT)
        (self.bin / "chroot").chmod(0o755)

    def put(self, path, text, mode=0o644):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def text(self, path):
        place = self.root / path
        return place.read_text() if place.exists() else None

    def runs(self):
        return len((self.text("update-grub.log") or "").splitlines())

    def boots_with(self):
        """What the kernel would get: the linux line of the generated grub.cfg."""
        return self.text("boot/grub/grub.cfg").split("linux", 2)[-1].splitlines()[0].split()[3:]

    def tree(self):
        skip = {"update-grub.log"}
        return {
            str(path.relative_to(self.root)): (path.read_bytes(), path.stat().st_mode)
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.name not in skip
        }

    def __call__(self, _check=False, **arguments):
        env = {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}
        return self.run_module("kernel_args", _check=_check, _env=env, root=str(self.root), **arguments)


@pytest.fixture
def host(tmp_path, run_module):
    return GrubHost(tmp_path, run_module)


def four_times(host, **arguments):
    """check, real, check again, real again: what check says comes true once, then nothing is left to do."""
    before = host.tree()
    runs = host.runs()
    checked = host(_check=True, **arguments)
    assert checked["changed"] and host.tree() == before and host.runs() == runs
    real = host(**arguments)
    assert real["changed"] and host.runs() == runs + 1
    for key in ("before", "after", "actions", "boot_loader", "reboot_required", "diff"):
        assert checked[key] == real[key], key
    settled = host.tree()
    for check in (True, False):
        again = host(_check=check, **arguments)
        assert not again["changed"] and again["actions"] == []
        assert again["before"] == again["after"] == real["after"]
    assert host.tree() == settled and host.runs() == runs + 1
    return real


def test_create_update_delete(host):
    users_file = host.text("etc/default/grub")
    created = four_times(host, present=["iommu=pt", "pci=realloc=off"])
    assert created["boot_loader"] == "grub"
    assert created["before"] == ["quiet"] and created["after"] == ["quiet", "iommu=pt", "pci=realloc=off"]
    assert host.boots_with() == ["quiet", "iommu=pt", "pci=realloc=off"]
    assert created["reboot_required"] and "iommu=pt" in created["reboot_reason"]

    updated = four_times(host, present=["iommu=off", "pci=bfsort"])
    assert updated["after"] == ["quiet", "pci=realloc=off", "iommu=off", "pci=bfsort"]
    assert "replace iommu=pt by iommu=off" in updated["actions"]

    deleted = four_times(host, absent=["iommu", "pci=realloc=off", "pci=bfsort"])
    assert deleted["after"] == ["quiet"] and not deleted["reboot_required"]
    assert host.boots_with() == ["quiet"]
    assert host.text(DROPIN) is None and host.text("etc/default/grub") == users_file


def test_an_argument_of_the_user_is_filtered_and_the_file_kept(host):
    mine = "GRUB_CMDLINE_LINUX_DEFAULT='quiet amdgpu.gtt-size=1 dyndbg=\"file iommu=x +p\" iommu=off'\nGRUB_CMDLINE_LINUX=amdgpu.gttsize=9\n"
    host.put("etc/default/grub", mine)
    result = host(present=["iommu=pt"], absent=["amdgpu.gttsize", "amdgpu.gtt_size"])
    assert result["after"] == ["quiet", 'dyndbg="file iommu=x +p"', "iommu=pt"]
    assert host.text("etc/default/grub") == mine
    assert host.boots_with() == ["quiet", 'dyndbg="file', "iommu=x", '+p"', "iommu=pt"]
    # what is written there by hand later counts, unless it is what the drop-in settles
    host.put("etc/default/grub", mine.replace("iommu=off", "iommu=soft nokaslr"))
    again = host(present=["iommu=pt"], absent=["amdgpu.gttsize", "amdgpu.gtt_size"])
    assert not again["changed"] and again["after"] == [
        "quiet",
        'dyndbg="file iommu=x +p"',
        "nokaslr",
        "iommu=pt",
    ]


def test_arguments_of_init_stay_behind_the_dashes(host):
    host.put("etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet -- iommu=init"\n')
    result = host(present=["pci=realloc=off"], absent=["iommu"])
    assert result["after"] == ["quiet", "pci=realloc=off", "--", "iommu=init"]
    host.put("etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="iommu=off quiet -- iommu=init"\n')
    assert host(present=["iommu=pt"])["after"] == ["quiet", "pci=realloc=off", "iommu=pt", "--", "iommu=init"]


@pytest.mark.parametrize("broken", ["break-early", "break-late"])
def test_a_failing_generator_puts_everything_back(host, broken):
    host(present=["iommu=pt"])
    host.put(broken, "")
    before = host.tree()
    result = host(present=["nokaslr"])
    assert result["failed"]
    assert host.tree() == before
    assert (
        "return code" in result["msg"]
        and "update-grub" in result["msg"]
        and "previous configuration was put back" in result["msg"]
    )
    assert ("grub-probe: error" if broken == "break-early" else "out of disk") in result["msg"]


def test_a_generator_that_does_not_show_the_argument_is_a_failure(host):
    host.put("handmade", "")
    before = host.tree()
    result = host(present=["nokaslr"])
    assert result["failed"] and "nokaslr" in result["msg"] and "default entry" in result["msg"]
    assert host.tree() == before


def test_a_stale_grub_cfg_is_generated_again(host):
    host(present=["nokaslr"])
    host.put("boot/grub/grub.cfg", "menuentry 'Debian' {\n\tlinux /vmlinuz-6.1 root=UUID=1-2 ro quiet\n}\n")
    result = host(present=["nokaslr"])
    assert result["changed"] and result["before"] == ["quiet"] and result["after"] == ["quiet", "nokaslr"]
    assert host.boots_with() == ["quiet", "nokaslr"]
    assert not host(present=["nokaslr"])["changed"]


def test_changed_looks_at_the_boot_configuration_not_at_the_running_kernel(host):
    host(present=["nokaslr"])
    pending = host(present=["nokaslr"])
    assert not pending["changed"] and pending["reboot_required"] and "nokaslr" not in pending["running"]
    host.put("proc/cmdline", "ro quiet nokaslr\n")
    assert not host(present=["nokaslr"])["reboot_required"]
    # the running kernel has it, the boot configuration has not: a change, no reboot
    early = host(present=["quiet"], absent=["nokaslr"])
    assert early["changed"] and early["reboot_required"] and "still has nokaslr" in early["reboot_reason"]


def test_without_proc_the_running_line_is_null(host):
    (host.root / "proc/cmdline").unlink()
    result = host(present=["nokaslr"])
    assert result["running"] is None and result["problems"][0]["path"].endswith("proc/cmdline")
    assert result["reboot_required"] and not host(present=["nokaslr"])["reboot_required"]


def test_without_grub_cfg_the_dropin_is_written_and_said_not_to_be_in_effect(host):
    (host.root / "boot/grub/grub.cfg").unlink()
    result = host(present=["nokaslr"])
    assert result["changed"] and host.runs() == 0 and "nokaslr" in host.text(DROPIN)
    assert any("grub.cfg was not generated" in str(warning) for warning in result["warnings"])


def test_a_later_dropin_that_overrules_is_named(host):
    host.put("etc/default/grub.d/99-vendor.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="splash"\n')
    before = host.tree()
    result = host(present=["nokaslr"])
    assert result["failed"] and "99-vendor.cfg" in result["msg"] and host.tree() == before
    assert host(present=["nokaslr"], dropin="99-zz.cfg")["after"] == ["splash", "nokaslr"]


def test_a_purge_takes_over_from_the_dropin_of_another_name(host):
    """The way out of a later file that overrules: another name, and nothing is left of the old one."""
    host(present=["iommu=pt", "nosmt"])
    host.put("etc/default/grub.d/99-vendor.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="splash"\n')
    assert "kernel_dropin" in host(present=["iommu=pt"], purge=True)["msg"]
    moved = four_times(host, present=["iommu=pt"], purge=True, dropin="zz-mine.cfg")
    assert moved["after"] == ["splash", "iommu=pt"] == host.boots_with() and host.text(DROPIN) is None
    # What the kernel is started with, in one line each, and then the two files.
    assert moved["diff"][0]["before"] == "splash\n" and moved["diff"][0]["after"] == "splash iommu=pt\n"
    assert moved["diff"][0]["before_header"] == "kernel arguments" and len(moved["diff"]) == 3
    assert "vendor" not in str(moved["actions"])
    four_times(host, purge=True)
    assert host.text("etc/default/grub.d/zz-mine.cfg") is None and host.boots_with() == ["splash"]


def test_a_dropin_of_another_name_stays_without_a_purge(host):
    host(present=["iommu=pt"])
    host(present=["nosmt"], dropin="70-more.cfg")
    assert host.boots_with() == ["quiet", "iommu=pt", "nosmt"] and "iommu=pt" in host.text(DROPIN)


def test_a_dropin_of_another_name_that_a_killed_run_emptied_goes(host):
    host(present=["iommu=pt"], dropin="zz-mine.cfg")
    host.put(DROPIN, DROPIN_EMPTY)
    four_times(host, present=["iommu=pt"], purge=True, dropin="zz-mine.cfg")
    assert host.text(DROPIN) is None and host.boots_with() == ["quiet", "iommu=pt"]


def test_a_broken_defaults_file_is_one_sentence(host):
    host.put("etc/default/grub", 'GRUB_CMDLINE_LINUX="quiet\n')
    result = host(present=["nokaslr"])
    assert result["failed"] and "etc/default/grub" in result["msg"] and host.text(DROPIN) is None


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"present": ["a=1\nb"]}, ["line break"]),
        ({"present": ['dyndbg="file x']}, ["double quote", "dyndbg"]),
        ({"present": ["iommu=pt"], "absent": ["iommu=pt"]}, ["'iommu=pt'", "present", "absent"]),
        ({"present": ["iommu=pt"], "absent": ["iommu"]}, ["'iommu'", "iommu=pt"]),
        ({"present": ["iommu=pt", "iommu=off"]}, ["one value only"]),
        ({"present": ["quiet splash"]}, ["2 arguments"]),
        ({"present": ["--"]}, ["init"]),
        ({"present": [""]}, ["empty"]),
        ({"present": ["memmap=1G$4G"]}, ["by hand", "$"]),
        ({"present": ["a"], "dropin": "../x.cfg"}, ["dropin"]),
        ({"present": ["a"], "root": "/nonexistent/x"}, ["not a directory"]),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_written(host, arguments, words):
    before = host.tree()
    result = host.run_module("kernel_args", **arguments) if "root" in arguments else host(**arguments)
    assert result["failed"] and all(word in result["msg"] for word in words), result["msg"]
    assert host.tree() == before


def test_bytes_that_are_no_text_do_not_cost_the_answer(host):
    (host.root / "etc/default/grub").write_bytes(
        b'GRUB_CMDLINE_LINUX="foo=\xff quiet"\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'
    )
    result = host(absent=["foo"])
    assert not result.get("failed") and any("foo=\ufffd" in action for action in result["actions"]), result
    assert host.boots_with() == ["quiet"]


def test_characters_of_grub_are_quoted(host):
    result = host(present=["pci=resource_alignment=0;1"])
    assert result["after"][-1] == 'pci="resource_alignment=0;1"'
    assert not host(present=["pci=resource_alignment=0;1"])["changed"]


def test_an_argument_without_a_value_is_quoted_whole(host):
    four_times(host, present=["test{x}"])
    assert '"test{x}"' in host.boots_with() and "None" not in host.text(DROPIN)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbfGRUB_DEFAULT=0\n", "begins with a byte order mark"),
        ("GRUB_DEFAULT=0\n".encode("utf-16"), "begins with a byte order mark"),
        (b"GRUB_DEFAULT=0\r\n", "has the line ends of Windows"),
        (b"GRUB_DEFAULT=0\nfalse\n", "cannot read GRUB's defaults"),
    ],
)
def test_what_grub_mkconfig_would_stop_at_is_said_before_anything_is_written(host, content, words):
    (host.root / "etc/default/grub").write_bytes(content)
    before = host.tree()
    for check in (True, False):
        result = host(present=["nokaslr"], _check=check)
        assert result["failed"] and words in result["msg"] and "etc/default/grub" in result["msg"]
    assert host.tree() == before


def test_garbage_everywhere_never_ends_in_a_traceback(host):
    (host.root / "etc/default/grub").write_bytes(b"GRUB_CMDLINE_LINUX='\xff\xfe caf\xe9'\n")
    (host.root / "proc/cmdline").write_bytes(b"\0\0\xff\xfe\0")
    (host.root / "boot/grub/grub.cfg").write_bytes(b"\0}}{ menuentry submenu '\xff {\n}\n}\n}\n")
    result = host(present=["nokaslr"])
    assert result["changed"] and "nokaslr" in result["after"]
    assert not host(present=["nokaslr"])["changed"]


def test_no_boot_loader_is_one_sentence(tmp_path, run_module):
    result = run_module("kernel_args", present=["a"], root=str(tmp_path))
    assert result["failed"] and "No boot loader configuration" in result["msg"]


def test_purge_takes_back_what_earlier_calls_did_and_nothing_else(host):
    host.put("etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX="iommu=pt"\n')
    host(present=["iommu=pt", "nosmt", "pcie_aspm=off"], absent=["splash"])
    assert {"nosmt", "pcie_aspm=off"} <= set(host.boots_with()) and "splash" not in host.boots_with()
    less = host(present=["iommu=pt", "nosmt"], purge=True)
    assert less["changed"]
    assert "pcie_aspm=off" not in host.boots_with() and {"nosmt", "splash", "iommu=pt"} <= set(
        host.boots_with()
    )
    assert not host(present=["iommu=pt", "nosmt"], purge=True)["changed"]
    assert host(purge=True)["changed"]
    assert host.text(DROPIN) is None
    assert set(host.boots_with()) == {"ro", "quiet", "splash", "iommu=pt"} - {"ro"}
    assert not host(purge=True)["changed"]


def test_what_a_purge_takes_back_needs_a_reboot_too(host):
    """Seen on a virtual machine: after the teardown the kernel went on with the arguments, and nobody was
    told."""
    host.put("etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet amdgpu.gttsize=131072"\n')
    host(present=["iommu=pt", "pci=realloc=off"], absent=["amdgpu.gttsize"])
    host.put("proc/cmdline", "root=UUID=1-2 ro quiet iommu=pt pci=realloc=off\n")
    result = host(purge=True)
    assert result["reboot_required"]
    assert result["reboot_reason"].split("; ") == [
        "amdgpu.gttsize=131072 is not in effect in the running kernel",
        "the running kernel still has iommu=pt",
        "the running kernel still has pci=realloc=off",
    ]
    host.put("proc/cmdline", "root=UUID=1-2 ro quiet amdgpu.gttsize=131072\n")
    assert not host(purge=True)["reboot_required"]


def test_a_purge_that_changes_a_value_gives_one_reason(host):
    host(present=["iommu=off", "nosmt"])
    host.put("proc/cmdline", "root=UUID=1-2 ro quiet iommu=off nosmt\n")
    assert (
        host(present=["iommu=pt", "nosmt"], purge=True)["reboot_reason"]
        == "iommu=pt is not in effect in the running kernel"
    )


@pytest.mark.parametrize("purge", [True, False])
def test_what_a_killed_run_left_of_the_dropin_is_finished_and_said(host, purge):
    """Killed while grub.cfg was generated: an empty drop-in, and a grub.cfg with the arguments that were
    taken back."""
    host(present=["iommu=pt", "nosmt"])
    left = host.text("boot/grub/grub.cfg")
    host(present=["iommu=pt"], purge=True)
    host.put("boot/grub/grub.cfg", left)
    host.put(DROPIN, DROPIN_EMPTY)
    host.put("proc/cmdline", "root=UUID=1-2 ro quiet iommu=pt nosmt\n")
    result = four_times(host, purge=purge)
    assert (
        result["before"] == ["quiet", "iommu=pt", "nosmt"]
        and result["after"] == ["quiet"] == host.boots_with()
    )
    assert result["actions"][:2] == ["remove iommu=pt", "remove nosmt"] and host.text(DROPIN) is None
    assert result["reboot_required"] == purge


def test_a_purge_that_was_killed_before_the_dropin_shrank_in_grub_cfg(host):
    host(present=["iommu=pt", "nosmt"])
    left = host.text("boot/grub/grub.cfg")
    host(present=["iommu=pt"], purge=True)
    host.put("boot/grub/grub.cfg", left)
    os.utime(host.root / "boot/grub/grub.cfg", (1, 1))
    assert four_times(host, present=["iommu=pt"], purge=True)["actions"][0] == "remove nosmt"
    assert host.boots_with() == ["quiet", "iommu=pt"]


def test_the_record_follows_also_where_nothing_else_changes(tmp_path, run_module):
    """What a person put back, and what they wrote later, is theirs: a purge that changes nothing forgets what
    was replaced."""
    entry, record = (
        tmp_path / "boot/loader/entries/arch.conf",
        tmp_path / "var/lib/amdgpu-fleet/kernel-arguments",
    )
    entry.parent.mkdir(parents=True)
    text = "title Arch\nlinux /vmlinuz\noptions root=UUID=1 iommu=off\n"
    entry.write_text(text)
    assert run_module("kernel_args", root=str(tmp_path), present=["iommu=pt"])["changed"] and record.exists()
    for place, mine in ((entry, text), (tmp_path / "etc/kernel/cmdline", "root=UUID=1 iommu=off\n")):
        place.write_text(mine)
    for check in (True, False):
        assert record.exists()
        assert not run_module("kernel_args", _check=check, root=str(tmp_path), purge=True)["changed"]
    assert not record.exists()
    entry.write_text(text.replace("off", "pt"))
    assert not run_module("kernel_args", root=str(tmp_path), purge=True)["changed"]
    assert entry.read_text() == text.replace("off", "pt")


def test_a_grub_cfg_that_is_older_and_right_is_not_generated_again(host):
    """The clock may have been wrong when the drop-in was written."""
    host(present=["iommu=pt"])
    os.utime(host.root / "boot/grub/grub.cfg", (1, 1))
    assert not host(present=["iommu=pt"], purge=True)["changed"] and host.runs() == 1
