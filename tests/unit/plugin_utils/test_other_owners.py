# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that somebody else has a hand in: an operator of Kubernetes, another system that boots, a package manager
that runs."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import declarative
from testbed.tree import load_host

KUBELET = {"var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"}
OPERATOR = {
    **KUBELET,
    "etc/modprobe.d/blacklist-amdgpu.conf": "# added by gpu operator\nblacklist amdgpu\n",
}
RHCOS = {
    **KUBELET,
    "etc/os-release": 'ID="rhcos"\nID_LIKE="rhel fedora"\nVERSION_ID=4.22\nPRETTY_NAME="Red Hat CoreOS"\n',
    "run/ostree-booted": "",
    "etc/machine-config-daemon/currentconfig": "{}",
    "etc/modprobe.d/amdgpu-blacklist.conf": "blacklist amdgpu\n",
}
BOOTC = {
    **OPERATOR,
    "etc/os-release": 'ID="rhel"\nVERSION_ID="9.6"\nPRETTY_NAME="RHEL image"\n',
    "run/ostree-booted": "",
    "usr/bin/bootc": "",
}
BARE = "root=/dev/vda1 ro quiet"


def found(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["id"]: finding for finding in plan["findings"]}


def with_line(name: str, line: str, **more: Any) -> dict[str, Any]:
    return {**load_host(name)["kernel"], "command_line": line, **more}


# --- the operator owns the driver; the kernel's arguments are the host's


def test_arguments_of_the_kernel_are_planned_beside_the_operator(host):
    plan = host("mi300x-8-nodriver", OPERATOR, kernel=with_line("mi300x-8", BARE))
    assert plan["kernel"]["present"] == ["pci=realloc=off", "iommu=pt"]
    assert plan["kernel"]["sysctl"] == {"kernel.numa_balancing": 0}
    assert plan["driver"]["policy"] == "none" and plan["kernel"]["module_options"] == {}


def test_the_operators_remedy_leaves_the_arguments_of_the_kernel_alone(host):
    remedy = found(host("mi300x-8-nodriver", OPERATOR))["driver.owner"]["remedy"]
    assert "driver_policy" in remedy and "kernel_state" not in remedy


def apu(name: str = "mi300a", **more: Any) -> list[dict[str, Any]]:
    return [{"product": name, "count": 4, **more}]


def test_the_limit_of_an_apu_reaches_a_driver_that_reads_no_modprobe_d(host):
    """The operator runs modprobe in a container: the host's /etc/modprobe.d is not in it, /proc/cmdline is."""
    plan = host("mi300x-8-nodriver", OPERATOR, gpus=apu(), kernel=with_line("mi300x-8", BARE))["kernel"]
    limit = 4 * 33554432
    assert f"amdttm.pages_limit={limit}" in plan["present"] and plan["module_options"] == {}


def test_the_limit_of_a_strix_halo_is_that_of_the_operators_module(host):
    line = f"{BARE} ttm.pages_limit=25165824"
    plan = host("strix-halo-128", OPERATOR, kernel=with_line("strix-halo-128", line))["kernel"]
    assert [each for each in plan["present"] if "pages_limit" in each] == ["amdttm.pages_limit=29360128"]
    assert plan["module_options"] == {} and "ttm.pages_limit" not in plan["absent"]


def test_an_argument_of_the_inventory_wins_over_the_limit(host):
    wants = {"kernel_arguments_present": ["amdttm.pages_limit=1000"]}
    plan = host("strix-halo-128", OPERATOR, wants=wants)["kernel"]
    assert [each for each in plan["present"] if "pages_limit" in each] == ["amdttm.pages_limit=1000"]


def test_no_unit_of_ours_loads_the_operators_driver(host):
    """The inbox driver would come first, and the operator's never."""
    wants = {"kernel_opt_in": ["late_driver_load"]}
    plan = host("mi300x-8-nodriver", OPERATOR, wants=wants)
    finding = found(plan)["driver.owner"]
    assert finding["severity"] == "fail" and "late_driver_load" in finding["seen"] + finding["remedy"]
    assert (
        plan["kernel"]["load_at_boot"] is None
        and "modprobe.blacklist=amdgpu" not in plan["kernel"]["present"]
    )


def test_no_firmware_is_brought_for_the_operators_driver(host):
    wants = {"firmware_policy": "managed"}
    plan = host(
        "strix-halo-128",
        OPERATOR,
        wants=wants,
        firmware={"package": "firmware-amd-graphics", "version": "20251125-1", "mes": "0x83"},
    )
    assert plan["firmware"]["install"] == [] and not plan["firmware"]["reboot"]


def test_openshift_is_given_a_machine_config(host):
    plan = host("mi300x-8-nodriver", RHCOS, ["boot"], kernel=with_line("mi300x-8", BARE))
    assert plan["kernel"]["present"] == [] and plan["kernel"]["sysctl"] == {}
    remedy = found(plan)["host.declarative"]["remedy"]
    for words in ("kind: MachineConfig", '- "pci=realloc=off"', '- "iommu=pt"', "ignition:", "packages"):
        assert (words in remedy) is (words != "packages"), remedy
    assert "driver.owner" in found(plan)


def test_an_image_is_given_kargs_d(host):
    plan = host("mi300x-8-nodriver", BOOTC, ["boot"], kernel=with_line("mi300x-8", BARE))
    remedy = found(plan)["host.declarative"]["remedy"]
    assert "kargs.d" in remedy and 'kargs = ["pci=realloc=off", "iommu=pt"]' in remedy
    assert "amdgpu-dkms" not in remedy, "the operator brings the driver"


def test_an_image_that_has_the_arguments_is_left_alone(host):
    line = f"{BARE} pci=realloc=off iommu=pt"
    plan = host(
        "mi300x-8-nodriver", RHCOS, ["boot"], kernel=with_line("mi300x-8", line), numa_balancing=False
    )
    assert "host.declarative" not in found(plan)


# --- what an immutable host is told includes its sysctls


def test_a_sysctl_of_an_image_is_handed_over_as_well(host):
    line = f"{BARE} pci=realloc=off iommu=pt"
    plan = host("mi300x-8-nodriver", RHCOS, ["boot"], kernel=with_line("mi300x-8", line), numa_balancing=True)
    assert "kernel.numa_balancing" in found(plan)["host.declarative"]["remedy"]
    assert plan["kernel"]["sysctl"] == {}


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("NixOS", 'boot.kernel.sysctl."kernel.numa_balancing" = 0;'),
        ("bootc", "kernel.numa_balancing = 0"),
        ("RHCOS", "path: /etc/sysctl.d/60-amdgpu-fleet.conf"),
        ("Guix System", '("kernel.numa_balancing" . "0")'),
        ("TrueNAS", "kernel.numa_balancing"),
        ("Unraid", "sysctl: kernel.numa_balancing=0"),
    ],
)
def test_each_system_in_its_own_words(system, words):
    needs = declarative.Needs([], [], [], [], {"kernel.numa_balancing": 0})
    assert words in declarative.snippet(system, needs)


# --- another system boots next

WINDOWS = """\
set default="1"
menuentry 'Debian' {
\tlinux /boot/vmlinuz-6.12 root=/dev/vda1 ro quiet
}
menuentry 'Windows Boot Manager' {
\tchainloader /EFI/Microsoft/Boot/bootmgfw.efi
}
"""


@pytest.mark.parametrize(
    ("name", "line", "severity"),
    [
        ("rx9070xt", "", "warn"),
        ("mi300x-8", BARE, "fail"),
        ("strix-halo-128", "", "fail"),  # its limit takes a reboot
        ("no-gpu", "", "warn"),
    ],
)
def test_a_host_that_would_not_come_back_is_not_rebooted(host, name, line, severity):
    kernel = {"kernel": with_line(name, line)} if line else {}
    finding = found(host(name, {"boot/grub/grub.cfg": WINDOWS}, **kernel))["host.next_boot"]
    assert (finding["severity"], finding["seen"]) == (severity, "Windows Boot Manager")


@pytest.mark.parametrize("name", ["rx9070xt", "mi300x-8", "strix-halo-128", "no-gpu"])
def test_a_host_with_one_system_is_told_nothing(host, name):
    assert "host.next_boot" not in found(host(name))


# --- a package manager that runs

SUSE = {
    "etc/os-release": 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="16.0"\nPRETTY_NAME="Leap"\n',
    "usr/bin/zypper": "",
}
FEDORA = {"etc/os-release": 'ID=fedora\nVERSION_ID=43\nPRETTY_NAME="Fedora 43"\n', "usr/bin/dnf": ""}


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ({**SUSE, "run/zypp.pid": "812\n", "proc/812/comm": "zypper\n"}, "zypper (812)"),
        ({**SUSE, "var/run/zypp.pid": "812", "proc/812/comm": "packagekitd\n"}, "packagekitd (812)"),
        ({**FEDORA, "var/lib/dnf/rpmdb_lock.pid": "812", "proc/812/comm": "dnf\n"}, "dnf (812)"),
        # Left over by one that was killed, or never written.
        ({**SUSE, "run/zypp.pid": "812\n"}, None),
        ({**SUSE, "run/zypp.pid": ""}, None),
        ({**SUSE, "run/zypp.pid": "../../etc\n"}, None),
        ({**SUSE, "run/zypp.pid": "\u0661\u0662\n", "proc/12/comm": "x\n"}, None),
    ],
)
def test_a_running_zypper_is_named(host, files, seen):
    finding = found(host("no-gpu", files, ["var/lib/dpkg"])).get("packages.busy")
    assert (finding and finding["seen"]) == seen
