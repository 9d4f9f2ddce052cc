# SPDX-License-Identifier: GPL-3.0-or-later
"""What is loaded before Ansible forks a process for each task of each host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _warm
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import FILES

ROOT = Path(__file__).resolve().parents[3]
SHOW = """
import sys, importlib
importlib.import_module("ansible_collections.amdgpu.fleet.plugins.action." + sys.argv[1])
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import catalog, checks
print("ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner" in sys.modules,
      checks.specification.cache_info().currsize, catalog.read_part.cache_info().currsize,
      *sorted(name.rpartition(".")[2] for name in sys.modules if ".fleet.plugins.filter." in name))
"""


def test_the_actions_at_the_beginning_of_a_run_load_planner_catalog_and_filters(collections_path) -> None:
    assert set(_warm.PARTS) <= set(FILES)
    filters = sorted(path.stem for path in (ROOT / "plugins/filter").glob("*.py"))
    for action in ("report", "host_facts"):
        done = subprocess.run(
            [sys.executable, "-c", SHOW, action], env={"PYTHONPATH": str(collections_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == ["True", "1", str(len(_warm.PARTS)), *filters], action


def test_a_run_begins_with_such_an_action() -> None:
    """Whatever stood before it would load the planner in a process of each host."""
    plays = yaml.safe_load((ROOT / "playbooks/begin.yml").read_text(encoding="utf-8"))
    (play,) = [each for each in plays if "tasks" in each]
    assert play["tasks"][0]["ansible.builtin.import_role"]["tasks_from"] == "start"
    (task,) = yaml.safe_load((ROOT / "roles/report/tasks/start.yml").read_text(encoding="utf-8"))
    assert "amdgpu.fleet.report" in task
