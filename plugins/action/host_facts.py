# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _warm
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._facts import ours
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import reach

# Before Ansible forks.
_warm.load()


class ActionModule(ActionBase):
    """Runs the module of the same name, which is documented there, and keeps its own facts alone."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        try:
            result = self._execute_module(task_vars=task_vars)
        except AnsibleError as error:
            result = {"failed": True, "msg": str(error)}
            if isinstance(error, AnsibleConnectionFailure) or not reach.refused_root(result):
                raise
        reason = reach.refused_root(result)
        if reason:
            # As good as no answer: the plan says so in a finding, and the run goes on to its report.
            return {"unreachable": True, "changed": False, "msg": reason}
        return ours(result, "amd_gpus", "amd_rocm", "amd_host", "amd_health")
