# SPDX-License-Identifier: GPL-3.0-or-later
"""After the teardown and a reboot."""

from __future__ import annotations

import re
import shlex

QUESTIONS = {
    "cmdline": "cat /proc/cmdline",
    "menu": "cat /boot/grub/grub.cfg",
    "dkms": "dkms status",
    "module": "ls /sys/module/amdgpu /dev/kfd",
    "files": "find /etc /usr/lib/modules -name '*amdgpu-fleet*' -o -name 'amdgpu.ko' -path '*updates*'",
    "packages": "dpkg-query -W -f '${Package} ${Status}\\n' 'amdgpu*'",
    "boot": "cat /proc/sys/kernel/random/boot_id /var/lib/amdgpu-fleet/rebooted",
}


def test_the_arguments_are_gone_and_those_by_hand_are_back(seen) -> None:
    entries = [
        shlex.split(line) for line in re.findall(r"^\s*linux\s+\S+\s+(?!.* single )(.*)$", seen["menu"], re.M)
    ]
    assert len(entries) == 3, "the first entry, and one for each kernel"
    for arguments in [shlex.split(seen["cmdline"]), *entries]:
        assert {"quiet", "audit=0", "console=ttyS0", "amdgpu.gttsize=131072"} <= set(arguments)
        assert not [
            argument
            for argument in arguments
            if argument.startswith(("iommu", "pci", "transparent_hugepage", "bedgpu"))
        ]


def test_the_driver_is_gone(seen) -> None:
    assert "amdgpu" not in seen["dkms"] and "bedgpu/1" in seen["dkms"]
    assert seen["module"].count("No such file or directory") == 2
    assert " installed" not in seen["packages"]


def test_no_file_is_left(seen) -> None:
    assert seen["files"] == ""


def test_it_was_rebooted_for_it(seen) -> None:
    now, mark = seen["boot"].split("\n", 1)
    booted, _space, reasons = mark.partition(" ")
    assert booted == now
    assert "the running kernel still has iommu=pt" in reasons
    assert "amdgpu.gttsize=131072 is not in effect in the running kernel" in reasons
