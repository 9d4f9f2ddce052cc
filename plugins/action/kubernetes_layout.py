# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _layout


class ActionModule(ActionBase):
    """Writes files on the controller; its documentation is that of the module of the same name."""

    _supports_check_mode = True
    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            argument_spec={
                "step": {"type": "str", "choices": ["host", "fleet"], "required": True},
                "directory": {"type": "path", "required": True},
                "folder": {"type": "str", "default": ""},
                "files": {"type": "dict", "default": {}},
            },
            required_if=[("step", "host", ["folder"])],
        )
        root = Path(arguments["directory"]).absolute()
        try:
            change = (
                _layout.of_host(root, arguments["folder"], arguments["files"])
                if arguments["step"] == "host"
                else _layout.of_fleet(root)
            )
            if change and not self._task.check_mode:
                _layout.apply(root, change)
        except _layout.LayoutError as error:
            return {**result, "failed": True, "msg": str(error)}
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return {
                **result,
                "failed": True,
                "msg": f"{error.filename or root} cannot be written ({why}). Name a folder that you may "
                "write with handover_path.",
            }
        return {
            **result,
            "changed": bool(change),
            "directory": str(root),
            "written": sorted(change.write),
            "removed": sorted(change.remove),
            **({"diff": change.diff} if self._task.diff else {}),
        }
