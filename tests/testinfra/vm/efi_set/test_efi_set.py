# SPDX-License-Identifier: GPL-3.0-or-later
"""After the role kernel, a kernel that came in between, and one reboot, all by systemd-boot."""

from __future__ import annotations

import json
import shlex

QUESTIONS = {
    "cmdline": "cat /proc/cmdline",
    "kernel": "uname -r",
    "entries": "bootctl list --json=short",
    "loader": "cat /sys/firmware/efi/efivars/LoaderInfo-* | tr -d '\\0\\006'",
    "boot": "cat /proc/sys/kernel/random/boot_id /var/lib/amdgpu-fleet/rebooted",
    "messages": "dmesg | grep bedgpu",
}
WANTED = {"iommu=pt", "pci=realloc=off", "transparent_hugepage=always", "bedgpu.dyndbg=file bedgpu.c +p"}
BY_HAND = {"quiet", "audit=0", "console=ttyS0", "mitigations=off"}


def kernels(seen) -> dict[str, dict]:
    """The entries of kernels; this bootctl writes one object on a line."""
    entries = [json.loads(line) for line in seen["entries"].splitlines()]
    return {entry["version"]: entry for entry in entries if "version" in entry}


def facts(host) -> dict:
    return host.ansible("amdgpu.fleet.host_facts", json.dumps({"root": "/"}), check=False, become=True)[
        "ansible_facts"
    ]["amd_host"]


def test_systemd_boot_started_the_kernel_with_the_arguments(seen) -> None:
    assert seen["loader"].startswith("systemd-boot")
    arguments = set(shlex.split(seen["cmdline"]))
    assert arguments >= WANTED | BY_HAND
    assert not [argument for argument in arguments if argument.startswith("amdgpu.gttsize")]
    assert "bedgpu: showing 1002:74a0" in seen["messages"], "a value with spaces does what it says"


def test_a_kernel_that_came_before_the_reboot_has_them_too(seen) -> None:
    entries = kernels(seen)
    assert set(entries) == {seen["kernel"], "6.1.0-10-amd64"}
    for entry in entries.values():
        assert set(shlex.split(entry["options"])) >= WANTED | BY_HAND
        assert "amdgpu.gttsize" not in entry["options"]


def test_the_facts_follow_bootctl(host, seen) -> None:
    seen_first = facts(host)
    assert (seen_first["boot"]["loader"], seen_first["kernel"]["default_release"]) == (
        "systemd-boot",
        seen["kernel"],
    )
    host.check_output(f"bootctl set-default {kernels(seen)['6.1.0-10-amd64']['id']}")
    try:
        assert facts(host)["kernel"]["default_release"] == "6.1.0-10-amd64"
    finally:
        host.check_output("bootctl set-default ''")


def test_one_reboot(seen) -> None:
    now, mark = seen["boot"].split("\n", 1)
    booted, _space, reasons = mark.partition(" ")
    assert booted == now, "the mark was left by the boot that still runs"
    assert "iommu=pt is not in effect in the running kernel" in reasons
    assert "the running kernel still has amdgpu.gttsize=131072" in reasons
