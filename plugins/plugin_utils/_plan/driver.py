# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``driver`` of the plan: DKMS or inbox, which release, and whether it fits the host before
anything is touched."""

from __future__ import annotations

import dataclasses
import typing as t

from . import distributions, fitting, owners
from .catalog import version_key
from .examine import driver_builds
from .fitting import builds_for, next_kernel
from .host import Host
from .repository import Repository, repository
from .wants import INVENTORY

DRIVER_PACKAGES = ("amdgpu-dkms", "amdgpu-dkms-firmware")


@dataclasses.dataclass(frozen=True)
class Policy:
    """Whose driver the GPUs get: ``dkms``, ``inbox`` or ``none``."""

    name: str
    reason: str
    source: t.Any


@dataclasses.dataclass(frozen=True)
class DriverPlan:
    """What the role driver applies."""

    policy: str
    release: str | None = None
    repository: Repository | None = None
    install: list[str] = dataclasses.field(default_factory=list)
    remove: list[str] = dataclasses.field(default_factory=list)
    headers: list[str] = dataclasses.field(default_factory=list)
    # Kernels that DKMS must build for; the package itself builds for the running one only.
    build: list[str] = dataclasses.field(default_factory=list)
    # The GPUs have no driver now; where it ``waits`` the next boot loads one that is installed.
    missing: bool = False
    waits: bool = False
    hold: list[str] = dataclasses.field(default_factory=list)
    unhold: list[str] = dataclasses.field(default_factory=list)


def policy(host: Host) -> Policy:
    """What the inventory asks for, or what the profile of the GPU has for the running kernel."""
    want = host.wants.driver_policy
    if want != "auto":
        return Policy(want, "asked for", INVENTORY)
    others = [name for name in owners.names(host) if name in owners.EXCLUSIVE]
    if others:
        return Policy("none", f"{owners.TITLES[others[0]]} owns the driver", None)
    rule = host.profile.get("host", {}).get("driver")
    if not rule:
        return Policy("none", "no GPU that needs a driver", None)
    release = host.system["kernel"]["release"]
    if "inbox_from" in rule and release and version_key(release) >= version_key(rule["inbox_from"]):
        reason = (
            f"the driver of kernel {release} knows {host.gfx}, and DKMS builds break on kernels outside "
            "the matrix"
        )
        return Policy("inbox", reason, rule["source"])
    return Policy(rule["policy"], rule["reason"], rule["source"])


def section(host: Host, chosen: Policy, loaded_late: t.Mapping[str, str]) -> DriverPlan:
    """``loaded_late``: kernel arguments that keep a module from loading by itself, and the module."""
    plan = _packages(host, chosen, loaded_late)
    pending = bool(plan.install or plan.remove or next_kernel(host) in plan.build)
    driver_builds(host, plan.release, chosen.name == "dkms", pending)
    missing, waits = _loaded(host, plan, loaded_late)
    plan = dataclasses.replace(plan, missing=missing, waits=waits)
    wanted = _to_hold(host, plan.release) if plan.release and host.wants.driver_hold else []
    if wanted:
        reason = "an upgrade must not bring a kernel that the driver does not build for"
        host.note("driver", "hold", " ".join(wanted), reason, INVENTORY)
    held = host.system["held"]
    # What changes is let go first, and held again afterwards.
    if set(wanted) != set(held) or plan.install or plan.remove:
        plan = dataclasses.replace(plan, hold=wanted, unhold=held)
    return plan


def _to_hold(host: Host, release: str) -> list[str]:
    """The driver, and what brings new kernels: names for apt, exact versions for dnf."""
    kernels = host.packaging.kernels(host.system["packages"], host.system["kernel"]["release"] or "")
    if host.package_manager == "apt":
        return [*DRIVER_PACKAGES, *kernels]
    return [*host.packaging.spell(_pins(host, release)), *kernels]


def _pins(host: Host, release: str) -> list[str]:
    entry, pin = host.catalog.releases["drivers"]["releases"][release], host.packaging.pin
    return [pin("amdgpu-dkms", entry), pin("amdgpu-dkms-firmware", entry, "firmware_version")]


def _packages(host: Host, chosen: Policy, loaded_late: t.Mapping[str, str]) -> DriverPlan:
    facts, installed = host.rocm["driver"], host.system["packages"]
    host.note("driver", "policy", chosen.name, chosen.reason, chosen.source)
    blacklisted = [entry for entry in facts["blacklisted_by"] if entry not in loaded_late]
    if blacklisted and chosen.name != "none":
        host.findings.add("driver.blacklisted", ", ".join(blacklisted), "no blacklist entry")
    if facts["reload_needed"]:
        host.findings.add("driver.reload", facts["version"] or "the inbox module", "the module on disk")
    _check_secure_boot(host, chosen)
    _check_others(host, chosen)
    unwanted = _beside_inbox(host, chosen) if chosen.name == "inbox" else []
    if host.wants.driver_state == "absent":
        return DriverPlan(chosen.name, remove=[name for name in DRIVER_PACKAGES if name in installed])
    if chosen.name != "dkms":
        return DriverPlan(chosen.name, remove=unwanted)
    drivers = host.catalog.releases["drivers"]
    release = host.wants.driver_release or drivers["default"]
    known = drivers["releases"].get(release)
    if known is None:
        there = ", ".join(_releases(host))
        host.findings.add("driver.release", release, "a release of the catalog", known=there)
    if known is None or not _gate(host, release, known):
        return DriverPlan(chosen.name)
    asked = bool(host.wants.driver_release)
    reason, source = ("asked for", INVENTORY) if asked else (drivers["default_reason"], known["source"])
    distribution = host.distribution or {}
    words = {"directory": known["directory"]}
    if "driver_directory" in distribution:
        words["distribution"] = distribution["driver_directory"].format(version=host.system["os"]["version"])
    install = host.packaging.spell(host.missing(_pins(host, release)))
    build = _to_build(host, known, bool(install))
    plan = DriverPlan(
        chosen.name,
        release=release,
        repository=repository(host, "driver", distribution.get("driver_suite"), **words),
        install=install,
        build=build,
        headers=[name for kernel in build for name in _needed_for(host, kernel)],
    )
    host.note("driver", "release", release, reason, source)
    return plan


def _check_others(host: Host, chosen: Policy) -> None:
    """The driver is chosen for the first GPU; another one may be of those that it must not be used with."""
    for gfx in sorted({str(gpu["gfx"]) for gpu in host.gpus} - {host.gfx}) if chosen.name == "dkms" else []:
        rule = (host.catalog.profile(gfx) or {}).get("host", {}).get("driver", {})
        if rule.get("packages_absent"):
            seen = f"amdgpu-dkms, and a GPU of {gfx}"
            host.findings.add("driver.mixed", seen, "the inbox driver", why=rule["reason"])


def _check_secure_boot(host: Host, chosen: Policy) -> None:
    """A module that DKMS builds has a signature of its own, whoever wants it."""
    facts, boot = host.rocm["driver"], host.system["boot"]
    built = any(build["state"] == "installed" for build in facts["dkms"])
    ours = chosen.name == "dkms" or built or facts["next_module"] == "dkms"
    enforced = boot["secure_boot"] or boot["signatures_enforced"]
    if chosen.name != "none" and ours and enforced and not boot["mok_enrolled"]:
        seen = "Secure Boot on" if boot["secure_boot"] else "a kernel that takes signed modules alone"
        host.findings.add("driver.secure_boot", seen, "a module whose signature is accepted")


def _beside_inbox(host: Host, chosen: Policy) -> list[str]:
    """Packages of AMD's driver to remove, because it would take the place of the kernel's own."""
    facts, installed = host.rocm["driver"], host.system["packages"]
    builds = sorted({build["version"] for build in facts["dkms"] if build["state"] == "installed"})
    if (facts["source"] == "dkms" or builds) and not set(DRIVER_PACKAGES) & set(installed):
        commands = " and ".join(f"`dkms remove amdgpu/{version} --all`" for version in builds)
        host.findings.add(
            "driver.unpackaged",
            facts["version"] or ", ".join(builds),
            "the inbox driver",
            why=chosen.reason,
            steps=commands or "the installer that brought it",
        )
    absent = host.profile.get("host", {}).get("driver", {}).get("packages_absent", [])
    remove = [name for name in absent if name in installed]
    if remove:
        host.findings.add("driver.dkms_on_inbox", ", ".join(remove), "the inbox driver", why=chosen.reason)
    elif facts["next_module"] == "dkms" and "amdgpu-dkms" in installed:
        seen = f"amdgpu-dkms {installed['amdgpu-dkms']}"
        host.findings.add("driver.dkms_stays", seen, "the inbox driver", why=chosen.reason)
    return remove


def _releases(host: Host) -> list[str]:
    """Those that fit the host and the ROCm that is wanted, or where none does, all."""
    wanted = fitting.wanted_rocm(host)
    fits = [driver for driver, rocm in fitting.combinations(host) if rocm in (None, wanted)]
    return fits or list(host.catalog.releases["drivers"]["releases"])


def _gate(host: Host, release: str, known: dict[str, t.Any]) -> bool:
    """Driver, distribution, GPU and kernel must fit before any repository is touched."""
    # A virtual function is supported where its GPU is.
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    distribution, os = host.distribution, host.system["os"]
    if not distributions.own_kernel(host.system):
        seen = f"kernel {host.system['kernel']['release']} on {os['name']}"
        host.findings.add("driver.foreign_kernel", seen, "a kernel of a distribution that AMD lists")
        return False
    major = (os["version"] or "").partition(".")[0]
    same = [entry for entry in host.catalog.releases["distributions"].values() if entry["id"] == os["id"]]
    minors = [
        minor
        for entry in same
        for minor in entry.get("minors") or [entry["version"]]
        if minor.startswith(f"{major}.")
    ]
    if distribution is None and minors and host.package_manager != "apt":
        known_ones = " or ".join(f"{os['id']} {minor}" for minor in minors)
        host.findings.add("driver.minor_version", os["name"], known_ones, known=known_ones)
        return False
    fits = (
        distribution
        and host.gfx in distribution["gfx"]
        and not products & set(distribution["products_excluded"])
    )
    if not fits:
        supported = ", ".join(
            f"{entry['id']} {entry['version']}"
            for entry in host.catalog.releases["distributions"].values()
            if host.gfx in entry["gfx"]
        )
        host.findings.add(
            "driver.distribution",
            f"{host.gfx} on {host.system['os']['name']}",
            "a combination of ROCm's support matrix",
            others=f", or install one of {supported}" if supported else "",
        )
        return False
    if not _gate_kernels(host, release, known):
        return False
    absent = [
        name
        for name in (distribution or {}).get("driver_prerequisites", [])
        if not any(name in enabled.lower() for enabled in host.system["dnf_repositories"])
    ]
    if absent and not {"dkms", "amdgpu-dkms"} & set(host.system["packages"]):
        seen = ", ".join(host.system["dnf_repositories"]) or "no repository"
        host.findings.add(
            "driver.prerequisite", f"{seen} enabled", " and ".join(absent), missing=" and ".join(absent)
        )
    return True


def _gate_kernels(host: Host, release: str, entry: dict[str, t.Any]) -> bool:
    """The kernel of the next boot decides. A running one that does not fit is only told, where a good one
    waits for the reboot."""
    running, following, limits = host.system["kernel"]["release"], next_kernel(host), entry["kernels"]
    outside = [
        kernel for kernel in dict.fromkeys((following, running)) if kernel and not builds_for(entry, kernel)
    ]
    if not outside:
        return True
    waits = following not in outside
    which = ", which the next boot starts" if following in outside and following != running else ""
    host.findings.add(
        "driver.kernel",
        f"driver {release} on kernel {outside[0]}{which}",
        f"a kernel from {limits['minimum']} to below {limits['below']}",
        severity="warn" if waits else "fail",
        remedy=f"{following} is installed, and the next boot starts it" if waits else _kernel_remedy(host),
    )
    return waits


def _kernel_remedy(host: Host) -> str:
    running, following = host.system["kernel"]["release"], next_kernel(host)
    return fitting.remedy(host) + (f", or let the next boot start {running}" if following != running else "")


def _to_build(host: Host, entry: dict[str, t.Any], installs: bool) -> list[str]:
    """The kernel of the next boot and the running one, where they fit and have no build, or are about to get
    another one."""
    facts, kernels = host.rocm["driver"], host.system["kernel"]
    if not (installs or facts["dkms"]):
        return []  # DKMS does not know the driver, so there is nothing that it could build
    built = {build["kernel"] for build in facts["dkms"] if build["state"] == "installed"}
    wanted = []
    for kernel in dict.fromkeys((kernels["release"], next_kernel(host))):
        # What failed with its headers there would fail again: a person must look.
        failed = kernel and facts["build_log"] and not _needed_for(host, kernel)
        if kernel and builds_for(entry, kernel) and (installs or not (kernel in built or failed)):
            wanted.append(kernel)
    return wanted


def _needed_for(host: Host, kernel: str) -> list[str]:
    """The packages without which nothing can be built for a kernel."""
    facts, distribution = host.system["kernel"], host.distribution or {}
    running = kernel == facts["release"]
    headers = facts["headers"] if running else kernel not in facts["without_headers"]
    modules = facts["modules"] if running else kernel not in facts["without_modules"]
    parts = ([] if headers else distribution["headers"]) + (
        [] if modules else distribution.get("kernel_modules", [])
    )
    return [name.format(release=kernel) for name in parts]


def _loaded(host: Host, plan: DriverPlan, loaded_late: t.Mapping[str, str]) -> tuple[bool, bool]:
    """Whether the GPUs lack a driver now, and if so whether a reboot is all that it needs."""
    facts, wants = host.rocm["driver"], host.wants
    driven = facts["loaded"] and any(gpu["driver"] for gpu in host.gpus)
    missing = bool(host.gpus) and host.gpu_facts["kfd"] == "absent" and not driven
    unplanned = plan.policy == "dkms" and not plan.release
    if not missing or wants.driver_state == "absent" or unplanned or plan.install or plan.remove:
        return missing, False
    kept = [entry for entry in facts["blacklisted_by"] if entry not in loaded_late]
    kept += _kept_by_arguments(host)
    if plan.policy == "inbox":
        available = facts["next_module"] is not None
    else:
        available = facts["next_module"] == "dkms" or next_kernel(host) in plan.build
    waits = plan.policy != "none" and available and not kept and not facts["loaded"]
    seen, remedy = _why_not_loaded(host, plan, kept, waits)
    lines = [entry["line"] for entry in host.system["kernel"]["trouble"] if "amdgpu" in entry["line"]]
    if lines and not kept:
        seen = f"{seen}; the kernel says: {lines[-1]}"
    serves = wants.serve_state == "present" and wants.serve_instances and wants.serve_accelerator != "cpu"
    severity = "fail" if serves and not waits else "warn"
    expected = "amdgpu loaded, and the GPUs in KFD"
    host.findings.add("driver.not_loaded", seen, expected, severity=severity, remedy=remedy)
    return missing, waits


def _why_not_loaded(host: Host, plan: DriverPlan, kept: list[str], waits: bool) -> tuple[str, str]:
    """What was seen, and the remedy. A blacklist may be its owner's, who would put it back."""
    owner = next((name for name in owners.names(host) if name in owners.EXCLUSIVE), None)
    if owner and plan.policy == "none":
        return f"amdgpu not loaded, which {owners.TITLES[owner]} does", owners.LOADS[owner]
    if kept:
        names = " and ".join(kept)
        return (
            f"amdgpu not loaded, kept from it by {names}",
            f"Remove {names} (kernel_arguments_absent takes kernel arguments away) and reboot, or load "
            "amdgpu with a service",
        )
    if waits:
        return (
            f"amdgpu not loaded, its module is there for {next_kernel(host)}",
            "The role driver asks for the reboot that loads it",
        )
    if host.rocm["driver"]["loaded"]:
        return (
            "amdgpu loaded, and no GPU driven by it",
            "Read `dmesg | grep amdgpu`, and power the host off and on",
        )
    kind = "DKMS build" if plan.policy == "dkms" else "module"
    left_out = distributions.module_remedy(next_kernel(host)) if plan.policy == "inbox" else None
    return (
        f"no {kind} of amdgpu for kernel {next_kernel(host)}",
        left_out or "Install the driver, or let driver_policy choose it",
    )


def _kept_by_arguments(host: Host) -> list[str]:
    """Arguments of the running kernel that amdgpu does not load with, apart from those that the role kernel
    takes away."""
    known = host.catalog.releases["drivers"]["kept_from_loading"]["arguments"]
    removed = host.wants.kernel_arguments_absent if host.wants.kernel_state == "present" else []
    return [
        word
        for word in host.system["kernel"]["command_line"]
        if word in known and not {word, word.partition("=")[0]} & set(removed)
    ]
