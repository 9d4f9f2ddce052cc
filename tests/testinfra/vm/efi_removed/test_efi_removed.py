# SPDX-License-Identifier: GPL-3.0-or-later
"""After the role kernel took back what it did, and a reboot by systemd-boot."""

from __future__ import annotations

import json
import shlex

QUESTIONS = {
    "cmdline": "cat /proc/cmdline",
    "entries": "bootctl list --json=short",
    "files": "find /etc /var/lib/amdgpu-fleet -name '*amdgpu-fleet*' -o -name kernel-arguments",
}


def test_the_arguments_are_gone_and_those_by_hand_are_back(seen) -> None:
    found = [json.loads(line) for line in seen["entries"].splitlines()]
    entries = [shlex.split(entry["options"]) for entry in found if "version" in entry]
    assert len(entries) == 2
    for arguments in [shlex.split(seen["cmdline"]), *entries]:
        assert {"quiet", "audit=0", "console=ttyS0", "amdgpu.gttsize=131072"} <= set(arguments)
        assert not [
            argument
            for argument in arguments
            if argument.startswith(("iommu", "pci", "transparent_hugepage", "bedgpu"))
        ]


def test_no_file_is_left(seen) -> None:
    assert seen["files"] == "/var/lib/amdgpu-fleet"
