# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts from public reports, with what is right to say about them, and neighbours of theirs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.module_utils import _place, _room
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import (
    apu,
    distributions,
    planner,
    reach,
    reboot,
)
from testbed.tree import load_host

REPOSITORY = Path(__file__).resolve().parents[3]
GIB = 1 << 30
NOBODYS = ("kernel.", "driver.", "firmware.", "memory.", "partition.", "packages.", "room.")
MODEL = {"model_type": "llama", "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8}


def found(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["id"]: finding for finding in plan["findings"]}


def fails(plan: dict[str, Any]) -> list[str]:
    return [finding["id"] for finding in plan["findings"] if finding["severity"] == "fail"]


def running(release: str) -> dict[str, str]:
    return {"release": release}


# --- where the system runs

CONTAINERS = {
    "lxc": ({"run/systemd/container": "lxc\n"}, "dev0: /dev/kfd,gid=N"),
    "incus": (
        {"dev/incus/sock": "", "proc/self/uid_map": "0 1000000 1000000000\n"},
        "incus: a device of type gpu",
    ),
    "systemd-nspawn": ({"run/host/container-manager": "systemd-nspawn\n"}, "--bind=/dev/kfd"),
    "podman": (
        {"run/.containerenv": "", "proc/1/environ": "PATH=/bin\0container=podman\0"},
        "--device /dev/kfd",
    ),
    # No sign of these decides alone.
    "docker": ({".dockerenv": "", "proc/self/uid_map": "0 100000 65536\n"}, "--device /dev/kfd"),
}


@pytest.mark.parametrize("manager", CONTAINERS)
@pytest.mark.parametrize("name", ["rx9070xt", "strix-halo-128", "mi300x-8"])
def test_in_a_container_nothing_of_the_host_is_planned(host, manager, name):
    files, owner = CONTAINERS[manager]
    wants = {"serve_instances": [{"name": "chat", "model": "Qwen/Qwen3-8B"}], "partition_compute": ""}
    kernel = running("6.14.11-5-pve")
    plan = host(name, files, ["boot", "lib/modules"], wants, os="ubuntu2404", kernel=kernel)
    finding = found(plan)["host.container"]
    assert finding["severity"] == "warn" and manager in finding["seen"] and owner in finding["remedy"]
    assert not [name for name in fails(plan) if name.startswith(NOBODYS)]
    assert (
        plan["kernel"]["present"] == plan["kernel"]["absent"] == [] and not plan["kernel"]["module_options"]
    )
    assert plan["driver"]["policy"] == "none"
    for section, key in (
        ("driver", "install"),
        ("driver", "build"),
        ("driver", "headers"),
        ("firmware", "install"),
    ):
        assert plan[section][key] == []
    assert not plan["partition"]["wanted"] and not plan["driver"]["waits"]
    assert plan["serve"]["instances"][0]["name"] == "chat"
    for finding in plan["findings"]:
        if finding["id"].startswith(("kernel.", "memory.")):
            assert finding["remedy"].startswith("On the host that"), finding


def test_an_old_kernel_below_a_container_is_told_to_its_owner(host):
    files, kernel = {"run/systemd/container": "lxc\n"}, running("6.14.11-5-pve")
    plan = host("strix-halo-128", files, ["boot", "lib/modules"], os="ubuntu2404", kernel=kernel)
    assert "Proxmox" in found(plan)["kernel.minimum"]["remedy"]
    assert "linux-oem" not in json.dumps(plan["findings"])


@pytest.mark.parametrize(
    "files",
    [
        {".dockerenv": ""},
        {"proc/self/uid_map": "         0          0 4294967295\n"},
        {"proc/1/environ": "PATH=/bin\0containers=many\0"},
        {"run/systemd/container": "podman\n", "etc/amdgpu-fleet-test-bed-host": "written by the test bed\n"},
    ],
    ids=["left in an image", "a host", "another variable", "a host of the test bed"],
)
def test_one_weak_sign_makes_no_container(host, files):
    plan = host("mi300x-8", files)
    assert "host.container" not in found(plan) and plan["driver"]["policy"] == "dkms"


def test_a_guest_is_a_host_of_its_own(host):
    files = {
        "proc/cpuinfo": "vendor_id\t: AuthenticAMD\nflags\t: fpu hypervisor\n",
        "sys/class/dmi/id/sys_vendor": "QEMU\n",
    }
    plan = host("mi300x-8", files)
    assert "host.container" not in found(plan) and plan["driver"]["policy"] == "dkms"


def test_under_wsl_no_role_of_a_host_has_anything_to_do(host):
    plan = host("no-gpu", kernel=running("6.6.87.2-microsoft-standard-WSL2"))
    assert "host.wsl" in found(plan) and not fails(plan)


# --- distributions


def release(identifier: str, **pairs: str) -> dict[str, str]:
    lines = [
        f"ID={identifier}",
        f'PRETTY_NAME="{identifier}"',
        *(f'{key}="{value}"' for key, value in pairs.items()),
    ]
    return {"etc/os-release": "\n".join(lines) + "\n"}


MINT = release(
    "linuxmint", ID_LIKE="ubuntu debian", VERSION_ID="22.2", VERSION_CODENAME="zara", UBUNTU_CODENAME="noble"
)
POP = release(
    "pop", ID_LIKE="ubuntu debian", VERSION_ID="24.04", VERSION_CODENAME="noble", UBUNTU_CODENAME="noble"
)
CACHY = release("cachyos", BUILD_ID="rolling")
ARCH = release("arch", BUILD_ID="rolling")
SID = release("debian", VERSION_CODENAME="forky")
PROXMOX = release("debian", VERSION_ID="13", VERSION_CODENAME="trixie")

FLOORS = [
    (MINT, "6.17.0-1020-oem", None),
    (MINT, "6.17.0-10-generic", "linux-oem-24.04c"),
    (MINT, "6.14.0-1017-oem", "linux-oem-24.04c"),
    (MINT, "7.0.1-xanmod1", None),
    (POP, "6.16.3-76061603-generic", "where the kernel 6.16.3-76061603-generic came"),
    (POP, "6.18.5-76061805-generic", None),
    (PROXMOX, "6.17.2-1-pve", "proxmox-kernel"),
    (PROXMOX, "6.18.9-1-pve", None),
    (PROXMOX, "6.12.57+deb13-amd64", "trixie-backports"),
    (SID, "6.16.3+deb14-amd64", "full-upgrade"),
    (ARCH, "6.17.1-arch1-1", None),
    (CACHY, "6.17.1-2-cachyos", "where the kernel 6.17.1-2-cachyos came"),
    (CACHY, "7.1.2-1-cachyos", None),
]


@pytest.mark.parametrize(("files", "kernel", "remedy"), FLOORS)
def test_floors_are_those_of_whose_kernel_it_is(host, files, kernel, remedy):
    finding = found(host("strix-halo-128", files, kernel=running(kernel))).get("kernel.minimum")
    assert (finding is None) == (remedy is None), finding
    assert not remedy or remedy in finding["remedy"]


@pytest.mark.parametrize(
    ("kernel", "vendor"),
    [
        ("6.17.2-1-pve", "proxmox"),
        ("6.8.0-45-generic", "ubuntu"),
        ("6.17.0-1008-azure", "ubuntu"),
        ("6.9.3-76060903-generic", "another"),
        ("6.1.0-40-amd64", "debian"),
        ("7.3.4+deb13-cloud-amd64", "debian"),
        ("5.14.0-570.12.1.el9_6.x86_64", "rhel"),
        ("6.12.0-100.28.2.el9uek.x86_64", "ol"),
        ("6.12.46-66.121.amzn2023.x86_64", "amzn"),
        ("6.17.1-300.fc43.x86_64", "fedora"),
        ("6.6.0-72.0.0.76.oe2403.x86_64", "openEuler"),
        ("6.6.87.2-microsoft-standard-WSL2", "wsl"),
        ("6.12.1-zen1-1-zen", "another"),
        ("6.15.2", None),
        (None, None),
    ],
)
def test_whose_kernel_it_is(kernel, vendor):
    assert distributions.kernel_vendor(kernel) == vendor


def test_amd_lists_no_kernel_of_proxmox(host):
    plan = host("mi300x-8", PROXMOX, kernel=running("6.14.11-5-pve"))
    assert fails(plan) == ["driver.foreign_kernel"] and plan["driver"]["install"] == []


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        (release("openEuler", VERSION_ID="24.03"), "dnf"),
        (release("amzn", ID_LIKE="fedora", VERSION_ID="2023"), "dnf"),
        (release("azurelinux", VERSION_ID="3.0"), "dnf"),
        (CACHY, "pacman"),
        (release("opensuse-tumbleweed", ID_LIKE="opensuse suse", VERSION_ID="20261101"), "zypper"),
        (release("somebodys") | {"usr/bin/apt-get": ""}, "apt"),
        (release("nobara", ID_LIKE="rhel centos fedora", VERSION_ID="43"), "dnf"),
        (release("somebodys"), None),
    ],
)
def test_the_package_manager_is_the_one_that_is_there(host, files, manager):
    assert host("no-gpu", files)["package_manager"] == manager


@pytest.mark.parametrize("files", [ARCH, CACHY, release("opensuse-tumbleweed", ID_LIKE="opensuse suse")])
def test_on_a_rolling_host_the_inbox_driver_and_containers_work(host, files):
    wants = {
        "rocm_state": "absent",
        "serve_kind": "podman",
        "serve_instances": [{"name": "chat", "model": "Qwen/Qwen3-8B"}],
    }
    plan = host("strix-halo-128", {**files, "usr/bin/podman": ""}, [], wants, kernel=running("7.2.1-arch1-1"))
    assert plan["driver"]["policy"] == "inbox" and plan["kernel"]["module_options"]
    assert not [name for name in fails(plan) if not name.startswith("serve.")]


def test_a_cloud_kernel_is_kept_in_its_own_flavour(host):
    packages = {"linux-azure": "6.17.0.1008.8", "linux-image-azure": "6.17.0.1008.8"}
    plan = host(
        "mi300x-8",
        os="ubuntu2404",
        kernel=running("6.17.0-1008-azure"),
        packages=packages,
        wants={"driver_hold": True},
    )
    remedies = " ".join(finding["remedy"] for finding in plan["findings"])
    assert "linux-generic" not in remedies
    assert "linux-azure-lts-24.04" in found(plan)["kernel.avoid"]["remedy"]
    plan = host(
        "mi300x-8",
        os="ubuntu2404",
        kernel=running("6.8.0-1030-azure"),
        packages=packages,
        wants={"driver_hold": True},
    )
    assert {"linux-azure", "linux-image-azure"} <= set(plan["driver"]["hold"])


# --- memory of APUs


@pytest.mark.parametrize(
    ("carved", "memory", "limits", "old", "new"),
    [
        (0.5, 126.5, (63, 60, 110), (63, 60, 110), (63, 60, 110)),
        (32, 95, (47.5, 60, 110), (47.5, 60, 95), (47.5, 60, 95)),
        (48, 79, (39.5, 60, 110), (39.5, 60, 79), ("48", 60, 79)),
        (64, 63, (31.5, 60, 110), (31.5, 60, 63), ("64", "64", "64")),
        (96, 31, (15.5, 60, 110), (15.5, 31, 31), ("96", "96", "96")),
    ],
)
def test_the_pool_of_each_kernel(carved, memory, limits, old, new):
    """Facts of Linux 6.12.117 and 7.2 to 7.3; a text is a carve-out."""
    for kernel, expected in (("6.12.117+deb13-amd64", old), ("7.2.13", new), ("7.3.4+deb13-amd64", new)):
        for limit, size in zip(limits, expected, strict=True):
            pool = apu.pool(kernel, int(carved * GIB), int(limit * GIB), int(memory * GIB))
            assert pool == (("carve_out" if isinstance(size, str) else "system"), int(float(size) * GIB))


def halo(**gpu: float) -> list[dict[str, Any]]:
    return [{**load_host("strix-halo-128")["gpus"][0], **gpu}]


def test_a_large_carve_out_is_the_pool_and_no_limit_is_set(host):
    wants = {
        "serve_instances": [
            {
                "name": "chat",
                "model": "a/b",
                "weights_gib": 60,
                "model_config": {**MODEL, "hidden_size": 8192},
            }
        ]
    }
    gpus = halo(vram_gib=96, gtt_gib=15.5, pool_gib=96)
    plan = host("strix-halo-128", wants=wants, gpus=gpus, kernel=running("7.0.12+deb13-amd64"))
    assert "serve.weights_do_not_fit" not in found(plan) and "memory.pool" not in found(plan)
    assert "0.5 GiB" in found(plan)["memory.carve_out"]["remedy"] and plan["kernel"]["module_options"] == {}
    gpus = halo(vram_gib=96, gtt_gib=15.5)
    plan = host("strix-halo-128", wants=wants, gpus=gpus, kernel=running("6.12.57+deb13-amd64"))
    assert "memory.pool" in found(plan) and "memory.carve_out" not in found(plan), "6.12 loses the carve-out"


def test_a_small_carve_out_gives_way_to_a_larger_limit(host):
    plan = host(
        "strix-halo-128",
        gpus=halo(vram_gib=48, gtt_gib=39.5, pool_gib=48),
        kernel=running("7.2.12+deb13-amd64"),
    )
    assert "memory.carve_out" not in found(plan) and plan["kernel"]["module_options"]["ttm"]["pages_limit"]


# --- packages, room, owners


def package(name: str, state: str, version: str = "1:7.1.3", wanted: str = "install") -> str:
    return f"+\n\nPackage: {name}\nStatus: {wanted} ok {state}\nVersion: {version}\n"


STATES = [
    ("strix-halo-128", "amdgpu-dkms", "half-configured", "fail", "apt-get purge amdgpu-dkms"),
    ("mi300x-8-nodriver", "amdgpu-dkms", "half-configured", "warn", "dpkg --configure -a"),
    ("strix-halo-128", "linux-image-7.3.4", "half-installed", "fail", "--reinstall linux-image-7.3.4"),
    ("strix-halo-128", "initramfs-tools", "unpacked", "fail", "--fix-broken"),
    ("strix-halo-128", "man-db", "triggers-pending", "warn", "dpkg --configure -a"),
    ("strix-halo-128", "podman", "config-files", None, ""),
    ("strix-halo-128", "podman", "not-installed", None, ""),
]


@pytest.mark.parametrize(("name", "which", "state", "severity", "remedy"), STATES)
def test_packages_that_were_not_finished(host, name, which, state, severity, remedy):
    finding = found(host(name, {"var/lib/dpkg/status": package(which, state)})).get("packages.unfinished")
    assert (finding and finding["severity"]) == severity
    assert not severity or (remedy in finding["remedy"] and which in finding["seen"])


def test_a_running_apt_is_named(host, tmp_path):
    lock = tmp_path / "0/var/lib/dpkg/lock-frontend"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    files = {
        "proc/locks": f"1: POSIX  ADVISORY  WRITE 812 08:01:{lock.stat().st_ino} 0 EOF\n",
        "proc/812/comm": "unattended-upgr\n",
    }
    assert found(host("no-gpu", files))["packages.busy"]["seen"] == "unattended-upgr (812)"


def test_a_hold_of_somebody_else_is_named_before_apt_refuses(host):
    plan = host(
        "mi300x-8-nodriver", {"var/lib/dpkg/status": package("amdgpu-dkms", "installed", "1:6.16.13", "hold")}
    )
    assert "apt-mark unhold amdgpu-dkms" in found(plan)["packages.on_hold"]["remedy"]


def test_a_full_boot_is_found_before_a_driver_is_built(make_plan):
    def full(_gpus: dict, rocm: dict) -> None:
        rocm["room"] = {"boot": 40 << 20, "modules": 9 << 30, "var": 9 << 30, "image": 80 << 20}

    plan = make_plan("mi300x-8-nodriver", full)
    finding = found(plan)["room.full"]
    assert finding["severity"] == "fail" and finding["seen"] == "40 MiB free in /boot"
    assert finding["expected"] == "108 MiB"


@pytest.mark.parametrize(("place", "seen"), [("var", "/var"), ("modules", "/lib/modules"), (None, "")])
def test_room_for_a_build(make_plan, place, seen):
    room = {"boot": 9 << 30, "modules": 9 << 30, "var": 9 << 30, "image": 80 << 20}

    def change(_gpus: dict, rocm: dict) -> None:
        rocm["room"] = {**room, **({place: 10 << 20} if place else {})}

    finding = found(make_plan("mi300x-8-nodriver", change)).get("room.full")
    assert (seen in finding["seen"]) if place else finding is None


def test_a_host_that_needs_nothing_needs_no_room(make_plan):
    def change(_gpus: dict, rocm: dict) -> None:
        rocm["room"] = dict.fromkeys(("boot", "modules", "var", "image"), 1)

    assert "room.full" not in found(make_plan("mi300x-8", change))


OPERATOR = {
    "etc/modprobe.d/blacklist-amdgpu.conf": "# added by gpu operator\nblacklist amdgpu\n",
    "var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n",
}


def test_the_gpu_operator_keeps_its_driver(host):
    plan = host("mi300x-8-nodriver", OPERATOR)
    assert plan["driver"]["policy"] == "none" and plan["driver"]["install"] == []
    assert "GPU operator" in found(plan)["driver.owner"]["seen"] and "driver.blacklisted" not in found(plan)
    asked = host("mi300x-8-nodriver", OPERATOR, wants={"driver_policy": "dkms"})
    assert "driver.owner" in fails(asked), "two owners"


def test_a_blacklist_alone_is_no_operator(host):
    files = {"etc/modprobe.d/blacklist-amdgpu.conf": "blacklist amdgpu\n"}
    plan = host("mi300x-8", files)
    assert "driver.owner" not in found(plan) and "driver.blacklisted" in found(plan)


def test_secure_boot_and_a_dkms_module_under_every_policy(host):
    dkms = {"source": "dkms", "version": "7.1.3.31500000"}
    for policy in ("auto", "inbox", "dkms"):
        plan = host(
            "rx9070xt",
            os="ubuntu2404",
            kernel=running("6.8.0-45-generic"),
            driver=dkms,
            secure_boot=True,
            wants={"driver_policy": policy},
        )
        assert "driver.secure_boot" in found(plan), policy
    assert "driver.dkms_stays" in found(host("rx9070xt", driver=dkms, wants={"driver_policy": "inbox"}))


# --- the kernel log

LOGS = [
    ("amdgpu 0000:83:00.0: probe with driver amdgpu failed with error -12", "gpu.address_space"),
    ("amdgpu 0000:83:00.0: probe with driver amdgpu failed with error -22", "gpu.discovery"),
    ("amdgpu: probe of 0000:83:00.0 failed with error -17", "gpu.name_taken"),
    ("amdgpu 0000:83:00.0: probe with driver amdgpu failed with error -110", "gpu.start_timeout"),
    ("amdgpu 0000:83:00.0: probe with driver amdgpu failed with error -19", "gpu.init_failed"),
]


@pytest.mark.parametrize(("line", "identifier"), LOGS)
def test_the_cause_is_named_and_the_general_line_is_silent(host, line, identifier):
    log = f"[    4.1] amdgpu 0000:83:00.0: Fatal error during GPU init\n[    4.2] {line}\n"
    general = {"gpu.init_failed", *(name for _line, name in LOGS)}
    assert general & set(
        found(host("rx9070xt", {"var/log/dmesg": log}, ["sys/class/kfd/kfd/topology/nodes/1"]))
    ) == {identifier}


def test_a_reset_of_a_ring_is_seen(host):
    lines = [
        "amdgpu 0000:c5:00.0: ring gfx_0.0.0 timeout, signaled seq=10, emitted seq=12",
        "amdgpu 0000:c5:00.0: Starting gfx_0.0.0 ring reset",
        "amdgpu 0000:c5:00.0: Ring gfx_0.0.0 reset succeeded",
    ]
    seen = found(host("strix-halo-128", {"var/log/dmesg": "\n".join(lines)}))
    assert "gpu.ring_reset" in seen and "gpu.hang" not in seen


def test_facts_beat_a_line_of_the_log(host):
    log = {"var/log/dmesg": "[ 4.1] amdgpu 0000:05:00.0: amdgpu: PCIE atomic ops is not supported\n"}
    assert "gpu.atomics" not in found(host("mi300x-8", log))
    assert "gpu.atomics" in found(host("mi300x-8", log, ["sys/class/kfd/kfd/topology/nodes/2"]))


def test_an_error_of_the_link_is_not_one_of_the_memory(host):
    log = {
        "var/log/dmesg": "[ 4.1] amdgpu 0000:05:00.0: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer\n"
    }
    seen = found(host("mi300x-8", log))
    assert "gpu.link_error" in seen and "gpu.hardware_error" not in seen


@pytest.mark.parametrize(
    "line",
    [
        "amdgpu 0000:05:00.0: {4}3 new deferred hardware errors detected in umc block",
        "amdgpu 0000:05:00.0: {4}5 correctable hardware errors detected in total in umc block",
        "amdgpu 0000:05:00.0: {4}0 uncorrectable hardware errors detected in total in umc block",
        "nvme: Not enough PCI address space for a large BAR.",
        "amdgpu: module verification failed: signature and/or required key missing - tainting kernel",
    ],
)
def test_harmless_lines_say_nothing(host, line):
    before = set(found(host("mi300x-8")))
    assert not {
        name for name in found(host("mi300x-8", {"var/log/dmesg": f"[ 4.1] {line}\n"})) if name not in before
    }


def test_findings_that_yield_yield_to_findings_that_are_there():
    known = yaml.safe_load(
        (REPOSITORY / "roles/plan/files/catalog/known_issues.yml").read_text(encoding="utf-8")
    )
    for name, issue in known.items():
        for other in issue.get("match", {}).get("yields_to", []):
            assert "log" in known[other]["match"] and name not in known[other]["match"].get(
                "yields_to", []
            ), name


# --- firmware


@pytest.mark.parametrize(
    ("gfx", "name", "mes", "ids"),
    [
        ("gfx1100", "rx9070xt", None, {"firmware.refused"}),
        ("gfx1101", "rx9070xt", None, {"firmware.refused"}),
        ("gfx1102", "rx9070xt", None, {"firmware.refused"}),
        ("gfx1200", "rx9070xt", None, {"firmware.refused"}),
        ("gfx1201", "rx9070xt", None, {"firmware.refused"}),
        ("gfx1150", "strix-halo-128", "0x83", {"firmware.refused", "firmware.loaded"}),
        ("gfx1151", "strix-halo-128", "0x83", {"firmware.refused", "firmware.loaded"}),
        ("gfx1152", "strix-halo-128", "0x83", {"firmware.refused", "firmware.loaded"}),
        ("gfx1153", "strix-halo-128", "0x83", {"firmware.refused", "firmware.loaded"}),
        ("gfx942", "mi300x-8", None, set()),
    ],
)
def test_firmware_that_hangs_is_known_for_each_architecture(make_plan, gfx, name, mes, ids):
    def change(gpus: dict, rocm: dict) -> None:
        for gpu in gpus["gpus"]:
            gpu["gfx"] = gfx if gpu["supported"] else gpu["gfx"]
        rocm["os"] |= {"id": "arch", "version": None, "codename": None, "package_manager": "pacman"}
        rocm["firmware"] |= {"package": "linux-firmware-amdgpu", "version": "20251125-1", "mes": mes}
        rocm["packages"] = {"linux-firmware-amdgpu": "20251125-1"}

    seen = found(make_plan(name, change))
    assert {identifier for identifier in seen if identifier.startswith("firmware.")} == ids
    for identifier in ids & {"firmware.refused"}:
        assert seen[identifier]["severity"] == "fail" and "None" not in seen[identifier]["remedy"]


@pytest.mark.parametrize(
    ("name", "minimum"),
    [("mi300x-8", "01.26.00.04"), ("mi355x-8", "01.26.01.03"), ("mi250-4", "MU5 with IFWI 75")],
)
def test_amds_minimum_of_the_board_is_shown(make_plan, name, minimum):
    values = [
        setting["value"] for setting in make_plan(name)["settings"] if setting["setting"] == "board firmware"
    ]
    assert values == [f">= {minimum}"]


@pytest.mark.parametrize(
    ("kernel", "system", "remedy"),
    [
        ("7.3.4+deb13-cloud-amd64", "debian13", "linux-image-amd64"),
        ("6.17.0-1020-oem", "ubuntu2404", "linux-modules-extra-6.17.0-1020-oem"),
    ],
)
def test_a_kernel_without_the_driver_says_which_package_has_it(host, kernel, system, remedy):
    gone = [f"lib/modules/{kernel}/kernel", "sys/module/amdgpu", "sys/class/kfd"]
    plan = host("rx9070xt", None, gone, {"driver_policy": "inbox"}, os=system, kernel=running(kernel))
    assert remedy in found(plan)["driver.not_loaded"]["remedy"]


def test_a_container_waits_for_no_reboot():
    driver = {"reload_needed": True}
    plan = {"driver": {"waits": True}, "firmware": {"reboot": True}, "kernel": {"state": "absent"}}
    facts = {"amd_rocm": {"driver": driver}, "amd_host": {"place": {"kind": "container"}}}
    assert reboot.waiting(plan, facts) == []
    facts["amd_host"]["place"]["kind"] = "guest"
    assert len(reboot.waiting(plan, facts)) == 2


def test_a_start_that_failed_and_came_right_later_is_not_believed(host):
    log = "[ 4.1] amdgpu 0000:05:00.0: Fatal error during GPU init\n[ 4.2] pci 0000:05:00.0: BAR 0 [mem size 0x4000000000]: can't assign; no space\n"
    assert not {"gpu.init_failed", "gpu.address_space"} & set(found(host("mi300x-8", {"var/log/dmesg": log})))


def test_the_hosts_of_the_test_bed_count_as_hosts():
    """They are containers: without the file that the bed writes nothing would be planned on them."""
    written = (REPOSITORY / "molecule/shared/testbed/hosts.py").read_text(encoding="utf-8")
    assert f'"{_place.STANDS_FOR_A_HOST}":' in written


# --- what a container leaves alone, room on the ESP, an initramfs that nobody builds, no root


def test_in_a_container_the_device_files_are_left_to_the_host(host):
    wants = {"devices_users": ["alice"], "devices_cdi": True}
    outside = host("mi300x-8", {}, [], wants, os="ubuntu2404")["devices"]
    assert outside["enabled"] and outside["cdi"] and outside["join"] == ["alice"]
    inside = host(
        "mi300x-8", {"run/systemd/container": "lxc\n"}, ["boot", "lib/modules"], wants, os="ubuntu2404"
    )
    devices = inside["devices"]
    assert not devices["enabled"] and devices["cdi"] == devices["join"] == []
    assert devices["selinux"]["on"] == devices["selinux"]["off"] == []


@pytest.mark.parametrize(
    ("image", "esp"),
    [
        ("efi/EFI/Linux/arch-linux.efi", "/efi"),
        ("boot/efi/0123456789abcdef0123456789abcdef/6.17.1/initrd", "/boot/efi"),
        ("efi/initramfs-linux.img", "/efi"),
        ("boot/efi/EFI/debian/grubx64.efi", None),
        ("boot/initrd.img-6.1.0-40-amd64", None),
    ],
)
def test_room_is_looked_for_on_the_partition_that_images_lie_on(tmp_path, image, esp):
    (tmp_path / image).parent.mkdir(parents=True)
    (tmp_path / image).write_bytes(bytes(5000))
    asked = []

    def statvfs(path: str) -> Any:
        asked.append(path)
        return SimpleNamespace(f_bfree=7, f_frsize=10)

    seen = _room.room(Tree(str(tmp_path)), statvfs)
    assert seen["esp_path"] == esp and seen["esp"] == (70 if esp else None)
    assert (f"{tmp_path}{esp}" in asked) is bool(esp)
    assert seen["image"] == (5000 if esp or image.startswith("boot/initrd") else None)


def test_a_full_efi_partition_is_found_before_a_driver_is_built(make_plan):
    def full(_gpus: dict, rocm: dict) -> None:
        rocm["room"] = {"boot": 9 << 30, "modules": 9 << 30, "var": 9 << 30, "image": 80 << 20,
                        "esp": 40 << 20, "esp_path": "/efi"}  # fmt: skip

    finding = found(make_plan("mi300x-8-nodriver", full))["room.full"]
    assert finding["severity"] == "fail" and finding["seen"] == "40 MiB free in /efi"


@pytest.mark.parametrize(
    ("images", "tool", "said"), [(True, None, True), (True, "dracut", False), (False, None, False)]
)
def test_an_initramfs_that_nobody_can_build_is_said(make_plan, images, tool, said):
    def change(_gpus: dict, rocm: dict) -> None:
        rocm["boot"] |= {"initramfs_images": images, "initramfs": tool}

    plan = make_plan("strix-halo-128", change)
    assert plan["kernel"]["module_options"], "a plan without options would show nothing"
    finding = found(plan).get("kernel.initramfs")
    assert bool(finding) is said
    if finding:
        assert "the options of ttm" in finding["why"] and finding["severity"] == "warn"


@pytest.mark.parametrize(
    "reason",
    [
        "Task failed: Premature end of stream waiting for become success.\n>>> Standard Error\nsudo: a password is required",
        "Task failed: Missing sudo password",
        "Task failed: Incorrect sudo password",
        "Timeout (12s) waiting for privilege escalation prompt: ",
        "alice is not in the sudoers file.",
        "/bin/sh: 1: sudo: not found",
        "bash: line 1: sudo: command not found",
        "Sorry, user alice is not allowed to execute '/bin/sh' as root on gpu1.",
    ],
)
def test_no_root_is_a_finding_of_its_own(reason):
    (finding,) = planner.plan({}, {}, "gpu1", reason)["findings"]
    assert finding["id"] == "host.become" and finding["severity"] == "fail"
    assert finding["seen"] in " ".join(reason.split()) and "become" in finding["remedy"]
    assert reach.refused_root({"failed": True, "msg": reason})


@pytest.mark.parametrize(
    "result",
    [
        {"failed": True, "msg": "No space left on device"},
        {"failed": True, "msg": "x", "module_stderr": "Traceback: ImportError"},
        {"changed": False, "ansible_facts": {}, "msg": "sudo: a password is required"},
    ],
)
def test_other_failures_stay_failures(result):
    assert not reach.refused_root(result)
