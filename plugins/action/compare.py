# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless, _runs
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._facts import ours

ROLES = Path(__file__).resolve().parents[2] / "roles"
Vars = dict[str, t.Any]


class ActionModule(ActionBase):
    """Reads from each role what it would set, and asks the host about all of it at once; its documentation is
    that of the module of the same name."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: Vars | None = None) -> Vars:
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            argument_spec={
                "roles": {"type": "list", "elements": "str", "required": True},
                "lock": {"type": "bool", "default": False},
            }
        )
        work, parts = self._wanted(arguments["roles"], task_vars or {})
        asked = {**arguments, **_runs.this_run(), "parts": parts, "work": bool(work)}
        result = self._ask(asked, task_vars)
        ended = str(result.get("held_by") or "")
        if result.get("failed") and _runs.has_ended(ended):
            result = self._ask({**asked, "ended": ended}, task_vars)
        if result.get("failed") or result.get("unreachable"):
            return {**ours(result), **({"held_by": _harmless.line(ended)} if ended else {})}
        found = result.get("reasons")
        found = _harmless.everywhere(found) if isinstance(found, dict) else {}
        reasons = {role: str(reason) for role, reason in {**found, **work}.items()}
        return {
            **ours(result),
            "reasons": reasons,
            "unchanged": [role for role in arguments["roles"] if role not in reasons],
            "locked": result.get("locked") is True,
        }

    def _wanted(self, roles: list[str], task_vars: Vars) -> tuple[dict[str, str], dict[str, list[t.Any]]]:
        """Of each role why it has something to do as the plan alone says, or else what to look at."""
        work: dict[str, str] = {}
        parts: dict[str, list[t.Any]] = {}
        for role in roles:
            templar = self._templar.copy_with_new_env(available_variables=self._variables(role, task_vars))
            reasons = templar.resolve_variable_expression(f"__{role}_work")
            if reasons:
                work[role] = "; ".join(map(str, reasons))
            else:
                parts[role] = templar.resolve_variable_expression(f"__{role}_parts")
        return work, parts

    def _variables(self, role: str, task_vars: Vars) -> Vars:
        """The variables as a task of the role has them."""
        folder = ROLES / role
        if not (folder / "vars/main.yml").is_file():
            raise AnsibleActionFail(f"roles: {role!r} is not a role of amdgpu.fleet that can be compared.")
        defaults, own = (
            self._loader.load_from_file(str(folder / name / "main.yml"), trusted_as_template=True) or {}
            if (folder / name / "main.yml").is_file()
            else {}
            for name in ("defaults", "vars")
        )
        place = {"role_path": str(folder), "role_name": role, "ansible_search_path": [str(folder)]}
        return {**defaults, **task_vars, **own, **place}

    def _ask(self, arguments: Vars, task_vars: Vars | None) -> Vars:
        """Keys are among the arguments: the host logs nothing of them."""
        before, self._task.no_log = self._task.no_log, True
        try:
            result: Vars = self._execute_module(
                module_name="amdgpu.fleet.compare", module_args=arguments, task_vars=task_vars
            )
            return result
        finally:
            self._task.no_log = before
