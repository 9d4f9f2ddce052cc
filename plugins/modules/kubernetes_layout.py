#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_layout
short_description: Write the objects of hosts as a Kustomize layout
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Runs on the controller only; nothing is sent to the host.
  - Files that this module did not write are left alone, so that patches of a repository can lie beside them.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: partial
    details:
      - With O(step=fleet) it goes by the folders of hosts that are there, which check mode does not write.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  step:
    description:
      - V(host) makes the folder of a host hold O(files). Run it for each host.
      - V(fleet) writes what hosts share, and the list of their folders. Run it once. Where two hosts need
        different things of the same name, it fails and names them.
    type: str
    choices: [host, fleet]
    required: true
  directory:
    description: Folder on the controller for the layout.
    type: path
    required: true
  folder:
    description: Name of the folder of the host, for O(step=host).
    type: str
    default: ""
  files:
    description: Texts by path below O(directory), for O(step=host). Without any, the folder goes.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the objects of this host
  amdgpu.fleet.kubernetes_layout:
    step: host
    directory: /srv/gitops/fleet
    folder: "{{ objects.folder }}"
    files: "{{ objects.files }}"

- name: Write what the hosts share
  amdgpu.fleet.kubernetes_layout:
    step: fleet
    directory: /srv/gitops/fleet
  run_once: true
"""

RETURN = r"""
directory: {description: Where the layout lies., type: str, returned: success}
written: {description: Files that differ from what was there., type: list, elements: str, returned: success}
removed: {description: Files that went., type: list, elements: str, returned: success}
"""
