# SPDX-License-Identifier: GPL-3.0-or-later
"""host_facts on hosts that are real and odd: compressed modules, Secure Boot, several kernels, other people's
repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._boot.record import RecordError, parse
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_record import record
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner

KERNEL = "6.1.0-40-amd64"
EFI = "sys/firmware/efi/efivars"
CERTIFICATE = b"0\x82\x03\x1f0\x82\x02\x07DKMS module signing key"


def write(root: Path, name: str, content: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.skipif(not shutil.which("modinfo") or not shutil.which("xz"), reason="needs kmod and xz")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_compressed_module_is_compared_too(emulated, amd_rocm, replaced):
    root = emulated()
    module = root / f"lib/modules/{KERNEL}/updates/dkms/amdgpu.ko"
    if replaced:
        running = (root / "sys/module/amdgpu/srcversion").read_text().strip().encode()
        module.write_bytes(module.read_bytes().replace(running, b"0" * len(running)))
    subprocess.run(["xz", str(module)], check=True)
    driver = amd_rocm(root)["driver"]
    assert driver["reload_needed"] is replaced and driver["built_for_running_kernel"]


def test_dkms_names_the_build_that_each_kernel_uses(emulated, host_facts):
    newer = "6.12.57+deb12-amd64"
    root = emulated(kernel={"release": KERNEL, "others": [newer]})
    # An older driver was built for the newer kernel and left there; one was never built at all.
    tree = root / "var/lib/dkms/amdgpu"
    (tree / f"kernel-{newer}-x86_64").unlink()
    write(root, f"var/lib/dkms/amdgpu/6.16.13-1.22.04/{newer}/x86_64/module/amdgpu.ko", b"")
    write(root, "var/lib/dkms/amdgpu/7.9.9-1.22.04/source", b"")
    builds = {
        (build["version"].partition("-")[0], build["kernel"]): build["state"]
        for build in host_facts(root)["amd_rocm"]["driver"]["dkms"]
    }
    assert builds == {
        ("7.1.3", KERNEL): "installed",
        ("7.1.3", newer): "built",
        ("6.16.13", newer): "built",
        ("7.9.9", None): "added",
    }
    assert host_facts(root)["amd_host"]["kernel"]["installed"] == [KERNEL, newer]


@pytest.mark.parametrize(
    ("files", "enrolled"),
    [
        ({}, None),
        ({"var/lib/dkms/mok.pub": CERTIFICATE}, None),
        (
            {"var/lib/dkms/mok.pub": CERTIFICATE, f"{EFI}/MokListRT-605dab50": b"\6\0\0\0list" + b"another"},
            False,
        ),
        (
            {
                "var/lib/shim-signed/mok/MOK.der": CERTIFICATE,
                f"{EFI}/MokListRT1-605dab50": b"\6\0\0\0list" + CERTIFICATE + b"x",
            },
            True,
        ),
    ],
)
def test_whether_the_key_of_dkms_is_enrolled(emulated, amd_host, files, enrolled):
    root = emulated(secure_boot=True)
    for name, content in files.items():
        write(root, name, content)
    boot = amd_host(root)["boot"]
    assert (boot["secure_boot"], boot["mok_enrolled"]) == (True, enrolled)


def test_selinux_memlock_and_huge_pages(emulated, amd_host):
    root = emulated()
    assert amd_host(root)["selinux"] == {"mode": "disabled", "booleans": {}, "ours": []}
    write(root, "sys/fs/selinux/enforce", "1")
    write(root, "sys/fs/selinux/booleans/container_use_devices", "0 1")
    write(root, "var/lib/amdgpu-fleet/selinux-booleans", "container_use_dri_devices\n")
    write(root, "etc/security/limits.conf", "# * hard memlock 1\n*  hard  memlock  64\n")
    write(
        root,
        "etc/security/limits.d/60-gpu.conf",
        "* soft memlock 8\n* - memlock unlimited\n@render - memlock 1\n",
    )
    write(root, "etc/security/limits.d/60-gpu.conf.dpkg-old", "* - memlock 1\n")
    write(root, "etc/systemd/system.conf.d/gpu.conf", "[Manager]\nDefaultLimitMEMLOCK=infinity\n")
    found = amd_host(root)
    selinux = {
        "mode": "enforcing",
        "booleans": {"container_use_devices": False},
        "ours": ["container_use_dri_devices"],
    }
    assert found["selinux"] == selinux
    assert found["memlock"] == {"users": "unlimited", "services": "infinity"}
    assert found["transparent_hugepages"] == "madvise"


REPOSITORIES = {
    "etc/apt/sources.list.d/amdgpu.list": (
        "# deb https://repo.radeon.com/amdgpu/6.4/ubuntu jammy main\ndeb "
        "https://repo.radeon.com/amdgpu/latest/ubuntu jammy main\n",
        [("https://repo.radeon.com/amdgpu/latest/ubuntu", False)],
    ),
    "etc/apt/sources.list.d/rocm.list": (
        "deb [arch=amd64 signed-by=/etc/apt/keyrings/rocm.gpg] https://repo.radeon.com/rocm/apt/7.2.4 jammy "
        "main\n",
        [("https://repo.radeon.com/rocm/apt/7.2.4", True)],
    ),
    "etc/apt/sources.list.d/amdrocm-stable.sources": (
        "Types: deb\nURIs: https://stable.repo.amd.com/rocm/core/packages/debian12/\nSuites: stable\n"
        "Signed-By: /etc/apt/keyrings/amdrocm.gpg\n\nTypes: deb\nURIs: https://deb.example/debian\nSuites: "
        "x\n",
        [("https://stable.repo.amd.com/rocm/core/packages/debian12/", True)],
    ),
    "etc/yum.repos.d/amdgpu.repo": (
        "[amdgpu]\nbaseurl=https://repo.radeon.com/amdgpu/31.50/el/9.6/main/x86_64/\ngpgcheck=1\n"
        "gpgkey=https://repo.radeon.com/rocm/rocm.gpg.key\n[nightly]\nbaseurl=https://nightly.repo.amd.com/rocm/x/\n",
        [("https://repo.radeon.com/amdgpu/31.50/el/9.6/main/x86_64/", True), ("https://nightly.repo.amd.com/rocm/x/", False)],
    ),
    "etc/apt/sources.list.d/off.sources": ("Types: deb\nEnabled: no\nURIs: https://repo.radeon.com/amdgpu/latest/ubuntu\n", []),
    "etc/yum.repos.d/off.repo": ("[x]\nbaseurl=https://repo.radeon.com/amdgpu/latest/el/9.6/main/x86_64/\nenabled=0\n", []),
    "etc/apt/sources.list.d/amdgpu-fleet-driver.sources": ("Types: deb\nURIs: https://repo.radeon.com/amdgpu/31.50/ubuntu\n", []),
}  # fmt: skip


@pytest.mark.parametrize("path", REPOSITORIES)
def test_repositories_of_others(tmp_path, amd_host, path):
    content, expected = REPOSITORIES[path]
    write(tmp_path, path, content)
    found = amd_host(tmp_path)["repositories"]
    assert [(entry["uri"], entry["signed"]) for entry in found] == expected
    assert {entry["path"] for entry in found} <= {f"/{path}"}
    assert all(entry["mixed"] is ("deb.example" in content) for entry in found)


def test_who_runs_code_of_a_legacy_rocm(tmp_path, amd_rocm):
    write(tmp_path, "opt/rocm-7.2.4/.info/version", "7.2.4-93")
    (tmp_path / "container/opt/rocm-7.2.4").mkdir(parents=True)
    mapped = "7f0000000000-7f0000001000 r-xp 00000000 fd:00 42                         /opt/rocm-7.2.4/lib/libamdhip64.so.7\n"
    for pid, comm, unit, root, maps in (
        ("100", "ollama", "ollama.service", ".", mapped),
        ("200", "python3", "session-3.scope", ".", mapped),
        ("300", "other", "other.service", ".", mapped.replace("/opt/rocm-7.2.4/", "/opt/rocm-7.2.40/")),
        ("400", "vllm", "vllm-chat.service", "container", mapped),
    ):
        write(tmp_path, f"proc/{pid}/maps", maps)
        write(tmp_path, f"proc/{pid}/comm", comm)
        write(tmp_path, f"proc/{pid}/cgroup", f"0::/system.slice/{unit}")
        (tmp_path / f"proc/{pid}/root").symlink_to(tmp_path / root)
    assert amd_rocm(tmp_path)["legacy"] == {"packages": [], "used_by": ["ollama.service", "session-3.scope"]}


def test_the_kernel_log_is_folded(tmp_path, amd_host):
    write(
        tmp_path,
        "var/log/dmesg",
        "[    5.1] amdgpu 0000:05:00.0: amdgpu: get invalid ip discovery binary signature\n"
        "[    5.2] amdgpu: probe of 0000:05:00.0 failed with error -22\n"
        "[    5.3] amdgpu: probe of 0000:27:00.0 failed with error -22\n"
        "[    6.0] EXT4-fs error (device sda1): not ours\n"
        "[    6.1] amdgpu 0000:05:00.0: amdgpu: SMU is initialized successfully\n",
    )
    assert amd_host(tmp_path)["kernel"]["trouble"] == [
        {"line": "amdgpu 0000:05:00.0: amdgpu: get invalid ip discovery binary signature", "count": 1},
        {"line": "amdgpu: probe of 0000:05:00.0 failed with error -22", "count": 2},
    ]


def test_a_noisy_kernel_log_stays_small(tmp_path, amd_host):
    words = ["alpha", "beta", "gamma", "delta", "eps", "zeta", "eta", "theta", "iota", "kappa"]
    write(
        tmp_path,
        "var/log/kern.log",
        "".join(f"Nov  1 10:00:00 h kernel: [1.0] amdgpu: {w} error {'x' * 300}\n" for w in words * 50),
    )
    trouble = amd_host(tmp_path)["kernel"]["trouble"]
    assert len(trouble) == 8 and all(len(entry["line"]) <= 160 and entry["count"] == 50 for entry in trouble)


@pytest.mark.parametrize(
    ("version", "generator", "release"),
    [
        ("5.4.2+ds1-2+b2", True, "5.4"),
        ("4.9.3-1", True, "4.9"),
        ("4.3.1+ds1-8", False, None),
        ("6.1.1-1", True, "6.1"),
        ("4.4.0-1", False, None),
    ],
)
def test_the_release_whose_keys_quadlet_knows(emulated, amd_host, version, generator, release):
    root = emulated(packages={"podman": version})
    if generator:
        write(root, "usr/libexec/podman/quadlet", b"")
    podman = amd_host(root)["podman"]
    assert podman["quadlet"] == release and version.startswith(podman["version"])


@pytest.mark.parametrize(
    ("mode", "configuration", "there"),
    [
        (0o755, b"", "/var/lib/containers/storage"),
        (0o711, b"", "/var/lib/containers/storage"),
        (0o700, b"", None),
        (None, b"", None),
        (0o700, b'[storage]\ngraphroot = "/data"\n', "/data"),
    ],
)
def test_a_store_of_podman_that_others_look_into(emulated, amd_host, mode, configuration, there):
    root = emulated(packages={"podman": "5.4.2"})
    write(root, "etc/containers/storage.conf", configuration)
    (root / "data").mkdir(mode=0o755)
    if mode is not None:
        store = root / "var/lib/containers/storage"
        store.mkdir(parents=True)
        store.chmod(mode)
    assert amd_host(root)["podman"]["open_store"] == there


@pytest.mark.parametrize(
    ("files", "links", "version", "layouts"),
    [
        # A runtime-only TheRock: no link, no version file (rocm-systems#7011).
        ({"opt/rocm/core-7.14/bin/rocminfo": ""}, {}, "7.14", ["therock"]),
        ({"opt/rocm/core/.info/version": "10.0.0\n"}, {}, "10.0.0", ["therock"]),
        # Arch builds TheRock into /opt/rocm.
        ({"opt/rocm/.info/version": "7.14.1\n"}, {}, "7.14.1", ["therock"]),
        ({"opt/rocm-7.2.4/.info/version": "7.2.4\n", "opt/rocm-6.4.1/.info/version": "6.4.1\n"},
         {"opt/rocm": "/etc/alternatives/rocm", "etc/alternatives/rocm": "/opt/rocm-6.4.1"}, "6.4.1", ["legacy", "legacy"]),
    ],
)  # fmt: skip
def test_layouts(tmp_path, amd_rocm, files, links, version, layouts):
    for name, content in files.items():
        write(tmp_path, name, content)
    for name, target in links.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(target)
    found = amd_rocm(tmp_path)
    assert (found["version"], [entry["layout"] for entry in found["installations"]]) == (version, layouts)


def test_a_dangling_link_is_named(tmp_path, amd_rocm):
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/rocm").symlink_to("rocm-6.3.0")
    assert {"path": "/opt/rocm", "problem": "is a link that leads nowhere", "count": 1} in amd_rocm(tmp_path)[
        "problems"
    ]


@pytest.mark.parametrize(
    ("packages", "rocm", "layouts", "version"),
    [
        ({"libhsa-runtime64-1": "6.1.2-3"}, [], ["distribution"], "6.1.2"),
        (
            {"libhsa-runtime64-1": "6.1.2-3"},
            [{"version": "7.2.4", "layout": "legacy"}],
            ["legacy", "distribution"],
            "7.2.4",
        ),
        ({"hsa-rocr": "1.18.0.70204-93"}, [{"version": "7.2.4", "layout": "legacy"}], ["legacy"], "7.2.4"),
    ],
)
def test_distribution_packages_beside_others(emulated, amd_rocm, packages, rocm, layouts, version):
    found = amd_rocm(emulated(packages=packages, rocm=rocm))
    assert [entry["layout"] for entry in found["installations"]] == layouts
    assert found["version"] == version


def test_arch(tmp_path, host_facts):
    write(tmp_path, "etc/os-release", "ID=arch\nPRETTY_NAME=Arch\n")
    for name in ("linux-firmware-amdgpu-20260110-1", "hsa-rocr-7.1.0-1", "bash-5.3.0-1"):
        (tmp_path / "var/lib/pacman/local" / name).mkdir(parents=True)
    facts = host_facts(tmp_path)
    found, rocm = facts["amd_host"], facts["amd_rocm"]
    assert found["packages"] == {"hsa-rocr": "7.1.0-1", "linux-firmware-amdgpu": "20260110-1"}
    assert rocm["firmware"]["version"] == "20260110-1"
    assert [(entry["layout"], entry["version"]) for entry in rocm["installations"]] == [
        ("distribution", "7.1.0")
    ]


def test_headers_of_the_running_kernel(emulated, amd_host):
    root = emulated()
    assert amd_host(root)["kernel"]["headers"] is False
    (root / f"lib/modules/{KERNEL}/build").mkdir()
    assert amd_host(root)["kernel"]["headers"] is True


def test_names_and_texts_that_are_no_text(emulated, amd_host):
    root = emulated()
    write(root, os.fsdecode(b"etc/yum.repos.d/\xff.repo"), "[x]\nbaseurl=https://repo.radeon.com/x\n")
    write(root, os.fsdecode(b"lib/modules/6.1-\xff/vmlinuz"), "")
    write(root, "models/chat/config.json", r'{"model_type": "\ud800"}')
    rocm = amd_host(root, paths=["/models/chat"])
    assert rocm["paths"]["/models/chat"]["model_type"] == "\ufffd"
    assert "holds a name that is not UTF-8 text" in [problem["problem"] for problem in rocm["problems"]]


DEEP = "[" * 100000
LONG = "9" * 5000
TCP = "  sl  local_address\n   0: 0100007F:zzzz 00000000:0000 0A 0 0 0 0 0 77\n   1: 0100007F:1F40 00000000:0000 0A 0 0 0 0 0 78\n"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("proc/net/tcp", TCP),
        ("etc/group", "render:x:\u00b2:\nvideo:x:" + LONG + ":\n"),
        ("etc/passwd", "gpu:x:\u00b2:1::/home/gpu:/bin/sh\ngpu:x:" + LONG + ":1::/home/gpu:/bin/sh\n"),
        ("etc/subuid", "gpu:1:\u00b2\ngpu:1:" + LONG + "\n"),
        ("sys/module/amdgpu/version", "1.\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2"),
        ("var/lib/containers/storage/overlay-images/images.json", DEEP),
        ("models/chat/config.json", DEEP),
        ("opt/rocm-7.2.4/.info/version", f"{LONG}.{LONG}"),
        ("proc/meminfo", f"MemTotal: {LONG} kB\n"),
        ("proc/sys/kernel/osrelease", LONG),
        ("proc/1/stat", "1 (init) " + " ".join(["9" * 400] * 30)),
        ("proc/stat", f"btime {LONG}\n"),
        ("etc/os-release", f"ID=debian\nVERSION_ID={LONG}\nPRETTY_NAME={'x' * 1000000}\n"),
        ("var/lib/amdgpu-fleet/rebooted", "x" * 1000000),
    ],
)
def test_a_damaged_file_ends_nothing(emulated, host_facts, path, content):
    root = emulated()
    write(root, path, content)
    asked = {"ports": [8000], "images": ["x"], "paths": ["/models/chat"], "network": True}
    facts = host_facts(root, user="gpu", **asked)
    assert max(len(str(value)) for fact in facts.values() for value in fact.values()) < 30000
    if path == "proc/net/tcp":
        assert facts["amd_host"]["ports"]["8000"]["listening"]
    plan = planner.plan(facts, {}, "host")
    assert "kernel" in plan


def test_a_record_of_a_model_that_is_deep_in_brackets(emulated, amd_host):
    root = emulated()
    write(root, "models/chat/config.json", "{}")
    write(root, record("/models/chat"), DEEP)
    assert amd_host(root, paths=["/models/chat"])["paths"]["/models/chat"]["checked_by"] is None


def test_a_record_of_kernel_arguments_that_is_deep_in_brackets():
    with pytest.raises(RecordError, match="does not say any more"):
        parse(DEEP)
