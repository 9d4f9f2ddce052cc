#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print a text as it is
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Prints a text in the terminal without the quoting and indentation that M(ansible.builtin.debug) gives it,
    for tables.
  - Runs on the controller only; nothing is sent to the host.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.info
options:
  text:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show a table
  amdgpu.fleet.show:
    text: "{{ lookup('ansible.builtin.template', 'table.txt.j2') }}"
"""

RETURN = r"""
msg: {description: The text. A callback that writes JSON has it here and nowhere else., type: str, returned:
always}
"""
