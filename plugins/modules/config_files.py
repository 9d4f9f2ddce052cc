#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Several small files in one step, all or nothing
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Writes and removes any number of small text files in one module execution.
  - Every file is written beside its target and validated first; only when all of them are right are they
    moved into
    place. If one fails, nothing changes.
  - A missing parent directory is created with mode 0755 and reported.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The file, from the top, as seen from O(root). It must not be a symbolic link or a
          directory.
        type: str
        required: true
      content:
        description: The whole text. Required where the file is to be present.
        type: str
      mode:
        description: The permissions, octal, in quotes.
        type: str
        default: '0644'
      owner:
        description:
          - Name or number of the owner. Not given, a file keeps its owner and a new one belongs to the user
            who runs
            the module.
        type: str
      group:
        description: Name or number of the group.
        type: str
      state:
        description: Whether the file shall be there.
        type: str
        choices: [present, absent]
        default: present
      secret:
        description:
          - Whether the content must not be shown in the diff, in a message or in the result.
          - Ansible itself writes the arguments of modules to the log of the host. Set C(no_log) on a task
            with such an O(files[].content).
        type: bool
        default: false
      keep:
        description: A file that is there keeps its content; its mode and owner are put right.
        type: bool
        default: false
      keep_pattern:
        description:
          - Regular expression that a file must hold for O(files[].keep) to keep it, where C(^) and C($) are
            the ends of a line. A file that does not is written anew.
        type: str
        version_added: 1.0.0
      validate:
        description:
          - A command that must succeed on the new file before anything is replaced. C(%s) is the temporary
            file. Where the command holds
            C(%d), that is a directory with the new file alone, under its own name.
          - One text is split like a shell would, without running a shell.
        type: raw
      validator:
        description: What to call O(files[].validate) in a message. Not given, it is the first word of the
          command.
        type: str
  pending:
    description:
      - File on the host that notes what was changed here, for a step that has to follow (a reload, a
        restart).
        It is written before anything is changed, and the step that follows removes it. A run that was killed
        in between leaves it, and the next one says so in RV(pending_paths).
    type: str
  root:
    description: The folder under which the files are. Names of owners and groups are those of the running
      system.
    type: path
    default: /
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - The validation runs in check mode too, on a temporary file outside the target directory.
  diff_mode:
    support: full
    details:
      - Nothing is shown of a file with O(files[].secret=true).
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Give the GPU devices to the group render and lift the memory lock limit
  amdgpu.fleet.config_files:
    files:
      - path: /etc/udev/rules.d/70-amdgpu.rules
        content: |
          KERNEL=="kfd", GROUP="render", MODE="0660"
      - path: /etc/security/limits.d/60-amdgpu.conf
        content: |
          * - memlock unlimited
      - path: /etc/sudoers.d/gpu-operators
        content: "{{ operators }}"
        mode: '0440'
        validate: visudo -cf %s

- name: Take a token away without a word about it
  amdgpu.fleet.config_files:
    files:
      - path: /etc/vllm/token
        state: absent
        secret: true
"""

RETURN = r"""
changed_paths:
  description: Files that were written, or whose mode or owner was corrected.
  returned: success
  type: list
  elements: str
  sample: [/etc/udev/rules.d/70-amdgpu.rules]
absent_paths:
  description: Files that were removed.
  returned: success
  type: list
  elements: str
  sample: []
pending_paths:
  description: What was changed and not followed up yet, by this run or an earlier one.
  returned: with O(pending)
  type: list
  elements: str
  sample: [/etc/udev/rules.d/70-amdgpu.rules]
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [create directory /etc/udev/rules.d, create /etc/udev/rules.d/70-amdgpu.rules]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _config_files as config_files


def main() -> None:
    config_files.run(AnsibleModule(**config_files.ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
