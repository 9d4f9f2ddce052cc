# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``rocm`` of the plan: which release of the user space, from where, and what of older ones
goes."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import fitting
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.repository import repository
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host


def section(host: Host) -> dict[str, t.Any]:
    known = host.catalog.releases["rocm"]
    plan: dict[str, t.Any] = {
        "version": None,
        "repository": None,
        "install": [],
        "remove": [],
        "legacy": False,
        "legacy_files": [],
    }
    _installed(host)
    if host.wants["rocm_state"] == "absent":
        plan["remove"] = sorted(name for name in host.rocm["packages"] if name.startswith("amdrocm"))
        return plan
    if host.gfx != "cpu" and host.wants["rocm_userspace"] == "distribution":
        if host.wants["rocm_remove_legacy"]:
            plan |= _legacy(host)
        own = known["userspace"]["distribution"]
        plan["install"] = host.missing(own["packages"])
        host.note("rocm", "packages", " ".join(own["packages"]), own["reason"], own["source"])
        return plan
    if host.gfx != "cpu" and host.distribution is None and host.driver_policy != "dkms":
        host.findings.add(
            "rocm.distribution", host.rocm["os"]["name"], "a distribution of ROCm's support matrix"
        )
    if host.gfx == "cpu" or host.distribution is None:
        return plan
    version = host.wants["rocm_version"] or known["default"]
    release = known["releases"].get(version)
    usable = {name: entry for name, entry in known["releases"].items() if entry["line"] == "therock"}
    driver = host.wants["driver_release"] or host.catalog.releases["drivers"]["default"]
    if release is None or version not in usable:
        fits = fitting.rocm_releases(host)
        if host.driver_policy == "dkms":
            fits = [other for name, other in fitting.combinations(host) if name == driver and other] or fits
        unknown = {"why": "only releases of the catalog have known repositories and package names"}
        why = known["not_installed"].get(version, unknown)["why"]
        host.findings.add("rocm.release", version, "a release of the catalog", known=", ".join(fits), why=why)
        return plan
    if host.driver_policy == "dkms" and driver not in release["drivers"]:
        host.findings.add(
            "rocm.driver",
            f"driver {driver} with ROCm {version}",
            "a driver that the release lists",
            remedy=fitting.remedy(host),
        )
    rule = host.profile.get("host", {}).get("rocm", {})
    if fitting.refused(host, version):
        known_good = (fitting.rocm_releases(host) or ["a later release"])[0]
        host.findings.add(
            "rocm.refused", version, f">= {rule['minimum']}", why=rule["reason"], known=known_good
        )
    _unlisted(host)
    plan |= _legacy(host)
    userspace = known["userspace"][host.wants["rocm_userspace"]]
    packages = [
        host.pinned(name.format(suffix=release["package_suffix"], gfx=host.gfx), release)
        for name in userspace["packages"]
    ]
    packages += known["prerequisites"]["deb" if host.package_manager == "apt" else "rpm"]
    plan["version"] = version
    plan["repository"] = repository(
        host,
        "rocm",
        host.catalog.releases["repositories"]["rocm"]["suite"],
        distribution=host.distribution["rocm_directory"],
    )
    plan["install"] = host.named(host.missing(packages))
    asked = bool(host.wants["rocm_version"])
    host.note(
        "rocm",
        "version",
        version,
        "asked for" if asked else known["default_reason"],
        INVENTORY if asked else release["source"],
    )
    host.note("rocm", "packages", " ".join(host.named(packages)), userspace["reason"], userspace["source"])
    tools = known["tools"]
    linking = (tools["linked_by"] + "{suffix}", f"{tools['linked_by']}-")
    if not any(name.startswith(linking) for name in userspace["packages"]):
        host.note(
            "rocm",
            "tools",
            tools["path"].format(suffix=release["package_suffix"]),
            tools["reason"],
            tools["source"],
        )
    return plan


def _installed(host: Host) -> None:
    """What is on the host already and does not work with its GPUs. Packages of the distribution are there to
    look at the GPUs."""
    rule = host.profile.get("host", {}).get("rocm", {})
    broken = [
        entry
        for entry in host.rocm["installations"]
        if entry["layout"] != "distribution" and entry["version"] and fitting.refused(host, entry["version"])
    ]
    if broken:
        seen = ", ".join(f"{entry['version']} in {entry['path']}" for entry in broken)
        paths = " and ".join(entry["path"] for entry in broken)
        host.findings.add("rocm.installed", seen, f">= {rule['minimum']}", why=rule["reason"], paths=paths)


def _unlisted(host: Host) -> None:
    """AMD's packages for a GPU that AMD does not list on the distribution. For the DKMS driver this is
    refused before."""
    distribution = host.distribution or {}
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    if host.driver_policy == "dkms" or (
        host.gfx in distribution["gfx"] and not products & set(distribution["products_excluded"])
    ):
        return
    listed = [entry for entry in host.catalog.releases["distributions"].values() if host.gfx in entry["gfx"]]
    supported = (
        ", ".join(f"{entry['id']} {entry['version']}" for entry in listed) or "no distribution of the catalog"
    )
    host.findings.add(
        "rocm.unlisted", f"{host.gfx} on {host.rocm['os']['name']}", supported, supported=supported
    )


def _legacy(host: Host) -> dict[str, t.Any]:
    """Packages and repositories of ROCm before 7.14, where they may be removed."""
    folders = [entry["path"] for entry in host.rocm["installations"] if entry["layout"] == "legacy"]
    known, rule = host.rocm["legacy"], host.catalog.releases["rocm"]["legacy"]
    if not folders:
        return {}
    if not known["packages"]:
        remedy = f"No package is known to own it: remove {' and '.join(folders)} by hand"
    elif not host.wants["rocm_remove_legacy"]:
        remedy = f"Set rocm_remove_legacy to true, and the role rocm removes {', '.join(known['packages'])}"
    elif known["used_by"]:
        remedy = f"Stop {', '.join(known['used_by'])} first, which use it"
    else:
        remedy = "The role rocm removes it"
        host.findings.add(
            "rocm.legacy",
            ", ".join(folders),
            "no ROCm before 7.14",
            severity="warn",
            mended_by="rocm",
            remedy=remedy,
        )
        host.note("rocm", "remove", " ".join(known["packages"]), "asked for", INVENTORY)
        # A file that names another repository too, the driver's or somebody else's, stays.
        fits = {
            entry["path"]
            for entry in host.rocm["repositories"]
            if re.search(rule["repository"], entry["uri"]) and not entry["mixed"]
        }
        others = {
            entry["path"]
            for entry in host.rocm["repositories"]
            if not re.search(rule["repository"], entry["uri"])
        }
        files = [{"path": path, "state": "absent"} for path in sorted(fits - others)]
        return {"remove": known["packages"], "legacy": True, "legacy_files": files}
    host.findings.add("rocm.legacy", ", ".join(folders), "no ROCm before 7.14", remedy=remedy)
    return {}
