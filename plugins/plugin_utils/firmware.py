# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``firmware`` of the plan: packages held to a minimum, and to what is known to hang a GPU."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils.catalog import version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils.planner import Host


def section(host: Host) -> dict[str, t.Any]:
    rule = host.profile.get("host", {}).get("firmware") or {}
    package = (host.distribution or {}).get("firmware_package")
    plan: dict[str, t.Any] = {"install": [], "reboot": False}
    seen = host.rocm["firmware"]
    managed = host.wants["firmware_policy"] == "managed" and package and rule.get("minimum")
    version = host.wants["firmware_version"]
    installed = host.rocm["packages"].get(package or "")
    refused = [entry for entry in rule.get("refused", []) if entry in (installed or "")]
    if refused:
        host.findings.add(
            "firmware.refused",
            f"{package} {installed}",
            f">= {rule['minimum']}",
            severity="warn" if managed else "fail",
            why=rule["reason"],
            remedy="The role firmware replaces it" if managed else f"Install {package} >= {rule['minimum']}",
        )
    loaded_refused = seen["mes"] in rule.get("mes_refused", [])
    if loaded_refused:
        host.findings.add("firmware.loaded", f"MES {seen['mes']}", "another version", why=rule["reason"])
    if not managed:
        return plan
    at_least = f"{package}>={rule['minimum']}" if host.package_manager == "apt" else f"{package} >= {rule['minimum']}"
    wanted = host.named([f"{package}={version}"])[0] if version else at_least
    too_old = not installed or refused or version_key(installed)[:1] < version_key(rule["minimum"])[:1]
    if too_old or (version and installed != version):
        plan["install"] = [wanted]
    # A good package that came after the last boot is not what runs.
    plan["reboot"] = loaded_refused and not plan["install"]
    host.note("firmware", "package", wanted, rule["reason"], INVENTORY if version else rule["source"])
    return plan
