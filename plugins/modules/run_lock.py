#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: One run at a time on a host
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Takes or gives back the lock of a host, C(/run/amdgpu-fleet/run.lock). Two runs that change a host at once
    would collide in the package manager and the boot loader.
  - A run that does not get it fails and names the holder. A lock counts for nothing two hours after the last
    sign of its holder, and after a reboot.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - Check mode looks whether somebody else holds the lock, and takes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  run:
    description: What all steps of this run have in common, and no other run has. Filled in by the action
      plugin.
    type: str
    default: ""
  ended:
    description: A run that is known to have ended without giving the lock back. It holds nobody up. Filled in
      by the action plugin, for a run of the same controller whose process is gone.
    type: str
    default: ""
  who:
    description: Who runs it, for the message that somebody else gets. Filled in by the action plugin.
    type: str
    default: another run
  state:
    description: V(held) takes the lock, V(free) gives it back.
    type: str
    choices: [held, free]
    default: held
  root:
    description: The folder under which the lock is.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Keep others from changing this host
  amdgpu.fleet.run_lock:

- name: Let others change it again
  amdgpu.fleet.run_lock:
    state: free
"""

RETURN = r"""
since: {description: "When this run took the lock, in seconds since 1970.", type: float, returned: with
  O(state=held)}
held_by: {description: The run that holds the lock., type: str, returned: when it is another one}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _run_lock as lock
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run": {"type": "str", "default": ""},
            "ended": {"type": "str", "default": ""},
            "who": {"type": "str", "default": "another run"},
            "state": {"type": "str", "choices": ["held", "free"], "default": "held"},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    params, write = module.params, not module.check_mode
    try:
        if params["state"] == "free":
            lock.release(params["root"], params["run"], write)
            module.exit_json(changed=False)
        if params["ended"]:
            lock.release(params["root"], params["ended"], write)
        holder = lock.take(params["root"], params["run"], params["who"], write=write)
    except lock.LockError as error:
        module.fail_json(msg=str(error), held_by=error.run)
    # A lock is no setting of the host: a run that only takes and returns it has changed nothing.
    module.exit_json(changed=False, since=holder.since)


if __name__ == "__main__":
    main()
