# SPDX-License-Identifier: GPL-3.0-or-later
"""After the role, and a kernel that came later: what systemd's own bootctl says that the next boot gives the kernel."""

from __future__ import annotations

import json
import shlex

import pytest

RUNNING, NEWER = "6.12.57+deb13-amd64", "7.2.12+deb13-amd64"
WANTED = {"iommu=pt", "bedgpu.dyndbg=file bedgpu.c +p"}


@pytest.fixture(scope="module")
def entries(host) -> dict[str, dict]:
    if host.check_output("hostname") != "boot-systemd":
        pytest.skip("GRUB")
    return {entry["version"]: entry for entry in json.loads(host.check_output("bootctl list --json=short"))}


def test_every_kernel_gets_the_arguments(entries):
    assert set(entries) == {RUNNING, NEWER}
    for entry in entries.values():
        arguments = shlex.split(entry["options"])
        assert set(arguments) >= WANTED | {"root=/dev/vda1", "quiet"}
        assert not [argument for argument in arguments if argument.startswith(("amdgpu.gttsize", "amdgpu.cwsr_enable"))]


def test_the_initramfs_is_the_one_with_the_module_options(host, entries):
    """kernel-install copied it to the partition when the role had it built again."""
    place = f"/boot/efi{entries[RUNNING]['initrd'][0]}"
    assert host.check_output(f"sha256sum < {place}") == host.check_output(f"sha256sum < /boot/initrd.img-{RUNNING}")
    assert "etc/modprobe.d/amdgpu-fleet.conf" in host.check_output(f"lsinitramfs {place}")


def test_the_facts_name_the_entry_that_bootctl_takes(host, entries):
    facts = host.ansible("amdgpu.fleet.rocm_facts", json.dumps({"root": "/"}), check=False, become=True)["ansible_facts"]["amd_rocm"]
    default = [version for version, entry in entries.items() if entry["isDefault"]]
    assert [facts["kernel"]["default_release"]] == default == [NEWER]
    assert facts["boot"]["loader"] == "systemd-boot"


def test_grub_has_them_too(host):
    if host.check_output("hostname") == "boot-grub":
        assert {"iommu=pt", "pci=realloc=off"} <= set(host.file("/boot/grub/grub.cfg").content_string.split())
