#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_node
short_description: Drain a node of Slurm and return it
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Takes a node out of service and waits until its jobs have ended, or returns it once its slurmd has
    registered.
  - A drain of somebody else is left as it is, and so is its reason.
  - Runs where C(scontrol) reaches the controller, as root or as the user of Slurm. Delegate it to the host of
    slurmctld, or run it on the node.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - Jobs are not waited for in check mode.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: The node, as Slurm calls it.
    type: str
    required: true
  state:
    description:
      - V(drained) gives it no new jobs, and waits until it has none. After O(timeout) it is returned, and the
        module fails.
      - V(resumed) returns it where we drained it, once it is as it should be.
      - V(seen) changes nothing and says in RV(wrong) what keeps it from being returned.
    type: str
    choices: [drained, resumed, seen]
    required: true
  reason:
    description: Why it is drained. C(amdgpu.fleet site) is put in front. Required with O(state=drained).
    type: str
    default: ""
  gres:
    description: What Slurm must count, as C(gpu:mi300x:8). Empty takes whatever it counts.
    type: str
    default: ""
  not_started:
    description:
      - The RV(started) of before a reboot. The node is not returned before its slurmd registered anew.
    type: str
    default: ""
  rebooted:
    description: Whether a node that Slurm set down because it was rebooted is ours to return.
    type: bool
    default: false
  must_exist:
    description: Whether it is an error that Slurm does not know the node. A new host is not handed over yet.
    type: bool
    default: true
  timeout:
    description: Seconds until it must have no jobs, or be as it should be.
    type: int
    default: 3600
  interval:
    description: Seconds between two looks.
    type: float
    default: 5
  scontrol:
    description: The program.
    type: str
    default: scontrol
"""

EXAMPLES = r"""
- name: Take the node out of service before it is rebooted
  amdgpu.fleet.slurm_node:
    name: node7
    state: drained
    reason: iommu=pt is not in effect in the running kernel
    timeout: 7200
  delegate_to: slurmctld.example.com
  register: drained

- name: Return it
  amdgpu.fleet.slurm_node:
    name: node7
    state: resumed
    not_started: "{{ drained.started }}"
    rebooted: true
    timeout: 600
  delegate_to: slurmctld.example.com
"""

RETURN = r"""
states: {description: Its states afterwards., type: list, elements: str, returned: success,
  sample: [IDLE, DRAIN]}
reason: {description: Why it is out of service., type: str, returned: success,
  sample: "amdgpu.fleet site: iommu=pt"}
gres: {description: What Slurm counts., type: str, returned: success, sample: "gpu:mi300x:8"}
started: {description: When its slurmd was started., type: str, returned: success,
  sample: "2026-11-28T19:02:27"}
ours: {description: "Whether the node is in service, or out of it by us.", type: bool, returned: success}
wrong: {description: What keeps it from being returned; empty where nothing does., type: str,
  returned: success}
waited_seconds: {description: Seconds that were waited., type: float, returned: success, sample: 12.5}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _slurm as slurm
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._slurm_node import Change, Waits
from ansible_collections.amdgpu.fleet.plugins.module_utils._waiting import wrong_interval

# What is told of a node that Slurm does not know.
NOBODY: dict[str, t.Any] = {
    "states": [], "reason": "", "gres": "", "started": "", "ours": False, "waited_seconds": 0.0,
}  # fmt: skip


def told(node: slurm.Node, wrong: str) -> dict[str, t.Any]:
    return {
        "states": sorted(node.states),
        "reason": node.reason,
        "gres": node.gres,
        "started": node.started,
        "ours": not node.out or node.reason.startswith((slurm.SITE, slurm.HEALTH)),
        "wrong": wrong,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "resumed", "seen"], "required": True},
            "reason": {"type": "str", "default": ""},
            "gres": {"type": "str", "default": ""},
            "not_started": {"type": "str", "default": ""},
            "rebooted": {"type": "bool", "default": False},
            "must_exist": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 3600},
            "interval": {"type": "float", "default": 5.0},
            "scontrol": {"type": "str", "default": "scontrol"},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    module.run_command_environ_update = {"LC_ALL": "C", "LANGUAGE": "C"}
    params = module.params
    if params["state"] == "drained" and not params["reason"].strip():
        module.fail_json(msg="reason: a node is drained with a reason, or nobody knows whose drain it is.")
    wrong = wrong_interval(params["interval"])
    if wrong:
        module.fail_json(msg=wrong)

    def run(command: list[str]) -> tuple[int, str, str]:
        try:
            return t.cast("tuple[int, str, str]", module.run_command(command, handle_exceptions=False))
        except OSError as error:
            return 127, "", f"{command[0]} cannot be run ({error.strerror})"

    scontrol = slurm.Scontrol(run, params["scontrol"])
    change = Change(
        scontrol, params["name"], Waits(params["timeout"], params["interval"], time), module.check_mode
    )
    try:
        before = scontrol.node(params["name"])
        if params["state"] == "drained":
            after = change.drain(before, params["reason"])
        elif params["state"] == "resumed":
            after = change.resume(before, params["gres"], params["not_started"], params["rebooted"])
        else:
            after = before
    except slurm.UnknownNode as error:
        if params["must_exist"]:
            module.fail_json(msg=str(error))
        module.exit_json(changed=False, **NOBODY, wrong=str(error))
    except slurm.SlurmError as error:
        module.fail_json(msg=str(error))
    result = told(after, slurm.wrong(after, params["gres"], params["not_started"]))
    if module._diff:
        result["diff"] = {"before": before.shown(), "after": after.shown()}
    module.exit_json(changed=change.changed, waited_seconds=change.waited, **result)


if __name__ == "__main__":
    main()
