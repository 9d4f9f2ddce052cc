#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: await_job
short_description: Wait for a job and say how far it is
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Waits for a task that was started with C(async) and C(poll=0), and prints every half minute how large its
    folder has become.
    Ansible's own polling says only that the job still runs.
  - Returns what the task returned, and fails where it failed.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.info
options:
  jid:
    description: C(ansible_job_id) of the task.
    type: str
    required: true
  folder:
    description: The folder that grows. C(.cache/expected_bytes) in it may say how large it will be. Without a
      folder the seconds since the start are printed.
    type: str
    default: ""
  what:
    description: What to call it.
    type: str
    required: true
  log:
    description: A log of the job. Its last line is printed in the place of the size.
    type: str
    default: ""
    version_added: 1.0.0
"""

EXAMPLES = r"""
- name: Fetch a model
  amdgpu.fleet.model_folder:
    path: /srv/models/qwen
    hub: Qwen/Qwen3-8B
    client: /opt/amdgpu-fleet/hub-2.4.0/bin/hf
  async: 86400
  poll: 0
  register: job

- name: Wait for it
  amdgpu.fleet.await_job:
    jid: "{{ job.ansible_job_id }}"
    folder: /srv/models/qwen.partial
    what: Qwen/Qwen3-8B
"""

RETURN = r""" # """
