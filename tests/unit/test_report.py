# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a host, the fleet out of records, the page, the table, and runs of the playbooks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from fleet_records import RUN, finding, fleet, record
from play_server import PlayServer

from ansible_collections.amdgpu.fleet.plugins.filter.batch import batch
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import folder, merge, outputs
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.page import page
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.record import of_host
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import empty, state
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.table import table

ROOT = Path(__file__).resolve().parents[2]
FITS = {
    "verdict": "fits", "reason": None, "devices": 2, "weights_bytes": 70544850944, "budget_bytes": 189653821440, "allowance_bytes": 7,
    "kv_bytes": 111616000000, "kv_bytes_per_token": 163840, "largest_context": 131072, "context": 131072, "sequences": 5,
}  # fmt: skip
WEIGHTS = {
    "verdict": "weights",
    "reason": None,
    "devices": 1,
    "weights_bytes": 70544850944,
    "budget_bytes": 15 << 30,
    "kv_bytes": 0,
}
UNKNOWN = {"verdict": "unknown", "reason": "the model is not on the <host>", "devices": 1}


ENDPOINT = {
    "name": "tiny", "url": "http://127.0.0.1:8000", "unit": "vllm-tiny.service", "kind": "venv", "version": "0.33.0", "variant": "rocm100",
    "engine": "vllm", "target": None, "model": "tiny", "gpus": [], "memory": {}, "text": "", "reason": "", "answered": None,
    "waited_seconds": None, "time_to_first_token_ms": None, "time_per_output_token_ms": None,
}  # fmt: skip
VOID = {"meta", "br", "link", "img", "input", "hr", "path"}


def of(host: str, **values) -> dict:
    """A record of this run."""
    return {
        **empty(host),
        "at": RUN.at,
        "known_at": RUN.at,
        "run": RUN.id,
        "asked": True,
        "inventory": RUN.inventory,
        **values,
    }


def with_memory(**memories: dict) -> str:
    endpoints = [{**ENDPOINT, "model": name, "memory": memory} for name, memory in memories.items()]
    return page([of("box", endpoints=endpoints)], RUN, "Fleet")


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table of memory, by model."""
    table = text.partition("<h2>Memory</h2>")[2].partition("</table>")[0]
    cells = [
        [re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.S)]
        for row in table.split("<tr>")
    ]
    return {row[1].split()[0]: row for row in cells if row}


def test_memory_on_the_page():
    text = with_memory(llama=FITS, large=WEIGHTS, hub=UNKNOWN)
    found = rows(text)
    assert found["llama"][2:] == [
        "65.7 GiB",
        "176.6 GiB",
        "104.0 GiB",
        "160.0 KiB",
        "131072",
        "5 x 131072",
        "fits",
    ]
    assert "each of 2 devices" in found["llama"][1]
    assert found["large"][2:] == ["65.7 GiB", "15.0 GiB", "0.0 GiB", "–", "–", "–", "does not fit"]
    assert found["hub"][2:] == ["–"] * 6 + ["not known"]
    assert "the model is not on the &lt;host&gt;" in text


def test_a_page_of_records_without_memory():
    assert "<h2>Memory</h2>" not in with_memory(old={})


@pytest.mark.parametrize("name", ["site.yml", "playbooks/doctor.yml", "playbooks/report.yml"])
def test_a_fleet_of_which_no_host_is_reached_has_a_report(tmp_path, play, name):
    """Two that do not answer, a gateway that serves nothing, one that serves, and one that does not let us become
    root."""
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho 'alice is not in the sudoers file.' >&2\nexit 1\n")
    sudo.chmod(0o755)
    here = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become_exe": str(sudo),
        # Ansible does not become who it is already.
        "ansible_become_user": "daemon" if os.geteuid() == 0 else "root",
    }
    serves = {"serve_instances": [{"name": "a", "model": "b"}]}
    inventory = {
        "gpu": {"hosts": {"first.invalid": None, "second.invalid": None, "here": here}},
        "gateway": {"hosts": {"front.invalid": None, "both.invalid": serves}},
    }
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
    reports = tmp_path / "reports"
    given = {"report_directory": str(reports), "plan_accept": ["host.unreachable"]}
    result = play(name, "-i", str(tmp_path / "hosts.yml"), "-e", json.dumps(given))
    assert result.returncode == 2, result.stdout + result.stderr
    doctor = json.loads((reports / "doctor.json").read_text())
    text = (reports / "report.html").read_text()
    lost = {"first.invalid", "second.invalid", "both.invalid"}
    assert doctor["exit"] == 2 and set(doctor["failures"]) == {*lost, "here"}
    for host in lost:
        assert [finding["id"] for finding in doctor["hosts"][host]] == ["host.unreachable"]
        assert re.search(rf"^{host} .* FAILED", result.stdout, re.M)
        assert host in text
    assert "The host could not be reached" in text
    assert [finding["id"] for finding in doctor["hosts"]["here"]] == ["host.become"]
    assert re.search(r"^here .* 1 fail .* FAILED", result.stdout, re.M), result.stdout
    assert "not in the sudoers file" in text
    # It is no GPU host.
    assert "front.invalid" not in text
    hosts = {each["host"] for each in json.loads((reports / "report.json").read_text())}
    assert hosts == {*lost, "here"}


RECORDS = [
    of("rack", endpoints=[{**ENDPOINT, "answered": True}], reboot=["iommu=pt is not in effect", "a <b>"]),
    of("halo", reboot=["the driver is installed and not loaded"]),
    of("box"),
    of("gone"),
]


def test_the_table_says_who_needs_a_reboot_and_why():
    text = table(RECORDS, RUN, "Report: /r/report.html")
    states = {line.split()[0]: line.rstrip().rpartition("  ")[2] for line in text.splitlines()[1:5]}
    assert states == {
        "rack": "serving, reboot needed",
        "halo": "reboot needed",
        "box": "ready",
        "gone": "ready",
    }
    assert "REBOOT rack: iommu=pt is not in effect; a <b>" in text
    assert "REBOOT halo: the driver is installed and not loaded" in text
    assert "REBOOT box" not in text and "REBOOT gone" not in text
    assert "Next: ansible rack,halo -i inventories/fleet --become -m ansible.builtin.reboot" in text


def test_the_owner_of_this_machine_is_told_what_to_type():
    text = table([of("box", reboot=["ttm.pages_limit is not in effect"], local=True)], RUN, "")
    assert f"Next: sudo systemctl reboot, and afterwards again {RUN.command}" in text
    assert "FAILED" not in text and re.search(r"^box .* reboot needed$", text, re.M)


def test_the_page_says_who_needs_a_reboot_and_why():
    text = page(RECORDS, RUN, "Fleet")
    blocks = re.findall(r"<article.*?</article>", text, re.S)
    (rack,) = [block for block in blocks if ">rack</a>" in block]
    assert "reboot needed" in rack and "iommu=pt is not in effect; a &lt;b&gt;" in rack
    assert [
        block
        for block in blocks
        if ">halo</a>" in block and "the driver is installed and not loaded" in block
    ]
    assert not [block for block in blocks if ">box</a>" in block or ">gone</a>" in block]
    assert ">serving, reboot needed</span>" in host_on(text, "rack")


def test_the_doctor_says_who_needs_a_reboot_and_why():
    doctor = outputs.doctor(RECORDS, RUN)
    assert doctor["reboot"] == {"rack": RECORDS[0]["reboot"], "halo": RECORDS[1]["reboot"]}
    assert doctor["exit"] == 0


def host_on(text: str, host: str) -> str:
    """The section of a host."""
    return next(
        part
        for part in re.findall(r'<details class="host.*?</details>', text, re.S)
        if f"<b>{host}</b>" in part
    )


# --limit


STORED = {"r1": of("r1", run="older", at="2026-11-28T11:05:00Z", known_at="2026-11-28T11:05:00Z", profile="gfx942",
                   endpoints=[{**ENDPOINT, "target": "10.0.0.1:8000", "answered": True}],
                   findings=[{**finding("r1", "kernel.minimum")}])}  # fmt: skip


def test_a_limit_takes_nobody_out_of_the_fleet():
    stored = {**STORED, "r2": of("r2", endpoints=[{**ENDPOINT, "target": "10.0.0.2:8000", "answered": True}])}
    merged = merge.merge(["r2"], set(), stored, RUN)
    assert [(each["host"], each["asked"]) for each in merged] == [("r2", True), ("r1", False)]
    assert [each["targets"] for each in outputs.prometheus(merged)] == [["10.0.0.1:8000"], ["10.0.0.2:8000"]]
    doctor = outputs.doctor(merged, RUN)
    assert doctor["exit"] == 0, "only hosts of this run count"
    assert doctor["not_asked"] == {"r1": "2026-11-28T11:05:00Z"} and doctor["hosts"]["r1"]
    assert re.search(r"^r1 .* FAILED \(3 h ago, not asked\)$", table(merged, RUN, ""), re.M)
    assert "3 h old" in host_on(page(merged, RUN, "Fleet"), "r1")


def test_a_host_that_waits_for_its_turn_keeps_its_target_and_loses_old_findings():
    (waiting,) = merge.merge(["r1"], set(), STORED, RUN)
    assert (state(waiting), waiting["findings"]) == ("waiting", [])
    assert outputs.prometheus([waiting])[0]["targets"] == ["10.0.0.1:8000"]
    assert waiting["endpoints"][0]["answered"] is None


def test_a_host_that_was_lost_midway_has_a_reason_and_its_last_known_gpus():
    known = {**record(3), "run": "older", "at": "2026-11-27T14:05:00Z"}
    (lost,) = merge.merge([known["host"]], {known["host"]}, {known["host"]: known}, RUN)
    row = next(line for line in table([lost], RUN, "").splitlines() if line.startswith(known["host"]))
    assert "8x AMD Instinct MI300X" in row and "FAILED (last seen" in row and "1 error" in row
    assert "could not be reached" in table([lost], RUN, "")


def test_a_host_that_left_the_inventory_goes_and_one_of_another_inventory_stays():
    assert merge.removed(of("r1"), RUN.inventory, {"r2"})
    assert not merge.removed(of("r1"), ["another"], {"r2"})
    assert not merge.removed(of("r1"), RUN.inventory, {"r1"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"host": 3}',
        '{"host": "a", "findings": [1]}',
        '{"host": "a", "endpoints": [{}]}',
    ],
)
def test_a_damaged_record_is_left_out(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.json").write_text(folder.to_json(of("b")))
    assert list(merge.read(tmp_path)) == ["b"]


# the record


BUILD = {"engine": "vllm", "kind": "venv", "version": "0.33.0", "variant": "cpu"}
PLAN = {
    "profile": "gfx942", "title": "Instinct", "gpus": "8x MI300X", "settings": [], "driver": {"waits": False}, "firmware": {"reboot": False},
    "kernel": {"state": "present", "present": [], "absent": [], "reboot_into": None},
    "findings": [{**finding("box", "memory.host"), "mended_by": "devices"}],
    "serve": {"instances": [
        {**BUILD, "name": "open", "host": "0.0.0.0", "address": "0.0.0.0", "port": 8000, "url": "http://0.0.0.0:8000", "exposed": True, "worker": False,
         "unit": "vllm-open.service", "served_name": "m", "gpus": [0], "memory": {}},
        {**BUILD, "name": "here", "host": "127.0.0.1", "address": "127.0.0.1", "port": 8001, "url": "http://127.0.0.1:8001", "exposed": False,
         "worker": False, "unit": "vllm-here.service", "served_name": "m", "gpus": [], "memory": {}}]},
}  # fmt: skip
FACTS = {
    "amd_host": {"os": {"name": "Debian 12"}, "kernel": {"release": "6.1", "command_line": ""}, "memory_bytes": 5,
                 "place": {"kind": "host"}},
    "amd_rocm": {"version": None, "driver": {"source": "dkms", "release": "31.10", "reload_needed": False}},
    "amd_gpus": {"partition_count": 8, "gpus": [{"index": 0, "product": "AMD Instinct MI300X", "gfx": "gfx942", "supported": True,
                 "usable_bytes": 7, "partitions": 8, "compute_partition": "CPX", "memory_partition": "NPS4"}]},
}  # fmt: skip


def test_the_record_has_targets_that_others_can_reach():
    made = of_host("box", {"plan_host": PLAN, "ansible_facts": FACTS}, RUN, address="10.0.0.9")
    assert [each["target"] for each in made["endpoints"]] == ["10.0.0.9:8000", None]
    assert [each["answered"] for each in made["endpoints"]] == [None, None]
    assert (made["gpu_list"][0]["mode"], made["usable_bytes"]) == ("CPX/NPS4", 7)
    assert state(made) == "ready"


@pytest.mark.parametrize(
    ("variables", "findings", "applied"),
    [
        ({}, ["memory.host"], []),
        ({"devices_applied": {"changed": True}}, [], ["memory.host"]),
        (
            {"devices_applied": {"changed": True}, "fleet_failure": "Apply the device rules: no"},
            ["memory.host"],
            [],
        ),
        ({"devices_applied": {"changed": True}, "ansible_check_mode": True}, ["memory.host"], []),
        ({"devices_applied": {"failed": True}}, ["memory.host"], []),
    ],
    ids=["doctor", "done", "failed-later", "check", "failed"],
)
def test_nothing_is_called_mended_that_was_not_looked_at_again(variables, findings, applied):
    made = of_host("box", {"plan_host": PLAN, "ansible_facts": FACTS, **variables}, RUN)
    assert [each["id"] for each in made["findings"]] == findings
    assert [each["id"] for each in made["applied"]] == applied
    assert made["mended"] == []


def test_what_a_new_plan_no_longer_has_is_mended():
    before = [finding("box", "firmware.refused"), finding("box", "memory.host")]
    made = of_host("box", {"plan_host": PLAN, "ansible_facts": FACTS, "fleet_findings_before": before}, RUN)
    assert [each["id"] for each in made["mended"]] == ["firmware.refused"]


def test_a_host_that_does_not_answer_keeps_what_was_known_of_it():
    before = of_host(
        "box",
        {"plan_host": PLAN, "ansible_facts": FACTS},
        RUN._replace(at="2026-11-27T14:05:00Z", id="older"),
        "10.0.0.9",
    )
    plan = {"findings": [finding("box", "kernel.minimum")], "settings": []}
    made = of_host(
        "box", {"plan_host": plan, "fleet_failure": "Stop: [kernel.minimum]: seen"}, RUN, before=before
    )
    assert made["gpus"] == "8x MI300X" and made["known_at"] == "2026-11-27T14:05:00Z"
    assert [each["target"] for each in made["endpoints"]] == ["10.0.0.9:8000", None]
    assert made["failure"] == "stopped before anything was changed, by kernel.minimum"
    assert [each["state"] for each in made["history"]] == ["ready", "failed"]


def test_the_history_is_bounded_and_has_one_entry_for_a_run():
    made = None
    for number in range(40):
        for _twice in range(2):
            made = of_host(
                "box",
                {"plan_host": PLAN, "ansible_facts": FACTS},
                RUN._replace(id=f"run{number}"),
                before=made,
            )
    assert len(made["history"]) == 30


def test_every_endpoint_counts_in_the_table():
    five = [{**ENDPOINT, "answered": number != 2} for number in range(5)]
    assert "4 of 5 answer" in table([of("box", endpoints=five)], RUN, "")
    unasked = [{**each, "answered": None} for each in five]
    assert "5, not asked" in table([of("box", endpoints=unasked)], RUN, "")
    assert "not asked in this run" in page([of("box", endpoints=unasked)], RUN, "Fleet")


def test_a_finding_of_many_hosts_is_one_block():
    hosts = [of(f"r{number}", findings=[finding(f"r{number}", "memory.host")]) for number in range(8)]
    assert table(hosts, RUN, "").count("Less memory than AMD asks for") == 1
    text = page(hosts, RUN, "Fleet")
    assert text.count('<small class="muted">memory.host</small>') == 1
    assert "8 to look at" in text


def test_texts_of_hosts_are_harmless():
    evil = of(
        "box",
        os="\x1b]0;x\x07<script>alert(1)</script>",
        gpus="\x1b[2J",
        findings=[{**finding("box", "memory.host"), "seen": "</code><b>"}],
    )
    text, terminal = page([evil], RUN, "<i>"), table([evil], RUN, "")
    assert (
        "\x1b" not in text + terminal
        and "<script>alert" not in text
        and "</code><b>" not in text
        and "<i>" not in text.split("</title>")[0]
    )


# the page


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.stack.pop() == tag, f"</{tag}> closes nothing, at {self.getpos()}"


def test_a_page_of_five_hundred_hosts_is_small_quick_and_sound():
    records = fleet(500)
    start = time.process_time()
    text = page(records, RUN, "Fleet")
    assert time.process_time() - start < 20
    assert len(text.encode()) < 2_000_000
    parser = Balance()
    parser.feed(text)
    assert parser.stack == [] and len(parser.ids) == len(set(parser.ids))
    assert {link[1:] for link in parser.links} <= set(parser.ids), "every link leads somewhere on the page"
    assert "`" not in text.partition("<script>")[0] and "http-equiv" not in text and "src=" not in text
    order = re.findall(r'<details class="host h" id="h\d+" data-level="(\w+)"', text)
    assert len(order) == 500 and order == sorted(order, key=["fail", "warn", "wait", "ok"].index)
    bad = sum(
        bool(each["failure"]) or any(one["severity"] == "fail" for one in each["findings"])
        for each in records
    )
    assert f"{bad} failed" in text


def test_a_page_of_hosts_that_share_nothing_stays_small():
    records = fleet(500)
    for each in records:
        each["settings"] = [
            {**one, "value": f"{one['value']} {each['host']}", "reason": "because " * 20}
            for one in each["settings"] * 5
        ]
    assert len(page(records, RUN, "Fleet").encode()) < 2_000_000


def test_the_page_says_what_made_it():
    text = page([of("box")], RUN._replace(limit="box", check=True), "Fleet")
    assert RUN.command in text and "2026-11-28 14:05:00 UTC" in text
    assert "limited to <b>box</b>" in text and "check mode" in text


def test_what_was_accepted_has_no_remedy_and_is_not_green():
    accepted = {
        **finding("box", "memory.host"),
        "severity": "ok",
        "title": "Less memory (accepted in the inventory)",
    }
    text = page([of("box", findings=[accepted])], RUN, "Fleet")
    assert "Remedy" not in text and '<span class="badge wait">accepted</span>' in text


# runs


@pytest.fixture
def play(ansible: PlayServer) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return ansible.run("ansible-playbook", name, *arguments, env=environment)

    return run


def test_a_folder_that_cannot_be_written_is_said_first_and_stops_nothing(tmp_path, play):
    (tmp_path / "file").write_text("")
    result = play(
        "playbooks/doctor.yml", "-i", "first.invalid,", "-e", f"report_directory={tmp_path}/file/reports"
    )
    said = re.sub(r"\s+", " ", result.stdout + result.stderr)
    assert (
        "cannot be written (not a directory), so this run leaves no report there. Name a folder that" in said
    )
    assert (result.stdout + result.stderr).index("[WARNING]: report_directory") >= 0
    assert result.stdout.index("Look whether the report can be written") < result.stdout.index(
        "Read the GPUs"
    )
    assert re.search(r"^first.invalid .* FAILED", result.stdout, re.M), result.stdout


# What ansible.posix.json does, which the development environment does not have.
CALLBACK = """
import json
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_TYPE, CALLBACK_NAME = "stdout", "as_json"

    def __init__(self, display=None):
        super().__init__(display)
        self.results = []

    def add(self, result, **named):
        self.results.append({key: value for key, value in result._result.items() if key in ("msg", "exit", "ansible_stats")})

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = add

    def v2_playbook_on_stats(self, stats):
        custom = {name: value for name, value in stats.custom.get("_run", {}).items()}
        self._display.display(json.dumps({"results": self.results, "custom": custom}))
"""


def test_a_callback_that_writes_json_is_left_alone_and_has_the_table(tmp_path, play):
    (tmp_path / "as_json.py").write_text(CALLBACK)
    result = play(
        "playbooks/doctor.yml", "-i", "first.invalid,", "-e", f"report_directory={tmp_path}",
        ANSIBLE_STDOUT_CALLBACK="as_json", ANSIBLE_CALLBACK_PLUGINS=str(tmp_path),
    )  # fmt: skip
    said = json.loads(result.stdout)
    (written,) = [each for each in said["results"] if "ansible_stats" in each]
    assert re.search(r"^first.invalid .* FAILED", written["msg"], re.M) and written["exit"] == 2
    assert said["custom"]["amdgpu_fleet"]["exit"] == 2
    assert list(said["custom"]["amdgpu_fleet"]["failures"]) == ["first.invalid"]


@pytest.mark.parametrize(
    "name", ["site.yml", "playbooks/doctor.yml", "playbooks/teardown.yml", "playbooks/upgrade.yml"]
)
def test_an_inventory_without_hosts_is_an_error(tmp_path, play, name):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {}\n")
    result = play(name, "-i", str(inventory), "-e", f"report_directory={tmp_path}")
    assert result.returncode == 2 and "No host matches all" in re.sub(r"\s+", " ", result.stdout), (
        result.stdout
    )


@pytest.mark.parametrize("size", [0, "0%", -1, "many", "200%", None, 1.5])
def test_a_rollout_of_no_hosts_is_refused(size):
    with pytest.raises(AnsibleFilterError, match="fleet_serial is .* Set it to a number of hosts from 1 on"):
        batch(size)
    assert (batch(2), batch("25%")) == ("2", "25_percent")


def test_a_rollout_of_no_hosts_touches_none(tmp_path, play):
    result = play(
        "site.yml", "-i", "first.invalid,", "-e", f"report_directory={tmp_path}", "-e", "fleet_serial=0"
    )
    assert result.returncode == 2 and "fleet_serial is" in result.stdout + result.stderr
    assert "Read the GPUs" not in result.stdout


def test_the_owner_of_a_machine_needs_no_inventory(tmp_path, play):
    """Not as root: what is seen of this machine is no matter here."""
    result = play("playbooks/report.yml", "-e", f"report_directory={tmp_path}", "-e", "ansible_become=false")
    (record,) = json.loads((tmp_path / "report.json").read_text())
    assert (record["host"], record["local"]) == (os.uname().nodename, True), result.stdout
    assert record["os"] and record["kernel"] == os.uname().release
    assert "ansible-playbook playbooks/report.yml" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("boot", "pending"), [("a", ["the driver"]), ("b", [])])
def test_a_second_teardown_still_says_that_a_reboot_is_pending(boot, pending):
    facts = {**FACTS, "amd_host": {**FACTS["amd_host"], "boot": {"id": boot}}}
    variables = {"plan_host": {**PLAN, "findings": []}, "ansible_facts": facts, "fleet_teardown": True}
    before = of("box", reboot=["the driver"], boot_id="a", teardown=True)
    assert of_host("box", variables, RUN, before=before)["reboot"] == pending
    assert of_host("box", {**variables, "fleet_teardown": False}, RUN, before=before)["reboot"] == []


def test_the_terminal_says_why():
    assert "because weights pass through the page cache" in table(
        [of("b", findings=[finding("b", "memory.host")])], RUN, ""
    )
