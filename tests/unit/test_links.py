# SPDX-License-Identifier: GPL-3.0-or-later
"""Links in pages lead to files and headings that exist, and every page can be found."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Galaxy shows README files away from the repository, so they link to it by its address.
OURS = re.compile(
    r"https://(?:github\.com/amdgpu-fleet/amdgpu\.fleet/blob/main|raw\.githubusercontent\.com/amdgpu-fleet/amdgpu\.fleet/main)/?"
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")


def listed() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [ROOT / name for name in names if (ROOT / name).exists() and name != "CHANGELOG.md"]


PAGES = listed()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return LINK.findall(text)


def problem(page: Path, link: str) -> str | None:
    """What is wrong with a link; nothing is said about other sites."""
    ours = OURS.match(link)
    if not ours and re.match(r"[a-z]+:", link):
        return None
    target, _hash, fragment = link.partition("#")
    file = ROOT / OURS.sub("", target) if ours else (page.parent / target if target else page)
    name = str(file.resolve().relative_to(ROOT))
    if not file.exists():
        return f"there is no {name}"
    if fragment and file.suffix == ".md" and fragment not in anchors(file):
        return f"{name} has no heading {fragment}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [f"{link}: {wrong}" for link in links(page) if (wrong := problem(page, link))] == []


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ("glossary.md", None),
        ("glossary.md#glossary", None),
        ("glossary.md#nothing", "docs/glossary.md has no heading nothing"),
        ("nothing.md", "there is no docs/nothing.md"),
        ("https://github.com/amdgpu-fleet/amdgpu.fleet/blob/main/nothing.md", "there is no nothing.md"),
        ("https://github.com/amdgpu-fleet/amdgpu.fleet/blob/main", None),
        ("https://example.net/nothing.md", None),
    ],
)
def test_a_wrong_link_is_seen(link: str, wrong: str | None) -> None:
    assert problem(ROOT / "docs" / "README.md", link) == wrong


@pytest.mark.parametrize(
    "page", ["README.md", *(f"roles/{path.name}/README.md" for path in sorted((ROOT / "roles").iterdir()))]
)
def test_a_page_that_galaxy_shows_has_no_relative_links(page: str) -> None:
    assert [link for link in links(ROOT / page) if not re.match(r"https://|#", link)] == []


def test_the_index_names_every_page_of_docs() -> None:
    index = {link.partition("#")[0] for link in links(ROOT / "docs" / "README.md")}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= index
