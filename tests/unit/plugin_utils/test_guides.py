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


@pytest.mark.parametrize(("host", "row"), ROWS, ids=[row["value"] for _host, row in ROWS])
def test_a_row_is_so(make_plan, host, row):
    seen = row["seen"]

    def facts(_gpus: dict, rocm: dict) -> None:
        for path, value in seen.get("facts", {}).items():
            change(rocm, path, value)

    wants = {"serve_instances": [{"name": "chat", "model": "/srv/model"}], **seen.get("wants", {})}
    plan = make_plan(seen.get("host", host), facts, **wants)
    if "finding" in seen:
        assert seen["finding"] in [finding["id"] for finding in plan["findings"]], plan["findings"]
    for path, expected in seen.get("plan", {}).items():
        found = look_up(plan, path)
        assert expected in found if isinstance(found, list) else found == expected, f"{path} is {found!r}"


def test_a_row_that_is_not_so_is_seen():
    plan = {"serve": {"instances": [{"port": 8000, "groups": [44, 992]}]}}
    assert look_up(plan, "serve.instances.0.port") == 8000 and look_up(plan, "serve.instances.1.port") is None
    assert look_up(plan, "serve.nothing.there") is None


def test_values_stand_once_in_a_guide():
    for guide in GUIDES:
        values = [row["value"] for row in guide["values"]]
        assert len(values) == len(set(values)), guide["guide"]
