#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: capture
short_description: Pack what detection reads of a host into one archive
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Reads the host as M(amdgpu.fleet.host_facts) does and packs what was read, with the outputs of the
    commands that it asks.
  - M(amdgpu.fleet.host_facts) takes the archive as its O(amdgpu.fleet.host_facts#module:root) and finds the
    same facts there.
  - Secrets are left out - key files, tokens and passwords in texts, in URLs and on command lines, SSH,
    shadow, and the
    environment of processes. Names of packages, units, interfaces and models stay; read the archive before
    you give it away.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.questions
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - A host changes while it is read, so no two archives are the same.
options:
  root:
    description: The folder under which the files of the host are read.
    type: path
    default: /
  dest:
    description:
      - The archive, on the host. It is written for its owner alone, and replaces another file of this name.
      - Its folder must be there.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Capture a host
  amdgpu.fleet.capture:
    dest: /root/capture.tar.gz

- name: Read what was captured, on another machine
  amdgpu.fleet.host_facts:
    root: captures/node1.tar.gz
"""

RETURN = r"""
dest:
  description: The archive.
  returned: always
  type: str
size:
  description: Its bytes; in check mode what it would have.
  returned: always
  type: int
entries:
  description: How many files, folders and links it holds.
  returned: always
  type: int
left_out:
  description: The first paths that were not packed, because they are secret or beyond the bounds.
  returned: always
  type: list
  elements: str
"""

import io
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _host_facts
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._capture_host import capture
from ansible_collections.amdgpu.fleet.plugins.module_utils._reader import Reader
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import WriteError, move, stage

SHOWN = 20


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "dest": {"type": "path", "required": True},
            **_host_facts.QUESTIONS,
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    dest = module.params["dest"]
    if not os.path.isdir(module.params["root"]):
        module.fail_json(
            msg=f"root: {module.params['root']} is not a folder; name the one that holds the host's files."
        )
    if not os.path.isdir(os.path.dirname(dest) or "."):
        module.fail_json(msg=f"dest: there is no folder {os.path.dirname(dest)} for {dest}; make it first.")
    stream = io.BytesIO()
    packed = capture(Reader(module), module.params, stream)
    data = stream.getvalue()
    if not module.check_mode:
        try:
            move(stage(dest, data, 0o600), dest)
        except WriteError as error:
            module.fail_json(msg=str(error))
    module.exit_json(
        changed=True, dest=dest, size=len(data), entries=packed.entries, left_out=packed.left_out[:SHOWN]
    )


if __name__ == "__main__":
    main()
