# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of servers. The documentation is in the YAML files beside this one."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import units


def unit_files(path: str) -> dict[str, t.Any]:
    try:
        return dataclasses.asdict(units.of(path))
    except ValueError as error:
        raise AnsibleFilterError(f"amdgpu.fleet.unit_files: {error}.") from error


def unit_paths(unit_files: t.Sequence[str]) -> list[str]:
    return units.belonging(unit_files)


def unit_restarts(paths: t.Sequence[str]) -> list[str]:
    return [path for path in paths if units.restarts(path)]


def unit_endpoints(texts: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    return [dataclasses.asdict(endpoint) for endpoint in units.endpoints(texts)]


def unit_select(paths: t.Sequence[str]) -> list[str]:
    return [path for path in paths if units.is_unit(path)]


def other_keys(results: t.Sequence[t.Mapping[str, t.Any]], key: str) -> list[str]:
    found = []
    for result in results:
        server = result["item"]
        line = f"{server['launch']['api_key_variable']}={key}\n"
        if result["stat"]["checksum"] != hashlib.sha256(line.encode()).hexdigest():
            found.append(str(server["name"]))
    return found


def absent(paths: t.Sequence[str]) -> list[dict[str, t.Any]]:
    return [{"path": path, "state": "absent"} for path in paths]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "unit_files": unit_files,
            "unit_paths": unit_paths,
            "unit_restarts": unit_restarts,
            "unit_endpoints": unit_endpoints,
            "unit_select": unit_select,
            "other_keys": other_keys,
            "absent": absent,
        }
