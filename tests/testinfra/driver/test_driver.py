# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

SOURCE = "/etc/apt/sources.list.d/amdgpu-fleet-driver.sources"


def test_the_driver_of_an_instinct_host(host):
    if host.check_output("hostname") != "driver-rack":
        return
    assert host.check_output("dpkg-query -W -f '${Version}' amdgpu-dkms") == "1:7.1.3.31500000-2390945.22.04"
    assert host.file(SOURCE).contains("^Suites: jammy$")
    assert host.file(SOURCE).contains("^Signed-By: /etc/apt/keyrings/amdgpu-fleet-driver.gpg$")
    assert host.file("/lib/modules/6.1.0-40-amd64/updates/dkms/amdgpu.ko").exists
    assert host.package("linux-headers-6.1.0-40-amd64").is_installed, "the headers came first"
    assert host.check_output("apt-mark showhold").split() == ["amdgpu-dkms", "amdgpu-dkms-firmware"]


def test_an_apu_keeps_the_driver_of_its_kernel(host):
    if host.check_output("hostname") != "driver-halo":
        return
    assert not host.file(SOURCE).exists
    assert not host.package("amdgpu-dkms").is_installed
    assert host.check_output("apt-mark showhold") == "", "a driver of the kernel needs no hold"
