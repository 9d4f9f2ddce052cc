# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``firmware`` of the plan: packages held to a minimum, and to what is known to hang a GPU."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import distributions
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host


def section(host: Host) -> dict[str, t.Any]:
    rule, wants = host.profile.get("host", {}).get("firmware") or {}, host.wants
    package = (host.distribution or {}).get("firmware_package")
    plan: dict[str, t.Any] = {"install": [], "reboot": False}
    _board(host, rule)
    seen, installed = host.rocm["firmware"], host.rocm["packages"].get(package or "")
    series = _series(host, rule)
    minimum, version = rule.get("minimum") if series is None else series["minimum"], wants["firmware_version"]
    managed = (
        wants["firmware_policy"] == "managed" and package and rule.get("minimum") and (minimum or version)
    )
    # Whatever the distribution calls the package: Fedora and Arch split it.
    there = {
        name: text
        for name, text in ((seen["package"], seen["version"]), (package, installed))
        if name and text
    }
    refused = {
        name: text for name, text in there.items() if any(entry in text for entry in rule.get("refused", []))
    }
    if refused:
        name = next(iter(refused))
        newest = max(rule["refused"], key=version_key)
        wanted_release = f">= {rule['minimum']}" if rule["minimum"] else f"newer or older than {newest}"
        host.findings.add(
            "firmware.refused",
            f"{name} {refused[name]}",
            f">= {rule['minimum']}" if rule["minimum"] else "another release",
            severity="warn" if managed else "fail",
            why=rule["reason"],
            remedy="The role firmware replaces it" if managed else f"Install {name} {wanted_release}",
        )
    loaded_refused = seen["mes"] in rule.get("mes_refused", [])
    if loaded_refused:
        host.findings.add("firmware.loaded", f"MES {seen['mes']}", "another version", why=rule["reason"])
    if (
        series is not None
        and not version
        and wants["firmware_policy"] == "managed"
        and (loaded_refused or seen["mes"] is None)
    ):
        host.findings.add(
            "firmware.series",
            f"{package} {installed or 'not installed'}, MES {seen['mes'] or 'not known'} loaded",
            f"a MES other than {' and '.join(rule['mes_refused'])}",
            severity="fail" if loaded_refused else "warn",
            why=series["reason"],
            remedy=series["remedy"],
        )
    # A good package that came after the last boot is not what runs. Where the loaded version is known to be
    # good it does not matter.
    waits = bool(seen["newer_than_boot"]) and seen["mes"] != rule.get("mes_good")
    if not managed:
        plan["reboot"] = waits and series is not None and wants["firmware_policy"] == "managed"
        return plan
    at_least = f"{package}>={minimum}" if host.package_manager == "apt" else f"{package} >= {minimum}"
    wanted = host.named([f"{package}={version}"])[0] if version else at_least
    too_old = minimum and (not installed or refused or version_key(installed)[:1] < version_key(minimum)[:1])
    if (too_old and not version) or (version and installed != version):
        plan["install"] = [wanted]
    plan["reboot"] = (loaded_refused or waits) and not plan["install"]
    host.note("firmware", "package", wanted, rule["reason"], INVENTORY if version else rule["source"])
    return plan


def _board(host: Host, rule: dict[str, t.Any]) -> None:
    """What AMD asks of the board's own firmware, for people to compare: no file of a host tells which it is."""
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    for entry in rule.get("board", []):
        if entry["product"] in products:
            reason = f"AMD's minimum for {entry['product']}; compare it with `amd-smi static --ifwi`, the host does not tell it"
            host.note("firmware", "board firmware", f">= {entry['minimum']}", reason, rule["source"])


def _series(host: Host, rule: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """What a release of a distribution has instead of the minimum, where its packages keep the date of their
    series."""
    os = distributions.base(host.rocm["os"])
    mine = (
        entry
        for entry in rule.get("series", [])
        if entry["distribution"] == os.id and os.version in entry["versions"]
    )
    return next(mine, None)
