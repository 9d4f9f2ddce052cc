# SPDX-License-Identifier: GPL-3.0-or-later
"""The page in a browser, as operators use it: a file, no network, from one host to five hundred, wide and on a
phone."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet_records import RUN, fleet
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.page import page

SIZES = (1, 40, 500)
WIDTHS = (1400, 800, 390)
# A busy machine may take long for what is quick.
expect.set_options(timeout=60_000)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {size: folder / f"{size}.html" for size in SIZES}
    for size, path in made.items():
        start = time.process_time()
        path.write_text(page(fleet(size), RUN, "Fleet"))
        assert time.process_time() - start < 20
        assert path.stat().st_size < 2_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 500 << 10
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for path in map(shutil.which, names) if path), None)
    assert program, f"none of {', '.join(names)} is installed; `make browser` does it"
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=program)
        yield running
        running.close()


@pytest.fixture
def show(browser, pages) -> Iterator[Open]:
    """Opens a page; at the end nothing may have gone wrong on it, nor have been asked of a network."""
    trouble: list[str] = []
    contexts = []

    def open_page(size: int, width: int = 1400, scheme: str = "light", at: str = "") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(60_000)
        opened = context.new_page()
        opened.on(
            "console", lambda said: trouble.append(said.text) if said.type in ("error", "warning") else None
        )
        opened.on("pageerror", lambda error: trouble.append(str(error)))
        opened.on(
            "request",
            lambda asked: trouble.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None,
        )
        opened.goto(f"file://{pages[size]}{at}")
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def wider_than_the_screen(shown: Page) -> list[str]:
    """What sticks out at the right, and is not in a box that scrolls by itself."""
    return shown.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
             .map(e => e.outerHTML.slice(0, 100))"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", SIZES)
def test_nothing_sticks_out(show, size, width, scheme):
    shown = show(size, width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert wider_than_the_screen(shown) == []


@pytest.mark.parametrize("size", [1, 40])
def test_nothing_sticks_out_when_everything_is_open(show, size):
    shown = show(size, 390)
    shown.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    assert wider_than_the_screen(shown) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_both_schemes(show, scheme):
    shown = show(40, 1400, scheme)
    shades = shown.evaluate(
        """() => [getComputedStyle(document.body).color, getComputedStyle(document.querySelector('.tile')).backgroundColor]
             .map(each => each.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3)"""
    )
    assert abs(shades[0] - shades[1]) > 150
    assert (shades[0] < shades[1]) == (scheme == "light")


def test_a_filter_leaves_the_hosts_that_fit(show):
    shown = show(40)
    hosts, rows = shown.locator("details.host:visible"), shown.locator(".row:visible")
    expect(hosts).to_have_count(40)
    shown.fill("#q", "halo serve")
    expect(shown.locator("#shown")).to_have_text("0 of 40")
    expect(rows).to_have_count(0)
    shown.fill("#q", "HALO firmware.refused")
    expect(hosts).to_have_count(4)
    expect(rows).to_have_count(4)
    shown.fill("#q", "")
    expect(hosts).to_have_count(40)
    expect(shown.locator("#shown")).to_have_text("")


def test_a_state_is_a_filter_too(show):
    shown = show(40)
    failed = shown.get_by_role("button", name="failed")
    failed.click()
    expect(failed).to_have_attribute("aria-pressed", "true")
    expect(shown.locator("details.host:visible")).to_have_count(3)
    failed.click()
    expect(shown.locator("details.host:visible")).to_have_count(40)


def test_a_host_opens_and_says_what_is_known_of_it(show):
    shown = show(40, 390)
    host = shown.locator("details.host", has=shown.locator("b", has_text="rack01-n06"))
    host.locator("summary").click()
    body = host.locator(".body")
    expect(body).to_be_visible()
    for words in (
        "6.18.9-generic",
        "GPU 3: watch",
        "Since the last run",
        "shared with",
        "Qwen3-235B-A22B-FP8",
    ):
        expect(body).to_contain_text(words)


def test_a_host_of_a_finding_is_one_click_away(show):
    shown = show(500, 390)
    link = shown.locator("article.finding .hosts a").first
    name = link.inner_text()
    link.click()
    host = shown.locator("details.host[open]", has=shown.locator("b", has_text=name))
    expect(host).to_have_count(1)
    expect(host.locator(".body")).to_be_in_viewport()


def test_of_many_hosts_those_that_are_well_are_folded_and_found(show):
    shown = show(500)
    expect(shown.locator("#rest")).to_contain_text("406 hosts that nothing is known against")
    well = shown.locator("#rest details.host").first
    expect(well).not_to_be_visible()
    shown.fill("#q", well.locator("summary b").text_content() or "")
    expect(well).to_be_visible()
    shown.fill("#q", "halo44")
    expect(shown.locator("#rest")).not_to_be_visible()
    expect(shown.locator("details.host:visible")).to_have_count(1)


def test_a_link_to_a_folded_host_opens_it(show, pages):
    shown = show(500, at="#h499")
    expect(shown.locator("#h499 .body")).to_be_visible()


def test_it_prints_all_and_no_box_that_scrolls(show):
    shown = show(40, 800)
    shown.emulate_media(media="print")
    expect(shown.locator(".filter")).not_to_be_visible()
    assert shown.evaluate("(e => e.scrollHeight - e.clientHeight)(document.querySelector('.grid'))") <= 1
    assert shown.evaluate("getComputedStyle(document.querySelector('.stack td')).display") == "table-cell"
    assert len(shown.pdf()) > 10_000
