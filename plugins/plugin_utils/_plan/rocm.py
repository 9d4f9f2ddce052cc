# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``rocm`` of the plan: which release of the user space, from where, and what of older ones
goes."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from . import fitting
from .driver import Policy
from .host import Host
from .repository import Repository, repository
from .wants import INVENTORY


@dataclasses.dataclass(frozen=True)
class RocmPlan:
    """What the role rocm applies."""

    version: str | None = None
    repository: Repository | None = None
    install: list[str] = dataclasses.field(default_factory=list)
    remove: list[str] = dataclasses.field(default_factory=list)
    # Whether ``remove`` is ROCm of before 7.14, and the files of its repository.
    legacy: bool = False
    legacy_files: list[dict[str, str]] = dataclasses.field(default_factory=list)


def section(host: Host, driver: Policy) -> RocmPlan:
    """The user space, where one is wanted and AMD has packages of it for the distribution."""
    known = host.catalog.releases["rocm"]
    _installed(host)
    if host.wants.rocm_state == "absent":
        packages = sorted(name for name in host.system["packages"] if name.startswith("amdrocm"))
        return RocmPlan(remove=packages)
    if host.gfx != "cpu" and host.wants.rocm_userspace == "distribution":
        plan = _legacy(host) if host.wants.rocm_remove_legacy else RocmPlan()
        own = known["userspace"]["distribution"]
        host.note("rocm", "packages", " ".join(own["packages"]), own["reason"], own["source"])
        return dataclasses.replace(plan, install=host.missing(own["packages"]))
    if host.gfx != "cpu" and host.distribution is None and driver.name != "dkms":
        os = host.system["os"]
        host.findings.add("rocm.distribution", os["name"], "a distribution of ROCm's support matrix")
    if host.gfx == "cpu" or host.distribution is None:
        return RocmPlan()
    version = host.wants.rocm_version or known["default"]
    release = _release(host, driver, version)
    if release is None:
        return RocmPlan()
    _unlisted(host, driver)
    plan = _legacy(host)
    packages = _packages(host, release)
    asked = bool(host.wants.rocm_version)
    suite, folder = (
        host.catalog.releases["repositories"]["rocm"]["suite"],
        host.distribution["rocm_directory"],
    )
    plan = dataclasses.replace(
        plan,
        version=version,
        repository=repository(host, "rocm", suite, distribution=folder),
        install=host.packaging.spell(host.missing(packages)),
    )
    reason, source = ("asked for", INVENTORY) if asked else (known["default_reason"], release["source"])
    host.note("rocm", "version", version, reason, source)
    _note_packages(host, packages, release)
    return plan


def _release(host: Host, driver: Policy, version: str) -> dict[str, t.Any] | None:
    """The entry of the catalog, where it can be installed; whether it fits driver and GPU is told."""
    known = host.catalog.releases["rocm"]
    release: dict[str, t.Any] | None = known["releases"].get(version)
    wanted = host.wants.driver_release or host.catalog.releases["drivers"]["default"]
    if release is None or release["line"] != "therock":
        fits = fitting.rocm_releases(host)
        if driver.name == "dkms":
            fits = [other for name, other in fitting.combinations(host) if name == wanted and other] or fits
        unknown = {"why": "only releases of the catalog have known repositories and package names"}
        why, known_ones = known["not_installed"].get(version, unknown)["why"], ", ".join(fits)
        host.findings.add("rocm.release", version, "a release of the catalog", known=known_ones, why=why)
        return None
    if driver.name == "dkms" and wanted not in release["drivers"]:
        remedy, seen = fitting.remedy(host), f"driver {wanted} with ROCm {version}"
        host.findings.add("rocm.driver", seen, "a driver that the release lists", remedy=remedy)
    if fitting.refused(host, version):
        rule = host.profile.get("host", {}).get("rocm", {})
        good = (fitting.rocm_releases(host) or ["a later release"])[0]
        host.findings.add("rocm.refused", version, f">= {rule['minimum']}", why=rule["reason"], known=good)
    return release


def _packages(host: Host, release: dict[str, t.Any]) -> list[str]:
    known = host.catalog.releases["rocm"]
    names = known["userspace"][host.wants.rocm_userspace]["packages"]
    words = {"suffix": release["package_suffix"], "gfx": host.gfx}
    pinned = [host.packaging.pin(name.format(**words), release) for name in names]
    return [*pinned, *known["prerequisites"][host.packaging.family]]


def _note_packages(host: Host, packages: list[str], release: dict[str, t.Any]) -> None:
    known = host.catalog.releases["rocm"]
    userspace, tools = known["userspace"][host.wants.rocm_userspace], known["tools"]
    spelt = " ".join(host.packaging.spell(packages))
    host.note("rocm", "packages", spelt, userspace["reason"], userspace["source"])
    linking = (tools["linked_by"] + "{suffix}", f"{tools['linked_by']}-")
    if not any(name.startswith(linking) for name in userspace["packages"]):
        path = tools["path"].format(suffix=release["package_suffix"])
        host.note("rocm", "tools", path, tools["reason"], tools["source"])


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


def _unlisted(host: Host, driver: Policy) -> None:
    """AMD's packages for a GPU that AMD does not list on the distribution. For the DKMS driver this is
    refused before."""
    distribution = host.distribution or {}
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    if driver.name == "dkms" or (
        host.gfx in distribution["gfx"] and not products & set(distribution["products_excluded"])
    ):
        return
    listed = [entry for entry in host.catalog.releases["distributions"].values() if host.gfx in entry["gfx"]]
    supported = ", ".join(f"{entry['id']} {entry['version']}" for entry in listed)
    others = f", or take one of {supported} for a host that AMD shall support" if supported else ""
    seen, expected = f"{host.gfx} on {host.system['os']['name']}", supported or "a GPU that AMD lists"
    host.findings.add("rocm.unlisted", seen, expected, others=others)


def _legacy(host: Host) -> RocmPlan:
    """Packages and repositories of ROCm before 7.14, where they may be removed."""
    folders = [entry["path"] for entry in host.rocm["installations"] if entry["layout"] == "legacy"]
    known, rule = host.rocm["legacy"], host.catalog.releases["rocm"]["legacy"]
    if not folders:
        return RocmPlan()
    if not known["packages"]:
        remedy = f"No package is known to own it: remove {' and '.join(folders)} by hand"
    elif not host.wants.rocm_remove_legacy:
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
            for entry in host.system["repositories"]
            if re.search(rule["repository"], entry["uri"]) and not entry["mixed"]
        }
        others = {
            entry["path"]
            for entry in host.system["repositories"]
            if not re.search(rule["repository"], entry["uri"])
        }
        files = [{"path": path, "state": "absent"} for path in sorted(fits - others)]
        return RocmPlan(remove=known["packages"], legacy=True, legacy_files=files)
    host.findings.add("rocm.legacy", ", ".join(folders), "no ROCm before 7.14", remedy=remedy)
    return RocmPlan()
