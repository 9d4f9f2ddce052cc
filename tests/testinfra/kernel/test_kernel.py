# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

CONVERGE = Path(__file__).resolve().parents[3] / "molecule/kernel/converge.yml"


def next_boot(host) -> list[str]:
    """The arguments of the first entry of the boot menu that update-grub wrote."""
    menu = host.file("/boot/grub/grub.cfg").content_string
    return re.search(r"^\s*linux\s+\S+\s+(.*)$", menu, re.M).group(1).split()


def test_arguments_of_the_next_boot(host):
    arguments = next_boot(host)
    if host.check_output("hostname") == "kernel-rack":
        assert {"iommu=pt", "pci=realloc=off"} <= set(arguments)
    else:
        assert not [
            argument
            for argument in arguments
            if argument.startswith(("amdgpu.gttsize", "amdgpu.cwsr_enable"))
        ]
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
    assert "etc/modprobe.d/zz-amdgpu-fleet.conf" in host.check_output(
        "lsinitramfs /boot/initrd.img-6.12.57+deb13-amd64"
    )


def test_sysctls(host):
    file = host.file("/etc/sysctl.d/60-amdgpu-fleet.conf")
    assert file.exists is (host.check_output("hostname") == "kernel-rack")
    if file.exists:
        assert file.contains("^kernel.numa_balancing = 0$")
        assert host.check_output("cat /proc/sys/kernel/numa_balancing") == "0"


def test_a_full_disk_leaves_the_menu_and_the_files_of_before(host):
    """update-grub has no room for its menu: the run says so, and the next boot is what it was."""
    name = host.check_output("hostname")
    seen = "sha256sum /boot/grub/grub.cfg; find /etc/default/grub* -type f -exec sha256sum {} +"
    before = host.check_output(seen)
    size = int(host.check_output("stat --format=%s /boot/grub/grub.cfg")) // 4096 + 3
    host.check_output(
        "mount -t tmpfs -o size=%sk none /mnt && cp /boot/grub/grub.cfg /mnt/ && mount --move /mnt /boot/grub", str(4 * size)
    )  # fmt: skip
    try:
        host.run("dd if=/dev/zero of=/boot/grub/rest bs=4096")
        asked = json.dumps({"kernel_arguments_present": ["amdgpu.dc=0"]})
        command = [
            "ansible-playbook",
            CONVERGE,
            "-i",
            os.environ["MOLECULE_INVENTORY_FILE"],
            "--limit",
            name,
            "-e",
            asked,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        words = re.sub(r"\s+", " ", done.stdout)
        assert done.returncode == 2 and "No space left on device" in words, done.stdout
        assert host.check_output(seen) == before
    finally:
        host.check_output("umount /boot/grub")
    assert host.check_output(seen) == before


def test_nobody_rebooted(host):
    assert not host.file("/var/lib/amdgpu-fleet/rebooted").exists
