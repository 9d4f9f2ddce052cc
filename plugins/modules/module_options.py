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

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _modprobe as modprobe
from ansible_collections.amdgpu.fleet.plugins.module_utils import _modprobe_effect as effect
from ansible_collections.amdgpu.fleet.plugins.module_utils import _write as files
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text


def warning(conflict: dict[str, Any], path: str) -> str:
    """Another file sets the same parameter."""
    later = "that file" if conflict["wins"] else path
    return (
        f"{conflict['path']} line {conflict['line']} sets {conflict['module']} "
        f"{conflict['parameter']}={conflict['value']}; {later} is read later and wins. Remove one of the two."
    )


def put(place: str, text: str | None, written: bool, old: tuple[str, str] | None) -> None:
    """Write the file, or remove it where no text is left; then the one that it takes over from goes."""
    if written and text is None:
        files.remove(place)
    elif written:
        files.make_parents(place)
        files.write_text(place, text)
    if old:
        files.remove(old[0])


def diffs(texts: dict[str, tuple[str | None, str | None]]) -> list[dict[str, str]]:
    return [
        {
            "before": files.shown(was),
            "after": files.shown(becomes),
            "before_header": name,
            "after_header": name,
        }
        for name, (was, becomes) in texts.items()
    ]


SPEC: dict[str, Any] = {
    "options": {"type": "dict", "default": {}},
    "blacklist": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    "path": {"type": "str", "default": modprobe.PATH},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        supports_check_mode=True,
    )
    hold_to_text(module)
    root, path = module.params["root"], module.params["path"]
    if not os.path.isdir(root):
        module.fail_json(msg=f"root: {root} is not a directory.")
    if not path.endswith(".conf"):
        module.fail_json(msg=f"path: {path} does not end in .conf; modprobe reads no other files.")
    try:
        options, blacklist = modprobe.wanted(module.params["options"], module.params["blacklist"])
        place = files.below(root, path)
        files.refuse_special(place)
        text = files.read_text(place)
        old = modprobe.predecessor(root, path)
        before = modprobe.parse((old[1] if old else "") + (text or ""))
        after = modprobe.apply(
            before, options, blacklist, module.params["state"] == "present", module.params["purge"]
        )
        actions = modprobe.edits(before, after)
        whole = module.params["state"] == "absent" and not options and not blacklist
        wanted = modprobe.render(after) if whole or old or after != before else text
        written = wanted != text
        changed = written or old is not None
        actions += [f"{'remove' if wanted is None else 'write'} {path}"] * written
        actions += [f"remove {modprobe.OLD_PATH}"] * (old is not None)
        # Before anything is written: it may find a path that leads out of the root.
        problems: list[dict[str, str]] = []
        conflicts = modprobe.conflicts(root, place, after.options, problems, [old[0]] if old else [])
        overruled = {(entry["module"], entry["parameter"]) for entry in conflicts if entry["wins"]}
        initramfs = effect.initramfs_reason(root, place, changed, whole)
        reload = effect.reload_reasons(root, before, after, options, overruled)
        reload += effect.loaded_all_the_same(root, after, blacklist)
        if not module.check_mode:
            put(place, wanted, written, old)
    except (modprobe.ModprobeError, files.WriteError) as error:
        module.fail_json(msg=str(error))

    for entry in conflicts:
        module.warn(warning(entry, path))
    result = {
        "changed": changed,
        "path": path,
        "before": before.public(),
        "after": after.public(),
        "conflicts": conflicts,
        "initramfs_required": bool(initramfs),
        "initramfs_reason": initramfs,
        "reload_required": bool(reload),
        "reload_reason": "; ".join(reload),
        "actions": actions if changed else [],
        "problems": problems,
    }
    if module._diff:
        texts = {path: (text, wanted), **({modprobe.OLD_PATH: (old[1], None)} if old else {})}
        result["diff"] = diffs(texts) if old else diffs(texts)[0]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
