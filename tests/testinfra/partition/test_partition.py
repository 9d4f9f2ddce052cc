# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on a rack whose driver is emulated: writing a mode changes the devices that KFD shows."""

from __future__ import annotations

import json

import pytest

PCI = "/sys/bus/pci/devices"
UNIT = "amdgpu-fleet-partition.service"
BOOT_TIME = "systemctl show --property=UserspaceTimestampMonotonic --value"


def modes(host) -> set[str]:
    return set(
        host.check_output(f"cat {PCI}/*/current_compute_partition {PCI}/*/current_memory_partition").split()
    )


def devices(host) -> int:
    return int(
        host.check_output("grep -L '^simd_count 0$' /sys/class/kfd/kfd/topology/nodes/*/properties | wc -l")
    )


def module(host, name: str, **arguments) -> dict:
    """The result of a module; one that failed says why in ``msg``."""
    return host.ansible(name, json.dumps(arguments), check=False, become=True)


def test_the_mode_is_set_and_kfd_shows_the_devices(host):
    assert modes(host) == {"CPX", "NPS4"} and devices(host) == 64
    assert host.check_output("cat /run/bed-modprobe").splitlines() == ["-r amdgpu", "amdgpu"]


def test_the_holder_that_was_named_was_stopped_and_runs_again(host):
    assert host.file("/run/bed-holder-stopped").exists
    assert host.service("bed-holder").is_running


def test_the_unit_is_right_and_starts_at_boot_before_the_runtimes(host):
    host.check_output(f"systemd-analyze verify {UNIT}")
    shown = host.check_output(f"systemctl show {UNIT} --property=Before --value").split()
    assert {"docker.service", "podman.service", "containerd.service", "kubelet.service"} <= set(shown)
    assert UNIT in host.check_output("systemctl show multi-user.target --property=Wants --value").split()
    script = host.file("/usr/local/lib/amdgpu-fleet/restore-partitions")
    assert (script.user, script.mode) == ("root", 0o755)


@pytest.mark.parametrize(
    "arguments", [{"compute": "SPX", "memory": "NPS1"}, {"compute": "DPX", "memory": "NPS2"}]
)
def test_a_holder_that_nobody_named_is_named_and_nothing_is_touched(host, arguments):
    before = host.check_output("cat /run/bed-modprobe")
    result = module(host, "amdgpu.fleet.gpu_partition", **arguments)
    assert "bed-holder.service" in result["msg"] and "Nothing was changed" in result["msg"]
    assert modes(host) == {"CPX", "NPS4"} and host.check_output("cat /run/bed-modprobe") == before


def test_what_the_gpus_do_not_offer_is_refused(host):
    result = module(host, "amdgpu.fleet.gpu_partition", compute="QPX", stop_services=["bed-holder"])
    assert "does not offer QPX; it offers SPX, DPX, CPX" in result["msg"]
    assert host.service("bed-holder").is_running


def test_the_module_goes_back_and_the_unit_restores(host):
    result = module(
        host, "amdgpu.fleet.gpu_partition", compute="SPX", memory="NPS1", stop_services=["bed-holder"]
    )
    assert result["changed"] and modes(host) == {"SPX", "NPS1"} and devices(host) == 8
    host.check_output(f"systemctl restart {UNIT}")
    assert modes(host) == {"CPX", "NPS4"}
    assert "8 GPUs in compute mode CPX, memory mode NPS4" in host.check_output(
        f"journalctl --unit {UNIT} --output cat"
    )


def test_a_reboot_loses_the_mode_and_the_unit_brings_it_back(host):
    # What modprobe wrote down is gone with /run, and the emulated GPUs come up in SPX.
    result = module(host, "ansible.builtin.reboot", boot_time_command=BOOT_TIME, reboot_timeout=180)
    assert result.get("rebooted"), result
    host.run("systemctl is-system-running --wait")  # nobody here starts the unit: it has to come by itself
    assert host.service(UNIT).is_running
    assert modes(host) == {"CPX", "NPS4"} and devices(host) == 64
    assert host.check_output("cat /run/bed-modprobe").splitlines() == ["-r amdgpu", "amdgpu"]
