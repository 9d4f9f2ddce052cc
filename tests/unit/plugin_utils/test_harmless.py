# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host calls itself reaches a terminal as a text, and nothing but a text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.filter.plan import failure_reason
from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._facts import ours
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import Findings

HOSTILE = (
    "\x1b[1A\x1b[2Kmi300x  ok",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\rb",
    "a\x08b",
    "\u202eko\u202c",
    "\u2066ok\u2069",
    "a\u200bb",
    "\x00",
    "\x7f",
)
KNOWN = {"x.y": {"severity": "warn", "title": "T", "why": "because {seen}", "remedy": "Do {seen}"}}


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_obeyed(text):
    findings = Findings("host", KNOWN)
    findings.add("x.y", f"a\n{text}", text)
    found = findings.sorted()[0]
    said = [getattr(found, key) for key in ("seen", "expected", "why", "remedy")]
    assert not [word for word in said if "\n" in word]
    facts = _harmless.everywhere({"amd_rocm": {text: [{"os": text}]}})
    # What is no fact at all does not become one, and its text is not repeated.
    unfit = ours({"ansible_facts": {"amd_rocm": {text: [{"os": text}]}}, "msg": text}, "amd_rocm")
    assert unfit["failed"] and "ansible_facts" not in unfit
    said += [str(facts), str(unfit), failure_reason({"msg": text, "stderr": text})]
    for word in said:
        assert not [character for character in text if character in word and not character.isprintable()]


@given(st.text())
def test_no_text_holds_a_control(value):
    for character in _harmless.text(value):
        assert character in "\t\n" or unicodedata.category(character) != "Cc"
    assert _harmless.text(_harmless.text(value)) == _harmless.text(value)


@pytest.mark.parametrize("text", ["Strix Halo 128 GB", "größer", "日本語", "a\n\tb", "→ 5 °C"])
def test_what_is_a_text_stays(text):
    assert _harmless.text(text) == text
