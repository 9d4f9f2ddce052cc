# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is built of. The documentation is in the YAML file beside this one."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import build
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError

FIELDS = {field.name for field in dataclasses.fields(build.Request)}


def build_plan(
    wants: t.Mapping[str, t.Any], plan_catalog: dict[str, t.Any] | None = None
) -> dict[str, t.Any]:
    given = plain(dict(wants))
    strange = sorted(set(given) - FIELDS)
    if strange:
        raise AnsibleFilterError(
            f"amdgpu.fleet.build_plan: there is no {strange[0]}. There are {', '.join(sorted(FIELDS))}."
        )
    try:
        return dataclasses.asdict(build.plan(build.Request(**given), Catalog(plain(plan_catalog or {}))))
    except (build.BuildError, CatalogError) as error:
        raise AnsibleFilterError(f"{str(error).rstrip('.')}.") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"build_plan": build_plan}
