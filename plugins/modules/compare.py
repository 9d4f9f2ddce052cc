#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compare
short_description: Which roles have anything to do on a host
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Holds a host to what several roles of this collection would set, in one execution, and changes no setting.
    The code is that of M(amdgpu.fleet.kernel_args), M(amdgpu.fleet.module_options),
    M(amdgpu.fleet.config_files) and M(amdgpu.fleet.package_repository) in check mode; units are read from
    systemd.
  - The action plugin of the same name reads from each role what it would set (C(__ROLE_compare) in its
    variables), fills in the variables of the host, and sends all of it at once.
  - A role that would fail counts as one that has something to do. It says why in its own words.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing is changed in either mode. Check mode takes no lock.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  roles:
    description:
      - Names of roles of this collection, in the order in which they run.
      - Where one has something to do, what later ones want may change; those that say so are not asked.
    type: list
    elements: str
    required: true
  lock:
    description:
      - Take the lock of the host where a role has something to do, as M(amdgpu.fleet.run_lock) does. Where
        another run holds it, this one fails and names it.
    type: bool
    default: false
  parts:
    description: Of each role, what is to be looked at. Filled in by the action plugin.
    type: dict
    default: {}
  work:
    description: Whether the plan says already that a role has something to do. Filled in by the action
      plugin.
    type: bool
    default: false
  run:
    description: What all steps of this run have in common, and no other run has. Filled in by the action
      plugin.
    type: str
    default: ""
  who:
    description: Who runs it, for the message that somebody else gets. Filled in by the action plugin.
    type: str
    default: another run
  ended:
    description: A run that is known to have ended without giving the lock back. Filled in by the action
      plugin.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Compare the host with the plan
  amdgpu.fleet.compare:
    roles: [kernel, driver, serve]
  register: plan_compared

- name: Apply the role kernel where it has something to do
  ansible.builtin.include_role:
    name: amdgpu.fleet.kernel
  when: "'kernel' not in plan_compared.unchanged"
"""

RETURN = r"""
unchanged:
  description: Roles that have nothing to do.
  returned: success
  type: list
  elements: str
  sample: [kernel, firmware, driver]
reasons:
  description: Of every other role, why it has something to do.
  returned: success
  type: dict
  sample: {serve: write /etc/containers/systemd/vllm-chat.container}
locked:
  description: Whether this run holds the lock of the host now.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _compare, _run_lock
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import readable


def take_lock(module: AnsibleModule) -> bool:
    """Whether this run holds the lock now. A run that is known to have ended holds nobody up."""
    params, write = module.params, not module.check_mode
    try:
        if params["ended"]:
            _run_lock.release("/", params["ended"], write)
        _run_lock.take("/", params["run"], params["who"], write=write)
    except _run_lock.LockError as error:
        module.fail_json(msg=str(error), held_by=error.run, invocation={})
    return write


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "roles": {"type": "list", "elements": "str", "required": True},
            "lock": {"type": "bool", "default": False},
            "parts": {"type": "dict", "default": {}},
            "work": {"type": "bool", "default": False},
            "run": {"type": "str", "default": ""},
            "who": {"type": "str", "default": "another run"},
            "ended": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    found = _compare.compare(module, params["parts"])
    reasons = {role: answers[-1].reason for role, answers in found.items() if answers and answers[-1].reason}
    for text in [text for answers in found.values() for answer in answers for text in answer.warnings]:
        module.warn(text)
    locked = params["lock"] and (params["work"] or bool(reasons)) and take_lock(module)
    # The arguments hold keys: they do not come back.
    module.exit_json(
        changed=False,
        reasons=readable(reasons),
        unchanged=[role for role in params["roles"] if role not in reasons],
        locked=locked,
        invocation={},
    )


if __name__ == "__main__":
    main()
