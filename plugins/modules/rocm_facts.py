#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rocm_facts
short_description: Facts about ROCm, the amdgpu driver and its firmware
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Reads ROCm installations, the kernel driver and firmware. M(amdgpu.fleet.host_facts) returns the same and
    everything else that a plan needs, in one execution.
  - Reads files. The only commands are C(rpm) on distributions that use it, and C(modinfo) for a compressed or
    signed module.
  - A file that is missing, unreadable or damaged gives a V(null) value and an entry in C(problems), never an
    error.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.facts
options:
  root:
    description: The folder under which the files of the host are read.
    type: path
    default: /
  search_paths:
    description: Virtual environments to look for ROCm wheels in.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Read the ROCm and driver state
  amdgpu.fleet.rocm_facts:

- name: Stop where the running driver is not the installed one
  ansible.builtin.assert:
    that: not ansible_facts['amd_rocm']['driver']['reload_needed']
    fail_msg: Reboot to start the installed amdgpu driver.
"""

RETURN = r"""
ansible_facts:
  description: The facts that are added.
  returned: always
  type: dict
  contains:
    amd_rocm:
      description: What was found.
      type: dict
      returned: always
      contains:
        installations:
          description: Every installation.
          type: list
          elements: dict
          contains:
            version: {description: "Release of ROCm, or null.", type: str}
            path: {description: Folder., type: str}
            layout: {description: "legacy, therock, distribution or wheel.", type: str}
            current: {description: Whether programs find it by default., type: bool}
        version: {description: "Release of the current installation, or null.", type: str}
        legacy:
          description: What is left of ROCm before 7.14.
          type: dict
          contains:
            packages: {description: Names of the packages of ROCm before 7.14., type: list, elements: str}
            used_by: {description: "Units, and processes that belong to none, which run code of it.", type:
              list, elements: str}
        driver:
          description: The kernel driver.
          type: dict
          contains:
            loaded: {description: Whether the module amdgpu is loaded., type: bool}
            source: {description: "Where the loaded module comes from, dkms or inbox, or null.", type: str}
            version: {description: "Version of the loaded module, which DKMS modules alone have, or null.",
              type: str}
            release: {description: "Release of the driver (31.50.0), or null.", type: str}
            dkms:
              description: Every build that DKMS knows.
              type: list
              elements: dict
              contains:
                version: {description: Version of the module., type: str}
                kernel: {description: "Release of the kernel, or null.", type: str}
                state: {description: "added, built or installed.", type: str}
            build_log: {description: "Log of a build that failed, or null.", type: str}
            built_for_running_kernel: {description: Whether the running kernel has a module., type: bool}
            next_module: {description: "What the next boot would load, dkms or inbox, or null.", type: str}
            reload_needed: {description: Whether the running module is not the installed one., type: bool}
            signer: {description: "Signer of the module, under Secure Boot, or null.", type: str}
            blacklisted_by: {description: Files and kernel arguments that keep it from loading., type: list,
              elements: str}
            owners:
              description: Who else looks after the driver.
              type: list
              elements: dict
              contains:
                name: {description: "gpu_operator, gim, amdgpu_install or runfile.", type: str}
                signs: {description: What shows it., type: list, elements: str}
        firmware:
          description: The firmware of the GPUs.
          type: dict
          contains:
            package: {description: "Name of the package that wins, or null.", type: str}
            version: {description: "Its version, or null.", type: str}
            newer_than_boot: {description: "Whether it was installed after this boot began, or null.", type:
              bool}
            mes: {description: "Loaded MES version, hexadecimal, or null.", type: str}
            vbios: {description: "VBIOS of the first card, or null.", type: str}
        problems:
          description: What could not be read.
          type: list
          elements: dict
          contains:
            path: {description: File or program., type: str}
            problem: {description: What is wrong with it., type: str}
            count: {description: How many files have it., type: int}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _rocm_facts
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._reader import Reader


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "search_paths": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    reader = Reader(module)
    facts = _rocm_facts.facts(reader, reader.tree, module.params["search_paths"])
    module.exit_json(changed=False, ansible_facts={"amd_rocm": facts})


if __name__ == "__main__":
    main()
