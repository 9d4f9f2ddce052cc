# SPDX-License-Identifier: GPL-3.0-or-later
"""Every finding about a host, on an emulated host that has the defect and through the modules that must see
it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.module_utils._kernel_log import trouble
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from testbed.tree import load_host, write_tree

KNOWN = yaml.safe_load(
    (Path(__file__).resolve().parents[3] / "roles/plan/files/catalog/known_issues.yml").read_text()
)
# What a host can show, apart from what is asked of it in the inventory and from the vLLM section.
PARTS = ("gpu.", "kernel.", "memory.", "firmware.", "driver.", "rocm.", "repository.", "devices.", "host.")
OF_WANTS = {
    "memory.gtt_too_large",
    "driver.release",
    "rocm.release",
    "rocm.driver",
    "rocm.refused",
    "host.memory",
}

UBUNTU_HWE = {
    "os": "ubuntu2404",
    "kernel": {"release": "6.14.0-33-generic"},
    "driver": {"source": "dkms", "version": "7.1.3.31500000"},
}
HALO = {"product": "strix-halo", "vram_gib": 0.5, "gtt_gib": 115}


def log(line: str) -> dict[str, Any]:
    return {"files": {"/var/log/dmesg": f"[    4.2] {line}\n"}}


def apt(line: str) -> dict[str, Any]:
    return {"files": {"/etc/apt/sources.list.d/amd.list": f"deb {line}\n"}}


def edit(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return change


def unbind(root: Path) -> None:
    driver = root / "sys/bus/pci/drivers/vfio-pci"
    driver.mkdir(parents=True)
    device = (root / "sys/bus/pci/devices/0000:05:00.0").resolve()
    (device / "driver").unlink(missing_ok=True)
    (device / "driver").symlink_to(driver)
    remove_node(root, 2)


def remove_node(root: Path, number: int) -> None:
    shutil.rmtree(root / f"sys/class/kfd/kfd/topology/nodes/{number}")


def other_kernel_boots(root: Path) -> None:
    shutil.rmtree(root / "lib/modules/6.1.0-41-amd64/updates")
    (root / "var/lib/dkms/amdgpu/kernel-6.1.0-41-amd64-x86_64").unlink()
    grub = root / "boot/grub/grub.cfg"
    grub.write_text(grub.read_text().replace("6.1.0-40-amd64", "6.1.0-41-amd64"))


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def forget_packages(root: Path) -> None:
    """As AMD's runfile installs: no package knows of it."""
    status = root / "var/lib/dpkg/status"
    stanzas = status.read_text().split("\n\n")
    status.write_text("\n\n".join(stanza for stanza in stanzas if "amdgpu-dkms" not in stanza))


def unload(root: Path) -> None:
    shutil.rmtree(root / "sys/module/amdgpu")
    shutil.rmtree(root / "sys/class/kfd")
    (root / "dev/kfd").unlink()


def replace_module(root: Path) -> None:
    module = root / "lib/modules/6.1.0-40-amd64/updates/dkms/amdgpu.ko"
    running = (root / "sys/module/amdgpu/srcversion").read_text().strip().encode()
    module.write_bytes(module.read_bytes().replace(running, b"0" * len(running)))


def many_parameters(root: Path) -> None:
    """As many as the real module shows."""
    for number in range(30):
        (root / f"sys/module/amdgpu/parameters/parameter_{number}").write_text("0")


# id: (host, what is different in its description, what is different in its files afterwards)
DEFECTS: dict[str, tuple[str, dict[str, Any], Callable[[Path], None] | None]] = {
    "gpu.none": ("no-gpu", {}, None),
    "gpu.mixed": ("rx9070xt", {"gpus": [{"product": "rx9070xt"}, {"product": "rx9060xt", "address": "0000:13:00.0"}]}, None),
    "gpu.missing": ("mi300x-8", {}, lambda root: remove_node(root, 9)),
    "gpu.passed_through": ("mi300x-8", {}, unbind),
    "gpu.init_failed": ("mi300x-8", log("amdgpu 0000:05:00.0: amdgpu: Fatal error during GPU init"), lambda root: remove_node(root, 2)),
    "gpu.address_space": ("mi300x-8", log("pci 0000:05:00.0: BAR 0: can't assign mem size 0x4000000000"), lambda root: remove_node(root, 2)),
    "gpu.atomics": ("rx9070xt", log("kfd kfd: amdgpu: skipped device 1002:7550, PCI rejects atomics 730<0"), lambda root: remove_node(root, 1)),
    "gpu.hang": ("strix-halo-128", log("amdgpu 0000:c5:00.0: amdgpu: MES failed to respond to msg=REMOVE_QUEUE"), None),
    "gpu.page_fault": ("strix-halo-128", log("amdgpu 0000:c5:00.0: amdgpu: GCVM_L2_PROTECTION_FAULT_STATUS:0x00841051 fault"), None),
    "gpu.hardware_error": ("mi300x-8", log("amdgpu 0000:05:00.0: amdgpu: 3 uncorrectable hardware errors detected in umc block"), None),
    "gpu.oversubscribed": ("mi300x-8", log("amdgpu: Runlist is getting oversubscribed. Expect reduced ROCm performance."), None),
    "kernel.minimum": ("strix-halo-broken", {}, None),
    "kernel.outdated_argument": ("strix-halo-inherited", {}, None),
    "kernel.option_overruled": ("strix-halo-128", {"files": {"/etc/modprobe.d/zzz.conf": "options ttm pages_limit=1\n"}}, None),
    "kernel.avoid": ("mi300x-8", UBUNTU_HWE, None),
    "kernel.hwe_package": ("mi300x-8", {
        **UBUNTU_HWE, "kernel": {"release": "6.8.0-60-generic"}, "packages": {"linux-image-generic-hwe-24.04": "6.17.0-19.19"},
    }, None),
    "kernel.known_open": ("strix-halo-128", {"kernel": {"release": "7.0.2-1-generic"}}, None),
    "memory.pool": ("strix-halo-128", {}, None),
    "memory.pool_too_large": ("strix-halo-128", {"gpus": [{**HALO, "gtt_gib": 140}]}, None),
    "firmware.refused": ("strix-halo-broken", {}, None),
    "firmware.loaded": ("strix-halo-broken", {}, None),
    "firmware.series": ("strix-halo-128", {
        "os": "ubuntu2404", "kernel": {"release": "6.17.0-1010-oem"},
        "firmware": {"package": "linux-firmware", "version": "20240318.git3b128b60-0ubuntu2.21", "mes": "0x83"},
    }, None),
    "driver.dkms_on_inbox": ("strix-halo-128", {"driver": {"source": "dkms", "version": "7.1.3.31500000"}}, None),
    "driver.unpackaged": ("strix-halo-128", {"driver": {"source": "dkms", "version": "7.1.3.31500000"}}, forget_packages),
    "driver.kernel": ("mi300x-8", {"kernel": {"release": "7.2.12+deb12-amd64"}}, None),
    "driver.distribution": ("mi300x-8", {"gpus": [{"product": "mi210", "count": 8}]}, None),
    "driver.mixed": ("rx9070xt", {
        "os": "ubuntu2404", "kernel": {"release": "6.17.0-1020-oem"}, "gpus": [{"product": "rx9070xt"}, HALO],
    }, None),
    "driver.minor_version": ("mi300x-8-el9", {}, lambda root: rewrite(root / "etc/os-release", "9.6", "9.5")),
    "driver.prerequisite": ("mi300x-8-el9", {}, lambda root: rewrite(root / "etc/yum.repos.d/rocky.repo", "[epel]", "[epel]\nenabled=0")),
    "driver.blacklisted": ("mi300x-8", {"files": {"/etc/modprobe.d/x.conf": "blacklist amdgpu\n"}}, None),
    "driver.not_loaded": ("mi300x-8", {}, unload),
    "driver.reload": ("mi300x-8", {}, replace_module),
    "driver.secure_boot": ("mi300x-8", {"secure_boot": True}, None),
    "driver.not_built": ("mi300x-8", {"kernel": {"release": "6.1.0-40-amd64", "others": ["6.1.0-41-amd64"]}}, other_kernel_boots),
    "rocm.legacy": ("mi300x-8", {"rocm": [{"version": "7.2.4", "layout": "legacy"}]}, None),
    "rocm.installed": ("strix-halo-128", {"rocm": [{"version": "7.10.0", "layout": "therock"}]}, None),
    "rocm.unlisted": ("strix-halo-128", {}, None),
    "rocm.distribution": ("strix-halo-128", {}, lambda root: rewrite(root / "etc/os-release", "13", "14")),
    "repository.latest": ("mi300x-8", apt("https://repo.radeon.com/amdgpu/latest/ubuntu jammy main"), None),
    "repository.unsigned": ("mi300x-8", apt("https://repo.radeon.com/amdgpu/31.50/ubuntu jammy main"), None),
    "repository.preview": ("mi300x-8", apt("[signed-by=/k.gpg] https://nightly.repo.amd.com/rocm/x/ stable main"), None),
    "repository.second": ("mi300x-8", apt("[signed-by=/k.gpg] https://repo.radeon.com/rocm/apt/7.2.4 jammy main"), None),
    "partition.missing": ("mi300x-8-cpx", {}, lambda root: remove_node(root, 65)),
    "devices.missing": ("mi300x-8", {}, lambda root: (root / "dev/kfd").unlink()),
    "devices.permissions": ("mi300x-8", {}, None),
    "host.memlock": ("mi300x-8", {}, None),
    "host.exporter": ("mi300x-8", {"packages": {"amdgpu-exporter": "1.4.0~bookworm"}}, None),
    "host.numa_balancing": ("mi300x-8", {"numa_balancing": True}, None),
    "host.package_manager": ("mi300x-8-el9", {"os": "sles16"}, None),
    "host.declarative": ("mi300x-8-nodriver", {}, lambda root: (root / "etc/os-release").write_text("ID=nixos\n")),
    "gpu.no_kfd": ("rx9070xt", {}, lambda root: shutil.rmtree(root / "sys/class/kfd")),
    "host.next_boot": ("rx9070xt", {"files": {"/boot/grub/grub.cfg": "menuentry 'Windows' {\nchainloader /EFI/Microsoft/Boot/bootmgfw.efi\n}\n"}}, None),
    "host.boot_loader": ("mi300x-8-nodriver", {}, lambda root: [(root / path).unlink() for path in ("etc/default/grub", "boot/grub/grub.cfg")]),
    "host.iommu": ("mi300x-8", {"kernel": {"release": "6.1.0-40-amd64", "command_line": "root=/dev/vda1 ro"}}, None),
    "gpu.discovery": ("mi300x-8", log("amdgpu 0000:05:00.0: probe with driver amdgpu failed with error -22"), lambda root: remove_node(root, 2)),
    "gpu.firmware_missing": (
        "rx9070xt", log("amdgpu 0000:03:00.0: Direct firmware load for amdgpu/gc_12_0_1_mec.bin failed with error -2"),
        lambda root: remove_node(root, 1)),
    "gpu.name_taken": ("rx9070xt", log("amdgpu 0000:03:00.0: probe with driver amdgpu failed with error -17"), lambda root: remove_node(root, 1)),
    "gpu.start_timeout": ("rx9070xt", log("amdgpu 0000:03:00.0: probe with driver amdgpu failed with error -110"), None),
    "gpu.worn_out": ("mi300x-8", log("amdgpu 0000:05:00.0: amdgpu: RAS records:130 exceed threshold:128"), None),
    "gpu.ring_reset": ("strix-halo-128", log("amdgpu 0000:c5:00.0: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=3"), None),
    "gpu.power_firmware": ("rx9070xt", log("amdgpu 0000:03:00.0: SMU: No response msg_reg: 1b resp_reg: 0"), None),
    "gpu.link_error": ("mi300x-8", log("pcieport 0000:00:01.1: AER: Uncorrected (Non-Fatal) error received: 0000:05:00.0"), None),
    "gpu.host_side": ("mi300x-8", log("amdgpu 0000:05:00.0: amdgpu: Doesn't get TRN_MSG_ACK from pf in 5000 msec, error"), None),
    "driver.rejected": ("mi300x-8", log("Loading of module with unavailable key is rejected"), None),
    "driver.dkms_stays": ("rx9070xt", {"driver": {"source": "dkms", "version": "7.1.3.31500000"}}, None),
    "driver.foreign_kernel": ("mi300x-8", {"kernel": {"release": "6.17.2-1-pve"}}, None),
    "driver.owner": ("mi300x-8", {"files": {"/etc/gim_config": "fb_option=0"}}, None),
    "kernel.parameter_unknown": ("strix-halo-128", {"kernel": {"release": "7.2.12+deb13-amd64", "command_line": "amdgpu.gtt_size=1"}}, many_parameters),
    "kernel.parameter_ignored": ("strix-halo-128", log("amdgpu: unknown parameter 'gtt_size' ignored"), None),
    "host.container": ("rx9070xt", {"files": {"/run/systemd/container": "lxc"}}, None),
    "host.wsl": ("no-gpu", {"kernel": {"release": "6.6.87.2-microsoft-standard-WSL2"}}, None),
    "kernel.initramfs": ("strix-halo-128", {}, lambda root: (root / "etc/initramfs-tools/initramfs.conf").unlink() or (root / "etc/initramfs-tools").rmdir()),
    "memory.carve_out": ("strix-halo-128", {"gpus": [{**HALO, "vram_gib": 96, "gtt_gib": 15.5, "pool_gib": 96}]}, None),
}  # fmt: skip


@pytest.fixture
def examined(tmp_path, plan_of_tree):
    def plan(host: str, changes: dict[str, Any], change: Callable[[Path], None] | None) -> dict[str, dict]:
        write_tree({**load_host(host), **changes}, tmp_path)
        if change:
            change(tmp_path)
        return {finding["id"]: finding for finding in plan_of_tree(tmp_path)["findings"]}

    return plan


@pytest.mark.parametrize("identifier", DEFECTS)
def test_a_defect_is_found(examined, identifier):
    finding = examined(*DEFECTS[identifier])[identifier]
    assert finding["seen"] and finding["expected"] and finding["remedy"]
    assert "{" not in finding["why"] + finding["remedy"]


def test_every_finding_about_a_host_has_a_defect():
    about_hosts = {identifier for identifier in KNOWN if identifier.startswith(PARTS)} | {"partition.missing"}
    # Every architecture that ROCm supports has a profile: test_catalog_override makes one that has none.
    assert about_hosts - OF_WANTS - {
        "gpu.hidden",
        "gpu.profile",
        "host.unreachable",
        "host.become",
        # They need something to serve, or a running system: test_unseen_hosts.
        "host.init",
        "host.machine",
        "host.drift",
    } == set(DEFECTS)


SOUND = {
    "mi300x-8": {"devices.permissions", "host.memlock"},
    "mi300x-8-cpx": {"devices.permissions", "host.memlock"},
    "mi300x-8-el9": {"host.memlock", "host.numa_balancing", "host.iommu"},
    "rx9070xt": {"devices.permissions", "rocm.unlisted"},
    # On Debian, where AMD lists neither of the two.
    "strix-halo-128": {"devices.permissions", "memory.pool", "rocm.unlisted"},
}


@pytest.mark.parametrize("host", SOUND)
def test_a_sound_host_shows_only_what_the_roles_are_about_to_set(examined, host):
    assert set(examined(host, {}, None)) == SOUND[host]


@pytest.mark.parametrize(
    ("release", "gpu", "why"),
    [
        ("6.12.57+deb13-amd64", {"pool_gib": 15.5}, "kernels before 6.16.9"),
        ("6.18.9+deb13-amd64", {"vram_gib": 96, "gtt_gib": 15.5}, "sets 96 GiB aside"),
        ("6.18.9+deb13-amd64", {"gtt_gib": 62.5}, "half of the memory"),
        ("6.18.9+deb13-amd64", {"gtt_gib": 20}, "a limit is set"),
    ],
)
def test_a_small_pool_says_why(examined, release, gpu, why):
    finding = examined("strix-halo-128", {"kernel": {"release": release}, "gpus": [{**HALO, **gpu}]}, None)[
        "memory.pool"
    ]
    assert why in finding["why"], finding["why"]


def test_an_enrolled_key_satisfies_secure_boot(examined):
    certificate = b"0\x82\x03\x1fDKMS module signing key"

    def enrol(root: Path) -> None:
        (root / "var/lib/dkms/mok.pub").write_bytes(certificate)
        (root / "sys/firmware/efi/efivars/MokListRT-605dab50").write_bytes(b"\6\0\0\0" + certificate)

    assert "driver.secure_boot" not in examined("mi300x-8", {"secure_boot": True}, enrol)


def test_other_kernels_without_a_build_only_warn(examined):
    def forget(root: Path) -> None:
        shutil.rmtree(root / "lib/modules/6.1.0-39-amd64/updates")
        (root / "var/lib/dkms/amdgpu/kernel-6.1.0-39-amd64-x86_64").unlink()

    kernel = {"release": "6.1.0-40-amd64", "others": ["6.1.0-39-amd64"]}
    assert examined("mi300x-8", {"kernel": kernel}, forget)["driver.not_built"]["severity"] == "warn"


def test_the_next_kernel_without_a_build_stops_the_host_unless_the_role_can_build_it(
    examined, tmp_path, plan_of_tree
):
    assert examined(*DEFECTS["driver.not_built"])["driver.not_built"]["severity"] == "warn"
    driver = plan_of_tree(tmp_path)["driver"]
    assert (driver["build"], driver["headers"]) == (["6.1.0-41-amd64"], ["linux-headers-6.1.0-41-amd64"])
    (tmp_path / "lib/modules/6.1.0-41-amd64/build").mkdir()
    (tmp_path / f"var/lib/dkms/amdgpu/{VERSION}/build").mkdir()
    (tmp_path / f"var/lib/dkms/amdgpu/{VERSION}/build/make.log").write_text("error")
    plan = plan_of_tree(tmp_path)
    assert plan["driver"]["build"] == []
    assert [entry["severity"] for entry in plan["findings"] if entry["id"] == "driver.not_built"] == ["fail"]


def test_a_driver_that_was_built_for_no_kernel_at_all_is_found(examined):
    def forget(root: Path) -> None:
        shutil.rmtree(root / "var/lib/dkms")
        shutil.rmtree(root / "lib/modules/6.1.0-40-amd64/updates")

    finding = examined("mi300x-8", {}, forget)["driver.not_built"]
    assert (finding["seen"], finding["severity"]) == ("6.1.0-40-amd64", "fail")


VERSION = "7.1.3-2390945.22.04"


def unbuilt(root: Path) -> None:
    """As DKMS leaves it behind when it cannot build: a log, and a package that is not configured."""
    (root / "var/lib/dkms/amdgpu/kernel-6.1.0-40-amd64-x86_64").unlink()
    (root / f"var/lib/dkms/amdgpu/{VERSION}/build").mkdir()
    (root / f"var/lib/dkms/amdgpu/{VERSION}/build/make.log").write_text(
        "error: implicit declaration of function"
    )
    shutil.rmtree(root / f"var/lib/dkms/amdgpu/{VERSION}/6.1.0-40-amd64")


def with_headers(root: Path) -> None:
    unbuilt(root)
    (root / "lib/modules/6.1.0-40-amd64/build").mkdir()


def half_configured(root: Path) -> None:
    with_headers(root)
    status = root / "var/lib/dpkg/status"
    package, rest = status.read_text().split("Package: amdgpu-dkms\n", 1)
    status.write_text(
        f"{package}Package: amdgpu-dkms\n{rest.replace('install ok installed', 'install ok half-configured', 1)}"
    )


@pytest.mark.parametrize(
    ("kernel", "change", "severity", "remedy"),
    [
        # The role installs the headers and builds.
        ("6.1.0-40-amd64", unbuilt, "warn", "Install linux-headers-6.1.0-40-amd64 and run `dkms autoinstall -k 6.1.0-40-amd64`"),
        ("6.1.0-40-amd64", with_headers, "fail",
         f"Mend what /var/lib/dkms/amdgpu/{VERSION}/build/make.log tells of and run `dkms autoinstall -k "
         f"6.1.0-40-amd64`, or remove "
         "6.1.0-40-amd64"),
        ("6.1.0-40-amd64", half_configured, "warn", f"Mend what /var/lib/dkms/amdgpu/{VERSION}/build/make.log tells of"),
    ],
    ids=["headers", "log", "half-configured"],
)  # fmt: skip
def test_a_build_that_failed_says_what_to_do(examined, kernel, change, severity, remedy):
    finding = examined("mi300x-8", {"kernel": {"release": kernel}}, change)["driver.not_built"]
    assert (finding["seen"], finding["severity"]) == (kernel, severity)
    assert finding["remedy"].startswith(remedy), finding["remedy"]


def test_a_kernel_that_the_driver_is_not_for_says_so(examined):
    def newer(root: Path) -> None:
        shutil.rmtree(root / "lib/modules/7.2.12/updates")
        (root / "var/lib/dkms/amdgpu/kernel-7.2.12-x86_64").unlink()

    finding = examined("mi300x-8", {"kernel": {"release": "6.1.0-40-amd64", "others": ["7.2.12"]}}, newer)[
        "driver.not_built"
    ]
    assert finding["remedy"] == "Remove 7.2.12: driver 31.50.0 is for kernels from 4.18 to below 7.1"


# A line as kernels print it for every alternative of every pattern: one that detection drops could never
# become a finding.
SAMPLES = {
    "gpu.init_failed": [
        "amdgpu 0000:03:00.0: amdgpu: hw_init of IP block <psp> failed -22",
        "amdgpu 0000:03:00.0: PSP load tmr failed!",
        "amdgpu 0000:03:00.0: PSP firmware loading failed",
        "amdgpu 0000:03:00.0: failed to load ucode RLC_G(0x1A)",
        "amdgpu 0000:03:00.0: Error initializing doorbell aperture",
        "amdgpu 0000:03:00.0: Failed to allocate kernel doorbells, err=-12",
        "amdgpu 0000:03:00.0: XGMI: Failed to add node 0, hive 0x123 ret: -22",
        "amdgpu 0000:05:00.0: amdgpu: get invalid ip discovery binary signature",
        "[drm:amdgpu_discovery_set_ip_blocks [amdgpu]] *ERROR* amdgpu_discovery_init failed",
        "amdgpu 0000:05:00.0: amdgpu: Fatal error during GPU init",
        "amdgpu: probe of 0000:05:00.0 failed with error -22",
        "amdgpu 0000:05:00.0: probe with driver amdgpu failed with error -22",
    ],
    "gpu.address_space": [
        "pci 0000:03:00.0: BAR 0: failed to assign [mem size 0x400000000 64bit pref]",
        "amdgpu: probe of 0000:a6:00.0 failed with error -12",
        "amdgpu 0000:a6:00.0: probe with driver amdgpu failed with error -12",
        "pci 0000:a6:00.0: BAR 0: no space for [mem size 0x4000000000 64bit pref]",
        "pci 0000:a6:00.0: BAR 2 [mem size 0x200000 64bit pref]: can't assign; no space",
    ],
    "gpu.atomics": [
        "kfd kfd: amdgpu: skipped device 1002:7550, PCI rejects atomics 730<0",
        "amdgpu 0000:03:00.0: amdgpu: PCIE atomic ops is not supported",
    ],
    "gpu.hang": [
        "amdgpu 0000:03:00.0: GPU reset end with ret = -19",
        "amdgpu 0000:03:00.0: VRAM is lost due to GPU reset!",
        "amdgpu 0000:05:00.0: amdgpu: GPU reset begin!",
        "amdgpu: GPU hang detected",
        "amdgpu: cp might be in an unrecoverable state due to an unsuccessful queues preemption",
        "amdgpu: fence wait loop timeout expired",
        "amdgpu: Queue preemption failed for queue with doorbell_id: 80004008",
        "amdgpu: Failed to evict process queues",
        "amdgpu: No more SDMA queue to allocate",
        "amdgpu 0000:c5:00.0: amdgpu: MES failed to respond to msg=REMOVE_QUEUE",
        "amdgpu 0000:c5:00.0: amdgpu: MES ring buffer is full.",
        "amdgpu 0000:03:00.0: MES(1) failed to respond to msg=MISC (WAIT_REG_MEM)",
        "amdgpu 0000:03:00.0: MES(0, 1) ring buffer is full.",
        "amdgpu 0000:03:00.0: MES might be in unrecoverable state, issue a GPU reset",
        "amdgpu 0000:03:00.0: GPU reset(4) failed with error -110",
        "amdgpu 0000:03:00.0: Failed to detect and reset hung queues",
        "amdgpu 0000:03:00.0: device lost from bus!",
        "amdgpu 0000:03:00.0: GPU reset begin!. Source:  1",
    ],
    "gpu.page_fault": [
        "amdgpu 0000:05:00.0: amdgpu: [gfxhub0] no-retry page fault (src_id:0 ring:24)",
        "amdgpu 0000:05:00.0: [gfxhub] page fault (src_id:0 ring:24 vmid:8 pasid:32)",
        "amdgpu 0000:05:00.0: [mmhub] page fault (src_id:0 ring:24 vmid:8 pasid:32)",
        "amdgpu: Illegal register access in command stream",
        "amdgpu 0000:c5:00.0: amdgpu: GCVM_L2_PROTECTION_FAULT_STATUS:0x00841051",
    ],
    "gpu.hardware_error": [
        "amdgpu 0000:03:00.0: {3}GPU reset for umc RAS poison consumption is issued!",
        "amdgpu 0000:05:00.0: amdgpu: 3 uncorrectable hardware errors detected in umc block",
        "[Hardware Error]: Machine check events logged",
        "amdgpu 0000:05:00.0: amdgpu: ras error detected",
        "amdgpu 0000:05:00.0: {12}2 new uncorrectable hardware errors detected in umc block",
        "amdgpu 0000:05:00.0: {3}hardware error logged by the scrubber",
    ],
    "gpu.oversubscribed": ["amdgpu: Runlist is getting oversubscribed due to too many queues."],
    "gpu.discovery": [
        "amdgpu 0000:05:00.0: amdgpu: get invalid ip discovery binary signature",
        "amdgpu 0000:05:00.0: invalid ip discovery harvest checksum",
        "amdgpu 0000:05:00.0: Discovery checksum failed: calc 0x1234 != exp 0x4321",
        "amdgpu 0000:05:00.0: ip discovery firmware \"amdgpu/ip_discovery.bin\" too large, invalid",
        "amdgpu 0000:05:00.0: ip discovery firmware \"amdgpu/ip_discovery.bin\" too small, invalid",
    ],
    "gpu.firmware_missing": [
        "amdgpu 0000:05:00.0: Direct firmware load for amdgpu/psp_14_0_3_sos.bin failed with error -2",
        "amdgpu 0000:05:00.0: firmware: failed to load amdgpu/psp_14_0_3_sos.bin (-2)",
        "amdgpu 0000:05:00.0: probe with driver amdgpu failed with error -2",
    ],
    "gpu.name_taken": ["amdgpu 0000:05:00.0: probe with driver amdgpu failed with error -17"],
    "gpu.start_timeout": [
        "amdgpu 0000:03:00.0: [drm] *ERROR* ring kiq_0.2.1.0 test failed (-110)",
        "amdgpu 0000:05:00.0: probe with driver amdgpu failed with error -110",
        "amdgpu: probe of 0000:05:00.0 failed with error -62",
        "amdgpu 0000:05:00.0: SMU is in hanged state, failed to send smu message!",
    ],
    "gpu.worn_out": [
        "amdgpu 0000:05:00.0: amdgpu: RAS records:130 exceed threshold:128",
        "amdgpu 0000:05:00.0: Saved bad pages 130 reaches threshold value 128",
        "amdgpu 0000:05:00.0: amdgpu: GPU will not be initialized. Replace this GPU or increase the threshold",
    ],
    "gpu.ring_reset": [
        "amdgpu 0000:03:00.0: failed to reset user queue",
        "amdgpu 0000:c5:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=3",
        "amdgpu 0000:c5:00.0: Starting gfx_0.0.0 ring reset, timeout",
        "amdgpu 0000:c5:00.0: Ring gfx_0.0.0 reset succeeded",
        "amdgpu 0000:c5:00.0: Ring gfx_0.0.0 reset failed",
        "amdgpu 0000:c5:00.0: amdgpu: Ring gfx_0.0.0 reset failure",
        "amdgpu 0000:c5:00.0: ring comp_1.0.0 timeout, but soft recovered",
        "amdgpu 0000:c5:00.0: queue id 0x3 at pasid 32771 is reset",
        "amdgpu 0000:c5:00.0: compute queue hung, but ring reset disabled",
    ],
    "gpu.power_firmware": [
        "amdgpu 0000:03:00.0: SMU: No response msg_reg: 1b resp_reg: 0",
        "amdgpu 0000:03:00.0: amdgpu: SMU: I'm not done with your previous command: SMN_C2PMSG_66:0x0000000E",
        "amdgpu 0000:03:00.0: SMU: I'm very busy",
        "amdgpu 0000:03:00.0: SMU: unknown command",
        "amdgpu 0000:03:00.0: SMU: valid command, bad prerequisites",
        "amdgpu 0000:03:00.0: SMU: bus error for message: 12",
    ],
    "gpu.link_error": [
        "amdgpu 0000:03:00.0: Unable to change power state from D3cold to D0, device inaccessible",
        "pcieport 0000:00:01.1: AER: Correctable error message received from 0000:05:00.0",
        "amdgpu 0000:05:00.0: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer",
        "amdgpu 0000:05:00.0: XGMI PCS CRCErr error detected",
        "amdgpu 0000:05:00.0: XGMI PCS ErrCount error detected",
    ],
    "gpu.host_side": [
        "amdgpu 0000:05:00.0: amdgpu: Doesn't get TRN_MSG_ACK from pf in 5000 msec",
        "amdgpu 0000:05:00.0: VF is in an unrecoverable state. Runtime Services are halted.",
        "amdgpu 0000:05:00.0: VFi access timeout",
    ],
    "driver.rejected": [
        "Loading of module with unavailable key is rejected",
        "Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7",
        "amdgpu: version magic '6.8.0-45-generic SMP' should be '6.8.0-47-generic SMP'",
        "amdgpu: Unknown symbol drm_buddy_init (err -2)",
        "amdttm: disagrees about version of symbol drm_dev_alloc",
    ],
    "kernel.parameter_ignored": ["amdgpu: unknown parameter 'gtt_size' ignored"],
}  # fmt: skip


def test_every_pattern_has_samples():
    assert set(SAMPLES) == {
        identifier for identifier, issue in KNOWN.items() if "log" in issue.get("match", {})
    }
    for identifier, lines in SAMPLES.items():
        assert (
            len(lines)
            >= KNOWN[identifier]["match"]["log"].replace("(no space|can't assign)", "").count("|") + 1
        )


@pytest.mark.parametrize(
    ("identifier", "line"), [(identifier, line) for identifier, lines in SAMPLES.items() for line in lines]
)
def test_a_line_of_the_kernel_log_reaches_its_finding(tmp_path, identifier, line):
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "var/log/dmesg").write_text(f"[   12.345678] {line}\n")
    (seen,) = trouble(Tree(str(tmp_path)), lambda: None)
    assert re.search(KNOWN[identifier]["match"]["log"], seen["line"], re.I)


def test_corrected_errors_are_no_hardware_error():
    line = "amdgpu 0000:05:00.0: amdgpu: 5 correctable hardware errors detected in total in umc block"
    assert not re.search(KNOWN["gpu.hardware_error"]["match"]["log"], line, re.I)


def test_what_happened_last_is_not_pushed_out_by_what_happened_at_boot(tmp_path):
    (tmp_path / "var/log").mkdir(parents=True)
    early = [
        f"amdgpu 0000:{bus}:00.0: amdgpu: {word} failed"
        for bus in ("05", "a6", "c6", "e5")
        for word in ("psp", "smu", "gfx")
    ]
    early += [f"amdgpu: {word} timeout" for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")]
    (tmp_path / "var/log/dmesg").write_text(
        "\n".join([*early, "amdgpu 0000:a6:00.0: amdgpu: GPU reset begin!"])
    )
    found = trouble(Tree(str(tmp_path)), lambda: None)
    assert found[-1]["line"].endswith("GPU reset begin!") and len(found) == 8
