# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module config_files does; compare asks the same code in check mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _files as files
from . import _pending as pending
from ._answer import hold_to_text
from ._write import WriteError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

FILE: dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "secret": {"type": "bool", "default": False, "no_log": False},
    "keep": {"type": "bool", "default": False},
    "keep_pattern": {"type": "str", "no_log": False},
    "validate": {"type": "raw"},
    "validator": {"type": "str"},
}


ARGUMENTS: dict[str, Any] = {
    "argument_spec": {
        "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
        "pending": {"type": "str"},
        "root": {"type": "path", "default": "/"},
    },
}


def run(module: AnsibleModule) -> None:
    """All of the module; it ends in ``exit_json`` or ``fail_json``."""
    hold_to_text(module)
    module.run_command_environ_update = {"LC_ALL": "C", "LANGUAGE": "C"}
    root, asked = module.params["root"], [dict(item) for item in module.params["files"]]
    for item in module.params[
        "files"
    ]:  # they come back in the invocation of every result, that of a failure too
        if item["secret"] and item["content"]:
            item["content"] = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    try:
        wanted = [files.wanted(item) for item in asked]
        changes = files.plan(root, wanted)
        noted = pending.note(
            root,
            module.params["pending"],
            [change.file.path for change in changes if change.actions],
            module.check_mode,
        )
        files.carry_out(
            changes, lambda command: module.run_command(command, handle_exceptions=False), module.check_mode
        )
    except WriteError as error:
        module.fail_json(msg=str(error))
    result = {
        "changed": any(change.actions for change in changes),
        "changed_paths": [
            change.file.path for change in changes if change.actions and change.file.content is not None
        ],
        "absent_paths": [
            change.file.path for change in changes if change.actions and change.file.content is None
        ],
        **({"pending_paths": noted} if module.params["pending"] else {}),
        "actions": list(dict.fromkeys(action for change in changes for action in change.actions)),
    }
    if module._diff:
        result["diff"] = [change.diff() for change in changes if change.actions]
    module.exit_json(**result)
