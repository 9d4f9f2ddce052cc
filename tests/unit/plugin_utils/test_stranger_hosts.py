# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole hosts that nobody here has seen, with what is right to say about them."""

from __future__ import annotations

import pytest
from plans import found, release

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import distributions
from testbed.tree import load_host, write_tree

GIB = 1 << 30


# --- a limit is never replaced by one that is not known


@pytest.mark.parametrize("meminfo", ["", "MemFree: 1 kB\n", "MemTotal: lots\n", "MemTotal: 900000 kB\n"])
def test_without_a_known_memory_no_limit_is_written_and_none_is_taken_away(host, meminfo):
    """A limit of 0 is half of the memory: the 96 GiB that somebody set would become 63."""
    kernel = {
        **load_host("strix-halo-128")["kernel"],
        "command_line": "root=/dev/vda1 ttm.pages_limit=25165824",
    }
    plan = host("strix-halo-128", {"proc/meminfo": meminfo}, kernel=kernel)["kernel"]
    assert plan["module_options"] == {}
    assert "ttm.pages_limit" not in plan["absent"] and "amdgpu.gttsize" not in plan["absent"]


@pytest.mark.parametrize(
    ("release", "carved", "gtt", "pool", "option", "finding"),
    [
        ("7.2.12+deb13-amd64", 64, 31, 64, None, "memory.carve_out"),
        ("6.18.9+deb14-amd64", 96, 15.5, 96, None, "memory.carve_out"),
        ("6.12.117+deb13-amd64", 64, 31, 31, 56, "memory.pool"),
        ("7.2.12+deb13-amd64", 32, 47, 47, 84, "memory.pool"),
        ("7.2.12+deb13-amd64", 0.5, 63, 63, 112, "memory.pool"),
    ],
)
def test_the_limit_for_every_carve_out(host, release, carved, gtt, pool, option, finding):
    gpu = {"product": "strix-halo", "vram_gib": carved, "gtt_gib": gtt, "pool_gib": pool}
    plan = host("strix-halo-128", gpus=[gpu], kernel={"release": release})
    options = plan["kernel"]["module_options"]
    assert options == ({"ttm": {"pages_limit": str(option * GIB // 4096)}} if option else {})
    assert finding in found(plan)


# --- package managers, kernels


@pytest.mark.parametrize(
    ("identity", "files", "manager"),
    [
        ("altlinux", {"var/lib/rpm/rpmdb.sqlite": ""}, None),
        ("pclinuxos", {"usr/lib/sysimage/rpm/rpmdb.sqlite": ""}, None),
        ("nobodys", {}, "apt"),
    ],
)
def test_an_apt_for_packages_of_rpm_is_not_debians(host, identity, files, manager):
    files = {**release(identity), "usr/bin/apt-get": "", **files}
    assert host("no-gpu", files, ["var/lib/dpkg"] if manager is None else [])["package_manager"] == manager


def test_a_host_of_debian_that_has_rpm_beside_it_keeps_apt(host):
    files = {"usr/bin/apt-get": "", "var/lib/rpm/rpmdb.sqlite": "", "var/lib/dpkg/status": "Package: a\n"}
    assert host("no-gpu", files)["package_manager"] == "apt"


@pytest.mark.parametrize(
    ("kernel", "vendor"),
    [
        ("6.12.40-0-lts", None),
        ("6.18.3_1", None),
        ("6.18.3-gentoo-dist", None),
        ("6.18.3-200.fsync.fc43.x86_64", "another"),
        ("6.17.0-112014-tuxedo", "another"),
        ("6.17.0-1020-oem", "ubuntu"),
        ("7.0.0-12-generic", "ubuntu"),
        ("6.18.9+kali-amd64", "debian"),
        ("6.12.105-1-liquorix-amd64", "another"),
    ],
)
def test_whose_kernel_it_is(kernel, vendor):
    assert distributions.kernel_vendor(kernel) == vendor


@pytest.mark.parametrize(
    ("version", "codename", "remedy"),
    [("25.10", "questing", "Upgrade to a release of Ubuntu with"), ("26.04", "resolute", "HWE kernel")],
)
def test_an_interim_release_of_ubuntu_has_no_hwe_kernel(host, version, codename, remedy):
    files = release("ubuntu", VERSION_ID=version, VERSION_CODENAME=codename, UBUNTU_CODENAME=codename)
    plan = host("strix-halo-128", files, kernel={"release": "6.17.0-8-generic"})
    assert remedy in found(plan)["kernel.minimum"]["remedy"]


# --- places

LAYERS = "1 0 0:50 / / {options}- overlay overlay rw,lowerdir={store}/snapshots/1/fs:/x,upperdir=/y\n"
PODS = [
    {"proc/1/environ": "PATH=/bin\0KUBERNETES_SERVICE_HOST=10.0.0.1\0"},
    {"proc/self/mountinfo": LAYERS.format(options="rw,relatime ", store="/var/lib/containerd/overlayfs")},
    {"proc/self/mountinfo": LAYERS.format(options="rw master:3 ", store="/var/lib/docker/overlay2")},
    {"proc/self/mountinfo": LAYERS.format(options="rw ", store="/var/lib/containers/storage/overlay")},
]


@pytest.mark.parametrize("files", PODS)
def test_in_a_pod_nothing_of_the_host_is_planned(host, files):
    plan = host("mi300x-8", files, os="ubuntu2404")
    assert found(plan)["host.container"]["severity"] == "warn"
    assert plan["driver"]["policy"] == "none" and plan["kernel"]["present"] == []


def test_a_pod_asks_kubernetes_for_its_gpus(host):
    assert "amd.com/gpu" in found(host("mi300x-8", PODS[0], os="ubuntu2404"))["host.container"]["remedy"]


@pytest.mark.parametrize(
    "mounts",
    [
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n9 1 0:5 / /srv/c rw - overlay overlay rw,lowerdir=/var/lib/docker/a\n",
        "1 0 0:5 / / ro - overlay overlay ro,lowerdir=/run/ostree/.private/cfsroot-lower::/x\n",
        "1 0 0:5 / / rw - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/u\n",
    ],
    ids=["a host that runs containers", "composefs", "overlayroot"],
)
def test_an_overlay_alone_is_no_container(host, mounts):
    assert "host.container" not in found(host("mi300x-8", {"proc/self/mountinfo": mounts}))


def test_dom0_of_xen_is_no_guest(host, find_facts, tmp_path):
    write_tree(load_host("mi300x-8"), tmp_path / "x")
    for path, text in {
        "proc/cpuinfo": "vendor_id\t: AuthenticAMD\nflags\t: fpu hypervisor\n",
        "proc/xen/capabilities": "control_d\n",
    }.items():
        (tmp_path / "x" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / path).write_text(text)
    place = find_facts("host_facts", tmp_path / "x")["amd_host"]["place"]
    assert (place["kind"], place["machine"]) == ("host", None)


# --- the kernel log

CARD = "amdgpu 0000:03:00.0: "
LOGS = [
    (CARD + "amdgpu: hw_init of IP block <psp> failed -22", "gpu.init_failed"),
    (CARD + "sw_init of IP block <gfx_v12_0> failed -2", "gpu.init_failed"),
    (CARD + "PSP load tmr failed!", "gpu.init_failed"),
    (CARD + "PSP firmware loading failed", "gpu.init_failed"),
    (CARD + "failed to load ucode RLC_G(0x1A)", "gpu.init_failed"),
    (CARD + "Error initializing doorbell aperture", "gpu.init_failed"),
    (CARD + "Failed to allocate kernel doorbells, err=-12", "gpu.init_failed"),
    (CARD + "XGMI: Failed to add node 0, hive 0x123 ret: -22", "gpu.init_failed"),
    (CARD + 'ip discovery firmware "amdgpu/ip_discovery.bin" too large', "gpu.discovery"),
    (CARD + "[drm] *ERROR* ring kiq_0.2.1.0 test failed (-110)", "gpu.start_timeout"),
    (CARD + "GPU reset end with ret = -19", "gpu.hang"),
    (CARD + "VRAM is lost due to GPU reset!", "gpu.hang"),
    (CARD + "failed to reset user queue", "gpu.ring_reset"),
    (CARD + "{3}GPU reset for umc RAS poison consumption is issued!", "gpu.hardware_error"),
    (CARD + "VF1 access timeout", "gpu.host_side"),
    (CARD + "Unable to change power state from D3cold to D0, device inaccessible", "gpu.link_error"),
    (
        "pci 0000:03:00.0: BAR 0: failed to assign [mem size 0x400000000 64bit pref]",
        "gpu.address_space",
    ),
    (CARD + 'Optional firmware "amdgpu/isp.bin" was not found', None),
    (CARD + "psp gfx command LOAD_IP_FW(0x6) failed and response status is (0xFFFF000D)", None),
    (CARD + "{3}RAS poison is created, no user action is needed.", None),
    (CARD + "Capping GTT to 128000M to not exceed available system memory", None),
    ("pci 0000:00:01.1: BAR 13: failed to assign [io  size 0x1000]", None),
    ("nvidia 0000:04:00.0: probe with driver nvidia failed with error -12", None),
    ("nvme 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible", None),
    ("snd_hda_intel 0000:03:00.1: Unable to change power state from D3hot to D0", None),
    ("radeon 0000:01:00.0: ring 0 stalled for more than 10000msec", None),
]


@pytest.mark.parametrize(("line", "identifier"), LOGS)
def test_wordings_of_the_kernel(host, line, identifier):
    gone = ["sys/class/kfd/kfd/topology/nodes/1"]
    known = set(found(host("rx9070xt", None, gone)))
    seen = set(found(host("rx9070xt", {"var/log/dmesg": f"[    4.1] {line}\n"}, gone))) - known
    assert seen == ({identifier} if identifier else set())


# --- owners of the driver

KUBELET = {"var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"}
OWNERS = {
    "gpu operator": (
        {**KUBELET, "etc/modprobe.d/blacklist-amdgpu.conf": "# added by gpu operator\nblacklist amdgpu\n"},
        "DeviceConfig",
    ),
    "of openshift": (
        {**KUBELET, "etc/modprobe.d/blacklist-amdgpu-by-operator.conf": "blacklist amdgpu\n"},
        "DeviceConfig",
    ),
    "gim": ({"sys/module/gim/version": "8.7.1.K\n", "etc/gim_config": "vf_num=1\n"}, "guests"),
}


@pytest.mark.parametrize("owner", OWNERS)
def test_a_driver_that_its_owner_has_not_loaded_is_not_ours_to_free(host, owner):
    """The blacklist is the operator's: who removes it gets two drivers at the next boot."""
    files, remedy = OWNERS[owner]
    wants = {"serve_instances": [{"name": "chat", "model": "Qwen/Qwen3-8B"}]}
    seen = found(host("mi300x-8-nodriver", files, wants=wants))["driver.not_loaded"]
    assert remedy in seen["remedy"] and "Remove" not in seen["remedy"] and "Install" not in seen["remedy"]


def test_a_blacklist_of_a_person_is_named(host):
    files = {"etc/modprobe.d/blacklist-amdgpu.conf": "blacklist amdgpu\n"}
    seen = found(host("rx9070xt", files, ["sys/module/amdgpu", "sys/class/kfd"]))["driver.not_loaded"]
    assert "Remove /etc/modprobe.d/blacklist-amdgpu.conf" in seen["remedy"]


def test_the_operator_gives_its_module_parameters_of_its_own(host):
    kernel = {
        **load_host("strix-halo-128")["kernel"],
        "command_line": "root=/dev/vda1 ttm.pages_limit=25165824",
    }
    plan = host("strix-halo-128", OWNERS["gpu operator"][0], kernel=kernel)["kernel"]
    assert plan["module_options"] == {} and "ttm.pages_limit" not in plan["absent"]
