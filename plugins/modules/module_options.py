#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: module_options
short_description: Options and blacklist of kernel modules in modprobe.d
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Sets options of kernel modules in one file of C(/etc/modprobe.d) and keeps what that file already holds.
  - Says what has to follow, the initramfs built again or the module loaded again, and does neither.
  - Says which other file sets the same parameter to another value, and which of the two wins.
options:
  options:
    description:
      - Module, parameter and value. A value of null takes the parameter out of this file.
      - V(true) and V(false) are written as 1 and 0. With O(state=absent) the values do not matter, and a
        module with
        an empty dictionary loses all its parameters.
    type: dict
    default: {}
  blacklist:
    description: Modules that must not be loaded by their alias.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(absent) takes the named options and blacklist entries out of the file. Where neither is given, the
        whole
        file goes.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - Take options and blacklist entries out of the file that this call does not ask for. Lines of another
        kind stay.
      - Has no effect with O(state=absent).
    type: bool
    default: false
  path:
    description:
      - The file, as seen from O(root). It is removed once nothing is left in it.
      - Files are read in the order of their names, and of two values the later one counts. The default is
        read after C(ttm.conf), which
        C(amd-smi set --gtt) writes. It takes over from a C(/etc/modprobe.d/amdgpu-fleet.conf) that this
        module wrote.
    type: str
    default: /etc/modprobe.d/zz-amdgpu-fleet.conf
  root:
    description: The folder under which the host's files are.
    type: path
    default: /
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Let ROCm use 96 GiB on a Strix Halo workstation
  amdgpu.fleet.module_options:
    options:
      ttm:
        pages_limit: 25165824
  register: module_options

- name: Build the initramfs again
  ansible.builtin.command:
    argv: [update-initramfs, -u]
  changed_when: true
  when: module_options.initramfs_required
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: /etc/modprobe.d/zz-amdgpu-fleet.conf
before:
  description: Options and blacklist of this file before.
  returned: success
  type: dict
  sample: {options: {}, blacklist: []}
after:
  description: Options and blacklist of this file now, or as they would be in check mode.
  returned: success
  type: dict
  sample: {options: {ttm: {pages_limit: "25165824"}}, blacklist: []}
conflicts:
  description:
    - Lines of other files that set one of these parameters to another value; C(wins) is true where that file
      is read
      later than this one. No reload is asked for a parameter that another file wins.
  returned: success
  type: list
  elements: dict
  sample:
    - {path: /etc/modprobe.d/ttm.conf, line: 1, module: ttm, parameter: pages_limit, value: "27648000", wins:
      true}
initramfs_required:
  description:
    - Whether the initramfs has to be built again, because the file changed or is newer than the image of an
      installed kernel.
  returned: success
  type: bool
  sample: true
initramfs_reason:
  description: Why; an empty text where it has not.
  returned: success
  type: str
  sample: initramfs-tools copies /etc/modprobe.d into the initramfs
reload_required:
  description:
    - Whether a loaded module runs with another value (from C(/sys/module)), so that it must be loaded again
      or the
      host rebooted.
  returned: success
  type: bool
  sample: true
reload_reason:
  description: Why; an empty text where it need not.
  returned: success
  type: str
  sample: ttm runs with pages_limit=16777216, wanted is 25165824
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [set ttm pages_limit=25165824, write /etc/modprobe.d/zz-amdgpu-fleet.conf]
problems:
  description: Files that could not be read while looking for conflicts.
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _module_options as module_options


def main() -> None:
    module_options.run(AnsibleModule(**module_options.ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
