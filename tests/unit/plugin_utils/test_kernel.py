# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``kernel``: the inventory beats an optional setting, that one beats the catalog."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline


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
    known = {"mi300x-8": ["late_driver_load", "latency", "bare_performance", "free_drm_minors"], "strix-halo-128": ["amd_iommu_off"]}
    for host, names in known.items():
        present, _absent = arguments(make_plan(host, kernel_opt_in=names))
        assert len(present) >= len(names)


def test_a_parameter_on_the_command_line_is_written_nowhere_else(make_plan, ids):
    plan = make_plan("strix-halo-128", kernel_arguments_present=["ttm.pages_limit=25165824"])
    assert plan["kernel"]["module_options"] == {} and "kernel.outdated_argument" not in ids(plan, "warn")
    plan = make_plan("strix-halo-128", kernel_arguments_present=["ttm.pages_limit=25165824"], kernel_gtt_gib=64)
    assert ids(plan) == ["inventory.variable"] and "kernel_gtt_gib" in str(plan["findings"][0])
