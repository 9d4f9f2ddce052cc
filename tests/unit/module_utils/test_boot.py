# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot loaders on file trees; their tools are played from boot_commands.yml, the shell that reads files is
real."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._boot.next_boot import default_entry

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
    put(
        tmp_path, "boot/loader/entries/id-0-rescue.conf", "title Rescue\nlinux /rescue\noptions root=UUID=1\n"
    )
    put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 ro quiet iommu=off\n")
    put(
        tmp_path,
        "etc/default/grub",
        '# kept\nGRUB_CMDLINE_LINUX="quiet iommu=off"\nGRUB_ENABLE_BLSCFG=true\n',
    )
    return tmp_path


@pytest.mark.parametrize("recording, tools", [("grubby", ["grubby"]), (None, [])])
def test_bls_with_and_without_grubby(fedora, recording, tools):
    host, left = make_host(fedora, recording, tools)
    plan = bring(host)
    assert plan.loader == "bls" and not left
    assert plan.before == ["root=UUID=1", "ro", "quiet", "iommu=off"]
    assert plan.after == ["root=UUID=1", "ro", "quiet", "iommu=pt", "pci=realloc=off"]
    # a grubby that did nothing is made up for: every entry, and what later kernels are installed from
    assert (
        "options root=UUID=1 ro quiet iommu=pt pci=realloc=off\n"
        in (fedora / "boot/loader/entries/id-6.12.conf").read_text()
    )
    old = (fedora / "boot/loader/entries/id-6.11.conf").read_text()
    assert (
        old
        == "title Old\nlinux /vmlinuz-6.11\noptions root=UUID=1 ro quiet iommu=pt $tuned_params pci=realloc=off\n"
    )
    assert (fedora / "etc/kernel/cmdline").read_text() == "root=UUID=1 ro quiet iommu=pt pci=realloc=off\n"
    assert (
        fedora / "etc/default/grub"
    ).read_text() == '# kept\nGRUB_CMDLINE_LINUX="quiet iommu=pt pci=realloc=off"\nGRUB_ENABLE_BLSCFG=true\n'
    again = boot.plan(make_host(fedora)[0], "auto", ASKED)
    assert not again.changed and again.before == again.after == plan.after


def test_grubby_that_fails_leaves_everything_as_it_was(fedora):
    before = tree(fedora)
    with pytest.raises(
        boot.BootError, match="return code 1: grubby: error: the kernel was not found.*put back"
    ):
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


MEMTEST = "title Memory test\nefi /EFI/memtest86.efi\n"


def test_an_entry_that_starts_no_kernel_is_left_alone_and_lends_no_arguments(tmp_path):
    """kernel-install makes the entries of later kernels from /etc/kernel/cmdline: made without root=, none of
    them would start."""
    entry = put(tmp_path, "boot/loader/entries/arch.conf", ENTRY)
    memtest = put(tmp_path, "boot/loader/entries/memtest.conf", MEMTEST)
    plan = bring(make_host(tmp_path)[0])
    assert plan.before == ["root=UUID=1", "ro", "quiet", "iommu=off"]
    assert (tmp_path / "etc/kernel/cmdline").read_text() == "root=UUID=1 ro quiet iommu=pt pci=realloc=off\n"
    assert (
        entry.read_text() == ENTRY.replace("iommu=off", "iommu=pt pci=realloc=off")
        and memtest.read_text() == MEMTEST
    )
    (tmp_path / "etc/kernel/cmdline").unlink()
    entry.unlink()
    with pytest.raises(boot.BootError, match="no loader entry of a kernel"):
        boot.plan(make_host(tmp_path)[0], "auto", ASKED)


@pytest.mark.parametrize(
    "line", ["linux /vmlinuz", "uki /EFI/Linux/a.efi", "efi /vmlinuz.efi\noptions root=UUID=1"]
)
def test_an_entry_of_a_kernel_gets_the_arguments(tmp_path, line):
    entry = put(tmp_path, "boot/loader/entries/arch.conf", f"title Arch\n{line}\n")
    bring(make_host(tmp_path)[0])
    assert boot.options_of(entry.read_text())[-2:] == ASKED.present


def test_no_cmdline_file_is_made_where_the_default_entry_names_no_root(tmp_path):
    """systemd finds the root partition by its type; nothing tells that it would for a later kernel."""
    text = "title Arch\nlinux /vmlinuz\n"
    entry = put(tmp_path, "boot/loader/entries/arch.conf", text)
    plan = bring(make_host(tmp_path)[0])
    assert (
        entry.read_text() == text + "options iommu=pt pci=realloc=off\n"
        and not (tmp_path / "etc/kernel/cmdline").exists()
    )
    assert "no root=" in plan.warnings[0] and not boot.plan(make_host(tmp_path)[0], "auto", ASKED).changed
    bring(make_host(tmp_path)[0], asked=cmdline.wanted([], ["iommu", "pci"]))
    assert entry.read_text() == text, "an entry that had no options line has none again"


def test_kernelstub_is_used_where_it_is(tmp_path):
    put(tmp_path, "boot/efi/loader/entries/Pop_OS-current.conf", ENTRY)
    host, left = make_host(tmp_path, "kernelstub", ["kernelstub"])
    bring(host)
    assert not left


def test_systemd_boot_with_unified_images_says_that_they_must_be_built(tmp_path):
    put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 rw\n")
    plan = bring(make_host(tmp_path)[0])
    assert plan.loader == "systemd-boot" and "kernel-install" in plan.warnings[0]


@pytest.mark.parametrize(
    "info, grub_cfg, loader",
    [
        ("systemd-boot 257.13", True, "systemd-boot"),
        ("GRUB 2.12", True, "grub"),
        ("", True, "grub"),  # GRUB before 2.12 leaves no name
        ("GRUB 2.12", False, "systemd-boot"),
        (None, True, "systemd-boot"),  # an image, or a machine without EFI variables: by the files
    ],
)
def test_entries_of_another_system_on_the_same_partition(tmp_path, info, grub_cfg, loader):
    put(tmp_path, "boot/efi/loader/entries/other.conf", ENTRY)
    if grub_cfg:
        put(
            tmp_path,
            "boot/grub/grub.cfg",
            "menuentry 'Debian' {\n\tlinux /vmlinuz-6.1 root=UUID=1-2 ro quiet\n}\n",
        )
    if info is not None:
        put(tmp_path, "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "")
        place = put(tmp_path, "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", "")
        place.write_bytes(b"\6\0\0\0" + info.encode("utf-16-le") + b"\0\0")
    assert boot.detect(str(tmp_path)) == loader


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


@pytest.mark.parametrize(
    "line", ['GRUB_CMDLINE_LINUX_DEFAULT="$X iommu=off"', 'GRUB_CMDLINE_LINUX_DEFAULT="iommu=off \\\n more"']
)
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
    assert [(entry.value or "").split() for entry in kept] == [
        (entry.value or "").split() for entry in untouched
    ]
    again = boot.plan(host, "grub", asked)
    assert not again.changed and again.before == plan.after
    for shell in ("sh", "bash"):
        assert not dropin.exists() or subprocess.run([shell, "-n", str(dropin)], check=False).returncode == 0


# What a teardown takes back where there is no drop-in ----------------------------------------------

RECORD = "var/lib/amdgpu-fleet/kernel-arguments"
BY_HAND = cmdline.wanted(["iommu=pt", "pci=realloc=off", "quiet"], ["amdgpu.gttsize", "nosmt"])
NOTHING = cmdline.wanted([], [])


def texts(root):
    return {
        str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()
    }


def acting(host, act):
    """The host with a tool that does its work: act is given the words of each command that is no shell."""
    return host._replace(run=lambda command: host.run(command) if command[0] == "env" else act(command))


def take_back(host):
    purging = host._replace(purge=True)
    checked = boot.plan(purging, "auto", NOTHING)
    done = bring(purging, asked=NOTHING)
    assert checked == done and done.changed
    assert not boot.plan(purging, "auto", NOTHING).changed
    return done


def fedora_by_hand(root):
    put(
        root,
        "boot/loader/entries/id-6.12.conf",
        ENTRY.replace("iommu=off", "iommu=off amdgpu.gttsize=9 nokaslr"),
    )
    put(root, "etc/kernel/cmdline", "root=UUID=1 ro quiet iommu=off amdgpu.gttsize=9 nokaslr\n")
    put(
        root,
        "etc/default/grub",
        '# kept\nGRUB_CMDLINE_LINUX="quiet iommu=off amdgpu.gttsize=9 nokaslr"  # mine\n',
    )


def grubby(root):
    """grubby --update-kernel=ALL: every entry gets and loses the same."""

    def act(command):
        gone = next((word.partition("=")[2] for word in command if word.startswith("--remove-args=")), "")
        new = next((word.partition("=")[2] for word in command if word.startswith("--args=")), "")
        asked = cmdline.Wanted(cmdline.split(new), cmdline.split(gone))
        for place in (root / "boot/loader/entries").glob("*.conf"):
            text = place.read_text()
            place.write_text(boot.set_options(text, cmdline.apply(boot.options_of(text), asked)))
        return 0, "", ""

    return act


@pytest.mark.parametrize("tools", [["grubby"], []])
def test_what_was_changed_with_grubby_is_taken_back(fedora, tools):
    fedora_by_hand(fedora)
    (fedora / "boot/loader/entries/id-6.11.conf").unlink()
    before = texts(fedora)
    host = acting(make_host(fedora, None, tools)[0], grubby(fedora))
    bring(host, asked=BY_HAND)
    assert "iommu=pt" in (fedora / "boot/loader/entries/id-0-rescue.conf").read_text()
    done = take_back(host)
    assert sorted(done.after) == sorted(
        ["root=UUID=1", "ro", "quiet", "iommu=off", "nokaslr", "amdgpu.gttsize=9"]
    )
    assert (fedora / "boot/loader/entries/id-0-rescue.conf").read_text() == before[
        "boot/loader/entries/id-0-rescue.conf"
    ]
    words = [
        {name: sorted(text.replace('"', " ").split()) for name, text in state.items()}
        for state in (before, texts(fedora))
    ]
    assert words[0] == words[1], "what was there, perhaps in another order, and no record"


def test_grubby_takes_nothing_of_a_person_out_of_the_other_lines(fedora):
    """--update-kernel=ALL removes an argument wherever it stands: also where a person wrote it, and nothing
    had to be changed."""
    mine = ENTRY.replace("iommu=off", "iommu=pt pci=realloc=off").replace("6.12", "6.11")
    put(fedora, "boot/loader/entries/id-6.11.conf", mine)
    put(fedora, "etc/kernel/cmdline", "root=UUID=1 ro quiet iommu=pt pci=realloc=off\n")
    put(fedora, "etc/default/grub", 'GRUB_CMDLINE_LINUX="quiet iommu=pt pci=realloc=off"\n')
    before = texts(fedora)
    every_entry = grubby(fedora)

    def act(command):
        if "--remove-args=iommu=pt pci=realloc=off" in command:
            for name in ("etc/kernel/cmdline", "etc/default/grub"):
                put(fedora, name, (fedora / name).read_text().replace(" iommu=pt pci=realloc=off", ""))
        return every_entry(command)

    host = acting(make_host(fedora, None, ["grubby"])[0], act)
    bring(host)
    assert (fedora / "boot/loader/entries/id-6.11.conf").read_text() == mine
    take_back(host)
    words = [
        {name: sorted(text.split()) for name, text in state.items()} for state in (before, texts(fedora))
    ]
    assert words[0] == words[1]


def test_what_rpm_ostree_was_given_is_taken_back(tmp_path):
    put(tmp_path, "run/ostree-booted", "")
    line = ["root=UUID=1", "rw", "quiet", "iommu=off", "amdgpu.gttsize=9", "nokaslr"]

    def rpm_ostree(command):
        for word in command[2:]:
            option, _between, entry = word.partition("=")
            if option == "--delete-if-present" and entry in line:
                line.remove(entry)
            elif option == "--append-if-missing" and entry not in line:
                line.append(entry)
        return 0, " ".join(line) + "\n", ""

    host = acting(make_host(tmp_path, None, ["rpm-ostree"])[0], rpm_ostree)
    before = list(line)
    bring(host, asked=BY_HAND)
    assert "iommu=pt" in line and "amdgpu.gttsize=9" not in line
    line.append("splash")  # written by a person meanwhile
    take_back(host)
    assert sorted(line) == sorted([*before, "splash"])
    assert texts(tmp_path).keys() == {"run/ostree-booted"}


def test_what_was_edited_on_suse_is_taken_back_variable_by_variable(suse):
    defaults = suse / "etc/default/grub"
    defaults.write_text(defaults.read_text().replace('"nokaslr"', '"nosmt amdgpu.gttsize=9"'))
    before = texts(suse)
    host = acting(make_host(suse, None, ["grub2-mkconfig"])[0], lambda command: (0, "", ""))
    bring(host, asked=BY_HAND)
    assert 'GRUB_CMDLINE_LINUX=""' in (suse / "etc/default/grub").read_text()
    take_back(host)
    assert texts(suse) == before


def test_grub_cfg_is_generated_again_where_a_purge_on_suse_was_killed(suse):
    generated = []
    host = acting(
        make_host(suse, None, ["grub2-mkconfig"])[0], lambda command: generated.append(command) or (0, "", "")
    )
    put(
        suse,
        "boot/grub2/grub.cfg",
        "menuentry 'SLES' {\n\tlinux /vmlinuz root=UUID=1 quiet iommu=pt nokaslr pci=realloc=off\n}\n",
    )
    bring(host)
    record = (suse / RECORD).read_text()
    take_back(host)
    put(suse, RECORD, record)
    os.utime(suse / "boot/grub2/grub.cfg", (1, 1))
    generated.clear()
    done = bring(host._replace(purge=True), asked=NOTHING)
    assert done.changed and len(generated) == 1 and not (suse / RECORD).exists()
    assert not boot.plan(host._replace(purge=True), "auto", NOTHING).changed


@pytest.mark.parametrize("cmdline_file", [True, False])
def test_what_was_edited_for_systemd_boot_is_taken_back(tmp_path, cmdline_file):
    put(tmp_path, "boot/efi/loader/loader.conf", "default id-*\n")
    put(tmp_path, "boot/efi/loader/entries/id-6.12.conf", ENTRY)
    put(
        tmp_path,
        "boot/efi/loader/entries/mine.conf",
        "title Mine\nlinux /mine\noptions root=UUID=1 iommu=pt amdgpu.gttsize=9\n",
    )
    if cmdline_file:
        put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 ro quiet iommu=off\n")
    before = texts(tmp_path)
    host = make_host(tmp_path)[0]
    bring(host, asked=BY_HAND)
    # a kernel that came later, with the arguments that /etc/kernel/cmdline then had, and what a person wrote
    # since
    later = put(
        tmp_path,
        "boot/efi/loader/entries/id-6.13.conf",
        "linux /new\noptions " + (tmp_path / "etc/kernel/cmdline").read_text(),
    )
    mine = tmp_path / "boot/efi/loader/entries/mine.conf"
    mine.write_text(mine.read_text().replace("pci=realloc=off", "pci=realloc=off loglevel=3"))
    assert not boot.plan(host, "auto", BY_HAND).changed, "the record alone is no change"
    assert not boot.plan(host._replace(purge=True), "auto", BY_HAND).changed
    take_back(host)
    assert later.read_text() == "linux /new\noptions root=UUID=1 ro quiet iommu=off\n"
    later.unlink()
    left = texts(tmp_path)
    assert (
        left.pop("boot/efi/loader/entries/mine.conf").splitlines()[-1]
        == "options root=UUID=1 iommu=pt loglevel=3 amdgpu.gttsize=9"
    )
    before.pop("boot/efi/loader/entries/mine.conf")
    # Until the reboot a new kernel would copy the arguments of the running one: a file that was made stays,
    # with the host's own.
    assert left == {"etc/kernel/cmdline": "root=UUID=1 ro quiet iommu=off\n", **before}


def test_an_argument_that_is_no_longer_asked_for_goes_and_the_others_stay(tmp_path):
    entry = put(tmp_path, "boot/loader/entries/arch.conf", ENTRY)
    host = make_host(tmp_path)[0]._replace(purge=True)
    bring(host, asked=BY_HAND)
    bring(host, asked=cmdline.wanted(["iommu=soft"], []))
    assert entry.read_text() == ENTRY.replace("iommu=off", "iommu=soft")
    bring(host, asked=NOTHING)
    assert entry.read_text() == ENTRY


def test_what_a_person_wrote_meanwhile_wins(tmp_path):
    entry = put(tmp_path, "boot/loader/entries/arch.conf", ENTRY)
    host = make_host(tmp_path)[0]
    bring(host)
    entry.write_text(entry.read_text().replace("iommu=pt", "iommu=force"))
    take_back(host)
    assert entry.read_text() == ENTRY.replace("iommu=off", "iommu=force")
    assert not (tmp_path / RECORD).exists(), "and is not replaced by a later purge, once they take it away"


def test_entries_that_are_not_mounted_are_not_forgotten(tmp_path):
    put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 ro\n")
    put(tmp_path, "efi/loader/loader.conf", "")
    put(tmp_path, "efi/loader/entries/arch.conf", ENTRY)
    bring(make_host(tmp_path)[0])
    (tmp_path / "efi").rename(tmp_path / "unmounted")
    bring(make_host(tmp_path)[0])
    (tmp_path / "unmounted").rename(tmp_path / "efi")
    take_back(make_host(tmp_path)[0])
    assert (tmp_path / "efi/loader/entries/arch.conf").read_text() == ENTRY and not (
        tmp_path / RECORD
    ).exists()


@pytest.mark.parametrize("values", [["soft"], ["soft", "off"], ["off"]])
def test_the_newest_value_a_person_wrote_goes_back(tmp_path, values):
    entry = put(tmp_path, "boot/loader/entries/arch.conf", ENTRY)
    kernel = put(tmp_path, "etc/kernel/cmdline", "root=UUID=1 ro quiet iommu=off\n")
    host = make_host(tmp_path)[0]
    bring(host)
    for value in values:
        for place in (entry, kernel):
            place.write_text(place.read_text().replace("iommu=pt", f"iommu={value}"))
        plan = boot.plan(host, "auto", ASKED)
        boot.carry_out(host, plan, ASKED)
    put(tmp_path, RECORD, plan.record.meanwhile)  # killed before its last step: the same
    take_back(host)
    assert (
        entry.read_text() == ENTRY.replace("off", values[-1])
        and kernel.read_text() == f"root=UUID=1 ro quiet iommu={values[-1]}\n"
    )
    assert not (tmp_path / RECORD).exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"/etc/kernel/cmdline": {}}', "null"])
def test_a_record_that_is_none_is_one_sentence(tmp_path, text):
    put(tmp_path, "boot/loader/entries/arch.conf", ENTRY)
    put(tmp_path, RECORD, text)
    with pytest.raises(boot.BootError, match="kernel-arguments does not say any more"):
        boot.plan(make_host(tmp_path)[0], "auto", ASKED)


def test_a_failure_puts_the_record_back_too(fedora):
    bring(make_host(fedora)[0])
    before = tree(fedora)
    host = acting(make_host(fedora, None, ["grubby"])[0], lambda command: (1, "", "grubby: error"))
    with pytest.raises(boot.BootError, match="put back"):
        bring(host, asked=cmdline.wanted(["nokaslr"], []))
    assert tree(fedora) == before


def test_a_failure_leaves_no_new_folder(fedora):
    folders = sorted(path for path in fedora.rglob("*") if path.is_dir())
    host = acting(make_host(fedora, None, ["grubby"])[0], lambda command: (1, "", "grubby: error"))
    with pytest.raises(boot.BootError, match="put back"):
        bring(host, asked=cmdline.wanted(["nokaslr"], []))
    assert sorted(path for path in fedora.rglob("*") if path.is_dir()) == folders


def test_roots_that_are_left_through_links_are_refused(tmp_path):
    root = tmp_path / "root"
    put(root, "etc/default/x", "")
    (root / "etc/default/grub").symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="leaves"):
        boot.plan(make_host(root)[0], "grub", ASKED)
