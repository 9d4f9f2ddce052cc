# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of Ansible's own kinds reach the planner as plain ones."""

from __future__ import annotations

import copy
import json

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain


def test_a_plan_is_made_of_what_ansible_keeps(find_facts, tmp_path):
    from testbed.tree import load_host, write_tree

    write_tree(load_host("mi300x-8"), tmp_path)
    text = """
serve_instances:
  - {name: chat, model: /srv/model, options: {max-model-len: 256, dtype: half}}
driver_policy: inbox
"""
    variables = {
        "facts": find_facts("host_facts", tmp_path),
        "wants": yaml.safe_load(text),
    }
    loader = DataLoader()
    variables["wants"] = loader.load(text)
    templar = Templar(loader=loader, variables=variables)
    expression = "{{ facts | amdgpu.fleet.plan(wants, 'box') | to_json }}"
    plan = json.loads(templar.template(trust_as_template(expression)))
    assert plan["serve"]["instances"][0]["launch"]["configuration"].count("max-model-len: 256") == 1
    assert plan["profile"] == "gfx942" and plan["driver"]["policy"] == "inbox"


def test_what_is_plain_can_be_copied_and_written():
    loaded = DataLoader().load("a: [1, 2.5, true, null, text, {b: c}]")
    value = plain(loaded)
    assert value == {"a": [1, 2.5, True, None, "text", {"b": "c"}]} == copy.deepcopy(value)
    assert yaml.safe_load(yaml.safe_dump(value)) == value
    assert {type(entry) for entry in value["a"]} == {int, float, bool, type(None), str, dict}
