# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.run import local_folder


class ActionModule(ActionBase):
    """Fills in who this run is, and takes over from a run of this controller that has ended; its
    documentation is that of the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        node = os.uname().nodename
        # Each call of ansible-playbook works in processes of its own, whose parent is the same for all of
        # them.
        parent = os.getppid()
        user = os.environ.get("SUDO_USER") or os.environ.get("USER") or f"user {os.getuid()}"
        arguments = {
            "run": f"{node}:{parent}:{local_folder().name}",
            "who": f"{user} on {node} (process {parent})",
            **self._task.args,
        }
        result = self._execute_module(
            module_name="amdgpu.fleet.run_lock", module_args=arguments, task_vars=task_vars
        )
        ended = result.get("held_by") or ""
        if result.get("failed") and _has_ended(ended, node):
            arguments["ended"] = ended
            result = self._execute_module(
                module_name="amdgpu.fleet.run_lock", module_args=arguments, task_vars=task_vars
            )
        return result


def _has_ended(run: str, node: str) -> bool:
    """Whether a run was of this controller and its process is gone: it was killed, and gave nothing back."""
    where, _colon, rest = run.partition(":")
    process = rest.partition(":")[0]
    if where != node or not process.isdecimal() or len(process) > 10:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
