# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``driver`` of the plan: DKMS or inbox, which release, and whether it fits the host before
anything is touched."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import distributions, fitting, owners
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.examine import driver_builds
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.fitting import builds_for, next_kernel
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.repository import repository
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

DRIVER_PACKAGES = ("amdgpu-dkms", "amdgpu-dkms-firmware")
# What a new kernel of EL comes in. dnf keeps several kernels beside each other, so a lock names the running
# one.
EL_KERNELS = {
    "": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel", "-devel-matched", "-headers"),
    "-uek": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel"),
}


def policy(host: Host) -> tuple[str, str, t.Any]:
    """The policy, its reason and its source."""
    want = host.wants["driver_policy"]
    if want != "auto":
        return want, "asked for", INVENTORY
    others = [name for name in owners.names(host) if name in owners.EXCLUSIVE]
    if others:
        return "none", f"{owners.TITLES[others[0]]} owns the driver", None
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
    driver_builds(
        host,
        plan["release"],
        pending=bool(plan["install"] or plan["remove"] or next_kernel(host) in plan["build"]),
    )
    _loaded(host, plan)
    wanted = _to_hold(host, plan["release"]) if plan["release"] and host.wants["driver_hold"] else []
    held = host.rocm["held"]
    # What changes is let go first, and held again afterwards.
    if set(wanted) != set(held) or plan["install"] or plan["remove"]:
        plan["hold"], plan["unhold"] = wanted, held
    if wanted:
        host.note(
            "driver",
            "hold",
            " ".join(wanted),
            "an upgrade must not bring a kernel that the driver does not build for",
            INVENTORY,
        )
    return plan


def _to_hold(host: Host, release: str) -> list[str]:
    """The driver, and what brings new kernels: names for apt, exact versions for dnf."""
    if host.package_manager == "apt":
        # Of these packages the facts name those alone that always lead to the newest kernel.
        kernels = [
            name
            for name in host.rocm["packages"]
            if name.startswith("linux-") and not name.startswith("linux-firmware")
        ]
        return [*DRIVER_PACKAGES, *sorted(kernels)]
    kernel = host.rocm["kernel"]["release"] or ""
    family = "-uek" if "uek" in kernel else ""
    return [
        *host.named(_pins(host, release)),
        *(f"kernel{family}{part}-{kernel}" for part in EL_KERNELS[family] if kernel),
    ]


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
        # Kernels that DKMS must build for; the package itself builds for the running one only.
        "build": [],
        # The GPUs have no driver now; the next boot loads one that is there.
        "missing": False,
        "waits": False,
        "hold": [],
        "unhold": [],
    }
    host.note("driver", "policy", chosen, reason, source)
    blacklisted = [entry for entry in facts["blacklisted_by"] if entry not in host.loaded_late]
    if blacklisted and chosen != "none":
        host.findings.add("driver.blacklisted", ", ".join(blacklisted), "no blacklist entry")
    if facts["reload_needed"]:
        host.findings.add("driver.reload", facts["version"] or "the inbox module", "the module on disk")
    builds = sorted({build["version"] for build in facts["dkms"] if build["state"] == "installed"})
    if (
        chosen == "inbox"
        and (facts["source"] == "dkms" or builds)
        and not set(DRIVER_PACKAGES) & set(host.rocm["packages"])
    ):
        steps = (
            " and ".join(f"`dkms remove amdgpu/{version} --all`" for version in builds)
            or "the installer that brought it"
        )
        host.findings.add(
            "driver.unpackaged",
            facts["version"] or ", ".join(builds),
            "the inbox driver",
            why=reason,
            steps=steps,
        )
    if (
        chosen != "none"
        and (chosen == "dkms" or builds or facts["next_module"] == "dkms")
        and host.rocm["boot"]["secure_boot"]
        and not host.rocm["boot"]["mok_enrolled"]
    ):
        host.findings.add("driver.secure_boot", "Secure Boot on", "a module whose signature is accepted")
    if chosen == "inbox":
        unwanted = host.profile.get("host", {}).get("driver", {}).get("packages_absent", [])
        plan["remove"] = [name for name in unwanted if name in host.rocm["packages"]]
        if plan["remove"]:
            host.findings.add(
                "driver.dkms_on_inbox", ", ".join(plan["remove"]), "the inbox driver", why=reason
            )
        elif facts["next_module"] == "dkms" and "amdgpu-dkms" in host.rocm["packages"]:
            host.findings.add(
                "driver.dkms_stays",
                f"amdgpu-dkms {host.rocm['packages']['amdgpu-dkms']}",
                "the inbox driver",
                why=reason,
            )
    if host.wants["driver_state"] == "absent":
        plan["remove"] = [name for name in DRIVER_PACKAGES if name in host.rocm["packages"]]
        return plan
    if chosen != "dkms":
        return plan

    drivers = host.catalog.releases["drivers"]
    release = host.wants["driver_release"] or drivers["default"]
    known = drivers["releases"].get(release)
    if known is None:
        host.findings.add(
            "driver.release", release, "a release of the catalog", known=", ".join(_releases(host))
        )
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
    plan["build"] = _to_build(host, known, bool(plan["install"]))
    plan["headers"] = [name for kernel in plan["build"] for name in _needed_for(host, kernel)]
    asked = bool(host.wants["driver_release"])
    host.note(
        "driver",
        "release",
        release,
        "asked for" if asked else drivers["default_reason"],
        INVENTORY if asked else known["source"],
    )
    return plan


def _releases(host: Host) -> list[str]:
    """Those that fit the host and the ROCm that is wanted, or where none does, all."""
    wanted = fitting.wanted_rocm(host)
    fits = [driver for driver, rocm in fitting.combinations(host) if rocm in (None, wanted)]
    return fits or list(host.catalog.releases["drivers"]["releases"])


def _gate(host: Host, release: str, known: dict[str, t.Any]) -> bool:
    """Driver, distribution, GPU and kernel must fit before any repository is touched."""
    # A virtual function is supported where its GPU is.
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    distribution, os = host.distribution, host.rocm["os"]
    if not distributions.own_kernel(host.rocm):
        host.findings.add(
            "driver.foreign_kernel",
            f"kernel {host.rocm['kernel']['release']} on {os['name']}",
            "a kernel of a distribution that AMD lists",
        )
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
            f"{host.gfx} on {host.rocm['os']['name']}",
            "a combination of ROCm's support matrix",
            supported=supported or "no distribution of the catalog",
        )
        return False
    if not _gate_kernels(host, release, known):
        return False
    absent = [
        name
        for name in (distribution or {}).get("driver_prerequisites", [])
        if not any(name in enabled.lower() for enabled in host.rocm["dnf_repositories"])
    ]
    if absent and not {"dkms", "amdgpu-dkms"} & set(host.rocm["packages"]):
        seen = ", ".join(host.rocm["dnf_repositories"]) or "no repository"
        host.findings.add(
            "driver.prerequisite", f"{seen} enabled", " and ".join(absent), missing=" and ".join(absent)
        )
    return True


def _gate_kernels(host: Host, release: str, known: dict[str, t.Any]) -> bool:
    """The kernel of the next boot decides. A running one that does not fit is only told, where a good one
    waits for the reboot."""
    running, following, limits = host.rocm["kernel"]["release"], next_kernel(host), known["kernels"]
    outside = [
        kernel for kernel in dict.fromkeys((following, running)) if kernel and not builds_for(known, kernel)
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
    running, following = host.rocm["kernel"]["release"], next_kernel(host)
    return fitting.remedy(host) + (f", or let the next boot start {running}" if following != running else "")


def _to_build(host: Host, known: dict[str, t.Any], installs: bool) -> list[str]:
    """The kernel of the next boot and the running one, where they fit and have no build, or are about to get
    another one."""
    facts, kernels = host.rocm["driver"], host.rocm["kernel"]
    if not (installs or facts["dkms"]):
        return []  # DKMS does not know the driver, so there is nothing that it could build
    built = {build["kernel"] for build in facts["dkms"] if build["state"] == "installed"}
    wanted = []
    for kernel in dict.fromkeys((kernels["release"], next_kernel(host))):
        # What failed with its headers there would fail again: a person must look.
        failed = facts["build_log"] and not _needed_for(host, kernel)
        if kernel and builds_for(known, kernel) and (installs or not (kernel in built or failed)):
            wanted.append(kernel)
    return wanted


def _needed_for(host: Host, kernel: str) -> list[str]:
    """The packages without which nothing can be built for a kernel."""
    facts, distribution = host.rocm["kernel"], host.distribution or {}
    running = kernel == facts["release"]
    headers = facts["headers"] if running else kernel not in facts["without_headers"]
    modules = facts["modules"] if running else kernel not in facts["without_modules"]
    parts = ([] if headers else distribution["headers"]) + (
        [] if modules else distribution.get("kernel_modules", [])
    )
    return [name.format(release=kernel) for name in parts]


def _loaded(host: Host, plan: dict[str, t.Any]) -> None:
    """Whether the GPUs have a driver now, and where they have none, whether a reboot is all that it needs."""
    facts, wants = host.rocm["driver"], host.wants
    driven = facts["loaded"] and any(gpu["driver"] for gpu in host.gpus)
    plan["missing"] = bool(host.gpus) and host.gpu_facts["kfd"] == "absent" and not driven
    unplanned = plan["policy"] == "dkms" and not plan["release"]
    if (
        not plan["missing"]
        or wants["driver_state"] == "absent"
        or unplanned
        or plan["install"]
        or plan["remove"]
    ):
        return
    kept = [
        *(entry for entry in facts["blacklisted_by"] if entry not in host.loaded_late),
        *_kept_by_arguments(host),
    ]
    there = facts["next_module"] == "dkms" or next_kernel(host) in plan["build"]
    if plan["policy"] == "inbox":
        there = facts["next_module"] is not None
    plan["waits"] = plan["policy"] != "none" and there and not kept and not facts["loaded"]
    serves = (
        wants["serve_state"] == "present" and wants["serve_instances"] and wants["serve_accelerator"] != "cpu"
    )
    lines = [entry["line"] for entry in host.rocm["kernel"]["trouble"] if "amdgpu" in entry["line"]]
    if kept:
        names = " and ".join(kept)
        seen = f"amdgpu not loaded, kept from it by {names}"
        remedy = f"Remove {names} (kernel_arguments_absent takes kernel arguments away) and reboot, or load amdgpu with a service"
    elif plan["waits"]:
        seen = f"amdgpu not loaded, its module is there for {next_kernel(host)}"
        remedy = "The role driver asks for the reboot that loads it"
    elif facts["loaded"]:
        seen, remedy = (
            "amdgpu loaded, and no GPU driven by it",
            "Read `dmesg | grep amdgpu`, and power the host off and on",
        )
    else:
        kind = "DKMS build" if plan["policy"] == "dkms" else "module"
        seen, remedy = (
            f"no {kind} of amdgpu for kernel {next_kernel(host)}",
            "Install the driver, or let driver_policy choose it",
        )
        left_out = distributions.module_remedy(host.rocm, next_kernel(host))
        if plan["policy"] == "inbox" and left_out:
            remedy = left_out
    if lines and not kept:
        seen = f"{seen}; the kernel says: {lines[-1]}"
    severity = "fail" if serves and not plan["waits"] else "warn"
    host.findings.add(
        "driver.not_loaded", seen, "amdgpu loaded, and the GPUs in KFD", severity=severity, remedy=remedy
    )


def _kept_by_arguments(host: Host) -> list[str]:
    """Arguments of the running kernel that amdgpu does not load with, apart from those that the role kernel
    takes away."""
    known = host.catalog.releases["drivers"]["kept_from_loading"]["arguments"]
    removed = host.wants["kernel_arguments_absent"] if host.wants["kernel_state"] == "present" else []
    return [
        word
        for word in host.rocm["kernel"]["command_line"]
        if word in known and not {word, word.partition("=")[0]} & set(removed)
    ]
