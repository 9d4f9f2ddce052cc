# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attributes every module of this collection documents, in one place."""

from __future__ import annotations


class ModuleDocFragment:
    # For modules that change something. A module adds the key support (and details where partial).
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check_mode and return the changed status prediction without modifying the target.
  diff_mode:
    description: Returns details on what has changed, or would change in check mode, when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode with the same arguments, the second run reports no
      change.
"""

    # For modules that read the host and return ansible_facts.
    FACTS = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - This module reads the host and changes nothing.
  idempotent:
    support: full
  facts:
    description: Returns an C(ansible_facts) dictionary that updates existing host facts.
    support: full
"""

    # For modules that look at something and return it, without ansible_facts and without a change to the
    # host.
    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - This module changes nothing.
  idempotent:
    support: full
"""

    # What the planner asks about a host.
    QUESTIONS = r"""
options:
  search_paths:
    description: Virtual environments to look for ROCm wheels and vLLM in.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports to look up in the list of listening sockets.
    type: list
    elements: int
    default: []
  paths:
    description: Model folders to look for.
    type: list
    elements: str
    default: []
  images:
    description: Container images to look for in Podman's stores.
    type: list
    elements: str
    default: []
  programs:
    description: Programs to look for, by name or by path.
    type: list
    elements: str
    default: []
  user:
    description: Account whose store the images are looked for in, and of which C(user) tells.
    type: str
    default: ""
  network:
    description: Whether to look at interfaces and RDMA devices.
    type: bool
    default: false
  health:
    description: Whether to read the state of the GPUs too, as M(amdgpu.fleet.gpu_health) does.
    type: bool
    default: false
"""
