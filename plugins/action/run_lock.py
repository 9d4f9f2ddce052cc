# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless, _runs
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._facts import ours


class ActionModule(ActionBase):
    """Fills in who this run is, and takes over from a run of this controller that has ended; its
    documentation is that of the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        arguments = {**_runs.this_run(), **self._task.args}
        result: dict[str, t.Any] = self._execute_module(
            module_name="amdgpu.fleet.run_lock", module_args=arguments, task_vars=task_vars
        )
        ended = str(result.get("held_by") or "")
        if result.get("failed") and _runs.has_ended(ended):
            arguments["ended"] = ended
            result = self._execute_module(
                module_name="amdgpu.fleet.run_lock", module_args=arguments, task_vars=task_vars
            )
        held = str(result.get("held_by") or "")
        since = result.get("since")
        return {
            **ours(result),
            **({"held_by": _harmless.line(held)} if held else {}),
            **({"since": since} if isinstance(since, (int, float)) else {}),
        }
