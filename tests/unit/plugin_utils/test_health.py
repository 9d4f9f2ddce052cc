# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with one thing wrong (tests/hosts/faults), and hosts that are well: what the plan says of
their GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.filter.plan import plan as plan_filter
from ansible_collections.amdgpu.fleet.plugins.module_utils._health import log
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import catalog, planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import record, run
from testbed.devices import gpus_of
from testbed.products import PRODUCTS
from testbed.tree import load_host, write_tree

HOSTS = Path(__file__).resolve().parents[2] / "hosts"
CASES: dict[str, dict[str, Any]] = {
    name: case
    for path in sorted((HOSTS / "faults").glob("*.yml"))
    for name, case in yaml.safe_load(path.read_text(encoding="utf-8")).items()
}


def judged(find_facts, root: Path, **wants: Any) -> dict[str, Any]:
    return planner.plan(find_facts("host_facts", root, health=True), wants, "host")


def health_of(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By id; of a kind that there is twice the worse one, which comes first."""
    return {found["id"]: found for found in reversed(plan["findings"]) if found["id"].startswith("health.")}


def with_fault(case: dict[str, Any], root: Path) -> int:
    """Write the host; the index of the GPU that the fault is in, the last die of a board with several."""
    host = load_host(case["of"])
    first, *rest = host["gpus"]
    count = first["count"] - case.get("lose", 0)
    faulty = max(count - 2, 0)
    wanted = [
        {**first, "count": faulty},
        {**first, "count": 1, "faults": case.get("faults", {}), **case.get("gpu", {})},
        {**first, "count": count - faulty - 1},
    ]
    host["gpus"] = [item for item in wanted if item["count"]] + rest
    gpus = gpus_of(host)
    index = max((number for number, gpu in enumerate(gpus) if gpu.faults), default=faulty)
    if "log" in case:
        place = f"amdgpu {gpus[index].address}: amdgpu: "
        lines = [f"[   9.{number}] {place}{line}" for number, line in enumerate(case["log"].splitlines())]
        host["files"] = {"var/log/dmesg": "\n".join(lines)}
    write_tree(host, root)
    return index


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_named(name, tmp_path, find_facts):
    case = CASES[name]
    index = with_fault(case, tmp_path)
    facts = find_facts("host_facts", tmp_path, health=True)
    plan = planner.plan(facts, {}, "host")
    found = health_of(plan)
    assert {key: each["severity"] for key, each in found.items()} == case["finds"]
    others = {each["id"] for each in plan["findings"]}
    assert set(case.get("others", [])) <= others, others
    unread = {name for gpu in facts["amd_health"]["gpus"] for name in gpu["unread"]}
    assert set(case.get("null", [])) <= unread, unread
    if "seen" in case:
        assert any(case["seen"] in each["seen"] for each in found.values()), found
    for each in found.values():
        assert each["why"] and each["remedy"] and "{" not in each["why"] + each["remedy"]
    if "verdict" in case:
        verdicts = {gpu["index"]: gpu["verdict"] for gpu in plan["health"]["gpus"]}
        assert verdicts.pop(index) == case["verdict"]
        dies = PRODUCTS[load_host(case["of"])["gpus"][0]["product"]].dies
        assert [verdicts.pop(index - die) for die in range(1, dies)] == [case["verdict"]] * (dies - 1)
        assert set(verdicts.values()) <= {"ok"}, "a GPU that is well is judged for its neighbour"


@pytest.mark.parametrize("name", sorted(path.stem for path in HOSTS.glob("*.yml")))
def test_a_host_that_is_well_has_no_health_finding(name, tmp_path, find_facts):
    host = load_host(name)
    write_tree(host, tmp_path)
    plan = judged(find_facts, tmp_path)
    assert health_of(plan) == {}
    driven = host["driver"]["source"] != "none"
    for gpu in plan["health"]["gpus"]:
        assert gpu["verdict"] == ("ok" if driven else None), gpu
        assert gpu["verdict"] or "no driver" in gpu["evidence"]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("release", ["6.12.94+deb13-amd64", "7.2.12+deb13-amd64"])
def test_every_product_that_is_well_is_judged_so(product, release, tmp_path, find_facts):
    host = load_host("rx9070xt")
    host["kernel"]["release"] = release
    host["gpus"] = [{**host["gpus"][0], "product": product}]
    write_tree(host, tmp_path)
    plan = judged(find_facts, tmp_path)
    assert health_of(plan) == {}
    assert {gpu["verdict"] for gpu in plan["health"]["gpus"]} == {"ok"}


def test_nothing_is_judged_that_was_not_read(tmp_path, find_facts):
    with_fault(CASES["link-x4"], tmp_path)
    plan = planner.plan(find_facts("host_facts", tmp_path), {}, "host")
    assert plan["health"] is None
    assert health_of(plan) == {}


def test_evidence_has_limit_source_and_what_to_do(tmp_path, find_facts):
    index = with_fault(CASES["bad-pages-300"], tmp_path)
    gpu = judged(find_facts, tmp_path)["health"]["gpus"][index]
    assert gpu["evidence"] == "300 bad pages (limit: at most 128)"
    (reason,) = gpu["reasons"]
    assert reason["verdict"] == "replace" and "open a case" in reason["action"]
    assert "amdgpu_ras_eeprom.c" in reason["source"]


def test_a_limit_of_the_inventory_counts(tmp_path, find_facts):
    with_fault(CASES["pages-some"], tmp_path)
    limits = {"health": {"rules": {"bad_pages": {"limit": 10}}}}
    plan = judged(find_facts, tmp_path, plan_catalog=limits)
    assert list(health_of(plan)) == ["health.bad_pages"]


def test_a_finding_can_be_accepted(tmp_path, find_facts):
    with_fault(CASES["seven-of-eight"], tmp_path)
    plan = judged(find_facts, tmp_path, plan_accept=["health.gpu_missing"])
    assert health_of(plan)["health.gpu_missing"]["severity"] == "warn"


def test_a_guest_has_as_many_gpus_as_it_was_given(tmp_path, find_facts):
    with_fault(CASES["seven-of-eight"], tmp_path)
    facts = find_facts("host_facts", tmp_path, health=True)
    facts["amd_host"]["place"]["kind"] = "guest"
    assert health_of(planner.plan(facts, {}, "host")) == {}


def test_a_hive_tells_of_more_gpus_than_the_bus(tmp_path, find_facts):
    host = load_host("mi300x-8")
    host["gpus"] = [{**host["gpus"][0], "count": 4, "faults": {"hive": 8}}]
    write_tree(host, tmp_path)
    found = health_of(judged(find_facts, tmp_path))
    assert found["health.gpu_missing"]["expected"].startswith("8,")


def test_counters_of_a_long_uptime_are_a_rate(tmp_path, find_facts):
    with_fault(CASES["recoveries"], tmp_path)
    (tmp_path / "proc/uptime").write_text("8640000.00 1.0\n")
    assert health_of(judged(find_facts, tmp_path)) == {}


def test_a_gpu_hotter_than_its_siblings_under_load_is_named(tmp_path, find_facts):
    host = load_host("mi300x-8")
    first = host["gpus"][0]
    host["gpus"] = [
        {**first, "count": 7, "faults": {"busy": 99, "temperature": {"junction": 70}}},
        {**first, "count": 1, "faults": {"busy": 99, "temperature": {"junction": 92}}},
    ]
    write_tree(host, tmp_path)
    plan = judged(find_facts, tmp_path)
    assert list(health_of(plan)) == ["health.temperature_unlike"]
    assert [gpu["verdict"] for gpu in plan["health"]["gpus"]] == ["ok"] * 7 + ["watch"]


def test_the_report_takes_the_verdicts_of_the_plan(tmp_path, find_facts):
    index = with_fault(CASES["hot-110"], tmp_path)
    facts = find_facts("host_facts", tmp_path, health=True)
    variables = {"plan_host": plan_filter(facts, {}, "host"), "ansible_facts": facts}
    gpus = record.of_host("host", variables, run.this_run({}))["gpu_list"]
    assert [gpu["verdict"] for gpu in gpus] == ["ok"] * index + ["drain"] + ["ok"] * (7 - index)
    assert "110 degrees" in gpus[index]["evidence"]


def test_every_rule_and_line_of_the_catalog_is_one_that_exists():
    known = catalog.read_part("health")
    issues = catalog.read_part("known_issues")
    rules = [*known["rules"].values(), *known["log"].values()]
    assert {rule["finding"] for rule in rules} <= set(issues)
    assert set(known["log"]) <= set(log.KINDS)
