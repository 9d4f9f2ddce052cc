#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_partition
short_description: Compute and memory partition mode of Instinct GPUs
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Sets the compute partition mode (V(SPX), V(DPX), V(TPX), V(QPX), V(CPX)) and the memory partition mode
    (V(NPS1), V(NPS2),
    V(NPS4), V(NPS8)) through C(/sys) alone. No vendor tool is needed.
  - Refuses what the GPU does not offer in C(available_compute_partition) and C(available_memory_partition),
    more memory than
    compute partitions, and a memory mode for some of the GPUs that are linked by XGMI.
  - A new memory mode takes effect when the driver is loaded again, so the module unloads and loads C(amdgpu).
    This takes the
    compute mode from all GPUs of the host; the module sets it again.
  - Before anything is touched it looks who has the GPUs open. Units in O(stop_services) are stopped and
    started again; any
    other process is named and the module fails.
  - Modes are lost when the host restarts. The role P(amdgpu.fleet.partition#role) installs a unit that
    restores them.
options:
  compute:
    description: Compute partition mode. Not given, it stays.
    type: str
    choices: [SPX, DPX, TPX, QPX, CPX]
  memory:
    description: Memory partition mode. Not given, it stays.
    type: str
    choices: [NPS1, NPS2, NPS4, NPS8]
  gpus:
    description:
      - PCI addresses or indexes (as M(amdgpu.fleet.gpu_facts) gives them) of the GPUs. Empty means all that
        offer partitions.
    type: list
    elements: str
    default: []
  stop_services:
    description:
      - Units of systemd that may be stopped while the mode changes. Those that run are stopped if there is
        something to change, and
        started again afterwards, also when the change failed.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for a mode. A memory mode takes up to 140 s on eight GPUs.
    type: int
    default: 300
  root:
    description:
      - The folder under which C(/sys) and C(/proc) are read and written.
      - With another root than C(/), C(modprobe) and C(systemctl) are those below it, so that the driver of
        this machine is left alone.
    type: path
    default: /
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - Who has the GPUs open is looked at in check mode too.
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Eight devices and four memory domains for each MI300X
  amdgpu.fleet.gpu_partition:
    compute: CPX
    memory: NPS4
    stop_services: [amd-metrics-exporter, gpuagent]

- name: Two devices on the first GPU alone
  amdgpu.fleet.gpu_partition:
    compute: DPX
    gpus: ["0000:05:00.0"]

- name: Go back
  amdgpu.fleet.gpu_partition:
    compute: SPX
    memory: NPS1
"""

RETURN = r"""
before:
  description: What each GPU that offers partitions was in.
  returned: success
  type: list
  elements: dict
  sample: [{address: "0000:05:00.0", compute: SPX, memory: NPS1, devices: 1}]
after:
  description: What each of them is in now, or would be in check mode. C(devices) counts the devices of KFD.
  returned: success
  type: list
  elements: dict
  sample: [{address: "0000:05:00.0", compute: CPX, memory: NPS4, devices: 8}]
reload_required:
  description: Whether the driver was, or in check mode would be, loaded again.
  returned: success
  type: bool
  sample: true
stopped_services:
  description: The units that were stopped and started again.
  returned: success
  type: list
  elements: str
  sample: [gpuagent.service]
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["ask 0000:05:00.0 for memory mode NPS4", load the driver amdgpu again, "set 0000:05:00.0 to CPX"]
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _partition as partition
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._processes import holders
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree


def change(
    module: AnsibleModule, tree: Tree, todo: partition.Plan, services: partition.Services
) -> list[partition.Gpu]:
    if todo.reload:
        partition.require_modprobe(module.params["root"])
    nodes = partition.devices_of(todo, tree)
    partition.refuse_holders(holders(tree, nodes), services.names)
    if module.check_mode:
        return []
    work = partition.Work(tree, services.run, time, module.params["timeout"])
    failure = ""
    seen: list[partition.Gpu] = []
    try:
        services.stop()
        partition.refuse_holders(
            holders(tree, nodes), [], after=" although stop_services were stopped" if services.stopped else ""
        )
        seen = work.carry_out(todo)
    except partition.PartitionError as error:
        failure = str(error)
    finally:
        problems = services.start()
    for problem in [*work.warnings, *([] if failure else problems)]:
        module.warn(problem)
    if failure:
        raise partition.PartitionError(" ".join([failure, *problems]))
    return seen


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "compute": {"type": "str", "choices": list(partition.COMPUTE)},
            "memory": {"type": "str", "choices": list(partition.MEMORY)},
            "gpus": {"type": "list", "elements": "str", "default": []},
            "stop_services": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 300},
            "root": {"type": "path", "default": "/"},
        },
        required_one_of=[["compute", "memory"]],
        supports_check_mode=True,
    )
    hold_to_text(module)
    module.run_command_environ_update = {"LC_ALL": "C", "LANGUAGE": "C"}
    params = module.params
    if not os.path.isdir(params["root"]):
        module.fail_json(msg=f"root: {params['root']} is not a directory.")

    def run(command: list[str]) -> tuple[int, str, str]:
        try:
            rc, out, err = module.run_command(
                partition.below_root(params["root"], command), handle_exceptions=False
            )
            return rc, out, err
        except OSError as error:
            return 127, "", f"{command[0]} cannot be run ({error.strerror})"

    tree = Tree(params["root"])
    services = partition.Services(run, params["stop_services"])
    try:
        gpus = partition.read(tree)
        todo = partition.plan(gpus, params["compute"], params["memory"], params["gpus"])
        seen = change(module, tree, todo, services) if todo.changed else []
    except partition.PartitionError as error:
        module.fail_json(msg=str(error))
    before = [gpu.state() for gpu in todo.gpus]
    after = [gpu.state() for gpu in seen if gpu.offers] or todo.after()
    result = {
        "changed": todo.changed,
        "before": before,
        "after": after,
        "reload_required": todo.reload,
        "stopped_services": services.stopped,
        "actions": todo.actions(),
    }
    if module._diff:
        result["diff"] = {"before": partition.shown(before), "after": partition.shown(after)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
