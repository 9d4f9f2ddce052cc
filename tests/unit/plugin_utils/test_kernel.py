# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``kernel``: the inventory beats an optional setting, that one beats the catalog."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline
from testbed.tree import load_host, write_tree

ROLE = Path(__file__).resolve().parents[3] / "roles/kernel"


def arguments(plan: dict) -> tuple[list[str], list[str]]:
    """What the plan hands to the module kernel_args, held to the module's own rules."""
    section = plan["kernel"]
    assert _cmdline.wanted(section["present"], section["absent"]) == (section["present"], section["absent"])
    return section["present"], section["absent"]


@pytest.mark.parametrize(
    ("host", "wants", "present", "absent"),
    [
        ("mi300x-8", {}, ["pci=realloc=off", "iommu=pt"], []),
        ("mi300x-8", {"kernel_arguments_present": ["iommu=off"]}, ["pci=realloc=off", "iommu=off"], []),
        ("mi300x-8", {"kernel_arguments_present": ['"iommu=pt"']}, ["pci=realloc=off", '"iommu=pt"'], []),
        # A name that may repeat is added, not replaced.
        ("mi300x-8", {"kernel_arguments_present": ["pci=bfsort"]}, ["pci=realloc=off", "iommu=pt", "pci=bfsort"], []),
        ("mi300x-8", {"kernel_arguments_present": ["pci=realloc=off"]}, ["iommu=pt", "pci=realloc=off"], []),
        ("mi300x-8", {"kernel_arguments_present": ["pci=realloc=on"]}, ["iommu=pt", "pci=realloc=on"], []),
        ("mi300x-8", {"kernel_arguments_absent": ["iommu"]}, ["pci=realloc=off"], ["iommu"]),
        ("mi300x-8", {"kernel_arguments_absent": ["iommu=off"]}, ["pci=realloc=off", "iommu=pt"], ["iommu=off"]),
        # An optional setting under the inventory, one argument of it or all.
        ("mi300x-8", {"kernel_opt_in": ["latency"], "kernel_arguments_present": ["pcie-aspm=force"]},
         ["pci=realloc=off", "iommu=pt", "processor.max_cstate=0", "pcie-aspm=force"], []),
        ("strix-halo-128", {"kernel_opt_in": ["amd_iommu_off"], "kernel_arguments_absent": ["amd_iommu"]}, [],
         ["amd_iommu", "amdgpu.gttsize", "amdgpu.cwsr_enable=0", "ttm.pages_limit"]),
        # What the catalog would take away.
        ("strix-halo-128", {"kernel_arguments_present": ["ttm.pages-limit=25165824"]}, ["ttm.pages-limit=25165824"],
         ["amdgpu.gttsize", "amdgpu.cwsr_enable=0"]),
        ("strix-halo-128", {"kernel_arguments_present": ["amdgpu.cwsr_enable=0"]}, ["amdgpu.cwsr_enable=0"],
         ["amdgpu.gttsize", "ttm.pages_limit"]),
        ("strix-halo-128", {"kernel_arguments_present": ["amdgpu.cwsr_enable=1"]}, ["amdgpu.cwsr_enable=1"],
         ["amdgpu.gttsize", "amdgpu.cwsr_enable=0", "ttm.pages_limit"]),
    ],
)  # fmt: skip
def test_the_inventory_beats_the_plan(make_plan, host, wants, present, absent):
    assert arguments(make_plan(host, **wants)) == (present, absent)


def test_every_optional_setting_fits_beside_its_catalog(make_plan):
    known = {
        "mi300x-8": ["late_driver_load", "latency", "bare_performance", "free_drm_minors"],
        "strix-halo-128": ["amd_iommu_off"],
    }
    for host, names in known.items():
        present, _absent = arguments(make_plan(host, kernel_opt_in=names))
        assert len(present) >= len(names)


def test_sysctls_of_an_optional_setting_are_set_under_those_of_the_inventory(make_plan):
    assert not [name for name in make_plan("mi300x-8")["kernel"]["sysctl"] if name.startswith("fs.inotify")]
    plan = make_plan(
        "mi300x-8", kernel_opt_in=["gpu_operator"], kernel_sysctl={"fs.inotify.max_user_instances": 65536}
    )
    assert plan["kernel"]["sysctl"]["fs.inotify.max_user_watches"] == 186575 and plan["kernel"][
        "present"
    ] == [
        "pci=realloc=off",
        "iommu=pt",
    ]
    assert plan["kernel"]["sysctl"]["fs.inotify.max_user_instances"] == 65536
    assert any(
        setting["value"] == "fs.inotify.max_queued_events=16384" and "Cost" in setting["reason"]
        for setting in plan["settings"]
    )


def test_a_parameter_on_the_command_line_is_written_nowhere_else(make_plan, ids):
    plan = make_plan("strix-halo-128", kernel_arguments_present=["ttm.pages_limit=25165824"])
    assert plan["kernel"]["module_options"] == {} and "kernel.outdated_argument" not in ids(plan, "warn")
    plan = make_plan(
        "strix-halo-128", kernel_arguments_present=["ttm.pages_limit=25165824"], kernel_gtt_gib=64
    )
    assert ids(plan) == ["inventory.variable"] and "kernel_gtt_gib" in str(plan["findings"][0])


def found(plan: dict, identifier: str) -> list[dict]:
    return [finding for finding in plan["findings"] if finding["id"] == identifier]


def with_file(root: Path, name: str, text: str) -> Path:
    write_tree({**load_host("strix-halo-128"), "files": {name: text}}, root)
    return root


def test_outdated_advice_in_a_file_of_modprobe_names_the_file(tmp_path, plan_of_tree):
    root = with_file(
        tmp_path,
        "/etc/modprobe.d/amd.conf",
        "options amdgpu cwsr_enable=0 gttsize=131072 noretry=0\noptions ttm pages_limit=9\n",
    )
    findings = found(plan_of_tree(root), "kernel.outdated_argument")
    assert [finding["seen"] for finding in findings] == [
        "options amdgpu gttsize=131072 in /etc/modprobe.d/amd.conf",
        "options amdgpu cwsr_enable=0 in /etc/modprobe.d/amd.conf",
    ]
    assert findings[0]["remedy"].startswith(
        "Remove it from /etc/modprobe.d/amd.conf and build the initramfs again; ttm.pages_limit"
    )
    asked = plan_of_tree(root, kernel_arguments_present=["amdgpu.cwsr_enable=0"])
    assert len(found(asked, "kernel.outdated_argument")) == 1


@pytest.mark.parametrize(
    ("name", "text", "overruled"),
    [
        # What amd-smi set --gtt writes is read before ours.
        ("ttm.conf", "options ttm pages_limit=27648000", False),
        ("zzz.conf", "options ttm pages_limit=27648000", True),
        ("zzz.conf", f"options ttm pages_limit={112 * 262144:#x}", False),
        ("zzz.conf", "options amdttm pages_limit=1", False),
    ],
)
def test_a_file_that_beats_ours_is_named(tmp_path, plan_of_tree, name, text, overruled):
    root = with_file(tmp_path, f"/etc/modprobe.d/{name}", f"{text}\n")
    findings = found(plan_of_tree(root), "kernel.option_overruled")
    assert bool(findings) is overruled
    assert all(f"/etc/modprobe.d/{name}" in finding["remedy"] for finding in findings)
    assert not found(plan_of_tree(root, kernel_state="absent"), "kernel.option_overruled")


def test_what_we_wrote_is_nobody_elses(tmp_path, plan_of_tree):
    head = "# Written by amdgpu.fleet.module_options. Lines of another kind may be added and are kept.\n"
    for name in ("amdgpu-fleet.conf", "zz-amdgpu-fleet.conf"):
        root = with_file(tmp_path / name, f"/etc/modprobe.d/{name}", f"{head}options amdgpu gttsize=1\n")
        assert not found(plan_of_tree(root), "kernel.outdated_argument")


def test_a_driver_that_is_kept_back_is_loaded_by_a_unit(make_plan):
    def blacklisted(_gpus, rocm):
        rocm["driver"]["blacklisted_by"] = ["modprobe.blacklist=amdgpu"]

    late = {"kernel_opt_in": ["late_driver_load"], "serve_instances": [{"name": "main", "model": "/m"}]}
    plan = make_plan("mi300x-8", blacklisted, **late)
    assert plan["kernel"]["load_at_boot"] == "amdgpu" and not found(plan, "driver.blacklisted")
    unit = jinja2.Template((ROLE / "templates/driver.service.j2").read_text()).render(plan_host=plan)
    before = next(line for line in unit.splitlines() if line.startswith("Before="))
    assert {
        "amdgpu-fleet-partition.service",
        "docker.service",
        "kubelet.service",
        "vllm-main.service",
    } <= set(before[7:].split())
    assert "\nExecStart=/sbin/modprobe amdgpu\n" in unit

    twice = make_plan("mi300x-8", blacklisted, **late, kernel_arguments_present=["modprobe.blacklist=amdgpu"])
    assert (
        twice["kernel"]["load_at_boot"] == "amdgpu"
        and twice["kernel"]["present"].count("modprobe.blacklist=amdgpu") == 1
    )

    for without in (
        {},
        {**late, "kernel_state": "absent"},
        {**late, "kernel_arguments_absent": ["modprobe.blacklist"]},
    ):
        plan = make_plan("mi300x-8", blacklisted, **without)
        assert plan["kernel"]["load_at_boot"] is None and found(plan, "driver.blacklisted"), without

    def by_file(_gpus, rocm):
        rocm["driver"]["blacklisted_by"] = ["/etc/modprobe.d/x.conf", "modprobe.blacklist=amdgpu"]

    assert (
        found(make_plan("mi300x-8", by_file, **late), "driver.blacklisted")[0]["seen"]
        == "/etc/modprobe.d/x.conf"
    )
