# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shlex
import time
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._display import show

# Seconds between two looks, at first and later, and between two lines.
FIRST_LOOK, LATER_LOOK, LINE = 1, 10, 30
GIB = 1 << 30
LINE_LENGTH = 160


class ActionModule(ActionBase):
    """Waits for a job of Ansible and says how large its folder has become, or how long it takes already; its
    documentation is that of the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        words = {"type": "str", "required": True}
        _spec, arguments = self.validate_argument_spec(
            argument_spec={
                "jid": words,
                "folder": {"type": "str", "default": ""},
                "what": words,
                "log": {"type": "str", "default": ""},
            }
        )
        who = f"{(task_vars or {}).get('inventory_hostname', '')}: {arguments['what']}"
        start = time.monotonic()
        look, shown = FIRST_LOOK, start - LINE
        while True:
            status = self._status(arguments["jid"], "status", task_vars)
            if status.get("finished") or status.get("failed"):
                break
            if time.monotonic() - shown >= LINE:
                shown = time.monotonic()
                show(f"{who}: {self._how_far(arguments, shown - start)}")
            time.sleep(look)
            look = min(2 * look, LATER_LOOK)
        self._status(arguments["jid"], "cleanup", task_vars)
        return status

    def _how_far(self, arguments: dict[str, t.Any], seconds: float) -> str:
        """The last line of its log, the size of its folder, or for how long it runs."""
        if arguments["log"]:
            return self._last_line(arguments["log"])
        if arguments["folder"]:
            return self._size(arguments["folder"])
        return f"{seconds:.0f} s" if seconds else "started"

    def _status(self, jid: str, mode: str, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        folder = self.get_shell_option("async_dir", default="~/.ansible_async")
        arguments = {"jid": jid, "mode": mode, "_async_dir": folder}
        result: dict[str, t.Any] = self._execute_module(
            module_name="ansible.builtin.async_status", module_args=arguments, task_vars=task_vars
        )
        return result

    def _size(self, folder: str) -> str:
        """What is there, and of how much where that is written beside it; both without starting a Python on
        the host."""
        place = shlex.quote(folder)
        done = self._low_level_execute_command(
            f"du -sb {place} 2>/dev/null; cat {place}/.cache/expected_bytes 2>/dev/null; true"
        )
        numbers = [
            int(line.split()[0])
            for line in done.get("stdout_lines", [])
            if line.split() and line.split()[0].isdigit()
        ]
        return " of ".join(f"{number / GIB:.1f}" for number in numbers) + " GiB" if numbers else "started"

    def _last_line(self, log: str) -> str:
        """What a log ends with, a step of a build or a file that is compiled."""
        done = self._low_level_execute_command(f"tail -c 4096 {shlex.quote(log)} 2>/dev/null; true")
        lines = [line.split("\r")[-1].strip() for line in done.get("stdout_lines", [])]
        return _harmless.text(next((line for line in reversed(lines) if line), "started")[:LINE_LENGTH])
