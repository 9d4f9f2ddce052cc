# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror of a site. The documentation is in the YAML files beside this one."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _mirror
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError


def mirror_routes(override: t.Any) -> list[dict[str, str]]:
    try:
        return [dataclasses.asdict(route) for route in _mirror.routes(Catalog(plain(override)))]
    except CatalogError as error:
        raise AnsibleFilterError(str(error)) from error


def mirror_tokens(override: t.Any) -> list[dict[str, str]]:
    try:
        return [dataclasses.asdict(token) for token in _mirror.tokens(Catalog(plain(override)))]
    except CatalogError as error:
        raise AnsibleFilterError(str(error)) from error


def mirror_addresses(
    given: t.Any, groups: t.Mapping[str, t.Sequence[str]], hostvars: t.Mapping[str, t.Any]
) -> t.Any:
    # What is no mapping is refused where every variable is.
    if given and not isinstance(given, Mapping):
        return given
    try:
        return _mirror.addresses(given or {}, groups, hostvars)
    except _mirror.MirrorError as error:
        raise AnsibleFilterError(f"amdgpu.fleet.mirror_addresses: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "mirror_routes": mirror_routes,
            "mirror_tokens": mirror_tokens,
            "mirror_addresses": mirror_addresses,
        }
