# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hand-written pages tell people to write or to run: inventories plan, paths and make targets exist."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOST = "mi300x-8"
TOP = {
    "changelogs",
    "docs",
    "inventories",
    "meta",
    "molecule",
    "playbooks",
    "plugins",
    "roles",
    "tests",
    "tools",
}


def groups_of(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a document that holds ``serve_instances``."""
    if isinstance(value, dict):
        if "serve_instances" in value:
            yield value
        for inner in value.values():
            yield from groups_of(inner)


def documents(text: str) -> Iterator[Any]:
    for block in re.findall(r"^ *```yaml\n(.*?)```", text, re.DOTALL | re.MULTILINE):
        yield from yaml.safe_load_all(textwrap.dedent(block.rstrip(" ")))
    for argument in re.findall(r"-e '(\{.*?\})'", text):
        yield json.loads(argument)


EXAMPLES = [
    pytest.param(document, wants, id=f"{page.name}-{at}")
    for page in PAGES
    for at, (document, wants) in enumerate(
        (document, wants)
        for document in documents(page.read_text(encoding="utf-8"))
        for wants in groups_of(document)
    )
]


def members(document: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """The groups of hosts that serve together, as the filter ``inventory_nodes`` gives them to the planner.
    The first host of each is the one that is planned."""
    groups = {}
    for name, group in document.items():
        hosts = group.get("hosts") if isinstance(group, dict) else None
        addresses = [
            words["ansible_host"] for words in (hosts or {}).values() if "ansible_host" in (words or {})
        ]
        groups[name] = [
            {"name": HOST if at == 0 else str(at), "address": each} for at, each in enumerate(addresses)
        ]
    return {name: group for name, group in groups.items() if group}


def test_the_pages_have_examples_of_servers() -> None:
    pages = {str(example.id).rpartition("-")[0] for example in EXAMPLES}
    assert pages >= {"README.md", "memory.md", "models.md", "several.md", "upgrade.md"}


@pytest.mark.parametrize(("document", "wants"), EXAMPLES)
def test_an_example_plans_as_it_stands(document: dict[str, Any], wants: dict[str, Any], make_plan) -> None:
    rendered = json.loads(json.dumps(wants).replace("{{ ansible_host }}", "192.0.2.11"))
    mode = "CPX" if "partitions" in str(rendered) else ""
    plan = make_plan(HOST, partition_compute=mode, __inventory_nodes=members(document), **rendered)
    assert [finding for finding in plan["findings"] if finding["id"].startswith("inventory.")] == []
    assert plan["serve"]["instances"] or plan["serve"]["handed_over"]


def paths_in(text: str) -> set[str]:
    """Paths of the repository in back quotes. A page also names folders that a run makes (reports/, build/)."""
    words = re.findall(r"`([^`\n]+)`", text)
    named = {word.rstrip(",.;") for phrase in words for word in phrase.split() if "/" in word}
    return {word for word in named if word.partition("/")[0] in TOP | {"catalog"}}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_paths_that_a_page_names_exist(page: Path) -> None:
    paths = paths_in(page.read_text(encoding="utf-8"))
    patterns = {path: re.sub(r"NAME|TOPIC|NNNN", "*", path) for path in paths}
    assert [path for path, pattern in patterns.items() if not list(ROOT.glob(pattern.rstrip("/")))] == []


def test_contributing_names_paths() -> None:
    assert len(paths_in(CONTRIBUTING)) >= 25


def test_lists_that_contributing_sends_to_exist() -> None:
    """``NAME`` of `FILE`."""
    sent = re.findall(r"`([A-Z]{4,})` of `([^`]+\.py)`", CONTRIBUTING)
    assert {name for name, _path in sent} == {"LOADERS", "MANAGERS", "ENGINES"}
    for name, path in sent:
        assert re.search(rf"^{name}\b.* = ", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), path


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|\$ |; |DATE=\.\.\. )make ([a-z-]+)", text))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_playbooks_exist(page: Path) -> None:
    named = set(re.findall(r"ansible-playbook amdgpu\.fleet\.([a-z_]+)", page.read_text(encoding="utf-8")))
    assert {name for name in named if not (ROOT / f"playbooks/{name}.yml").exists()} == set()


def test_the_scenario_of_contributing_exists() -> None:
    (name,) = set(re.findall(r"make scenario S=([a-z-]+)", CONTRIBUTING))
    assert (ROOT / f"molecule/{name}/molecule.yml").exists()


def test_the_readme_names_the_setting_without_which_nothing_runs() -> None:
    """The role plan refuses to run where facts become variables, as they do without an ansible.cfg."""
    refusal = (ROOT / "roles/plan/tasks/main.yml").read_text(encoding="utf-8")
    for setting in ("inject_facts_as_vars = false", "ANSIBLE_INJECT_FACT_VARS=false"):
        assert setting in refusal and setting in README
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        if "ansible-playbook amdgpu.fleet" in block:
            assert block.index("ANSIBLE_INJECT_FACT_VARS=false") < block.index("ansible-playbook")
