# SPDX-License-Identifier: GPL-3.0-or-later
"""Remedies that name releases: who follows them passes the gate. And what of ROCm is on a host already."""

from __future__ import annotations

import re

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import fitting
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog


def ubuntu(version: str, kernel: str):
    def change(_gpus, rocm):
        rocm["os"] |= {"id": "ubuntu", "version": version, "name": f"Ubuntu {version}"}
        rocm["kernel"] |= {"release": kernel, "default_release": kernel, "installed": [kernel]}

    return change


@pytest.mark.parametrize(
    ("version", "kernel", "wants", "identifier"),
    [
        ("26.04", "7.0.0-12-generic", {"driver_release": "31.40.1"}, "driver.kernel"),
        ("26.04", "7.0.0-12-generic", {"driver_release": "30.30.4"}, "driver.kernel"),
        (
            "26.04",
            "7.0.0-12-generic",
            {"driver_release": "31.40.1", "rocm_version": "10.1.0"},
            "driver.kernel",
        ),
        ("24.04", "6.8.0-60-generic", {"driver_release": "31.60.0"}, "rocm.driver"),
        ("24.04", "6.8.0-60-generic", {"driver_release": "30.30.4"}, "rocm.driver"),
        ("24.04", "6.8.0-60-generic", {"driver_release": "32.0.0"}, "driver.release"),
        ("26.04", "7.0.0-12-generic", {"driver_release": "32.0.0"}, "driver.release"),
        ("24.04", "6.8.0-60-generic", {"rocm_version": "9.0.0"}, "rocm.release"),
        ("24.04", "6.8.0-60-generic", {"rocm_version": "7.2.4"}, "rocm.release"),
        ("24.04", "6.8.0-60-generic", {"rocm_version": "9.0.0", "driver_release": "31.60.0"}, "rocm.release"),
        ("24.04", "6.8.0-60-generic", {"driver_release": "31.40.1", "rocm_state": "absent"}, None),
    ],
)
def test_who_follows_a_remedy_passes_the_gate(make_plan, ids, version, kernel, wants, identifier):
    host = ubuntu(version, kernel)
    plan = make_plan("mi300x-8-nodriver", host, **wants)
    if identifier is None:
        assert ids(plan) == []
        return
    assert identifier in ids(plan)
    (found,) = [finding for finding in plan["findings"] if finding["id"] == identifier]
    # Each alternative, and each release of a list.
    ways = re.split(r", or (?=rocm_version|driver_release)", found["remedy"])
    for way in ways:
        chosen = re.findall(r"(driver_release|rocm_version) to (?:one of )?([\d., ]+)", way)
        assert chosen, found["remedy"]
        for release in re.findall(r"[\d.]+\d", chosen[0][1]):
            followed = {
                **wants,
                **{name: value.strip(" .,") for name, value in chosen},
                chosen[0][0]: release,
            }
            assert ids(make_plan("mi300x-8-nodriver", host, **followed)) == [], followed


def test_where_nothing_fits_the_kernel_must_go(make_plan):
    (found,) = [
        finding
        for finding in make_plan("mi300x-8-nodriver", ubuntu("26.04", "7.2.0-1-generic"))["findings"]
        if finding["id"] == "driver.kernel"
    ]
    assert found["remedy"] == "Boot a kernel from 4.18 to below 7.1"


def test_a_refused_rocm_is_replaced_by_one_that_there_is(make_plan, ids):
    old = {
        "line": "therock", "released": "2026-07-15", "drivers": ["31.50.0"], "package_suffix": "7.10", "package_version": "7.10.0-1",
        "source": "our lab", "date": "2026-07",
    }  # fmt: skip
    wants = {"rocm_version": "7.10.0", "plan_catalog": {"releases": {"rocm": {"releases": {"7.10.0": old}}}}}
    plan = make_plan("strix-halo-128", **wants)
    assert ids(plan) == ["rocm.refused"] and plan["findings"][0]["remedy"] == "Set rocm_version to 10.0.0"
    assert ids(make_plan("strix-halo-128", **{**wants, "rocm_version": "10.0.0"})) == []


@pytest.mark.parametrize(
    ("version", "layout", "found"),
    [("7.10.0", "therock", True), ("6.4.1", "legacy", True), ("7.0.2", "wheel", True), ("7.1.1", "legacy", True),
     ("7.9.0", "therock", True), ("7.2.4", "legacy", False), ("7.14.1", "therock", False),
     ("10.0.0", "therock", False), ("6.1.2", "distribution", False)],
)  # fmt: skip
def test_a_rocm_that_does_not_work_with_the_gpu(make_plan, ids, version, layout, found):
    def change(_gpus, rocm):
        rocm["installations"] = [
            {"version": version, "path": f"/opt/rocm-{version}", "layout": layout, "current": True}
        ]

    plan = make_plan("strix-halo-128", change)
    assert ("rocm.installed" in ids(plan, "warn")) is found
    assert "rocm.installed" not in ids(make_plan("mi300x-8", change), "warn"), (
        "it is the GPU that does not bear it"
    )


def test_a_driver_of_a_runfile_is_found_and_one_that_a_person_asked_for_is_not(make_plan, ids):
    def runfile(_gpus, rocm):
        rocm["driver"] |= {
            "source": "dkms",
            "version": "7.1.3.31500000",
            "dkms": [{"version": "7.1.3", "kernel": "x", "state": "installed"}],
        }

    def packaged(gpus, rocm):
        runfile(gpus, rocm)
        rocm["packages"]["amdgpu-dkms"] = "1:7.1.3"

    (found,) = [
        entry
        for entry in make_plan("strix-halo-128", runfile)["findings"]
        if entry["id"] == "driver.unpackaged"
    ]
    assert found["severity"] == "warn" and "`dkms remove amdgpu/7.1.3 --all`" in found["remedy"]
    assert "driver.unpackaged" not in ids(make_plan("strix-halo-128", packaged), "warn")
    assert "driver.unpackaged" not in ids(make_plan("strix-halo-128"), "warn")


def test_a_gpu_that_amd_does_not_list_on_the_distribution(make_plan, ids):
    (found,) = [entry for entry in make_plan("strix-halo-128")["findings"] if entry["id"] == "rocm.unlisted"]
    assert found["seen"] == "gfx1151 on Debian GNU/Linux 13 (trixie)" and "ubuntu 26.04" in found["remedy"]
    accepted = make_plan("strix-halo-128", plan_accept=["rocm.unlisted"])
    assert "rocm.unlisted" in ids(accepted, "ok") and "rocm.unlisted" not in ids(accepted, "warn")
    for wants in ({"rocm_userspace": "distribution"}, {"rocm_state": "absent"}):
        assert "rocm.unlisted" not in ids(make_plan("strix-halo-128", **wants), "warn")
    assert "rocm.unlisted" not in ids(
        make_plan("strix-halo-128", ubuntu("26.04", "7.0.0-12-generic")), "warn"
    )
    assert "rocm.unlisted" not in ids(make_plan("mi300x-8"), "warn")


@pytest.mark.parametrize(
    ("kernel", "builds"),
    [
        ("6.12.48+deb13-amd64", True),
        ("6.12.100+deb13-amd64", False),
        ("6.12.101-1-pve", False),
        ("6.12.0-211.el10.x86_64", True),
        ("6.17.0-19-generic", True),
        ("6.18.2-1-pve", False),
    ],
)
def test_a_stable_kernel_may_have_what_a_driver_does_not_build_with(kernel, builds):
    known = Catalog().releases["drivers"]["releases"]["30.30.4"]
    assert fitting.builds_for(known, kernel) is builds


@pytest.mark.parametrize(
    ("version", "word"), [("10.2.0", "not known yet"), ("7.14.1", "packages-multi-arch")]
)
def test_a_release_that_is_known_and_not_installed_says_why(make_plan, version, word):
    plan = make_plan("mi300x-8", ubuntu("24.04", "6.8.0-85-generic"), rocm_version=version)
    found = [finding for finding in plan["findings"] if finding["id"] == "rocm.release"]
    assert len(found) == 1
    assert word in found[0]["why"]
