# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of a cluster around its reboot: the tasks of the playbook site, with a scontrol that keeps a node in a file.

The connection refuses the reboot itself, so what comes before it and after it is held here. The scenario slurm has
the whole way."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from play_server import PlayServer

ROOT = Path(__file__).resolve().parents[2]
WHY = "iommu=pt is not in effect in the running kernel"
SCONTROL = """#!/bin/sh
here={folder}
if [ "$1" = show ]; then
  if [ ! -e $here/state ]; then echo "Node $3 not found"; exit 1; fi
  printf 'NodeName=%s X=1\\n   Gres=gpu:mi300x:8\\n   State=%s ThreadsPerCore=1\\n   SlurmdStartTime=later\\n' "$3" "$(cat $here/state)"
  [ ! -s $here/reason ] || printf '   Reason=%s [root@2026-11-28T19:02:30]\\n' "$(cat $here/reason)"
  exit 0
fi
echo "$@" >>$here/told
case "$3" in
  State=RESUME) echo IDLE >$here/state ;;
  State=DRAIN) echo IDLE+DRAIN >$here/state; echo "${{4#Reason=}}" >$here/reason ;;
esac
"""


class Site:
    def __init__(self, folder: Path, ansible: PlayServer) -> None:
        self.folder, self.ansible = folder, ansible
        (folder / "bin").mkdir()
        (folder / "bin/scontrol").write_text(SCONTROL.format(folder=folder))
        (folder / "bin/scontrol").chmod(0o755)

    def node(self, state: str, reason: str = "") -> None:
        (self.folder / "state").write_text(state)
        (self.folder / "reason").write_text(reason)

    @property
    def told(self) -> list[str]:
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, tasks: str, *arguments: str, **variables) -> tuple[int, str]:
        boot = {
            "id": "now",
            "loader": "grub",
            "rebooted_for": None,
            "rebooted_from": None,
            "rebooted_into": None,
        }
        facts = {"amd_host": {"boot": boot}, "kernel_reboot_reason": WHY, "plan_host": {"findings": []}}
        steps = [
            {"ansible.builtin.set_fact": {**facts, "cacheable": True}, "tags": ["always"]},
            {
                "block": [
                    {
                        "ansible.builtin.include_tasks": {
                            "file": str(ROOT / "playbooks/tasks" / tasks),
                            "apply": {"tags": ["reboot"]},
                        },
                        "tags": ["reboot"],
                    }
                ],
                "rescue": [
                    {"ansible.builtin.fail": {"msg": "WAY BACK={{ fleet_way_back | default('none') }}"}}
                ],
            },
        ]
        given = {"fleet_drain": "slurm", "__fleet_mark_path": str(self.folder / "mark"), **variables}
        play = [{"hosts": "gpu-01.example.com", "gather_facts": False, "vars": given, "tasks": steps}]
        (self.folder / "play.yml").write_text(json.dumps(play))
        (self.folder / "hosts").write_text(
            "gpu-01.example.com ansible_connection=ansible.builtin.local "
            f"ansible_python_interpreter={sys.executable}\n"
        )
        done = self.ansible.run(
            "ansible-playbook", self.folder / "play.yml", "-i", self.folder / "hosts", *arguments,
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}, timeout=120,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def site(tmp_path, ansible):
    made = Site(tmp_path, ansible)
    made.node("IDLE")
    return made


DRAIN = f"update NodeName=gpu-01 State=DRAIN Reason=amdgpu.fleet site: reboot for {WHY}"


def test_the_node_is_drained_before_the_mark_and_a_failure_says_the_way_back(site):
    code, output = site.run("reboot.yml")
    assert code == 2 and "would reboot the control node" in output, output
    assert site.told == [DRAIN] and (site.folder / "mark").exists()
    assert "WAY BACK=The node is drained: `scontrol update NodeName=gpu-01 State=RESUME` on gpu-01" in output


def test_with_the_tag_alone_it_is_drained_and_returned_too(site):
    assert site.run("reboot.yml", "--tags", "reboot")[0] == 2
    assert site.told == [DRAIN]
    assert site.run("return.yml", "--tags", "reboot")[0] == 0
    assert site.told == [DRAIN, "update NodeName=gpu-01 State=RESUME"]


def test_jobs_that_do_not_end_keep_the_host_from_its_reboot(site):
    # The stand-in calls a drained node idle; one with jobs keeps them.
    (site.folder / "bin/scontrol").write_text(
        SCONTROL.format(folder=site.folder).replace("echo IDLE+DRAIN", "echo MIXED+DRAIN")
    )
    site.node("MIXED")
    code, output = site.run("reboot.yml", fleet_drain_timeout=0)
    assert code == 2 and "gpu-01 still runs jobs after 0 s" in output and "WAY BACK=none" in output
    assert not (site.folder / "mark").exists() and site.told[-1] == "update NodeName=gpu-01 State=RESUME"


def test_the_drain_of_somebody_else_has_no_way_back_of_ours(site):
    site.node("IDLE+DRAIN", "a new fan")
    code, output = site.run("reboot.yml")
    assert code == 2 and output.endswith("ignored=0") and "NodeName=gpu-01 State=RESUME" not in output
    assert site.told == []


def test_check_mode_drains_nothing(site):
    code, output = site.run("drain.yml", "--check", __fleet_reasons=WHY)
    assert code == 0 and "changed=1" in output and site.told == []


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        # A run that was interrupted before it returned the node.
        ("IDLE+DRAIN", "amdgpu.fleet site: reboot for x", ["update NodeName=gpu-01 State=RESUME"]),
        ("IDLE", "", []),
        ("IDLE+DRAIN", "a new fan", []),
        ("IDLE+DRAIN", "amdgpu.fleet health: GPU 0: 3 in umc uncorrectable", []),
    ],
)
def test_the_end_of_a_run_returns_what_ours_drained(site, state, reason, told):
    site.node(state, reason)
    code, output = site.run("return.yml")
    assert code == 0, output
    assert site.told == told
    assert ("The node stays out of service" in output) is (state != "IDLE" and not told)


def test_a_host_that_is_not_handed_over_yet(site):
    (site.folder / "state").unlink()
    for tasks in ("drain.yml", "return.yml"):
        code, output = site.run(tasks, __fleet_reasons=WHY)
        assert code == 0 and "changed=0" in output, output


def test_a_cluster_that_nobody_knows(site):
    code, output = site.run("drain.yml", fleet_drain="nomad", __fleet_reasons=WHY)
    assert code == 2 and "fleet_drain is nomad, and is one of none, slurm and kubernetes" in output
