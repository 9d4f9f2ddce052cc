# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re


def next_boot(host) -> list[str]:
    """The arguments of the first entry of the boot menu that update-grub wrote."""
    menu = host.file("/boot/grub/grub.cfg").content_string
    return re.search(r"^\s*linux\s+\S+\s+(.*)$", menu, re.M).group(1).split()


def test_arguments_of_the_next_boot(host):
    arguments = next_boot(host)
    if host.check_output("hostname") == "kernel-rack":
        assert {"iommu=pt", "pci=realloc=off"} <= set(arguments)
    else:
        assert not [argument for argument in arguments if argument.startswith(("amdgpu.gttsize", "amdgpu.cwsr_enable"))]
    assert "quiet" in arguments, "what was there stays"


def test_what_a_person_wrote_stays(host):
    if host.check_output("hostname") == "kernel-halo":
        assert "amdgpu.gttsize=131072" in host.file("/etc/default/grub").content_string


def test_memory_limit_of_the_apu(host):
    options = host.file("/etc/modprobe.d/zz-amdgpu-fleet.conf")
    if host.check_output("hostname") == "kernel-rack":
        assert not options.exists
        return
    assert options.contains("^options ttm pages_limit=29360128$")
    assert "etc/modprobe.d/zz-amdgpu-fleet.conf" in host.check_output("lsinitramfs /boot/initrd.img-6.12.57+deb13-amd64")


def test_sysctls(host):
    file = host.file("/etc/sysctl.d/60-amdgpu-fleet.conf")
    assert file.exists is (host.check_output("hostname") == "kernel-rack")
    if file.exists:
        assert file.contains("^kernel.numa_balancing = 0$")
        assert host.check_output("cat /proc/sys/kernel/numa_balancing") == "0"


def test_nobody_rebooted(host):
    assert not host.file("/var/lib/amdgpu-fleet/rebooted").exists
