# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role monitor writes. The documentation is in the YAML files beside this one."""

from __future__ import annotations

import json
import typing as t

import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._monitor import (
    dashboards,
    programs,
    rules,
    targets,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError

HEAD = "# Written by amdgpu.fleet\n"


class _Wide(yaml.SafeDumper):
    """An expression stays on its line."""


def monitor_programs(folder: str) -> list[dict[str, str]]:
    return programs.programs(folder)


def monitor_settings(override: t.Any, accepted: t.Sequence[str] = (), gpus: int = 0) -> str:
    try:
        return programs.settings(Catalog(plain(override)), [str(each) for each in accepted], int(gpus))
    except CatalogError as error:
        raise AnsibleFilterError(str(error)) from error


def monitor_documents(override: t.Any) -> dict[str, t.Any]:
    try:
        catalog = Catalog(plain(override))
        groups = rules.groups(catalog)
        boards = dashboards.dashboards(catalog)
    except CatalogError as error:
        raise AnsibleFilterError(str(error)) from error
    text = yaml.dump(groups, Dumper=_Wide, sort_keys=False, width=100000, allow_unicode=True)
    return {
        "rules": HEAD + text,
        "dashboards": {name: json.dumps(board, indent=1) + "\n" for name, board in boards.items()},
    }


def monitor_targets(
    hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Any], own: str = ""
) -> list[dict[str, t.Any]]:
    try:
        return [dict(each._asdict()) for each in targets.targets(hosts, hostvars, own)]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise AnsibleFilterError(
            f"amdgpu.fleet.monitor_targets: serve_instances of a host is not a list of instances, each with "
            f"a name and numbers as port and count ({error}). Correct it in the inventory."
        ) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "monitor_programs": monitor_programs,
            "monitor_settings": monitor_settings,
            "monitor_documents": monitor_documents,
            "monitor_targets": monitor_targets,
        }
