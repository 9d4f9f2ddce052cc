# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages, holds and repositories, from what dpkg, rpm and dnf really write."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _packages
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

# rpm 4.18, rpm -qa --qf "%{NAME} %{VERSION}-%{RELEASE}\n", on the emulated EL9 host after the roles driver
# and rocm.
RPM = """\
gpg-pubkey 3dec45b6-6b0119c4
kernel-devel 5.14.0-570.12.1.el9_6
kernel-devel-matched 5.14.0-570.12.1.el9_6
kernel-headers 5.14.0-570.12.1.el9_6
amdrocm-base10.0 10.0.0-4.el9
amdrocm-sysdeps10.0 10.0.0-4.el9
amdrocm-amdsmi10.0 10.0.0-4.el9
libquadmath 11.5.0-5.el9
libatomic 11.5.0-5.el9
dkms 3.2.2-1.el9
amdgpu-dkms-firmware 31.50.0.0.31500000-2390945.el9
bash 5.1.8-9.el9
amdgpu-dkms 7.1.3.31500000-2390945.el9"""
OF_RPM = {
    "amdrocm-base10.0": "10.0.0-4.el9",
    "amdrocm-sysdeps10.0": "10.0.0-4.el9",
    "amdrocm-amdsmi10.0": "10.0.0-4.el9",
    "libatomic": "11.5.0-5.el9",
    "libquadmath": "11.5.0-5.el9",
    "dkms": "3.2.2-1.el9",
    "amdgpu-dkms": "7.1.3.31500000-2390945.el9",
    "amdgpu-dkms-firmware": "31.50.0.0.31500000-2390945.el9",
}
DPKG = "\n".join(
    f"Package: {name}\nStatus: {status}\nPriority: optional\nArchitecture: amd64\nVersion: "
    f"{version}\nDescription: x\n"
    " Status: hold ok installed\n"
    for name, status, version in (
        ("dkms", "install ok installed", "3.0.10-8"),
        ("amdgpu-dkms", "hold ok installed", "1:7.1.3.31500000-2390945.22.04"),
        ("amdgpu-dkms-firmware", "deinstall ok config-files", "1:31.50"),
        ("linux-image-amd64", "hold ok installed", "6.1.148-1"),
        ("linux-image-6.1.0-40-amd64", "install ok installed", "6.1.148-1"),
        ("linux-headers-generic-hwe-24.04", "install ok installed", "6.14"),
        ("rocminfo", "install ok half-configured", "5.2"),
    )
)
OF_DPKG = {
    "dkms": "3.0.10-8",
    "amdgpu-dkms": "1:7.1.3.31500000-2390945.22.04",
    "linux-image-amd64": "6.1.148-1",
    "linux-headers-generic-hwe-24.04": "6.14",
}


def never() -> str:
    raise AssertionError("rpm is not asked here")


@pytest.fixture
def tree(tmp_path):
    def make(files: dict[str, str]) -> Tree:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
        return Tree(str(tmp_path))

    return make


def test_the_distribution_decides_whose_database_is_asked(tree):
    both = tree({"var/lib/dpkg/status": DPKG, "var/lib/rpm/rpmdb.sqlite": ""})
    assert _packages.packages(both, "dnf", lambda: RPM) == OF_RPM
    assert _packages.packages(both, "zypper", lambda: RPM) == OF_RPM
    assert _packages.packages(both, "apt", never) == OF_DPKG


def test_without_a_distribution_the_database_that_there_is(tree):
    assert _packages.packages(tree({"var/lib/dpkg/status": DPKG}), None, never) == OF_DPKG


@pytest.mark.parametrize(
    "output", [None, "", "error: cannot open Packages database in /var/lib/rpm\n", "amdgpu-dkms\n"]
)
def test_rpm_that_says_nothing_of_use(tree, output):
    assert _packages.packages(tree({}), "dnf", lambda: output) == {}


def test_a_hold_of_apt_is_ours_where_we_wrote_it_down(tree):
    files = {"var/lib/dpkg/status": DPKG}
    assert _packages.held(tree(files), "apt") == [], "somebody else's"
    files["var/lib/amdgpu-fleet/held"] = "amdgpu-dkms\ndkms\nlinux-image-amd64\n"
    assert _packages.held(tree(files), "apt") == ["amdgpu-dkms", "linux-image-amd64"], (
        "dkms was let go by hand"
    )


def test_locks_of_dnf_are_ours_between_our_marks(tree):
    assert _packages.held(tree({}), "dnf") == []
    text = "\n# Added lock on Sat Nov 21\nvim-2:8.2.2637-22.el9_6.*\n"
    assert _packages.held(tree({"etc/dnf/plugins/versionlock.list": text}), "dnf") == []
    text += "# BEGIN amdgpu.fleet\namdgpu-dkms-7.1.3.31500000-*\nkernel-core-5.14.0-570.12.1.el9_6.x86_64\n# END amdgpu.fleet\n"
    text += "bash-0:5.1.8-9.el9.*\n"
    found = _packages.held(tree({"etc/dnf/plugins/versionlock.list": text}), "dnf")
    assert found == ["amdgpu-dkms-7.1.3.31500000-*", "kernel-core-5.14.0-570.12.1.el9_6.x86_64"]


def test_repositories_of_dnf_that_are_enabled(tree):
    files = {
        "etc/yum.repos.d/rocky.repo": "[baseos]\nname=Rocky Linux $releasever - BaseOS\nmirrorlist=https://m/?arch=$basearch\ngpgcheck=1\nenabled=1\n"
        "[crb]\nname=CRB [all of it]\nenabled = 0\n\n# [commented]\n[plus]\nname=plus\nenabled=False\n",
        "etc/yum.repos.d/epel.repo": "[epel]\nname=EPEL\nmetalink=https://m\n\n[epel-debuginfo]\nenabled=0",
        "etc/yum.repos.d/epel.repo.rpmsave": "[old]\nenabled=1\n",
    }
    assert _packages.dnf_repositories(tree(files)) == ["epel", "baseos"]
    assert _packages.dnf_repositories(Tree("/nowhere")) == []


def test_legacy_rocm_is_told_by_the_release_in_its_versions(tmp_path):
    # Versions as in ROCm/legacy-rocm-build#5657 and #1748; the driver and the graphics stack are not ROCm.
    installed = {
        "rocm-core": "7.2.4.70204-93~24.04",
        "rocm-cmake": "0.14.0.70204-93~24.04",
        "amdgpu-install": "7.2.4.70204-1",
        "amdgpu-dkms": "1:6.12.12.70204-2194681.24.04",
        "mesa-amdgpu-va-drivers": "1:25.0.0.70204-2194681.24.04",
        "rocm-core6.4.0": "6.4.0.60400-47~24.04",
        "libopenblas0": "0.3.26-1",
    }
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(
        "\n".join(
            f"Package: {name}\nStatus: install ok installed\nVersion: {version}\n"
            for name, version in installed.items()
        )
    )
    tree = Tree(str(tmp_path))
    assert _packages.legacy_rocm(tree, "apt", never, ["7.2.4"]) == [
        "amdgpu-install",
        "rocm-cmake",
        "rocm-core",
    ]
    assert _packages.legacy_rocm(tree, "apt", never, ["6.4.0"]) == ["rocm-core6.4.0"]
    assert _packages.legacy_rocm(tree, "apt", never, []) == []
    assert _packages.legacy_rocm(
        tree, "dnf", lambda: "rocm-core 7.2.4.70204-93.el9\nbash 5.1.8-9.el9", ["7.2.4"]
    ) == ["rocm-core"]


@pytest.mark.parametrize(
    ("lines", "twice"),
    [
        ("bash 5.1.8-9.el9\nbash 5.1.8-6.el9\npodman 5.2.2-1.el9", ["bash"]),
        # One version for two architectures is no duplicate, and what is meant to be there several times is none.
        ("libatomic 11.5.0-5.el9\nlibatomic 11.5.0-5.el9", []),
        (
            "kernel 5.14.0-570.el9\nkernel 5.14.0-503.el9\nkernel-core 5.14.0-570.el9\nkernel-core 5.14.0-503.el9",
            [],
        ),
        ("gpg-pubkey 1-1\ngpg-pubkey 2-2\nkmod-x 1-1\nkmod-x 2-1", []),
        ("z 1-1\nz 2-1\na 1-1\na 2-1", ["a", "z"]),
        (
            "".join(f"p{number} {version}-1\n" for number in range(20) for version in (1, 2)),
            [f"p{n}" for n in (0, 1, 10, 11, 12, 13, 14, 15)],
        ),
        ("", []),
        (None, []),
    ],
)
def test_packages_that_rpm_has_twice(tree, lines, twice):
    state = _packages.state(tree({}), "dnf", lambda: lines)
    assert state["duplicates"] == twice
    assert _packages.state(tree({}), "apt", never)["duplicates"] == []
