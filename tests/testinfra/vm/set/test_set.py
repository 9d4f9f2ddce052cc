# SPDX-License-Identifier: GPL-3.0-or-later
"""After the roles, a kernel that came in between, and one reboot."""

from __future__ import annotations

import re
import shlex

RELEASE = "7.1.3.31500000"
WANTED = {"iommu=pt", "pci=realloc=off", "transparent_hugepage=always", "bedgpu.dyndbg=file bedgpu.c +p"}
BY_HAND = {"quiet", "audit=0", "console=ttyS0", "mitigations=off"}

QUESTIONS = {
    "cmdline": "cat /proc/cmdline",
    "menu": "cat /boot/grub/grub.cfg",
    "defaults": "cat /etc/default/grub",
    "kernel": "uname -r",
    "dkms": "dkms status",
    "loaded": "cd /sys/module/amdgpu && cat version srcversion initstate",
    "file": "/sbin/modinfo -F srcversion amdgpu && /sbin/modinfo -F filename amdgpu",
    "parameters": "cd /sys/module/amdttm/parameters && cat pages_limit page_pool_size",
    "gttsize": "cat /sys/module/amdgpu/parameters/gttsize",
    "devices": "stat -c '%n %U %G %a %F' /dev/kfd /dev/dri/renderD128",
    "udev": "udevadm test /sys/class/kfd/kfd",
    "bound": "basename $(readlink -f /sys/bus/pci/devices/0001:01:00.0/driver)",
    "boot": "cat /proc/sys/kernel/random/boot_id /var/lib/amdgpu-fleet/rebooted",
    "initramfs": "lsinitramfs /boot/initrd.img-$(uname -r) | grep modprobe.d",
    "sysctl": "cat /proc/sys/vm/compaction_proactiveness /etc/sysctl.d/60-amdgpu-fleet.conf",
    "messages": "dmesg | grep bedgpu",
}


def test_the_kernel_was_started_with_the_arguments(seen) -> None:
    arguments = set(shlex.split(seen["cmdline"]))
    assert arguments >= WANTED | BY_HAND
    assert not [argument for argument in arguments if argument.startswith("amdgpu.gttsize")]


def test_a_kernel_that_came_before_the_reboot_has_them_too(seen) -> None:
    entries = dict(re.findall(r"^\s*linux\s+/boot/vmlinuz-(\S+)\s+(?!.* single )(.*)$", seen["menu"], re.M))
    assert set(entries) == {seen["kernel"], "6.1.0-10-amd64"}
    for arguments in entries.values():
        assert set(shlex.split(arguments)) >= WANTED | BY_HAND
        assert "amdgpu.gttsize" not in arguments


def test_what_a_person_wrote_stays(seen) -> None:
    assert 'GRUB_CMDLINE_LINUX_DEFAULT="quiet amdgpu.gttsize=131072 audit=0"' in seen["defaults"]


def test_dkms_built_the_driver_and_the_kernel_runs_it(seen) -> None:
    assert f"amdgpu/7.1.3-2390945.22.04, {seen['kernel']}, x86_64: installed" in seen["dkms"].splitlines()
    version, running, state = seen["loaded"].splitlines()
    installed, path = seen["file"].splitlines()
    assert (version, state) == (RELEASE, "live")
    assert running == installed
    assert path == f"/lib/modules/{seen['kernel']}/updates/dkms/amdgpu.ko"
    assert seen["bound"] == "amdgpu", "udev loaded it by the alias of the PCI function"


def test_module_options_arrived(seen) -> None:
    assert seen["parameters"].splitlines() == ["33554432", "33554432"]
    assert seen["gttsize"] == "-1", "the argument that was removed had set it to 131072"
    assert "etc/modprobe.d/zz-amdgpu-fleet.conf" in seen["initramfs"]


def test_udev_made_the_devices_usable_for_the_group(seen) -> None:
    assert seen["devices"].splitlines() == [
        "/dev/kfd root render 660 character special file",
        "/dev/dri/renderD128 root render 660 character special file",
    ]
    assert "70-amdgpu-fleet.rules" in seen["udev"]


def test_one_reboot(seen) -> None:
    now, mark = seen["boot"].split("\n", 1)
    booted, _space, reasons = mark.partition(" ")
    assert booted == now, "the mark was left by the boot that still runs"
    assert "iommu=pt is not in effect in the running kernel" in reasons
    assert "the running kernel still has amdgpu.gttsize=131072" in reasons
    assert "the installed driver is not the running one" in reasons


def test_sysctls_of_a_boot(seen) -> None:
    value, file = seen["sysctl"].split("\n", 1)
    assert value == "20"
    assert "vm.compaction_proactiveness = 20" in file


def test_a_value_with_spaces_does_what_it_says(seen) -> None:
    assert "bedgpu: showing 1002:74a0" in seen["messages"]
