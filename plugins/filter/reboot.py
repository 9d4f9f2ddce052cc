# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host needs a reboot. The documentation is in the YAML files beside this one."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.module_utils._cmdline import CmdlineError
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import reboot


def reboot_reasons(variables: t.Mapping[str, t.Any]) -> list[str]:
    return reboot.asked(variables)


def reboot_waiting(
    plan: t.Mapping[str, t.Any],
    facts: t.Mapping[str, t.Any],
    variables: t.Mapping[str, t.Any] | None = None,
) -> list[str]:
    try:
        return reboot.waiting(plan, facts, variables)
    except CmdlineError as error:
        raise AnsibleFilterError(f"amdgpu.fleet.reboot_waiting: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"reboot_reasons": reboot_reasons, "reboot_waiting": reboot_waiting}
