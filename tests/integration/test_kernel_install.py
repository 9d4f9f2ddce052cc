# SPDX-License-Identifier: GPL-3.0-or-later
"""The real kernel-install of Debian 13 (systemd 257): what we write into /etc/kernel/cmdline and into loader entries
is what the entries of later kernels, and unified kernel images, hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed import boot_tools, modules_inside

LINE = "root=UUID=1 ro quiet ttm.pages_limit=25165824"
OLD, NEW = "6.12.48+deb13-amd64", "6.12.57+deb13-amd64"
# Where the firmware has no variables the folders alone are known: the EFI system partition is a folder.
SET_UP = """
mkdir -p /boot/efi/loader/entries /etc/kernel /var/lib/amdgpu-fleet
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
printf 'layout={layout}\\nBOOT_ROOT=/boot/efi\\ninitrd_generator=none\\n' > /etc/kernel/install.conf
printf 'entry-token\\n' > /etc/kernel/entry-token
echo '{line}' > /etc/kernel/cmdline
kernel() {{
  mkdir -p /lib/modules/$1/kernel; touch /lib/modules/$1/modules.order /lib/modules/$1/modules.builtin
  echo "kernel $1" > /boot/vmlinuz-$1; echo initramfs > /boot/initrd.img-$1
  depmod $1
  kernel-install add $1 /boot/vmlinuz-$1 /boot/initrd.img-$1 >&2
}}
kernel {old}
"""
# Arguments: those to add, separated by blanks, and those to take away.
APPLY = """
import json, shutil, subprocess, sys
from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline

def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr

host = boot.Host("/", run=run, find=shutil.which, purge=True)
asked = cmdline.wanted(sys.argv[1].split(), sys.argv[2].split())
plan = boot.plan(host, "systemd-boot", asked)
boot.carry_out(host, plan, asked)
print(json.dumps({"changed": plan.changed, "commands": plan.commands, "after": plan.after}))
"""
LINES = """
import glob, json
from ansible_collections.amdgpu.fleet.plugins.module_utils._boot import systemd_boot
print(json.dumps(systemd_boot.lines("/")))
"""


def results(folder: Path, layout: str, script: str) -> list[Any]:
    """What each program printed, in the order in which the script started them."""
    before = SET_UP.format(layout=layout, line=LINE, old=OLD)
    said = modules_inside.run(boot_tools.BOX, folder, before + script, apply=APPLY, lines=LINES)
    return [json.loads(line) for line in said.splitlines() if line.startswith(("{", "["))]


def test_an_entry_of_kernel_install_is_read_as_it_was_written(tmp_path: Path) -> None:
    ((line,),) = results(tmp_path, "bls", "lines")
    assert line == LINE.split()


def test_a_later_kernel_has_what_we_wrote(tmp_path: Path) -> None:
    script = f"""
    apply iommu=pt ttm.pages_limit
    lines
    kernel {NEW}
    lines
    apply iommu=pt ttm.pages_limit
    kernel-install add {OLD} /boot/vmlinuz-{OLD} >&2
    lines
    cat /etc/kernel/cmdline >&2
    """
    first, edited, both, again, rebuilt = results(tmp_path, "bls", script)
    wanted = ["root=UUID=1", "ro", "quiet", "iommu=pt"]
    assert first["changed"] and first["after"] == wanted and edited == [wanted]
    assert both == [wanted, wanted], "the entry of the new kernel is made from /etc/kernel/cmdline"
    assert not again["changed"], "a second run has nothing to do"
    assert rebuilt == [wanted, wanted]


def test_what_is_taken_back_is_as_it_was_before(tmp_path: Path) -> None:
    script = f"""
    apply iommu=pt ttm.pages_limit
    kernel {NEW}
    apply '' ''
    lines
    """
    _first, back, lines = results(tmp_path, "bls", script)
    assert back["changed"] and all(sorted(line) == sorted(LINE.split()) for line in lines)


@pytest.mark.parametrize("tries", ["", "3"], ids=["plain", "counting tries"])
def test_an_image_is_built_again_by_kernel_install_itself(tmp_path: Path, tries: str) -> None:
    """layout=uki: ukify puts the line into the image, and counts how often it may fail to boot."""
    script = f"""
    {f"echo {tries} > /etc/kernel/tries" if tries else ""}
    {f"rm -f /boot/efi/EFI/Linux/*; kernel {OLD}" if tries else ""}
    lines
    apply iommu=pt ttm.pages_limit
    lines
    kernel {NEW}
    lines
    apply iommu=pt ttm.pages_limit
    ls /boot/efi/EFI/Linux >&2
    """
    wanted = ["root=UUID=1", "ro", "quiet", "iommu=pt"]
    before, first, edited, both, again = results(tmp_path, "uki", script)
    assert before == [LINE.split()]
    (command,) = first["commands"]
    assert first["changed"] and command[1:] == ["add", OLD, f"/boot/vmlinuz-{OLD}"] and edited == [wanted]
    assert both == [wanted, wanted] and not again["changed"]
