# SPDX-License-Identifier: GPL-3.0-or-later
"""The page and the JSON file on the controller."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

REPORTS = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "reports"
VOID = {"meta", "br", "link", "img", "input", "hr"}


@pytest.fixture
def records() -> dict:
    return {record["host"]: record for record in json.loads((REPORTS / "report.json").read_text())}


def test_every_host_has_a_record(records):
    assert set(records) == {"report-halo", "report-none"}
    assert records["report-halo"]["gpus"] == "AMD Radeon 8060S (Strix Halo) (gfx1151)"
    assert {finding["id"] for finding in records["report-halo"]["findings"]} >= {
        "kernel.minimum",
        "firmware.refused",
        "memory.pool",
    }
    assert [finding["id"] for finding in records["report-none"]["findings"]] == ["gpu.none"]


def test_the_doctor_says_what_scripts_ask_for(records):
    doctor = json.loads((REPORTS / "doctor.json").read_text())
    assert doctor["exit"] == 1, "kernel.minimum is accepted, so there are warnings and nothing worse"
    assert {host: [finding["id"] for finding in found] for host, found in doctor["hosts"].items()} == {
        host: [finding["id"] for finding in record["findings"]] for host, record in records.items()
    }


def test_prometheus_finds_what_it_can_reach():
    (target,) = json.loads((REPORTS / "prometheus.json").read_text())
    assert target["targets"] == ["report-halo:8000"]
    assert target["labels"]["host"] == "report-halo" and target["labels"]["unit"] == "vllm-open.service"


def test_the_page_says_what_the_json_file_says(records):
    page = (REPORTS / "report.html").read_text()
    for record in records.values():
        assert record["host"] in page
        for finding in record["findings"]:
            assert finding["id"] in page
    assert "{{" not in page and "{%" not in page


def test_the_page_is_well_formed():
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.stack: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in VOID:
                self.stack.append(tag)

        def handle_endtag(self, tag):
            assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing, at {self.getpos()}"

    parser = Balance()
    parser.feed((REPORTS / "report.html").read_text())
    assert parser.stack == []
