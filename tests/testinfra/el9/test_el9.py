# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles on an emulated EL9: the real dnf and rpm, and packages that are really signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

KERNEL = "5.14.0-570.12.1.el9_6.x86_64"
FINGERPRINT = Path(__file__).resolve().parents[3] / ".cache/bed/repository/fingerprint"
FORMAT = "--qf '%{NAME}-%{VERSION}-%{RELEASE}\\n'"


def module(host, called: str, **arguments) -> dict:
    """The result of a module; one that failed says why in ``msg``."""
    return host.ansible(called, json.dumps(arguments), check=False, become=True)


def facts(host) -> dict:
    found = module(host, "amdgpu.fleet.host_facts", root="/")["ansible_facts"]
    return {**found["amd_rocm"], **found["amd_host"]}


def test_the_packages_are_those_of_the_plan(host):
    installed = host.check_output(f"rpm -qa {FORMAT}").split()
    assert {
        "amdgpu-dkms-7.1.3.31500000-2390945.el9", "amdgpu-dkms-firmware-31.50.0.0.31500000-2390945.el9", "dkms-3.2.2-1.el9",
        f"kernel-devel-{KERNEL.removesuffix('.x86_64')}", f"kernel-devel-matched-{KERNEL.removesuffix('.x86_64')}",
        "amdrocm-amdsmi10.0-10.0.0-4.el9", "amdrocm-sysdeps10.0-10.0.0-4.el9", "libatomic-11.5.0-5.el9", "libquadmath-11.5.0-5.el9",
    } <= set(installed)  # fmt: skip
    assert host.file(f"/lib/modules/{KERNEL}/updates/dkms/amdgpu.ko").exists, (
        "DKMS ran for the running kernel"
    )
    assert "10.0.0" in host.check_output("/opt/rocm/core-10.0/bin/amd-smi version")


def test_every_package_of_amd_was_signed(host):
    signatures = host.check_output(
        "rpm -qa --qf '%{NAME} %{RSAHEADER:pgpsig}\\n' 'amdgpu*' 'amdrocm*'"
    ).splitlines()
    assert len(signatures) == 5 and all("Key ID" in line for line in signatures), signatures


def test_the_repositories(host):
    text = host.file("/etc/yum.repos.d/amdgpu-fleet-driver.repo").content_string
    assert "baseurl=http://10.77.0.2/amdgpu/31.50/el/9.6/main/x86_64/\n" in text
    assert (
        "priority=50\ngpgcheck=1\nrepo_gpgcheck=0\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-amdgpu-fleet-driver\n"
        in text
    )
    assert (
        "/rocm/core/packages/rhel9/x86_64/\n"
        in host.file("/etc/yum.repos.d/amdgpu-fleet-rocm.repo").content_string
    )
    assert not host.file("/etc/apt/sources.list.d/amdgpu-fleet-driver.sources").exists
    listed = host.check_output("dnf --quiet repolist").split()
    assert {"amdgpu-fleet-driver", "amdgpu-fleet-rocm"} <= set(listed)


def test_packages_come_from_rpm_although_there_is_a_dpkg(host):
    found = facts(host)
    assert host.file("/var/lib/dpkg/status").exists
    assert found["os"]["package_manager"] == "dnf"
    assert found["packages"]["amdgpu-dkms"] == "7.1.3.31500000-2390945.el9"
    assert found["kernel"]["headers"] and found["dnf_repositories"][:3] == [
        "amdgpu-fleet-driver",
        "amdgpu-fleet-rocm",
        "baseos",
    ]


def test_an_upgrade_brings_no_other_kernel_while_it_is_held(host):
    assert f"kernel-core-{KERNEL}" in facts(host)["held"]
    # The newer one is in the repository: it is the lock that hides it.
    assert "611.5.1.el9_7" in host.run("dnf --disableplugin=versionlock --assumeno upgrade").stdout
    host.check_output("dnf --assumeyes upgrade")
    assert (
        host.check_output(f"rpm -q {FORMAT} kernel-devel") == f"kernel-devel-{KERNEL.removesuffix('.x86_64')}"
    )
    assert host.run("dnf --assumeyes install kernel-core").rc != 0


def test_containers_may_use_the_gpus_under_selinux(host):
    assert facts(host)["selinux"] == {
        "mode": "enforcing",
        "booleans": {"container_use_devices": True, "container_use_dri_devices": True},
        "ours": ["container_use_devices"],
    }
    assert host.file("/var/log/setsebool").content_string == "-P container_use_devices=1\n", (
        "once, and only what was off"
    )


@pytest.fixture
def untouched(host):
    """The files of the host's repositories, held to be the same afterwards."""

    def state() -> str:
        return host.check_output("find /etc/yum.repos.d /etc/pki/rpm-gpg -type f | sort | xargs sha256sum")

    before = state()
    yield
    assert state() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"fingerprint": "CA8BB4727A47B4D09B4EE8969386B48A1A693C5C"},
            "not the pinned CA8BB4727A47B4D09B4EE8969386B48A1A693C5C",
        ),
        (
            {"uri": "http://10.77.0.2/amdgpu/31.50/el/9.5/main/x86_64/"},
            "el/9.5/main/x86_64/repodata/repomd.xml cannot be had",
        ),
        ({"key_url": "http://10.77.0.2/none"}, "The repository key at http://10.77.0.2/none cannot be had"),
    ],
)
def test_a_wrong_repository_is_refused_and_leaves_the_host_as_it_was(host, untouched, arguments, words):
    result = module(
        host,
        "amdgpu.fleet.package_repository",
        **{
            "name": "amdgpu-fleet-wrong",
            "uri": "http://10.77.0.2/amdgpu/31.50/el/9.6/main/x86_64/",
            "key_url": "http://10.77.0.2/rocm.gpg.key",
            "fingerprint": FINGERPRINT.read_text(encoding="utf-8").strip(),
            **arguments,
        },
    )
    assert words in result["msg"], result["msg"]


def test_dnf_refuses_a_package_that_nobody_signed(host):
    result = host.run("dnf --quiet --assumeyes install amdrocm-unsigned10.0")
    assert result.rc != 0 and "not signed" in result.stdout + result.stderr
    assert host.run("rpm -q amdrocm-unsigned10.0").rc != 0
