# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module asked by another one: its own code in check mode, with its own arguments, in the same process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class _Answered(Exception):
    """The module came to its end."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__("answered")
        self.result = result


class Question:
    """What a module needs of AnsibleModule, in check mode and without a diff."""

    check_mode = True
    _diff = False

    def __init__(self, asker: AnsibleModule, params: dict[str, Any]) -> None:
        self.params = params
        self.warnings: list[str] = []
        self.no_log_values = asker.no_log_values
        self.run_command_environ_update: dict[str, str] = {}
        self.get_bin_path = asker.get_bin_path
        self._asker = asker

    def run_command(self, command: Any, **named: Any) -> Any:
        """The asker runs it, with the environment that this module wants."""
        before = self._asker.run_command_environ_update
        self._asker.run_command_environ_update = self.run_command_environ_update
        try:
            return self._asker.run_command(command, **named)
        finally:
            self._asker.run_command_environ_update = before

    def warn(self, text: str, **_named: Any) -> None:
        self.warnings.append(text)

    def exit_json(self, **result: Any) -> NoReturn:
        raise _Answered(result)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        raise _Answered({**result, "failed": True, "msg": msg})


def ask(
    asker: AnsibleModule,
    run: Callable[[AnsibleModule], None],
    spec: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """What the module would return in check mode; ``failed`` and ``msg`` where it would fail, ``warnings``
    where it warns.

    ``spec`` holds the keywords of AnsibleModule.
    """
    checked = ArgumentSpecValidator(**spec).validate(dict(arguments))
    if checked.error_messages:
        return {"failed": True, "msg": "; ".join(checked.error_messages)}
    question = Question(asker, checked.validated_parameters)
    try:
        run(cast("AnsibleModule", question))
    except _Answered as answer:
        return {**answer.result, "warnings": question.warnings}
    return {"failed": True, "msg": "The module came to no end."}
