# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host needs a reboot: what the roles asked for in a run, and what the host itself shows."""

from __future__ import annotations

import typing as t

from ...module_utils import _cmdline

# The roles that can ask for one, each in its fact ROLE_reboot_reason.
ROLES = ("kernel", "firmware", "driver")


def asked(variables: t.Mapping[str, t.Any]) -> list[str]:
    """The reasons that the roles of this run gave, in the order in which they run."""
    names = [f"{role}_reboot_reason" for role in ROLES]
    return [str(variables[name]) for name in names if name in variables and variables[name]]


def waiting(
    plan: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any] | None = None
) -> list[str]:
    """The reasons that the facts of a host and its plan show, as far as they show them: module options do
    not.

    With the ``variables`` of the host, of those roles that asked. Without, of firmware and driver: before the
    role kernel has done its work, arguments that do not run yet need more than a reboot.
    """
    if "driver" not in plan or not facts.get("amd_host"):
        return []  # a host that was left alone
    if facts["amd_host"]["place"]["kind"] in ("container", "wsl"):
        return []  # its kernel is somebody else's
    roles = (
        [role for role in ROLES if variables.get(f"{role}_reboot_reason")]
        if variables is not None
        else ["firmware", "driver"]
    )
    reasons = []
    if "kernel" in roles and plan["kernel"]["state"] == "present":
        wanted = _cmdline.wanted(plan["kernel"]["present"], plan["kernel"]["absent"])
        reasons += _cmdline.reboot_reasons(facts["amd_host"]["kernel"]["command_line"], wanted)
        if plan["kernel"]["reboot_into"]:
            reasons.append(f"kernel {plan['kernel']['reboot_into']} is installed and not running")
    if "firmware" in roles and plan["firmware"]["reboot"]:
        reasons.append("new firmware is loaded at boot")
    if "driver" in roles and facts["amd_rocm"]["driver"]["reload_needed"]:
        reasons.append("the installed driver is not the running one")
    elif "driver" in roles and plan["driver"]["waits"]:
        reasons.append("the driver is installed and not loaded")
    return reasons
