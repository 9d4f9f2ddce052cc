# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run says against the run before it, and hosts of one kind against each other."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from fleet_records import RUN, fleet

from ansible_collections.amdgpu.fleet.plugins.filter.plan import plan as plan_filter
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import (
    changes,
    folder,
    groups,
    log,
    merge,
    outputs,
    siblings,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.page import page
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.record import of_host
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Record, nothing_seen
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.table import table
from testbed.tree import load_host, write_tree


@pytest.fixture
def look(tmp_path, find_facts):
    """A run of the doctor over a host with these faults of its third GPU, and these variables."""
    runs: list[Record] = []

    def run(
        faults: dict[str, Any] | None = None, boot: str = "a", health: bool = True, **variables: Any
    ) -> Record:
        host = load_host("mi300x-8")
        first = host["gpus"][0]
        host["gpus"] = [
            {**first, "count": 2},
            {**first, "count": 1, "faults": faults or {}},
            {**first, "count": 5},
        ]
        host["kernel"].update(variables.pop("kernel", {}))
        root = tmp_path / str(len(runs))
        write_tree(host, root)
        facts = find_facts("host_facts", root, health=health)
        facts["amd_host"]["boot"]["id"] = boot
        known = {"plan_host": plan_filter(facts, {}, "rack"), "ansible_facts": facts, **variables}
        before = runs[-1] if runs else None
        runs.append(of_host("rack", known, RUN._replace(id=f"run{len(runs)}"), before=before))
        return runs[-1]

    return run


def said(record: Record) -> list[str]:
    return [changes.sentence(each) for each in record["changes"]]


def test_a_first_run_has_nothing_to_compare_with(look):
    first = look({"ras": {"umc": {"ue": 3}}})
    assert first["changes"] == [] and first["seen"]["counters"] == {"uncorrectable|0000:47:00.0|umc": 3}


def test_a_run_that_sees_the_same_says_nothing(look):
    look({"ras": {"umc": {"ce": 3}}, "replays": 7})
    assert look({"ras": {"umc": {"ce": 3}}, "replays": 7})["changes"] == []


def test_heat_that_an_apu_counted_between_two_runs_is_told(look):
    apu = {"metrics": "3.0"}
    look({**apu, "throttled": {"thm_gfx": 0.001, "spl": 0.5}})
    hotter = look({**apu, "throttled": {"thm_gfx": 0.003, "spl": 0.9}})
    assert said(hotter) == ["GPU 2: slowed down by heat (thm_gfx): 1000, now 3000"]
    # What has a share of the time is judged by it, and not told again.
    look({"throttled": {"hbm_thm": 0.001}})
    assert said(look({"throttled": {"hbm_thm": 0.003}})) == []


def test_counters_that_rose_are_named_the_worst_first(look):
    look({"ras": {"umc": {"ce": 3}}, "pages": {"R": 1}})
    worse = look({"ras": {"umc": {"ce": 9, "ue": 2}}, "pages": {"R": 4}, "recoveries": 5})
    assert said(worse) == [
        "GPU 2: uncorrectable errors (umc): 0, now 2",
        "GPU 2: bad pages: 1, now 4",
        "GPU 2: PCIe (recoveries): 0, now 5",
        "GPU 2: corrected errors (umc): 3, now 9",
    ]
    assert [each["severity"] for each in worse["changes"]] == ["fail", "warn", "warn", "ok"]
    assert all(each["why"] for each in worse["changes"])


def test_after_a_boot_counters_begin_anew_and_bad_pages_do_not(look):
    look({"ras": {"umc": {"ce": 9}}, "pages": {"R": 4}})
    after = look({"ras": {"umc": {"ce": 2}}, "pages": {"R": 4}}, boot="b")
    assert said(after) == ["GPU 2: corrected errors (umc): 0, now 2", "the host was started again"]


def test_versions_and_what_is_not_as_planned_any_more(look):
    planned = {"unchanged": ["kernel", "serve"]}
    look({"vbios": "113-A"}, plan_compared=planned)
    now = look(
        {"vbios": "113-B", "cap": 600},
        kernel={"release": "6.12.99-generic"},
        fleet_compared={"reasons": {"serve": "/etc/vllm/chat.env differs"}},
    )
    found = dict(sentence.split(": ", 1) for sentence in said(now))
    assert found["not as planned any more (serve)"] == "as planned, now /etc/vllm/chat.env differs"
    assert found["VBIOS"] == "113-A, 113-M3000100-102, now 113-B, 113-M3000100-102"
    assert found["limit of power"] == "750 W, now 600 W, 750 W"
    assert found["kernel"].endswith("now 6.12.99-generic")
    again = look({"vbios": "113-B", "cap": 600}, kernel={"release": "6.12.99-generic"},
                 fleet_compared={"reasons": {"serve": "/etc/vllm/chat.env differs"}})  # fmt: skip
    assert again["changes"] == [] and again["seen"]["drift"], (
        "it is told once, and known until it is set right"
    )


@pytest.mark.parametrize("variables", [{"ansible_check_mode": True}, {"fleet_failure": "Serve: no"}])
def test_a_run_that_set_nothing_right_does_not_call_it_planned(look, variables):
    look(fleet_compared={"reasons": {"serve": "it differs"}})
    assert look(plan_compared={"unchanged": []}, **variables)["seen"]["drift"] == {"serve": "it differs"}
    assert look(plan_compared={"unchanged": []})["seen"]["drift"] == {}


def test_a_host_that_was_brought_to_its_plan_and_left_it_has_a_finding(look):
    drift = {
        "fleet_compared": {"reasons": {"serve": "write /etc/vllm/chat.env", "kernel": "write limits.conf"}}
    }
    down = {
        "name": "chat",
        "unit": "vllm-chat.service",
        "verdict": "down",
        "reason": "it is inactive",
        "expected": "active",
    }

    def found(record: Record) -> dict[str, str]:
        return {
            each["id"]: each["seen"]
            for each in record["findings"]
            if each["id"] in ("host.drift", "serve.down")
        }

    assert found(look(**drift)) == {}, "nobody has set it up yet"
    assert found(look(plan_compared={"unchanged": []})) == {}
    both = "serve: write /etc/vllm/chat.env; kernel: write limits.conf"
    assert found(look(**drift)) == found(look(**drift)) == {"host.drift": both}, "until it is set right"
    assert found(look(**drift, fleet_serving={"servers": [down]})) == {
        "serve.down": "it is inactive",
        "host.drift": "kernel: write limits.conf",
    }
    accepted = look(**drift, plan_accept=["host.drift"])["findings"]
    assert [each["severity"] for each in accepted if each["id"] == "host.drift"] == ["ok"]
    assert found(look(plan_compared={"unchanged": []}, fleet_teardown=True)) == {}
    look(fleet_teardown=True)
    assert found(look(fleet_compared={"reasons": {}})) == {}


def test_a_run_without_health_forgets_no_counter(look):
    look({"ras": {"umc": {"ue": 3}}})
    assert look(health=False)["changes"] == []
    assert look({"ras": {"umc": {"ue": 3}}})["changes"] == []
    assert said(look({"ras": {"umc": {"ue": 4}}})) == ["GPU 2: uncorrectable errors (umc): 3, now 4"]


def test_a_gpu_that_went_is_a_failure(look, tmp_path):
    look()
    record = look()
    record["last"]["versions"]["gpus"] = "9"
    known = catalog.read_part("health")["changes"]
    (change,) = changes.of(record, record, known)
    assert (changes.sentence(change), change["severity"]) == ("GPUs: 9, now 8", "fail")


def test_every_kind_of_change_is_in_the_catalog(look):
    known = catalog.read_part("health")["changes"]
    made = look({"replays": 1, "fatal_records": 1, "ras": {"umc": {"de": 1}}, "pages": {"R": 1}, "cap": 1})
    kinds = {name.split("|")[0] for name in made["seen"]["counters"]}
    kinds |= {name.split()[0] for name in made["seen"]["versions"]}
    assert kinds <= set(known) and {"drift", "boot", "resets", "uncorrectable", "correctable"} <= set(known)


def test_one_line_a_run_and_no_more_than_so_many(look, tmp_path):
    path = folder.history_of(tmp_path, "rack")
    made = look({"ras": {"umc": {"ue": 1}}})
    for number in range(log.KEPT_LINES + 20):
        folder.write(path, log.text(path, {**made, "run": f"run{number}"}))
    folder.write(path, log.text(path, {**made, "run": f"run{number}"}))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == log.KEPT_LINES and lines[-1]["run"] == f"run{number}"
    assert lines[-1]["counters"] == {"uncorrectable|0000:47:00.0|umc": 1}
    assert "fail health.ecc_uncorrectable" in lines[-1]["findings"]


@pytest.mark.parametrize("damage", [b"\xff\xfe\0", b"{\n[]\n", b"x" * 10])
def test_a_damaged_history_costs_no_run(look, tmp_path, damage):
    path = tmp_path / "history/rack.jsonl"
    path.parent.mkdir()
    path.write_bytes(damage)
    assert json.loads(log.text(path, look()))["run"] == "run0"


# hosts of one kind


def racks(count: int, **versions: str) -> list[Record]:
    made = [record for record in fleet(40) if record["profile"] == "gfx942"][:count]
    for record in made:
        record["seen"] = copy.deepcopy(record["seen"])
        record["seen"]["versions"] = {"gpus": "8", "kernel": "6.18.9", "vbios": "113-A", **versions}
    return made


def test_seven_of_eight_where_the_others_have_eight():
    hosts = racks(16)
    hosts[5]["seen"]["versions"]["gpus"] = "7"
    (found,) = siblings.unlike(hosts)
    assert siblings.sentence(found) == "GPUs: 7; the other 15 hosts have 8"
    assert found["hosts"] == [hosts[5]["host"]]
    text = table(hosts, RUN, "")
    assert f"UNLIKE {hosts[5]['host']}: not as others with AMD Instinct MI300X (gfx942)" in text
    assert "     GPUs: 7; the other 15 hosts have 8" in text
    assert "Unlike others of their kind" in page(hosts, RUN, "Fleet")
    assert outputs.doctor(hosts, RUN)["unlike"] == [found]


def test_a_fleet_that_is_being_upgraded_has_no_usual_kernel():
    hosts = racks(8)
    for host in hosts[:4]:
        host["seen"]["versions"]["kernel"] = "6.18.12"
    assert siblings.unlike(hosts) == []


@pytest.mark.parametrize("count", [1, 2])
def test_of_two_hosts_none_is_the_usual_one(count):
    hosts = racks(count)
    hosts[0]["seen"]["versions"]["gpus"] = "7"
    assert siblings.unlike(hosts) == []


def test_a_workstation_is_no_sibling_of_a_rack():
    hosts = racks(5)
    halos = [record for record in fleet(80) if record["profile"] == "gfx1151"]
    for halo in halos:
        halo["seen"]["versions"] = {"gpus": "1", "kernel": "7.0"}
    assert siblings.unlike([*hosts, *halos]) == []


def test_a_host_that_was_not_asked_is_compared_with_and_not_told():
    hosts = racks(6)
    hosts[0]["seen"]["versions"]["vbios"] = "113-B"
    hosts[0]["asked"] = False
    assert siblings.unlike(hosts)[0]["name"] == "VBIOS"
    assert "UNLIKE" not in table(hosts, RUN, "")


def test_what_a_run_has_in_common_is_one_block():
    change = {
        "kind": "kernel", "what": "kernel", "before": "6.12.9", "now": "6.18.9", "why": "it is", "severity": "ok"
    }  # fmt: skip
    hosts = racks(5)
    for host in hosts:
        host["changes"] = [change]
    (group,) = groups.changed(hosts)
    assert len(group.hosts) == 5
    text = table(hosts, RUN, "")
    assert text.count("CHANGED") == 1 and "kernel: 6.12.9, now 6.18.9" in text
    assert page(hosts, RUN, "Fleet").count("<b>kernel</b>") == 1


def test_a_record_of_an_older_version_without_them_is_read(tmp_path):
    record = dict(racks(1)[0])
    for name in ("seen", "last", "changes"):
        del record[name]
    path = Path(tmp_path) / "a.json"
    path.write_text(json.dumps(record))
    read = merge.read_one(path)
    assert read is not None and read["changes"] == [] and read["seen"]["versions"] == {}
    path.write_text(json.dumps({**record, "seen": {"versions": 3}, "last": []}))
    read = merge.read_one(path)
    assert read is not None and read["seen"] == read["last"] == nothing_seen() and read["history"]
