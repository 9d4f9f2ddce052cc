# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``driver`` of the plan: DKMS or inbox, which release, and whether it fits the host before anything is touched."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils.catalog import version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.examine import builds_for, driver_builds
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.repository import repository
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils.planner import Host

DRIVER_PACKAGES = ("amdgpu-dkms", "amdgpu-dkms-firmware")
# What a new kernel of EL comes in. dnf keeps several kernels beside each other, so a lock names the running one.
EL_KERNELS = {
    "": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel", "-devel-matched", "-headers"),
    "-uek": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel"),
}


def policy(host: Host) -> tuple[str, str, t.Any]:
    """The policy, its reason and its source."""
    want = host.wants["driver_policy"]
    if want != "auto":
        return want, "asked for", INVENTORY
    rule = host.profile.get("host", {}).get("driver")
    if not rule:
        return "none", "no GPU that needs a driver", None
    release = host.rocm["kernel"]["release"]
    if "inbox_from" in rule and release and version_key(release) >= version_key(rule["inbox_from"]):
        reason = f"the driver of kernel {release} knows {host.gfx}, and DKMS builds break on kernels outside the matrix"
        return "inbox", reason, rule["source"]
    return rule["policy"], rule["reason"], rule["source"]


def section(host: Host) -> dict[str, t.Any]:
    plan = _packages(host)
    driver_builds(host, plan["release"], pending=bool(plan["install"] or plan["remove"]))
    wanted = _to_hold(host, plan["release"]) if plan["release"] and host.wants["driver_hold"] else []
    held = host.rocm["held"]
    # What changes is let go first, and held again afterwards.
    if set(wanted) != set(held) or plan["install"] or plan["remove"]:
        plan["hold"], plan["unhold"] = wanted, held
    if wanted:
        host.note("driver", "hold", " ".join(wanted), "an upgrade must not bring a kernel that the driver does not build for", INVENTORY)
    return plan


def _to_hold(host: Host, release: str) -> list[str]:
    """The driver, and what brings new kernels: names for apt, exact versions for dnf."""
    if host.package_manager == "apt":
        # Of these packages the facts name those alone that always lead to the newest kernel.
        kernels = [name for name in host.rocm["packages"] if name.startswith("linux-") and not name.startswith("linux-firmware")]
        return [*DRIVER_PACKAGES, *sorted(kernels)]
    kernel = host.rocm["kernel"]["release"] or ""
    family = "-uek" if "uek" in kernel else ""
    return [*host.named(_pins(host, release)), *(f"kernel{family}{part}-{kernel}" for part in EL_KERNELS[family] if kernel)]


def _pins(host: Host, release: str) -> list[str]:
    known = host.catalog.releases["drivers"]["releases"][release]
    return [host.pinned("amdgpu-dkms", known), host.pinned("amdgpu-dkms-firmware", known, "firmware_version")]


def _packages(host: Host) -> dict[str, t.Any]:
    chosen, reason, source = policy(host)
    facts = host.rocm["driver"]
    plan: dict[str, t.Any] = {
        "policy": chosen,
        "release": None,
        "repository": None,
        "install": [],
        "remove": [],
        "headers": [],
        "hold": [],
        "unhold": [],
    }
    host.note("driver", "policy", chosen, reason, source)
    if facts["blacklisted_by"] and chosen != "none":
        host.findings.add("driver.blacklisted", ", ".join(facts["blacklisted_by"]), "no blacklist entry")
    if facts["reload_needed"]:
        host.findings.add("driver.reload", facts["version"] or "the inbox module", "the module on disk")
    if chosen == "inbox":
        unwanted = host.profile.get("host", {}).get("driver", {}).get("packages_absent", [])
        plan["remove"] = [name for name in unwanted if name in host.rocm["packages"]]
        if plan["remove"]:
            host.findings.add("driver.dkms_on_inbox", ", ".join(plan["remove"]), "the inbox driver", why=reason)
    if host.wants["driver_state"] == "absent":
        plan["remove"] = [name for name in DRIVER_PACKAGES if name in host.rocm["packages"]]
        return plan
    if chosen != "dkms":
        return plan

    drivers = host.catalog.releases["drivers"]
    release = host.wants["driver_release"] or drivers["default"]
    known = drivers["releases"].get(release)
    if known is None:
        host.findings.add("driver.release", release, "a release of the catalog", known=", ".join(drivers["releases"]))
        return plan
    if not _gate(host, release, known):
        return plan
    plan["release"] = release
    distribution = host.distribution or {}
    words = {"directory": known["directory"]}
    if "driver_directory" in distribution:
        words["distribution"] = distribution["driver_directory"].format(version=host.rocm["os"]["version"])
    plan["repository"] = repository(host, "driver", distribution.get("driver_suite"), **words)
    plan["install"] = host.named(host.missing(_pins(host, release)))
    kernel = host.rocm["kernel"]
    parts = ([] if kernel["headers"] else distribution["headers"]) + ([] if kernel["modules"] else distribution.get("kernel_modules", []))
    plan["headers"] = [name.format(release=kernel["release"]) for name in parts] if plan["install"] else []
    asked = bool(host.wants["driver_release"])
    host.note(
        "driver",
        "release",
        release,
        "asked for" if asked else drivers["default_reason"],
        INVENTORY if asked else known["source"],
    )
    return plan


def _gate(host: Host, release: str, known: dict[str, t.Any]) -> bool:
    """Driver, distribution, GPU and kernel must fit before any repository is touched."""
    # A virtual function is supported where its GPU is.
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    distribution, os = host.distribution, host.rocm["os"]
    major = (os["version"] or "").partition(".")[0]
    same = [entry for entry in host.catalog.releases["distributions"].values() if entry["id"] == os["id"]]
    minors = [minor for entry in same for minor in entry.get("minors") or [entry["version"]] if minor.startswith(f"{major}.")]
    if distribution is None and minors and host.package_manager != "apt":
        known_ones = " or ".join(f"{os['id']} {minor}" for minor in minors)
        host.findings.add("driver.minor_version", os["name"], known_ones, known=known_ones)
        return False
    fits = distribution and host.gfx in distribution["gfx"] and not products & set(distribution["products_excluded"])
    if not fits:
        supported = ", ".join(
            f"{entry['id']} {entry['version']}" for entry in host.catalog.releases["distributions"].values() if host.gfx in entry["gfx"]
        )
        host.findings.add(
            "driver.distribution",
            f"{host.gfx} on {host.rocm['os']['name']}",
            "a combination of ROCm's support matrix",
            supported=supported or "no distribution of the catalog",
        )
        return False
    kernel = host.rocm["kernel"]["release"]
    limits = known["kernels"]
    if kernel and not builds_for(known, kernel):
        newer = [name for name, entry in host.catalog.releases["drivers"]["releases"].items() if builds_for(entry, kernel)]
        remedy = f"Set driver_release to {newer[0]}" if newer else f"Boot a kernel older than {limits['below']}"
        host.findings.add(
            "driver.kernel",
            f"driver {release} on kernel {kernel}",
            f"a kernel from {limits['minimum']} to below {limits['below']}",
            remedy=remedy,
        )
        return False
    absent = [
        name
        for name in (distribution or {}).get("driver_prerequisites", [])
        if not any(name in enabled.lower() for enabled in host.rocm["dnf_repositories"])
    ]
    if absent and not {"dkms", "amdgpu-dkms"} & set(host.rocm["packages"]):
        seen = ", ".join(host.rocm["dnf_repositories"]) or "no repository"
        host.findings.add("driver.prerequisite", f"{seen} enabled", " and ".join(absent), missing=" and ".join(absent))
    if host.rocm["boot"]["secure_boot"] and not host.rocm["boot"]["mok_enrolled"]:
        host.findings.add("driver.secure_boot", "Secure Boot on", "a module whose signature is accepted")
    return True
