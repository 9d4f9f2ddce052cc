#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_memory_free
short_description: Wait until the memory of GPUs is free
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Waits until less than a given share of the memory of each GPU is in use. The engine is a child process and
    can outlive its server;
    the next one would then find too little memory.
  - Where the time is up, the message names the processes that KFD knows.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.info
options:
  devices:
    description: Render nodes of the GPUs, as V(renderD128) or V(/dev/dri/renderD128). Other devices are
      passed over.
    type: list
    elements: str
    required: true
  used_percent:
    description: The largest share of a GPU's memory that may be in use.
    type: float
    default: 10
  timeout:
    description: Seconds until it must be free.
    type: int
    default: 60
  interval:
    description: Seconds between two looks.
    type: float
    default: 0.5
  root:
    description: The folder under which the host's files are.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: The last server is gone from the GPUs
  amdgpu.fleet.gpu_memory_free:
    devices: [renderD128, renderD136]
"""

RETURN = r"""
gpus:
  description: What was seen last.
  returned: success
  type: list
  elements: dict
  sample: [{node: renderD128, used_bytes: 297926656, total_bytes: 206141652992}]
waited_seconds: {description: Seconds until it was free., type: float, returned: success, sample: 1.5}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._gpu_memory import Garbled, Usage, holders, usage
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.module_utils._waiting import wrong_interval


def sentence(full: list[Usage], processes: list[str], seconds: int) -> str:
    gpus = ", ".join(
        f"{each.used / 2**30:.1f} of {each.total / 2**30:.1f} GiB of {each.node}" for each in full
    )
    held = (
        f"KFD knows {', '.join(processes)}: end what does not belong there."
        if processes
        else "KFD knows no process that holds it."
    )
    return f"{gpus} still in use after {seconds} s. {held}"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "str", "required": True},
            "used_percent": {"type": "float", "default": 10},
            "timeout": {"type": "int", "default": 60},
            "interval": {"type": "float", "default": 0.5},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    params = module.params
    wrong = wrong_interval(params["interval"])
    if wrong:
        module.fail_json(msg=wrong)
    tree = Tree(params["root"])
    nodes = sorted({device.rpartition("/")[2] for device in params["devices"] if "renderD" in device})
    start = time.monotonic()
    while True:
        try:
            seen = [each for each in (usage(tree, node) for node in nodes) if each]
        except Garbled as error:
            module.fail_json(msg=str(error))
        full = [each for each in seen if each.percent > params["used_percent"]]
        waited = round(time.monotonic() - start, 1)
        if not full:
            gpus = [{"node": each.node, "used_bytes": each.used, "total_bytes": each.total} for each in seen]
            module.exit_json(changed=False, gpus=gpus, waited_seconds=waited)
        if waited >= params["timeout"]:
            module.fail_json(msg=sentence(full, holders(tree), params["timeout"]))
        time.sleep(params["interval"])


if __name__ == "__main__":
    main()
