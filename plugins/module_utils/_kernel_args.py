# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module kernel_args does; compare asks the same code in check mode."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import _boot as boot
from . import _cmdline as cmdline
from . import _write as files
from ._answer import hold_to_text

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def read_running(root: str) -> tuple[list[str] | None, list[dict[str, str]]]:
    place = os.path.join(root, "proc/cmdline")
    try:
        text = files.read_text(place)
    except files.WriteError as error:
        return None, [{"path": place, "problem": str(error)}]
    if text is None or not text.strip("\0 \n"):
        return None, [
            {"path": place, "problem": "there is no such file" if text is None else "the file is empty"}
        ]
    return cmdline.split(files.shown(text.replace("\0", " "))), []


def is_dropin(name: str) -> bool:
    return "/" not in name and name.endswith(".cfg") and not name.startswith(".")


def diff(plan: boot.Plan) -> list[dict[str, str]]:
    """First what the kernel is started with, one line before and one after: files say it in the words of
    their boot loader. Then the files."""
    changed = {place: text for place, text in plan.files.items() if text[0] != text[1]}
    lines = (" ".join(plan.before) + "\n", " ".join(plan.after) + "\n")
    texts: dict[str, tuple[str | None, str | None]] = dict(changed)
    if lines[0] != lines[1] or not changed:
        texts = {"kernel arguments": lines, **texts}
    return [
        {
            "before": files.shown(old),
            "after": files.shown(new),
            "before_header": place,
            "after_header": place,
        }
        for place, (old, new) in texts.items()
    ]


ARGUMENTS: dict[str, Any] = {
    "argument_spec": {
        "present": {"type": "list", "elements": "str", "default": []},
        "absent": {"type": "list", "elements": "str", "default": []},
        "boot_loader": {"type": "str", "choices": ["auto", *boot.LOADERS], "default": "auto"},
        "purge": {"type": "bool", "default": False},
        "dropin": {"type": "str", "default": "60-amdgpu-fleet.cfg"},
        "root": {"type": "path", "default": "/"},
    },
}


def run(module: AnsibleModule) -> None:
    """All of the module; it ends in ``exit_json`` or ``fail_json``."""
    hold_to_text(module)
    module.run_command_environ_update = {"LC_ALL": "C", "LANGUAGE": "C"}
    asked_for = module.params
    root = asked_for["root"]
    if not is_dropin(asked_for["dropin"]):
        module.fail_json(
            msg=(
                f"dropin: {asked_for['dropin']!r} is not the name of a drop-in; give a file name "
                f"that ends in .cfg."
            )
        )
    if not os.path.isdir(root):
        module.fail_json(msg=f"root: {root} is not a directory.")
    host = boot.Host(
        root,
        run=lambda command: module.run_command(command, errors="surrogateescape", handle_exceptions=False),
        find=module.get_bin_path,
        dropin=asked_for["dropin"],
        purge=asked_for["purge"],
    )
    try:
        asked = cmdline.wanted(asked_for["present"], asked_for["absent"])
        plan = boot.plan(host, asked_for["boot_loader"], asked)
        if plan.changed and not module.check_mode:
            boot.carry_out(host, plan, asked)
        elif not module.check_mode:
            boot.write_record(plan, done=True)
    except (cmdline.CmdlineError, boot.BootError, files.WriteError) as error:
        module.fail_json(msg=str(error))

    for warning in plan.warnings:
        module.warn(warning)
    running, problems = read_running(root)
    compared = cmdline.with_purged(plan.before, plan.after, asked) if asked_for["purge"] else asked
    reasons = cmdline.reboot_reasons(running, compared) if running is not None else []
    if running is None and plan.changed:
        reasons = [
            "the boot configuration changed, and what the running kernel was started with cannot be read"
        ]
    if plan.blind:
        reasons = []
    result = {
        "changed": plan.changed,
        "boot_loader": plan.loader,
        "before": [files.shown(entry) for entry in plan.before],
        "after": [files.shown(entry) for entry in plan.after],
        "running": running,
        "reboot_required": bool(reasons),
        "reboot_reason": "; ".join(reasons),
        "actions": plan.actions if plan.changed else [],
        "problems": problems,
    }
    if module._diff:
        result["diff"] = diff(plan)
    module.exit_json(**result)
