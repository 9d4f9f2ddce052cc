# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._display import show


class ActionModule(ActionBase):
    """Prints a text as it is; its documentation is that of the module of the same name."""

    _supports_check_mode = True
    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            argument_spec={"text": {"type": "str", "required": True}}
        )
        text = _harmless.text(arguments["text"]).rstrip("\n")
        show("\n" + text)
        # A program that reads the results finds it here.
        return {"changed": False, "msg": text}
