# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/strix-halo.md, held to the plan of the host that it tells of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs/strix-halo.md").read_text(encoding="utf-8")
INVENTORY, CHOICE = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
HOST = "strix-halo-inherited"


@pytest.fixture
def plan(make_plan):
    def make(**more) -> dict:
        # The model is of a Hub, and not on the host.
        def fresh(_gpus: dict, rocm: dict) -> None:
            rocm["paths"] = {"zai-org/GLM-4.7-Flash": None}

        return make_plan(HOST, fresh, **{**INVENTORY["all"]["vars"], **more})

    return make


def test_the_inventory_is_served(plan):
    made = plan()
    assert not [each for each in made["findings"] if each["severity"] == "fail"]
    (server,) = made["serve"]["instances"]
    expected = {
        "tool-call-parser": "glm47",
        "reasoning-parser": "glm45",
        "enable-auto-tool-choice": True,
        "max-model-len": 65536,
        "dtype": "float16",
        "gpu-memory-utilization": 0.85,
    }
    assert expected.items() <= server["options"].items()
    assert f"{server['url']}/v1/completions" in PAGE and f'"model": "{server["served_name"]}"' in PAGE


def test_what_the_demo_mended_is_what_the_plan_finds(plan):
    found = {(each["id"], each["seen"], each["expected"]) for each in plan()["findings"]}
    mended = re.findall(r"^MENDED halo: .* \[(.+)\]\n     was (.+), expected (.+)$", PAGE, re.MULTILINE)
    assert len(mended) == 5
    for identifier, seen, expected in mended:
        assert any(
            identifier == each and seen.endswith(was) and expected.endswith(wanted)
            for each, was, wanted in found
        ), (identifier, seen, expected)


def test_the_values_of_the_table_are_the_plans(plan):
    made = plan()
    for name in made["kernel"]["absent"]:
        assert name == "ttm.pages_limit" or f"`{name}`" in PAGE
    assert f"pages_limit={made['kernel']['module_options']['ttm']['pages_limit']}" in PAGE
    for package in made["firmware"]["install"]:
        assert f"`{package}`" in PAGE


def test_the_choice_is_made_by_its_variable(plan):
    assert "amd_iommu=off" not in plan()["kernel"]["present"]
    assert "amd_iommu=off" in plan(**CHOICE)["kernel"]["present"]


def test_its_playbooks_are_there_and_its_host_is_the_demos():
    for name in set(re.findall(r"amdgpu\.fleet\.([a-z]+)", PAGE)):
        assert (REPOSITORY / f"playbooks/{name}.yml").exists(), name
    bed = yaml.safe_load((REPOSITORY / "inventories/demo/bed.yml").read_text(encoding="utf-8"))
    assert HOST in [each["host"] for each in bed["hosts"] if each["name"] == "halo"]
