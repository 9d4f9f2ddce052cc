# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that would ask nobody for a key, or that programs read differently."""

from __future__ import annotations

import json

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.filter.plan import FilterModule
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import WantsError, normalize

fault = FilterModule().filters()["secret_fault"]
WRONG = {
    "blank": " ",
    "blanks": "   \t ",
    "quotes alone": "''",
    "double quotes alone": '""',
    "a comment alone": "#",
    "a comment": "#0123456789",
    "a comment of systemd": ";0123456789",
    "two lines": "0123456789\nVLLM_X=1",
    "a line break behind": "0123456789\n",
    "a carriage return": "0123456789\r",
    "a blank inside": "01234 56789",
    "a blank before": " 0123456789",
    "a backslash": "0123\\456789",
    "a quote": "0123'456789",
    "no byte": "0123\x00456789",
    "beyond ASCII": "schlüssel-0123",
    "short": "1234567",
    "long": "x" * 513,
    "a number": 1234567890,
    "nothing": None,
    "a list": ["0123456789"],
    "a truth": True,
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG.keys())
def test_a_key_that_is_none_is_refused_and_not_shown(value):
    said = fault(value)
    assert said.endswith(".") and "\n" not in said
    if isinstance(value, str) and len(value) > 2:
        assert value not in said
    with pytest.raises(WantsError) as refused:
        normalize({"__secrets": {"serve_api_key": said}})
    assert str(refused.value) == f"serve_api_key {said}"


@pytest.mark.parametrize("value", ["", "planted-key", "sk-0123456789abcdef", "x" * 512, "a$b%c{d}:e=f#g;"])
def test_a_key_that_is_one_is_taken(value):
    assert fault(value) == ""
    normalize({"__secrets": {"serve_api_key": fault(value)}})


def test_a_key_is_no_part_of_what_is_wanted():
    assert "planted-key" not in json.dumps(normalize({"serve_api_key": "planted-key"}), default=str)


@pytest.mark.parametrize("value", [value for value in WRONG.values() if isinstance(value, str)])
def test_the_gateway_refuses_the_same(value, gateway_checks):
    for variable, given in (("gateway_api_keys", ["0123456789", value]), ("gateway_replica_key", value)):
        checks = yaml.safe_load(gateway_checks(**{variable: given}))
        assert [check["variable"] for check in checks if not check["that"]] == [variable]
