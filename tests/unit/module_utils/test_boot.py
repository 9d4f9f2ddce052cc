# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot loaders on file trees; their tools are played from boot_commands.yml, the shell that reads files is real."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._next_boot import default_entry

RECORDED = yaml.safe_load((Path(__file__).parent / "boot_commands.yml").read_text())
ASKED = cmdline.wanted(["iommu=pt", "pci=realloc=off"], [])
ENTRY = "title Linux\nversion 6.12\nlinux /vmlinuz-6.12\noptions root=UUID=1 ro quiet iommu=off\n"


class RealRootHost(boot.Host):
    """A host below a temporary folder whose tools are found as on a running system."""

    real = True


def make_host(root, recording=None, tools=()):
    left = list(RECORDED[recording]) if recording else []

    def run(command):
        if command[0] == "env":
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr
        assert left, f"not expected: {command}"
        expected = left.pop(0)
        assert command == expected["command"]
        return expected["rc"], expected.get("out", ""), expected.get("err", "")

    host = RealRootHost(str(root), run, lambda name: f"/sbin/{name}" if name in tools else None)
    return host, left


def put(root, path, text):
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def bring(host, loader="auto", asked=ASKED):
    plan = boot.plan(host, loader, asked)
    boot.carry_out(host, plan, asked)
    return plan


def tree(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def fedora(tmp_path):
    put(
        tmp_path,
        "boot/grub2/grubenv",
        "# GRUB Environment Block\nsaved_entry=id-6.12\nkernelopts=root=UUID=1 ro quiet iommu=off\n####",
    )
    put(tmp_path, "boot/loader/entries/id-6.12.conf", ENTRY)
    put(
        tmp_path,
        "boot/loader/entries/id-6.11.conf",
        "title Old\nlinux /vmlinuz-6.11\noptions $kernelopts $tuned_params\n",
    )
    put(tmp_path, "boot/loader/entries/id-0-rescue.conf", "title Rescue\nlinux /rescue\noptions root=UUID=1\n")
    put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 ro quiet iommu=off\n")
    put(tmp_path, "etc/default/grub", '# kept\nGRUB_CMDLINE_LINUX="quiet iommu=off"\nGRUB_ENABLE_BLSCFG=true\n')
    return tmp_path


@pytest.mark.parametrize("recording, tools", [("grubby", ["grubby"]), (None, [])])
def test_bls_with_and_without_grubby(fedora, recording, tools):
    host, left = make_host(fedora, recording, tools)
    plan = bring(host)
    assert plan.loader == "bls" and not left
    assert plan.before == ["root=UUID=1", "ro", "quiet", "iommu=off"]
    assert plan.after == ["root=UUID=1", "ro", "quiet", "iommu=pt", "pci=realloc=off"]
    # a grubby that did nothing is made up for: every entry, and what later kernels are installed from
    assert "options root=UUID=1 ro quiet iommu=pt pci=realloc=off\n" in (fedora / "boot/loader/entries/id-6.12.conf").read_text()
    old = (fedora / "boot/loader/entries/id-6.11.conf").read_text()
    assert old == "title Old\nlinux /vmlinuz-6.11\noptions root=UUID=1 ro quiet iommu=pt $tuned_params pci=realloc=off\n"
    assert (fedora / "etc/kernel/cmdline").read_text() == "root=UUID=1 ro quiet iommu=pt pci=realloc=off\n"
    assert (
        fedora / "etc/default/grub"
    ).read_text() == '# kept\nGRUB_CMDLINE_LINUX="quiet iommu=pt pci=realloc=off"\nGRUB_ENABLE_BLSCFG=true\n'
    again = boot.plan(make_host(fedora)[0], "auto", ASKED)
    assert not again.changed and again.before == again.after == plan.after


def test_grubby_that_fails_leaves_everything_as_it_was(fedora):
    before = tree(fedora)
    with pytest.raises(boot.BootError, match="return code 1: grubby: error: the kernel was not found.*put back"):
        bring(make_host(fedora, "grubby fails", ["grubby"])[0])
    assert tree(fedora) == before


def test_a_later_kernel_gets_a_cmdline_file_where_there_was_none(fedora):
    (fedora / "etc/kernel/cmdline").unlink()
    bring(make_host(fedora)[0])
    assert (fedora / "etc/kernel/cmdline").read_text() == "root=UUID=1 ro quiet iommu=pt pci=realloc=off\n"


@pytest.mark.parametrize("folder", ["boot", "efi", "boot/efi"])
def test_systemd_boot(tmp_path, folder):
    entry = put(tmp_path, f"{folder}/loader/entries/arch.conf", ENTRY)
    put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 rw iommu=off\n")
    plan = bring(make_host(tmp_path)[0])
    assert plan.loader == "systemd-boot" and plan.after[-2:] == ["iommu=pt", "pci=realloc=off"]
    assert entry.read_text() == ENTRY.replace("iommu=off", "iommu=pt pci=realloc=off")
    assert (tmp_path / "etc/kernel/cmdline").read_text() == "root=UUID=1 rw iommu=pt pci=realloc=off\n"
    assert not boot.plan(make_host(tmp_path)[0], "auto", ASKED).changed


def test_kernelstub_is_used_where_it_is(tmp_path):
    put(tmp_path, "boot/efi/loader/entries/Pop_OS-current.conf", ENTRY)
    host, left = make_host(tmp_path, "kernelstub", ["kernelstub"])
    bring(host)
    assert not left


def test_systemd_boot_with_unified_images_says_that_they_must_be_built(tmp_path):
    put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 rw\n")
    plan = bring(make_host(tmp_path)[0])
    assert plan.loader == "systemd-boot" and "kernel-install" in plan.warnings[0]


def test_rpm_ostree(tmp_path):
    put(tmp_path, "run/ostree-booted", "")
    host, left = make_host(tmp_path, "rpm-ostree", ["rpm-ostree"])
    plan = bring(host)
    assert not left and plan.after == ["root=UUID=1", "rw", "quiet", "iommu=pt", "pci=realloc=off"]
    with pytest.raises(boot.BootError, match="still lacks"):
        bring(make_host(tmp_path, "rpm-ostree does nothing", ["rpm-ostree"])[0])
    with pytest.raises(boot.BootError, match="bootc"):
        boot.plan(make_host(tmp_path)[0], "auto", ASKED)


@pytest.fixture
def suse(tmp_path):
    put(tmp_path, "etc/os-release", 'ID="sles"\nID_LIKE="suse"\n')
    put(
        tmp_path,
        "etc/default/grub",
        '# mine\nGRUB_DEFAULT=saved\nGRUB_CMDLINE_LINUX_DEFAULT=\'quiet iommu=off dyndbg="a b"\'  # note\nGRUB_CMDLINE_LINUX="nokaslr"\n',
    )
    put(tmp_path, "boot/grub2/grub.cfg", "no entries\n")
    return tmp_path


def test_suse_edits_one_line(suse):
    host, left = make_host(suse, "suse", ["grub2-mkconfig"])
    asked = cmdline.wanted(["iommu=pt", "pci=realloc=off"], ["nokaslr"])
    plan = bring(host, asked=asked)
    assert plan.loader == "suse" and not left
    assert (suse / "etc/default/grub").read_text() == (
        "# mine\nGRUB_DEFAULT=saved\n"
        'GRUB_CMDLINE_LINUX_DEFAULT=\'quiet iommu=pt dyndbg="a b" pci=realloc=off\'  # note\nGRUB_CMDLINE_LINUX=""\n'
    )
    assert not boot.plan(make_host(suse)[0], "auto", asked).changed


def test_suse_generator_fails(suse):
    before = tree(suse)
    with pytest.raises(boot.BootError, match=r"return code 2: Syntax error at line 3\. The previous"):
        bring(make_host(suse, "suse fails", ["grub2-mkconfig"])[0])
    assert tree(suse) == before


@pytest.mark.parametrize("line", ['GRUB_CMDLINE_LINUX_DEFAULT="$X iommu=off"', 'GRUB_CMDLINE_LINUX_DEFAULT="iommu=off \\\n more"'])
def test_a_line_the_shell_computes_is_not_edited(suse, line):
    put(suse, "etc/default/grub", line + "\n")
    with pytest.raises(boot.BootError, match="cannot be edited safely"):
        boot.plan(make_host(suse)[0], "auto", ASKED)


@pytest.mark.parametrize(
    "default, saved, expected",
    [
        ("0", "", "first"),
        ("", "", "first"),
        ("1>1", "", "old"),
        ("Advanced>Debian old", "", "old"),
        ("adv>gnulinux-old", "", "old"),
        ("saved", "adv>gnulinux-new", "new"),
        ("2", "", "custom"),
        ("nothing like it", "", "first"),
        ("1", "", "new"),
    ],
)
def test_the_default_entry_of_grub_cfg(default, saved, expected):
    text = (
        "function gfxmode {\n}\nmenuentry 'Debian' --class debian $menuentry_id_option 'simple' {\n"
        "\tlinux /vmlinuz root=1 first\n}\n"
        "submenu 'Advanced' $menuentry_id_option 'adv' {\n"
        "\tmenuentry 'Debian new' $menuentry_id_option 'gnulinux-new' {\n\t\tlinux\t/vmlinuz new\n\t}\n"
        '\tmenuentry "Debian old" --id gnulinux-old {\n\t\tlinuxefi /vmlinuz old\n\t}\n}\n'
        "menuentry 'Mine' {\n\tlinux16 /vmlinuz custom\n}\n"
    )
    assert default_entry(text, default, saved).arguments[-1] == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.from_regex(r"\A[a-c][-_]?[a-c]?(=[a-z0-9,;*?\[\]]{0,3}|=\"[a-z *;]{0,4}\")?\Z"), max_size=5),
    st.lists(st.from_regex(r"\A[a-c][-_]?[a-c]?(=[a-z0-9,;*?\[\]]{0,3}|=\"[a-z *;]{0,4}\")?\Z"), max_size=3),
    st.lists(st.from_regex(r"\A[a-c][-_]?[a-c]?(=[a-z0-9,*?]{0,3})?\Z"), max_size=3),
)
def test_the_dropin_does_in_the_shell_what_apply_does_here(tmp_path, have, present, absent):
    """The real shell, with whatever the user wrote: the wish is met and the rest is kept."""
    try:
        asked = cmdline.wanted(present, absent)
    except cmdline.CmdlineError:
        return
    put(tmp_path, "etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT='" + cmdline.join(have) + "'\n")
    dropin = tmp_path / "etc/default/grub.d/60-amdgpu-fleet.cfg"
    dropin.parent.mkdir(exist_ok=True)
    dropin.unlink(missing_ok=True)
    host, _left = make_host(tmp_path)
    plan = bring(host, "grub", asked)
    assert cmdline.satisfied(plan.after, asked)
    names = {cmdline.parse(entry).name for entry in present + absent}
    untouched = [cmdline.parse(entry) for entry in have if cmdline.parse(entry).name not in names]
    kept = [cmdline.parse(entry) for entry in plan.after if cmdline.parse(entry).name not in names]
    assert [entry.name for entry in kept] == [entry.name for entry in untouched]
    assert [(entry.value or "").split() for entry in kept] == [(entry.value or "").split() for entry in untouched]
    again = boot.plan(host, "grub", asked)
    assert not again.changed and again.before == plan.after
    for shell in ("sh", "bash"):
        assert not dropin.exists() or subprocess.run([shell, "-n", str(dropin)], check=False).returncode == 0


def test_roots_that_are_left_through_links_are_refused(tmp_path):
    root = tmp_path / "root"
    put(root, "etc/default/x", "")
    (root / "etc/default/grub").symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="leaves"):
        boot.plan(make_host(root)[0], "grub", ASKED)
