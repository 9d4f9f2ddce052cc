# SPDX-License-Identifier: GPL-3.0-or-later
"""A node of Slurm is drained and returned, against a scontrol that keeps a node in a file."""

from __future__ import annotations

import json
import sys

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _slurm

# Keeps {state, reason, jobs, after}: `jobs` looks until its jobs end, `after` looks until slurmd is another one.
SCONTROL = """#!{python}
import json, sys
path = {path!r}
node = json.load(open(path))
if sys.argv[1] == "show":
    if node.get("error"):
        print(node["error"], file=sys.stderr); sys.exit(1)
    state = node["state"]
    if node.get("jobs"):
        node["jobs"] -= 1; state = "MIXED" + ("+DRAIN" if "DRAIN" in state else "")
    if node.get("after"):
        node["after"] -= 1; state += "+NOT_RESPONDING"
    reason = "   Reason=%s [root@2026-11-28T19:02:30]\\n" % node["reason"] if node["reason"] else ""
    print("NodeName=n1 CoresPerSocket=1\\n   Gres=%s\\n   State=%s ThreadsPerCore=1\\n   BootTime=x SlurmdStartTime=%s\\n%s"
          % (node["gres"], state, node["started"] if node.get("after") is None or node["after"] else "later", reason))
else:
    words = dict(word.split("=", 1) for word in sys.argv[2:])
    node["told"].append(sys.argv[1:])
    if words["State"] == "RESUME":
        node["state"] = "IDLE"
    else:
        node["state"], node["reason"] = "IDLE+DRAIN", words["Reason"]
json.dump(node, open(path, "w"))
"""


class Slurm:
    def __init__(self, folder, run_module):
        self.path = folder / "node.json"
        self.program = folder / "scontrol"
        self.program.write_text(SCONTROL.format(python=sys.executable, path=str(self.path)))
        self.program.chmod(0o755)
        self._run = run_module

    def is_(self, state: str = "IDLE", reason: str = "", **more) -> None:
        node = {
            "state": state,
            "reason": reason,
            "gres": "gpu:mi300x:8(S:0-1)",
            "started": "earlier",
            "told": [],
        }
        self.path.write_text(json.dumps({**node, **more}))

    def run(self, state: str, **arguments) -> dict:
        defaults = {"timeout": 5, "interval": 0.01, "scontrol": str(self.program)}
        return self._run("slurm_node", name="n1", state=state, **{**defaults, **arguments})

    @property
    def told(self) -> list[str]:
        return [" ".join(words) for words in json.loads(self.path.read_text())["told"]]


@pytest.fixture
def slurm(tmp_path, run_module):
    made = Slurm(tmp_path, run_module)
    made.is_()
    return made


DRAIN = "update NodeName=n1 State=DRAIN Reason=amdgpu.fleet site: iommu=pt"
RESUME = "update NodeName=n1 State=RESUME"


def test_drain_and_resume_in_check_mode_for_real_and_again(slurm):
    assert slurm.run("drained", reason="iommu=pt", _check=True)["changed"] and slurm.told == []
    first = slurm.run("drained", reason="iommu=pt")
    assert first["changed"] and first["ours"] and slurm.told == [DRAIN]
    assert (first["states"], first["reason"]) == (["DRAIN", "IDLE"], "amdgpu.fleet site: iommu=pt")
    assert first["diff"]["before"] == "n1 IDLE\n" and "DRAIN+IDLE" in first["diff"]["after"]
    assert not slurm.run("drained", reason="iommu=pt", _check=True)["changed"]
    assert not slurm.run("drained", reason="iommu=pt")["changed"] and slurm.told == [DRAIN]

    assert slurm.run("resumed", _check=True)["changed"] and slurm.told == [DRAIN]
    assert slurm.run("resumed")["changed"] and slurm.told == [DRAIN, RESUME]
    assert not slurm.run("resumed", _check=True)["changed"]
    assert not slurm.run("resumed")["changed"] and slurm.told == [DRAIN, RESUME]


def test_jobs_are_waited_for(slurm):
    slurm.is_(jobs=4)
    result = slurm.run("drained", reason="iommu=pt")
    assert result["changed"] and "MIXED" not in result["states"]


def test_jobs_that_do_not_end_bring_the_node_back(slurm):
    slurm.is_(jobs=1000000)
    result = slurm.run("drained", reason="iommu=pt", timeout=0)
    assert "still runs jobs after 0 s" in result["msg"] and "It was returned to service" in result["msg"]
    assert "fleet_drain_timeout" in result["msg"] and slurm.told == [DRAIN, RESUME]


def test_a_drain_of_somebody_else_stays(slurm):
    slurm.is_("IDLE+DRAIN", "a new power supply")
    drained = slurm.run("drained", reason="iommu=pt")
    assert not drained["changed"] and not drained["ours"] and drained["reason"] == "a new power supply"
    assert not slurm.run("resumed")["changed"] and slurm.told == []


def test_the_health_check_outranks_the_reboot(slurm):
    slurm.is_("IDLE+DRAIN", "amdgpu.fleet health: GPU 0: 3 in umc uncorrectable")
    assert not slurm.run("resumed")["changed"] and slurm.told == []


@pytest.mark.parametrize(("rebooted", "told"), [(True, [RESUME]), (False, [])])
def test_a_node_that_slurm_set_down_for_our_reboot(slurm, rebooted, told):
    slurm.is_("DOWN", "Node unexpectedly rebooted")
    assert slurm.run("resumed", rebooted=rebooted)["changed"] is rebooted
    assert slurm.told == told


def test_the_new_slurmd_is_waited_for(slurm):
    slurm.is_("IDLE+DRAIN", "amdgpu.fleet site: x", after=5)
    result = slurm.run("resumed", not_started="earlier")
    assert result["changed"] and result["started"] == "later" and slurm.told == [RESUME]


@pytest.mark.parametrize(
    ("node", "arguments", "said"),
    [
        ({}, {"not_started": "earlier"}, "has not registered since the reboot"),
        ({"after": 10000}, {}, "its slurmd does not answer"),
        ({"state": "IDLE+DRAIN+INVALID_REG"}, {}, "has other devices than slurm.conf"),
        ({}, {"gres": "gpu:mi300x_cpx:64"}, "Slurm counts gpu:mi300x:8 and the host has gpu:mi300x_cpx:64"),
        ({"gres": "(null)"}, {"gres": "gpu:mi300x:8"}, "Slurm counts no GPU"),
    ],
)
def test_a_node_that_is_not_as_it_should_be_stays_drained(slurm, node, arguments, said):
    slurm.is_(**{"state": "IDLE+DRAIN", "reason": "amdgpu.fleet site: x", **node})
    result = slurm.run("resumed", timeout=0, **arguments)
    assert said in result["msg"] and "stays drained" in result["msg"]
    assert "`scontrol update NodeName=n1 State=RESUME` returns it" in result["msg"] and slurm.told == []
    assert said in slurm.run("seen", **arguments)["wrong"]


def test_nothing_is_wrong_with_a_node_in_service(slurm):
    seen = slurm.run("seen", gres="gpu:mi300x:8")
    assert (seen["wrong"], seen["ours"], seen["changed"]) == ("", True, False)


def test_a_controller_that_does_not_answer(slurm):
    slurm.is_(error="slurm_load_node error: Unable to contact slurm controller (connect failure)")
    for state in ("drained", "resumed", "seen"):
        result = slurm.run(state, reason="x")
        assert "Unable to contact slurm controller" in result["msg"] and "munge" in result["msg"]


def test_a_node_that_slurm_does_not_know(slurm):
    slurm.is_(error="Node n1 not found")
    for state in ("drained", "resumed", "seen"):
        assert "The playbook handover tells it" in slurm.run(state, reason="x")["msg"]
        result = slurm.run(state, reason="x", must_exist=False)
        assert (result["changed"], result["states"], result["ours"]) == (False, [], False)


def test_a_missing_program_and_wrong_arguments(slurm):
    assert "cannot be run" in slurm.run("seen", scontrol="/no/such/program")["msg"]
    assert "with a reason" in slurm.run("drained")["msg"]
    assert "interval" in slurm.run("seen", interval=-1)["msg"]


def test_a_reason_is_one_line_without_quotes(slurm):
    slurm.run("drained", reason='a "b"\nc\\d ' + "x" * 1000)
    (told,) = slurm.told
    assert "Reason=amdgpu.fleet site: a b c d xxx" in told and len(told) < 450


@pytest.mark.parametrize(
    ("state", "states"),
    [
        ("IDLE", {"IDLE"}),
        ("IDLE*", {"IDLE", "NOT_RESPONDING"}),
        ("DOWN*+DRAIN", {"DOWN", "DRAIN", "NOT_RESPONDING"}),
        ("MIXED+DRAINING", {"MIXED", "DRAIN"}),
        ("IDLE+DRAIN+REBOOT_ISSUED", {"IDLE", "DRAIN", "REBOOT_ISSUED"}),
        ("IDLE~+POWERED_DOWN", {"IDLE", "POWERED_DOWN"}),
    ],
)
def test_states_as_releases_of_slurm_write_them(state, states):
    node = _slurm.parse(
        f"NodeName=n1 X=1\n   State={state} ThreadsPerCore=1\n   Reason=a [b] c [root@2026-11-28T19:02:30]\n"
    )
    assert node.states == states and node.reason == "a [b] c"


def test_what_is_no_node_is_an_error():
    with pytest.raises(_slurm.SlurmError, match="printed no node"):
        _slurm.parse("Node n1 not found")
