# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a host on the controller: what is believed of it, its siblings, JUnit XML, and the report."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml
from pathlib import Path

import jinja2
import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance import judge
from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance.parsed import Metric
from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance.record import verdict
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._acceptance import junit, shape, siblings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import accepted, merge, page, table
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.record import of_host
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Run

REPOSITORY = Path(__file__).resolve().parents[3]
RUN = Run(id="r1", at="2026-11-28T19:00:00Z", started="2026-11-28T18:00:00Z", command="ansible-playbook accept",
          limit="", check=False, inventory=["fleet"])  # fmt: skip


def result(name: str = "bandwidth", verdict: str = "recorded", **more) -> dict:
    return {
        "name": name, "title": name, "verdict": verdict, "reasons": [], "warnings": [], "thresholds": [],
        "metrics": {"local": {"value": 2000.0, "unit": "GB/s", "each": {}}}, "seconds": 2.5, "command": ["x"],
        "started": "2026-11-28T19:00:00Z", "finished": "2026-11-28T19:00:02Z", "log": "/l", "optional": False, **more,
    }  # fmt: skip


def record(host: str = "a", *tests: dict, **more) -> dict:
    gpu = {"address": "0000:05:00.0", "product": "AMD Instinct MI300X", "serial": "1", "vbios": "113",
           "compute_partition": "SPX", "memory_partition": "NPS1"}  # fmt: skip
    return {
        "schema": 1, "host": host, "level": "quick", "verdict": "pass", "finished": "2026-11-28T19:00:02Z",
        "finished_at": 1795892402, "boot_id": "b", "binding": {"driver": "7.1.3", "gpus": [gpu] * 8},
        "plan": "p1", "versions": {}, "tests": list(tests) or [result()], **more,
    }  # fmt: skip


def speed(value: float, unit: str = "GB/s") -> dict:
    return {"local": {"value": value, "unit": unit, "each": {}}}


def write(folder, *records: dict) -> None:
    for each in records:
        (folder / f"{each['host']}.json").write_text(json.dumps(each), encoding="utf-8")


@pytest.mark.parametrize(("value", "unit", "warned"), [
    (1800, "GB/s", True), (1990, "GB/s", False), (9000, "GB/s", False), (1800, "ms", False), (2200, "ms", True),
])  # fmt: skip
def test_a_figure_far_from_its_siblings_is_a_warning_and_no_failure(tmp_path, value, unit, warned):
    write(tmp_path, *(record(name, result(metrics=speed(2000, unit))) for name in "bcd"), record("a"))
    own = record("a", result(metrics=speed(value, unit)))
    siblings.compare(own, siblings.read(tmp_path, "a"))
    warnings = own["tests"][0]["warnings"]
    assert own["tests"][0]["verdict"] == "recorded" and bool(warnings) == warned
    if warned:
        assert warnings == [f"local is {value} {unit}; the median of its siblings is 2000 (2000 to 2000)"]


def test_other_gpus_modes_and_failures_are_no_siblings(tmp_path):
    others = [record(name, result(metrics=speed(9000))) for name in "bcd"]
    for gpu in others[0]["binding"]["gpus"][:1]:
        gpu["compute_partition"] = "CPX"
    others[1]["tests"][0]["verdict"] = "fail"
    write(tmp_path, *others)
    (tmp_path / "e.json").write_text("{", encoding="utf-8")
    (tmp_path / "f.json").write_text('{"host": "f", "binding": 3, "tests": [{"name": 1}]}', encoding="utf-8")
    own = record("a")
    siblings.compare(own, siblings.read(tmp_path, "a"))
    assert own["tests"][0]["warnings"] == []


def test_few_siblings_are_no_median():
    metric = Metric(10, "GB/s", {})
    assert judge.far_from("x", metric, [100, 100], "others", 0.9) == ""
    assert (
        judge.far_from("x", metric, [100, 90, 110], "others", 0.9)
        == "x is 10 GB/s; others is 100 (90 to 110)"
    )


def test_junit_has_a_case_for_each_test():
    text = junit.render(
        record(
            "rack\x1b[31m",
            result(),
            result("rccl", "fail", reasons=["too \x00slow", "and wrong"],
                   thresholds=[{"metric": "local", "least": 304, "unit": "GB/s", "source": "AMD <guide> & more"}]),
            result("a2a", "error", reasons=[], warnings=["odd"]),
            result("stream", "skip", reasons=["not installed"], metrics={}),
        )
    )  # fmt: skip
    root = xml.fromstring(text)
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    cases = {case.get("name"): case for case in root.iter("testcase")}
    failure = cases["rccl"].find("failure")
    assert (
        failure is not None
        and failure.get("message") == "too \ufffdslow"
        and "and wrong" in str(failure.text)
    )
    out = cases["rccl"].find("system-out")
    assert out is not None and "at least 304 is asked of local (AMD <guide> & more)" in str(out.text)
    assert {each.get("name") for each in root.iter("property")} >= {
        "gpu7.serial",
        "driver",
        "plan",
        "verdict",
    }


def test_a_record_that_is_whole_is_kept_with_its_own_keys():
    assert shape.held({**record(), "report_directory": "/etc"}) == {
        key: value for key, value in record().items() if key != "host"
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda it: it.pop("level"),
        lambda it: it.update(tests={}),
        lambda it: it.update(tests=[3]),
        lambda it: it.update(binding={"gpus": 3}),
        lambda it: it["tests"][0].update(verdict="excellent"),
        lambda it: it["tests"][0].update(reasons=[{"a": 1}]),
        lambda it: it["tests"][0].update(metrics={"x": 3}),
        lambda it: it["tests"][0].update(thresholds=[{"metric": "x", "least": "many", "source": ""}]),
        lambda it: it["tests"][0].update(seconds="long"),
    ],
)
def test_what_a_host_makes_up_is_refused(damage):
    sent = record()
    damage(sent)
    assert shape.held(sent) is None


@pytest.mark.parametrize("sent", [None, [], "pass", 3, {}])
def test_what_is_no_record_is_refused(sent):
    assert shape.held(sent) is None


def of(facts: dict, before=None):
    return of_host("a", {"ansible_facts": facts, "plan_host": {}}, RUN, before=before)


KNOWN = {"level": "burn_in", "verdict": "pass", "finished": "2026-11-20T01:00:00Z", "failed": [], "warnings": 2,
         "changed": []}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({}, "-"),
        ({"amd_host": {"acceptance": None}}, "-"),
        ({"amd_host": {"acceptance": KNOWN}}, "PASS burn-in"),
        ({"amd_host": {"acceptance": {**KNOWN, "changed": ["driver"]}}}, "OUTDATED burn-in"),
        ({"amd_host": {"acceptance": {**KNOWN, "verdict": "fail", "changed": ["driver"]}}}, "FAIL burn-in"),
        ({"amd_host": {"acceptance": {"verdict": 3, "failed": "x"}}}, "INCOMPLETE "),
        (
            {"amd_host": {"acceptance": KNOWN}, "amd_acceptance": record(verdict="incomplete")},
            "INCOMPLETE quick",
        ),
    ],
)
def test_the_report_says_what_a_host_passed(facts, word):
    kept = of(facts)
    assert accepted.word(kept) == word
    lines = table.table([kept], RUN, "Report: x").splitlines()
    assert ("ACCEPTANCE" in lines[0]) == (word != "-")
    if word != "-":
        assert word.strip() in lines[1]
    assert ("<dt>Acceptance</dt>" in page.page([kept], RUN, "Fleet")) == (word != "-")


def test_a_host_that_was_not_reached_keeps_what_it_passed(tmp_path):
    before = of({"amd_host": {"acceptance": KNOWN}})
    later = of({}, before)
    assert later["acceptance"] == before["acceptance"]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**before, "acceptance": {"level": "quick"}}), encoding="utf-8")
    assert merge.read_one(path) is None
    older = {key: value for key, value in before.items() if key != "acceptance"}
    path.write_text(json.dumps(older), encoding="utf-8")
    read = merge.read_one(path)
    assert read is not None and read["acceptance"]["verdict"] == ""


@pytest.mark.parametrize(
    ("tests", "told"),
    [
        ([result(verdict="fail", reasons=["slow"])], "quick (fail): bandwidth: slow."),
        (
            [result(), result("rvs", "skip", reasons=["rvs is not installed"])],
            "quick (incomplete): rvs was not run: rvs is not installed.",
        ),
        # All of them are optional, and none was run.
        (
            [result("health", "skip", optional=True, reasons=["there is no GPU"])],
            "quick (incomplete): no test was run. health: there is no GPU.",
        ),
    ],
)
def test_a_host_that_did_not_pass_is_told_why(tests, told):
    template = (REPOSITORY / "roles/acceptance/templates/verdict.j2").read_text(encoding="utf-8")
    text = jinja2.Template(template).render(
        inventory_hostname="a",
        ansible_facts={"amd_acceptance": {"level": "quick", "verdict": verdict(tests), "tests": tests}},
    )
    assert text.strip() == f"a did not pass level {told}"
