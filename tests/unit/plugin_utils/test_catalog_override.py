# SPDX-License-Identifier: GPL-3.0-or-later
"""plan_catalog: what an operator adds to the catalog works like the catalog, and what does not fit is refused
with its path."""

from __future__ import annotations

import copy
import sys

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError

BOARD = {"pci_id": "1002:7fff", "product": "AMD Instinct Lab Sample", "gfx": "gfx942", "compute_units": 304, "memory_gib": 192,
         "virtual_function": False, "physical_function": None, "apu": False, "source": "our lab", "date": "2026-11"}  # fmt: skip
ISSUE = {
    "severity": "fail",
    "title": "A kernel of ours that is bad",
    "why": "it panics",
    "remedy": "Boot another one",
    "expected": "another kernel",
    "match": {"kernel_from": "6.1", "kernel_below": "6.2"},
    "reference": "our tracker, 4711",
}


def unknown_board(gpus, _rocm):
    for gpu in gpus["gpus"]:
        gpu |= {
            "pci_id": "1002:7fff",
            "product": None,
            "gfx": None,
            "family": None,
            "supported": False,
            "kfd_nodes": [],
            "partitions": 0,
        }


def test_a_board_of_the_operators_own(make_plan, ids):
    assert "gpu.none" in ids(make_plan("mi300x-8-nodriver", unknown_board), "warn")
    plan = make_plan("mi300x-8-nodriver", unknown_board, plan_catalog={"gpus": {"products": [BOARD]}})
    assert plan["profile"] == "gfx942" and plan["driver"]["policy"] == "dkms"
    assert "AMD Instinct Lab Sample" in plan["gpus"]


def test_an_architecture_of_the_operators_own_needs_a_profile(make_plan, ids):
    own = {"architectures": {"gfx1250": {"rocm": "supported"}}, "products": [BOARD | {"gfx": "gfx1250"}]}
    plan = make_plan("mi300x-8-nodriver", unknown_board, plan_catalog={"gpus": own})
    (finding,) = [finding for finding in plan["findings"] if finding["id"] == "gpu.profile"]
    assert finding["severity"] == "fail" and finding["seen"] == "gfx1250"
    assert "plan_catalog.profiles.gfx1250" in finding["remedy"]
    # The other way of the remedy.
    cpu = make_plan("mi300x-8-nodriver", unknown_board, plan_catalog={"gpus": own}, serve_accelerator="cpu")
    assert not ids(cpu, "fail")


def test_a_board_of_the_operators_own_renames_no_other_one():
    catalog = Catalog({"gpus": {"products": [BOARD]}})
    gpu = {"pci_id": "1002:7550", "gfx": "gfx1201", "product": "AMD Radeon RX 9070", "apu": False}
    assert catalog.identify(gpu)["product"] == "AMD Radeon RX 9070"
    assert catalog.identify({**gpu, "pci_id": BOARD["pci_id"]})["product"] == BOARD["product"]


def test_every_supported_architecture_has_a_profile():
    catalog = Catalog()
    for gfx, architecture in catalog.gpus["architectures"].items():
        assert (catalog.profile(gfx) is not None) == (architecture["rocm"] == "supported"), gfx


def test_kfd_stays_the_authority_over_the_operators_table(make_plan):
    plan = make_plan("mi355x-8", plan_catalog={"gpus": {"products": [BOARD | {"pci_id": "1002:75a3"}]}})
    assert plan["profile"] == "gfx950"


def test_a_finding_of_the_operators_own(make_plan, ids):
    plan = make_plan("mi300x-8", plan_catalog={"known_issues": {"kernel.ours": ISSUE}})
    assert ids(plan) == ["kernel.ours"]
    assert ids(make_plan("mi355x-8", plan_catalog={"known_issues": {"kernel.ours": ISSUE}})) == []


def test_a_text_of_the_catalog_can_be_replaced(make_plan):
    issues = {"devices.permissions": {"remedy": "Call the platform team"}}
    plan = make_plan("mi300x-8", plan_catalog={"known_issues": issues})
    assert [finding["remedy"] for finding in plan["findings"] if finding["id"] == "devices.permissions"] == [
        "Call the platform team"
    ]


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ({"gpus": {"products": [{**BOARD, "gfx": "MI300X"}]}}, "plan_catalog.gpus.products"),
        ({"gpus": {"products": {"1002:7fff": BOARD}}}, "plan_catalog.gpus.products"),
        ({"gpus": {"products": ["1002:7fff"]}}, "plan_catalog.gpus.products"),
        (
            {"releases": {"drivers": {"releases": {"32.10.0": {"directory": "32.10"}}}}},
            "plan_catalog.releases.drivers.releases.32.10.0",
        ),
        (
            {"releases": {"repositories": {"driver": {"fingerprint": "1A2B"}}}},
            "plan_catalog.releases.repositories.driver.fingerprint",
        ),
        ({"releases": []}, "plan_catalog.releases"),
        ({"vllm": {"versions": {"0.34.0": None}}}, "plan_catalog.vllm.versions.0.34.0"),
        (
            {"known_issues": {"kernel.ours": {**ISSUE, "match": {"log": "(abcd"}}}},
            "plan_catalog.known_issues.kernel.ours",
        ),
        (
            {"known_issues": {"kernel.ours": {**ISSUE, "match": {"log": "x" * 9, "gfx": "gfx942"}}}},
            "plan_catalog.known_issues.kernel.ours",
        ),
        ({"known_issues": {"gpu.none": {"remedy": "Ask {nobody}"}}}, "plan_catalog.known_issues.gpu.none"),
        ({"known_issues": {"gpu.none": {"remedy": "awk '{print'"}}}, "plan_catalog.known_issues.gpu.none"),
        (
            {"profiles": {"gfx942": {"host": {"kernel": {"present": "iommu=pt"}}}}},
            "plan_catalog.profiles.gfx942.host.kernel.present",
        ),
        ({"known_issues": {"gpu.none": {"why": "{seen:>5q}"}}}, "plan_catalog.known_issues.gpu.none"),
        ({"profiles": {"gfx942": {"base": "nonsense"}}}, "plan_catalog.profiles"),
        ({"profiles": {"gfx999": {"gfx": "gfx999", "base": "gfx999"}}}, "plan_catalog.profiles"),
        ({"profiles": {"g" * 300: {}}}, "plan_catalog.profiles"),
        ({"profiles": {"gfx942": {"base": "g" * 300}}}, "plan_catalog.profiles"),
        ({"releases": {"rocm": {"legacy": {"repository": "a{99999999999}"}}}}, "plan_catalog.releases"),
        ({"profiles": {"gfx1250": {"gfx": "gfx1250"}}}, "plan_catalog.profiles.gfx1250"),
    ],
)
def test_an_override_that_does_not_fit_is_refused_with_its_path(make_plan, ids, override, path):
    plan = make_plan("mi300x-8", plan_catalog=override)
    assert ids(plan) == ["inventory.catalog"]
    assert path in plan["findings"][0]["remedy"]
    assert "driver" not in plan, "nothing is planned with data that nobody checked"


def test_dates_that_yaml_reads_as_dates(make_plan, ids):
    import datetime

    plan = make_plan(
        "mi300x-8", plan_catalog={"gpus": {"products": [BOARD | {"date": datetime.date(2026, 11, 21)}]}}
    )
    assert ids(plan) == []


def test_without_jsonschema_an_override_is_refused_and_the_rest_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    assert Catalog().releases["rocm"]["default"]
    with pytest.raises(CatalogError, match="Python package jsonschema"):
        Catalog({"gpus": {"products": [BOARD]}}).check_overrides()


def test_the_files_of_the_collection_are_never_changed():
    before = copy.deepcopy(Catalog().gpus)
    assert len(Catalog({"gpus": {"products": [BOARD]}}).gpus["products"]) == len(before["products"]) + 1
    assert Catalog().gpus == before
