#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: acceptance_record
short_description: Write the record of what a host passed
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Takes the results of M(amdgpu.fleet.acceptance_test) that hold for the GPUs, the firmware and the driver
    that are there now, and writes C(/var/lib/amdgpu-fleet/acceptance/record.json). The planner reads it.
  - With O(directory) the record is written to the controller too, as JSON and as JUnit XML, beside those of
    other hosts; figures that are far from theirs become warnings.
  - The host passes where no test failed and every one that is not optional was run.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: The record changes with what it holds, the boot of the host included.
options:
  level:
    description: The level that the tests are those of.
    type: str
    required: true
  tests:
    description: All tests of the level, whether they ran or not.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the test., type: str, required: true}
      title: {description: What it is called., type: str, default: ""}
      optional: {description: Whether a host passes without it., type: bool, default: false}
      skipped: {description: Why it was left out., type: str, default: ""}
  health:
    description: Verdicts on the GPUs, as the plan has them.
    type: list
    elements: dict
    default: []
  plan:
    description: What of the plan the results hold for.
    type: str
    default: ""
  versions:
    description: Releases that are planned, to be recorded.
    type: dict
    default: {}
  directory:
    description: Folder on the controller for the record; none where it is left out.
    type: path
  root:
    description: The folder under which the host's files are.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Record
  amdgpu.fleet.acceptance_record:
    level: quick
    tests:
      - {name: host_memory}
    directory: reports/acceptance
"""

RETURN = r"""
ansible_facts:
  description: The fact that is added.
  returned: outside of check mode
  type: dict
  contains:
    amd_acceptance:
      description: The record.
      type: dict
      returned: always
      contains:
        schema: {description: Version of the layout., type: int}
        level: {description: "V(quick), V(full) or V(burn_in).", type: str}
        verdict: {description: "V(pass), V(fail), or V(incomplete) where a test is missing.", type: str}
        finished: {description: When it was written., type: str}
        finished_at: {description: The same in seconds., type: int}
        boot_id: {description: The boot., type: str}
        binding: {description: "Serial numbers, firmware, modes and driver that it holds for.", type: dict}
        plan: {description: What of the plan it holds for., type: str}
        versions: {description: Releases that were planned., type: dict}
        tests:
          description: Each test, as M(amdgpu.fleet.acceptance_test) returns it.
          type: list
          elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance import record, state
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import WriteError

TEST = {
    "name": {"type": "str", "required": True},
    "title": {"type": "str", "default": ""},
    "optional": {"type": "bool", "default": False},
    "skipped": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "level": {"type": "str", "required": True},
            "tests": {"type": "list", "elements": "dict", "required": True, "options": TEST},
            "health": {"type": "list", "elements": "dict", "default": []},
            "plan": {"type": "str", "default": ""},
            "versions": {"type": "dict", "default": {}},
            "directory": {"type": "path"},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    found = record.make(module.params["root"], module.params)
    folder = state.folder(module.params["root"])
    place = f"{folder}/{state.RECORD}"
    changed = found != state.read(place)
    if module.check_mode:
        # What would be tested is not known to pass: the record stays the one that is there.
        module.exit_json(changed=changed)
    if changed:
        try:
            state.make(folder)
            state.save(folder, state.RECORD, found)
        except WriteError as error:
            module.fail_json(msg=str(error))
        except OSError as error:
            module.fail_json(
                msg=f"{folder} cannot be written ({error.strerror or error}). Run it with become."
            )
    module.exit_json(changed=changed, ansible_facts={"amd_acceptance": found})


if __name__ == "__main__":
    main()
