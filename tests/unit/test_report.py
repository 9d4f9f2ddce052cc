# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of memory on the page of the report, and a report where no host can be reached."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/report"
FITS = {
    "verdict": "fits", "reason": None, "devices": 2, "weights_bytes": 70544850944, "budget_bytes": 189653821440, "allowance_bytes": 7,
    "kv_bytes": 111616000000, "kv_bytes_per_token": 163840, "largest_context": 131072, "context": 131072, "sequences": 5,
}  # fmt: skip
WEIGHTS = {"verdict": "weights", "reason": None, "devices": 1, "weights_bytes": 70544850944, "budget_bytes": 15 << 30, "kv_bytes": 0}
UNKNOWN = {"verdict": "unknown", "reason": "the model is not on the <host>", "devices": 1}


@pytest.fixture(scope="module")
def page():
    def render(**memories: dict) -> str:
        endpoint = {
            "url": "http://127.0.0.1:8000", "unit": "vllm-chat.service", "kind": "venv", "version": "0.33.0", "variant": "rocm100",
            "text": "", "answered": False, "waited_seconds": None, "time_to_first_token_ms": None, "time_per_output_token_ms": None,
        }  # fmt: skip
        record = {"host": "box", "findings": [], "mended": [], "settings": [], "failure": "", "usable_bytes": 0, "driver": {}, "reboot": []}
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
    cells = [[re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.S)] for row in table.split("<tr>")]
    return {row[1].split()[0]: row for row in cells if row}


def test_memory_on_the_page(page):
    text = page(llama=FITS, large=WEIGHTS, hub=UNKNOWN)
    found = rows(text)
    assert found["llama"][2:] == ["65.7 GiB", "176.6 GiB", "104.0 GiB", "160.0 KiB", "131072", "5 x 131072", "fits"]
    assert "each of 2 devices" in found["llama"][1]
    assert found["large"][2:] == ["65.7 GiB", "15.0 GiB", "0.0 GiB", "–", "–", "–", "does not fit"]
    assert found["hub"][2:] == ["–"] * 6 + ["not known"]
    assert "the model is not on the &lt;host&gt;" in text


def test_a_page_of_records_without_memory(page):
    assert "<h2>Memory</h2>" not in page(old={})


@pytest.mark.parametrize("name", ["site.yml", "playbooks/doctor.yml", "playbooks/report.yml"])
def test_a_fleet_of_which_no_host_is_reached_has_a_report(tmp_path, name):
    arguments = ["-i", "first.invalid,second.invalid,", "-e", f"report_directory={tmp_path}", "-e", "plan_accept=['host.unreachable']"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [Path(sys.executable).with_name("ansible-playbook"), name, *arguments]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 2, result.stdout + result.stderr
    doctor = json.loads((tmp_path / "doctor.json").read_text())
    assert doctor["exit"] == 2 and set(doctor["failures"]) == {"first.invalid", "second.invalid"}
    assert [finding["id"] for finding in doctor["hosts"]["first.invalid"]] == ["host.unreachable"]
    for host in ("first.invalid", "second.invalid"):
        assert re.search(rf"^{host} .* FAILED", result.stdout, re.M)
        assert host in (tmp_path / "report.html").read_text()
    assert "The host could not be reached" in (tmp_path / "report.html").read_text()
