# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm is told of a host. The documentation is in the YAML files beside this one."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import facts as host_facts
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import (
    Catalog,
    CatalogError,
    read_yaml,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import ROLES
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import slurm, slurm_files
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover.slurm_wants import HandoverError


def _given(wants: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The variables of the role with their types, for `-e` gives texts, and without their prefix."""
    specification = read_yaml(ROLES / "slurm/meta/argument_specs.yml")
    options = specification["argument_specs"]["main"]["options"]
    asked = {name: value for name, value in plain(wants).items() if name in options}
    result = ArgumentSpecValidator(options).validate(asked)
    if result.error_messages:
        raise AnsibleFilterError(f"{result.error_messages[0]}. Correct it in the inventory.")
    return {name.removeprefix("slurm_"): value for name, value in result.validated_parameters.items()}


def slurm_plan(
    facts: t.Mapping[str, t.Any], wants: t.Mapping[str, t.Any], seen: t.Mapping[str, str]
) -> dict[str, t.Any]:
    given = _given(wants)
    try:
        return slurm.plain(host_facts.of(plain(facts)), given, slurm.Seen(**plain(seen)))
    except HandoverError as error:
        raise AnsibleFilterError(str(error)) from error


def slurm_programs(
    planned: t.Mapping[str, t.Any], wants: t.Mapping[str, t.Any], catalog: t.Mapping[str, t.Any]
) -> slurm_files.Files:
    given = _given(wants)
    try:
        known = Catalog(plain(catalog))
        known.check_overrides()
        return slurm_files.of(plain(planned), given, known.health)
    except CatalogError as error:
        raise AnsibleFilterError(f"plan_catalog: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"slurm_plan": slurm_plan, "slurm_programs": slurm_programs}
