# SPDX-License-Identifier: GPL-3.0-or-later
"""The README of each role against its argument specification and its metadata."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import render_docs  # noqa: E402
import render_role_readmes as tool  # noqa: E402

PAGES = tool.render()
SPECIFICATIONS = render_docs.arguments()
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def test_every_role_has_one() -> None:
    assert sorted(page.parent.name for page in PAGES) == ROLES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_readme_is_current(page: Path) -> None:
    assert page.exists() and page.read_text(encoding="utf-8") == PAGES[page], "run `make docs`"


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_stands_in_it(role: str) -> None:
    page = PAGES[ROOT / "roles" / role / "README.md"]
    assert all(f"| `{name}` |" in page for name in SPECIFICATIONS[role]["options"])


@pytest.mark.parametrize("role", ROLES)
def test_a_specification_has_a_description(role: str) -> None:
    """Without it antsibull-docs writes an error page."""
    description = SPECIFICATIONS[role]["description"]
    assert description and all(text.endswith(".") for text in description)


@pytest.mark.parametrize("role", ROLES)
def test_an_example_sets_variables_that_exist(role: str) -> None:
    text = PAGES[ROOT / "roles" / role / "README.md"].split("```yaml\n")[1].split("```")[0]
    (entry,) = yaml.safe_load(text)[0]["roles"]
    assert entry["role"] == f"amdgpu.fleet.{role}"
    assert entry["vars"] and set(entry["vars"]) <= set(SPECIFICATIONS[role]["options"])


def test_check_names_the_stale_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "README.md"
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "render", lambda: {page: "new\n"})
    monkeypatch.setattr(sys, "argv", ["render_role_readmes.py", "--check"])
    assert tool.main() == 1 and not page.exists()
    assert "README.md is not current: run make docs" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["render_role_readmes.py"])
    assert tool.main() == 0 and page.read_text(encoding="utf-8") == "new\n"
