# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module module_options does; compare asks the same code in check mode."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import _modprobe as modprobe
from . import _modprobe_effect as effect
from . import _write as files
from ._answer import hold_to_text

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


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
    elif written and text is not None:
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


ARGUMENTS: dict[str, Any] = {
    "argument_spec": {
        "options": {"type": "dict", "default": {}},
        "blacklist": {"type": "list", "elements": "str", "default": []},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "purge": {"type": "bool", "default": False},
        "path": {"type": "str", "default": modprobe.PATH},
        "root": {"type": "path", "default": "/"},
    },
}


def run(module: AnsibleModule) -> None:
    """All of the module; it ends in ``exit_json`` or ``fail_json``."""
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
