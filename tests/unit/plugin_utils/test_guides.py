# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/plan/files/catalog/guides.yml: each value of a published guide, held to the plan of an emulated host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDES = yaml.safe_load((REPOSITORY / "roles/plan/files/catalog/guides.yml").read_text(encoding="utf-8"))[
    "guides"
]
ROWS = [(guide["host"], row) for guide in GUIDES for row in guide["values"] if "seen" in row]


WANTS = {"serve_instances": [{"name": "chat", "model": "/srv/model"}]}


def look_up(plan: Any, path: str) -> Any:
    """What stands at ``serve.instances.0.port``; ``None`` where nothing does. Names with a dot in them are the
    last part of a path."""
    value = plan
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        if value is None:
            return None
    return value


def change(facts: dict[str, Any], path: str, value: Any) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        facts = facts[folder]
    facts[name] = value


def of_kind(became: str):
    """The rows with this word, for a test of them."""
    rows = [(guide["host"], row) for guide in GUIDES for row in guide["values"] if row["became"] == became]
    return pytest.mark.parametrize(("host", "row"), rows, ids=[row["value"] for _host, row in rows])


@pytest.mark.parametrize(("host", "row"), ROWS, ids=[row["value"] for _host, row in ROWS])
def test_a_row_is_so(make_plan, host, row):
    seen = row["seen"]

    def facts(_gpus: dict, rocm: dict) -> None:
        for path, value in seen.get("facts", {}).items():
            change(rocm, path, value)

    plan = make_plan(seen.get("host", host), facts, **{**WANTS, **seen.get("wants", {})})
    if "finding" in seen:
        assert seen["finding"] in [finding["id"] for finding in plan["findings"]], plan["findings"]
    for path, expected in seen.get("plan", {}).items():
        found = look_up(plan, path)
        assert expected in found if isinstance(found, list) else found == expected, f"{path} is {found!r}"


@of_kind("choice")
def test_a_choice_is_the_inventorys_alone(make_plan, host, row):
    """Without its variable the value is not there, and with it nothing is said against it."""
    plain, chosen = make_plan(host, **WANTS), make_plan(host, **{**WANTS, **row["seen"]["wants"]})
    for path, value in row["seen"]["plan"].items():
        found = look_up(plain, path)
        assert value not in found if isinstance(found, list) else found is None, f"{path} is {found!r}"
    told = [{each["id"] for each in plan["findings"]} for plan in (plain, chosen)]
    assert told[0] == told[1]


@of_kind("measured")
def test_a_figure_is_taken_by_acceptance(make_plan, host, row):
    """By the test that the page names, with the variables of its command, and by no other."""

    def file(_gpus: dict, rocm: dict) -> None:
        rocm["paths"] = {
            "/srv/models/chat.gguf": {"exists": True, "directory": False, "model": True, "gguf": None}
        }

    wants = {**WANTS, **row.get("seen", {}).get("wants", {})}
    # As the command line gives it.
    plan = make_plan(host, file, **wants, plan_acceptance=True, acceptance_tests=row["acceptance"])
    tests = [test for test in plan["acceptance"]["tests"] if not test["skipped"]]
    servers = [each["name"] for each in plan["serve"]["instances"]]
    assert servers and [test["name"] for test in tests] == [
        f"{row['acceptance']}_{name}".replace("-", "_") for name in servers
    ]


def test_a_row_that_is_not_so_is_seen():
    plan = {"serve": {"instances": [{"port": 8000, "groups": [44, 992]}]}}
    assert look_up(plan, "serve.instances.0.port") == 8000 and look_up(plan, "serve.instances.1.port") is None
    assert look_up(plan, "serve.nothing.there") is None


def test_values_stand_once_in_a_guide():
    for guide in GUIDES:
        values = [row["value"] for row in guide["values"]]
        assert len(values) == len(set(values)), guide["guide"]
