# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of memory and the reboots in the report, and a report where no host can be reached."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/report"
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


@pytest.fixture(scope="module")
def page():
    def render(**memories: dict) -> str:
        endpoint = {
            "url": "http://127.0.0.1:8000", "unit": "vllm-chat.service", "kind": "venv", "version": "0.33.0", "variant": "rocm100",
            "text": "", "answered": False, "waited_seconds": None, "time_to_first_token_ms": None, "time_per_output_token_ms": None,
        }  # fmt: skip
        record = {
            "host": "box",
            "findings": [],
            "mended": [],
            "settings": [],
            "failure": "",
            "usable_bytes": 0,
            "driver": {},
            "reboot": [],
        }
        endpoints = [{**endpoint, "model": name, "memory": memory} for name, memory in memories.items()]
        variables = {
            "__report_records": [{**record, "endpoints": endpoints}],
            "report_title": "Fleet",
            "ansible_search_path": [str(ROLE)],
        }
        expression = trust_as_template("{{ lookup('ansible.builtin.template', 'report.html.j2') }}")
        return Templar(loader=DataLoader(), variables=variables).template(expression)

    return render


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table of memory, by model."""
    table = text.partition("<h2>Memory</h2>")[2].partition("</table>")[0]
    cells = [
        [re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.S)]
        for row in table.split("<tr>")
    ]
    return {row[1].split()[0]: row for row in cells if row}


def test_memory_on_the_page(page):
    text = page(llama=FITS, large=WEIGHTS, hub=UNKNOWN)
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


def test_a_page_of_records_without_memory(page):
    assert "<h2>Memory</h2>" not in page(old={})


@pytest.mark.parametrize("name", ["site.yml", "playbooks/doctor.yml", "playbooks/report.yml"])
def test_a_fleet_of_which_no_host_is_reached_has_a_report(tmp_path, name):
    arguments = [
        "-i",
        "first.invalid,second.invalid,",
        "-e",
        f"report_directory={tmp_path}",
        "-e",
        "plan_accept=['host.unreachable']",
    ]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [Path(sys.executable).with_name("ansible-playbook"), name, *arguments]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 2, result.stdout + result.stderr
    doctor = json.loads((tmp_path / "doctor.json").read_text())
    assert doctor["exit"] == 2 and set(doctor["failures"]) == {"first.invalid", "second.invalid"}
    assert [finding["id"] for finding in doctor["hosts"]["first.invalid"]] == ["host.unreachable"]
    for host in ("first.invalid", "second.invalid"):
        assert re.search(rf"^{host} .* FAILED", result.stdout, re.M)
        assert host in (tmp_path / "report.html").read_text()
    assert "The host could not be reached" in (tmp_path / "report.html").read_text()


RECORDS = [
    {
        "host": "rack",
        "endpoints": [{"answered": True, "url": "http://127.0.0.1:8000"}],
        "reboot": ["iommu=pt is not in effect", "a <b>"],
    },
    {"host": "halo", "endpoints": [], "reboot": ["the driver is installed and not loaded"]},
    {"host": "box", "endpoints": [], "reboot": []},
    # Of a host that was not reached, or of an older run.
    {"host": "gone", "endpoints": []},
]


@pytest.fixture(scope="module")
def of_records():
    endpoint = {
        "model": "tiny", "unit": "vllm-tiny.service", "kind": "venv", "version": "0.33.0", "variant": "cpu", "text": "", "memory": {},
        "waited_seconds": None, "time_to_first_token_ms": None, "time_per_output_token_ms": None,
    }  # fmt: skip
    record = {"findings": [], "mended": [], "settings": [], "failure": "", "usable_bytes": 0, "driver": {}}
    records = [
        {**record, **entry, "endpoints": [{**endpoint, **each} for each in entry["endpoints"]]}
        for entry in RECORDS
    ]

    def render(expression: str):
        variables = {
            "__report_records": records,
            "__report_directory": "/r",
            "report_title": "Fleet",
            "ansible_search_path": [str(ROLE)],
        }
        known = yaml.safe_load((ROLE / "vars/main.yml").read_text())
        variables |= {name: trust(known[name]) for name in ("__report_doctor", "__report_severities")}
        return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(expression))

    return render


def trust(value):
    return (
        {key: trust(each) for key, each in value.items()}
        if isinstance(value, dict)
        else trust_as_template(value)
    )


def test_the_table_says_who_needs_a_reboot_and_why(of_records):
    table = of_records("{{ lookup('ansible.builtin.template', 'table.txt.j2') }}")
    states = {line.split()[0]: line.rstrip().rpartition("  ")[2] for line in table.splitlines()[1:5]}
    assert states == {
        "rack": "serving, reboot needed",
        "halo": "reboot needed",
        "box": "ready",
        "gone": "ready",
    }
    assert (
        "REBOOT rack: iommu=pt is not in effect; a <b>" in table
        and "REBOOT halo: the driver is installed and not loaded" in table
    )
    assert "REBOOT box" not in table and "REBOOT gone" not in table


def test_the_page_says_who_needs_a_reboot_and_why(of_records):
    rows = (
        of_records("{{ lookup('ansible.builtin.template', 'report.html.j2') }}")
        .partition("<h2>Fleet</h2>")[2]
        .split("<tr>")
    )
    (rack,) = [row for row in rows if "<b>rack</b>" in row and "reboot" in row]
    assert (
        "serving</span>" in rack
        and "reboot needed" in rack
        and "iommu=pt is not in effect; a &lt;b&gt;" in rack
    )
    assert [row for row in rows if "<b>halo</b>" in row and "the driver is installed and not loaded" in row]
    assert not [row for row in rows if ("<b>box</b>" in row or "<b>gone</b>" in row) and "reboot" in row]


def test_the_doctor_says_who_needs_a_reboot_and_why(of_records):
    doctor = of_records("{{ __report_doctor }}")
    assert doctor["reboot"] == {"rack": RECORDS[0]["reboot"], "halo": RECORDS[1]["reboot"]}
    assert doctor["exit"] == 0
