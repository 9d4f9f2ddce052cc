# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``firmware`` of the plan: packages held to a minimum, and to what is known to hang a GPU."""

from __future__ import annotations

import dataclasses
import typing as t

from . import distributions, owners
from .catalog import version_key
from .host import Host
from .wants import INVENTORY


@dataclasses.dataclass(frozen=True)
class FirmwarePlan:
    """What the role firmware applies."""

    install: list[str] = dataclasses.field(default_factory=list)
    # Firmware that is installed is loaded at the next boot alone.
    reboot: bool = False


def section(host: Host) -> FirmwarePlan:
    """Findings and packages; where the release has a series of its own (``_series``), its minimum counts."""
    rule, wants = host.profile.get("host", {}).get("firmware") or {}, host.wants
    package = (host.distribution or {}).get("firmware_package")
    _note_boards(host, rule)
    firmware, installed = host.rocm["firmware"], host.system["packages"].get(package or "")
    series = _series(host, rule)
    minimum, version = rule.get("minimum") if series is None else series["minimum"], wants.firmware_version
    managed = bool(
        wants.firmware_policy == "managed" and package and rule.get("minimum") and (minimum or version)
    )
    operators = owners.of_the_operator(host)
    refused = False if operators else _refused(host, rule, package, managed)
    loaded_refused = firmware["mes"] in rule.get("mes_refused", [])
    if loaded_refused:
        host.findings.add("firmware.loaded", f"MES {firmware['mes']}", "another version", why=rule["reason"])
    if operators:
        return FirmwarePlan()  # its images bring the firmware of their driver
    if series is not None and not version and wants.firmware_policy == "managed":
        _check_series(host, rule, series, package)
    # A good package that came after the last boot is not what runs. Where the loaded version is known to be
    # good it does not matter.
    waits = bool(firmware["newer_than_boot"]) and firmware["mes"] != rule.get("mes_good")
    if not managed:
        return FirmwarePlan(reboot=waits and series is not None and wants.firmware_policy == "managed")
    package = str(package)
    wanted = host.packaging.spell([f"{package}={version}"])[0]
    if not version:
        wanted = host.packaging.at_least(package, str(minimum))
    old = bool(installed and minimum and version_key(installed)[:1] < version_key(minimum)[:1])
    too_old = bool(minimum and (not installed or refused or old))
    install = [wanted] if (too_old and not version) or (version and installed != version) else []
    host.note("firmware", "package", wanted, rule["reason"], INVENTORY if version else rule["source"])
    return FirmwarePlan(install, reboot=(loaded_refused or waits) and not install)


def _refused(host: Host, rule: dict[str, t.Any], package: str | None, managed: bool) -> bool:
    """Whether a version is installed that is known to hang the GPU."""
    firmware, installed = host.rocm["firmware"], host.system["packages"].get(package or "")
    # Whatever the distribution calls the package: Fedora and Arch split it.
    candidates = {firmware["package"]: firmware["version"], package: installed}
    refused = rule.get("refused", [])
    versions = {
        name: text
        for name, text in candidates.items()
        if name and text and any(entry in text for entry in refused)
    }
    newest = max(refused, key=version_key, default="")
    wanted = f">= {rule['minimum']}" if rule.get("minimum") else f"newer or older than {newest}"
    for name, text in list(versions.items())[:1]:
        host.findings.add(
            "firmware.refused",
            f"{name} {text}",
            f">= {rule['minimum']}" if rule["minimum"] else "another release",
            severity="warn" if managed else "fail",
            why=rule["reason"],
            remedy="The role firmware replaces it" if managed else f"Install {name} {wanted}",
        )
    return bool(versions)


def _check_series(host: Host, rule: dict[str, t.Any], series: dict[str, t.Any], package: str | None) -> None:
    mes, installed = host.rocm["firmware"]["mes"], host.system["packages"].get(package or "")
    loaded_refused = mes in rule.get("mes_refused", [])
    if loaded_refused or mes is None:
        host.findings.add(
            "firmware.series",
            f"{package} {installed or 'not installed'}, MES {mes or 'not known'} loaded",
            f"a MES other than {' and '.join(rule['mes_refused'])}",
            severity="fail" if loaded_refused else "warn",
            why=series["reason"],
            remedy=series["remedy"],
        )


def _note_boards(host: Host, rule: dict[str, t.Any]) -> None:
    """What AMD asks of the board's own firmware, for people to compare: no file of a host tells which it
    is."""
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    for entry in rule.get("board", []):
        if entry["product"] in products:
            reason = (
                f"AMD's minimum for {entry['product']}; compare it with `amd-smi static --ifwi`, the host "
                "does not tell it"
            )
            host.note("firmware", "board firmware", f">= {entry['minimum']}", reason, rule["source"])


def _series(host: Host, rule: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """What a release of a distribution has instead of the minimum, where its packages keep the date of their
    series."""
    os = distributions.base(host.system["os"])
    mine = (
        entry
        for entry in rule.get("series", [])
        if entry["distribution"] == os.id and os.version in entry["versions"]
    )
    return next(mine, None)
