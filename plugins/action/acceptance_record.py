# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._acceptance import junit, shape, siblings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._facts import ours
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import folder as folders


class ActionModule(ActionBase):
    """Runs the module of the same name, which is documented there, and writes the record to the controller
    too."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        result = ours(self._execute_module(task_vars=variables), "amd_acceptance")
        if result.get("failed") or self._task.check_mode:
            return result
        record = shape.held(result.get("ansible_facts", {}).get("amd_acceptance"))
        if record is None:
            return {"failed": True, "changed": False, "msg": "The host sent no record that is whole."}
        host = str(variables.get("inventory_hostname") or "")
        record = {"host": host, **record}
        result["ansible_facts"]["amd_acceptance"] = record
        directory = self._task.args.get("directory")
        if directory:
            result["warnings"] = self._write(Path(str(directory)), record)
        return result

    def _write(self, folder: Path, record: dict[str, t.Any]) -> list[str]:
        """Beside those of the other hosts; where it cannot be written, that is a warning."""
        host = record["host"]
        siblings.compare(record, siblings.read(folder, host))
        place = folders.file_of(folder, host).name.removesuffix(".json")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folders.write(folder / f"{place}.json", folders.to_json(record))
            folders.write(folder / f"{place}.xml", junit.render(record))
        except OSError as error:
            return [f"The record of {host} could not be written to {folder} ({error.strerror or error})."]
        return []
