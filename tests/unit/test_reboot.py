# SPDX-License-Identifier: GPL-3.0-or-later
"""The reboot: who asked for it, the guard against a loop, and what is left of its reasons afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.reboot import asked, waiting
from testbed.tree import load_host, write_tree

ROOT = Path(__file__).resolve().parents[2]
WHY = "iommu=pt is not in effect in the running kernel"


@pytest.fixture
def reboot(tmp_path, ansible):
    """reboot(...) runs the tasks with these facts about the boot. The connection refuses the reboot itself,
    so what comes before it is held here, as for a host that is not back in time."""

    def run(**boot: str | None) -> str:
        boot_facts = {
            "id": "now",
            "loader": "grub",
            "rebooted_for": None,
            "rebooted_from": None,
            "rebooted_into": None,
            **boot,
        }
        facts = {"amd_host": {"boot": boot_facts}, "kernel_reboot_reason": WHY, "driver_reboot_reason": ""}
        play = [
            {
                "hosts": "box",
                "gather_facts": False,
                "vars": {"__fleet_mark_path": str(tmp_path / "rebooted")},
                "tasks": [
                    {"ansible.builtin.set_fact": {**facts, "plan_host": {"findings": []}, "cacheable": True}},
                    {"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/reboot.yml")},
                ],
            }
        ]
        (tmp_path / "play.yml").write_text(json.dumps(play))
        (tmp_path / "hosts").write_text(
            f"box ansible_connection=ansible.builtin.local ansible_python_interpreter={sys.executable}\n"
        )
        done = ansible.run("ansible-playbook", tmp_path / "play.yml", "-i", tmp_path / "hosts", timeout=120)
        assert done.returncode == 2
        return " ".join((done.stdout + done.stderr).split())

    return run


def test_the_mark_is_written_before_the_host_goes_down(reboot, tmp_path):
    output = reboot()
    assert "would reboot the control node" in output, output
    assert (tmp_path / "rebooted").read_text() == f"from:now {WHY}\n"


@pytest.mark.parametrize(
    ("boot", "stops"),
    [
        ({"rebooted_for": WHY, "rebooted_into": "now"}, True),
        ({"rebooted_for": WHY, "rebooted_from": "before"}, True),
        ({"rebooted_for": WHY, "rebooted_from": "now"}, False),
        ({"rebooted_for": WHY, "rebooted_into": "before"}, False),
        ({"rebooted_for": "something else", "rebooted_into": "now"}, False),
        ({"rebooted_for": "something else", "rebooted_from": "before"}, False),
    ],
    ids=[
        "came back",
        "came back late",
        "never went down",
        "rebooted since",
        "another reason",
        "another reason, late",
    ],
)
def test_asked_again_for_the_same_reason_after_a_reboot(reboot, tmp_path, boot, stops):
    output = reboot(**boot)
    assert ("asks for it again" in output and WHY in output) is stops, output
    assert (tmp_path / "rebooted").exists() is not stops


def test_the_roles_are_asked_in_the_order_in_which_they_run():
    reasons = {
        "driver_reboot_reason": "c",
        "firmware_reboot_reason": "",
        "kernel_reboot_reason": "a",
        "vllm_reboot_reason": "x",
    }
    assert asked(reasons) == ["a", "c"] and asked({}) == []


def test_what_a_reboot_did_not_bring(read_plan):
    plan, facts = read_plan("strix-halo-128")
    everybody = {"kernel_reboot_reason": "x", "firmware_reboot_reason": "x", "driver_reboot_reason": "x"}
    assert waiting(plan, facts, everybody) == waiting(plan, facts) == []
    plan["kernel"] |= {"present": ['x.dyndbg="file a +p"', "iommu=pt"], "reboot_into": "9.9"}
    plan["firmware"]["reboot"] = plan["driver"]["waits"] = True
    facts["amd_host"]["kernel"]["command_line"] += ["amdgpu.gttsize=1", "x.dyndbg=file a +p"]
    kernel = [WHY, "the running kernel still has amdgpu.gttsize=1", "kernel 9.9 is installed and not running"]
    others = ["new firmware is loaded at boot", "the driver is installed and not loaded"]
    assert waiting(plan, facts, everybody) == kernel + others
    assert waiting(plan, facts, {"driver_reboot_reason": "x", "kernel_reboot_reason": ""}) == others[1:]
    assert waiting(plan, facts) == others, "arguments that no role has set yet need more than a reboot"
    facts["amd_rocm"]["driver"]["reload_needed"] = True
    assert waiting(plan, facts)[-1] == "the installed driver is not the running one"
    plan["kernel"]["state"] = "absent"
    assert waiting(plan, facts, {"kernel_reboot_reason": "x"}) == []
    assert waiting({"findings": []}, facts) == waiting(plan, {}) == []


@pytest.fixture
def read_plan(tmp_path, find_facts):
    def read(host: str) -> tuple[dict, dict]:
        write_tree(load_host(host), tmp_path)
        facts = find_facts("host_facts", tmp_path)
        return planner.plan(facts, {}, host), facts

    return read
