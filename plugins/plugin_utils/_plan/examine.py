# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host whatever is wanted of it. Checks that data can express stand in
``known_issues.yml`` (``match``)."""

from __future__ import annotations

import re
import typing as t

from . import distributions
from .catalog import version_key
from .fitting import builds_for
from .host import Host


def examine(host: Host) -> None:
    """Add the findings of a host."""
    _gpus(host)
    _driver(host)
    _devices(host)
    _known_issues(host)


def _gpus(host: Host) -> None:
    facts = host.gpu_facts
    if facts["kfd"] == "denied":
        host.findings.add("gpu.hidden", "permission denied in the KFD topology", "readable KFD nodes")
    elsewhere = [gpu for gpu in facts["gpus"] if gpu["supported"] and gpu not in host.gpus]
    if elsewhere:
        seen = ", ".join(f"{gpu['pci_address']} on {gpu['driver']}" for gpu in elsewhere)
        host.findings.add("gpu.passed_through", seen, "amdgpu")
    _check_kfd(host)
    # An operator who serves on processors has answered both.
    on_processors = host.wants.serve_accelerator == "cpu"
    if not host.gpus and not on_processors:
        unsupported = ", ".join(str(gpu["product"] or gpu["pci_id"]) for gpu in facts["gpus"]) or "no AMD GPU"
        host.findings.add("gpu.none", unsupported, "a GPU that ROCm supports", remedy=_without_gpu(host))
    elif host.gpus and not host.profile and not on_processors:
        host.findings.add("gpu.profile", host.gfx, "an architecture with a profile", gfx=host.gfx)
    architectures = sorted({str(gpu["gfx"]) for gpu in host.gpus})
    if len(architectures) > 1:
        host.findings.add("gpu.mixed", ", ".join(architectures), "one architecture")
    for problem in facts["problems"]:
        if "KFD does not show it" in problem["problem"]:
            host.findings.add("gpu.missing", problem["path"], "a KFD node for it")


def _check_kfd(host: Host) -> None:
    """The driver has the GPUs, and its kernel was built without the part that computes."""
    wants, driven = host.wants, [gpu for gpu in host.gpus if gpu["driver"] == "amdgpu"]
    if host.gpu_facts["kfd"] != "absent" or not (driven and host.rocm["driver"]["loaded"]):
        return
    serves = wants.serve_state == "present" and wants.serve_accelerator != "cpu"
    needed = serves and any(server.engine == "vllm" for server in wants.serve_instances)
    seen, severity = "amdgpu, and no /sys/class/kfd", "fail" if needed else "warn"
    host.findings.add("gpu.no_kfd", seen, "a kernel with KFD", severity=severity)


def _without_gpu(host: Host) -> str:
    """What helps where no GPU is this host's."""
    if any(gpu["supported"] for gpu in host.gpu_facts["gpus"]):
        return "Serve in the guests that have the GPUs"
    if host.gpu_facts["gpus"]:
        return "Put a GPU in that ROCm supports"
    return "Check the slot and `lspci -d 1002:`"


def driver_builds(host: Host, release: str | None, dkms: bool, pending: bool) -> None:
    """Kernels that would start without the DKMS driver, where ``dkms`` is the policy. ``pending``: packages
    are about to change, and may bring a build."""
    facts, kernel = host.rocm["driver"], host.system["kernel"]
    # A package whose build failed is half configured, so it does not count as installed.
    if "amdgpu-dkms" not in host.system["packages"] and not (facts["dkms"] and release):
        return
    built = {build["kernel"] for build in facts["dkms"] if build["state"] == "installed"}
    missing = [name for name in kernel["installed"] if name not in built]
    boots = (kernel["default_release"] or kernel["release"]) in missing
    if missing:
        host.findings.add(
            "driver.not_built",
            ", ".join(missing),
            "a build for every installed kernel",
            severity="fail" if boots and dkms and not pending else "warn",
            next="the next boot starts it" if boots else "a boot into it",
            remedy=_build_remedy(host, release, missing),
        )


def _build_remedy(host: Host, release: str | None, missing: list[str]) -> str:
    known = host.catalog.releases["drivers"]["releases"].get(release)
    steps = []
    for kernel in missing:
        if known and not builds_for(known, kernel):
            limits = known["kernels"]
            steps.append(
                f"Remove {kernel}: driver {release} is for kernels from {limits['minimum']} to below "
                f"{limits['below']}"
            )
            continue
        build = f"run `dkms autoinstall -k {kernel}`"
        if kernel in host.system["kernel"]["without_headers"]:
            headers = " ".join(
                name.format(release=kernel) for name in (host.distribution or {}).get("headers", [])
            )
            steps.append(f"Install {headers or 'the headers of ' + kernel} and {build}")
        elif host.rocm["driver"]["build_log"]:
            steps.append(
                f"Mend what {host.rocm['driver']['build_log']} tells of and {build}, or remove {kernel}"
            )
        else:
            steps.append(f"R{build[1:]}, or remove {kernel}")
    return "; ".join(steps)


def _driver(host: Host) -> None:
    kernel = host.system["kernel"]
    unknown = kernel["unknown_parameters"]
    if unknown:
        host.findings.add("kernel.parameter_unknown", ", ".join(unknown), "parameters that the module has")
    for entry in host.profile.get("host", {}).get("avoid_kernel", []):
        os, general = distributions.kernel_base(host.system), (host.distribution or {}).get("kernel", "0")
        # Ubuntu's HWE kernels call themselves generic, as its GA kernels do; only the number tells them
        # apart.
        is_hwe = version_key(kernel["release"] or "")[:2] > version_key(general)
        if (entry["distribution"], entry["version"]) == (os.id, os.version) and (
            entry["flavour"] != "hwe" or is_hwe
        ):
            host.findings.add(
                "kernel.avoid",
                kernel["release"],
                f"the GA kernel {general}",
                why=entry["reason"],
                remedy=distributions.ga_remedy(host.system),
            )
        elif (entry["distribution"], entry["version"], entry["flavour"]) == (os.id, os.version, "hwe"):
            bringing = [
                name
                for name in host.system["packages"]
                if re.fullmatch(r"linux-(image-|headers-)?(generic|virtual)-hwe-.+", name)
            ]
            if bringing:
                host.findings.add(
                    "kernel.hwe_package",
                    ", ".join(sorted(bringing)),
                    "linux-generic alone",
                    why=entry["reason"],
                )


def _devices(host: Host) -> None:
    kfd, render = host.system["devices"]["kfd"], host.system["groups"]["render"]
    if (
        host.gpus
        and host.rocm["driver"]["loaded"]
        and host.gpu_facts["kfd"] == "present"
        and not kfd["present"]
    ):
        host.findings.add("devices.missing", "no /dev/kfd", "/dev/kfd of group render")
    elif (
        kfd["present"]
        and host.wants.devices_state == "present"
        and (kfd["gid"] != render or kfd["mode"] != host.wants.devices_mode)
    ):
        host.findings.add(
            "devices.permissions",
            f"group {kfd['group'] or kfd['gid']}, mode {kfd['mode']}",
            f"group render ({render}), mode {host.wants.devices_mode}",
        )
    wanted = host.profile.get("host", {}).get("limits", {}).get("memlock")
    limit = host.system["memlock"]["users"]
    if wanted and host.wants.devices_state == "present" and limit != wanted["value"]:
        host.findings.add(
            "host.memlock", limit or "the distribution's default", wanted["value"], why=wanted["reason"]
        )


def _known_issues(host: Host) -> None:
    matching = {}
    for identifier, issue in host.catalog.known_issues.items():
        match = issue.get("match")
        if match and host.gfx in match.get("gfx", [host.gfx]) and _facts_agree(host, match):
            seen = _seen(host, match)
            if seen:
                matching[identifier] = seen
    for identifier, seen in matching.items():
        issue = host.catalog.known_issues[identifier]
        # What goes with every cause is silent where the cause is known.
        if not set(issue["match"].get("yields_to", [])) & set(matching):
            host.findings.add_known(identifier, seen, issue["expected"])


def _facts_agree(host: Host, match: dict[str, t.Any]) -> bool:
    """A line of the log is not believed where the host shows that it is not so (any more)."""
    if match.get("unless") == "all_in_kfd":
        return not host.gpus or any(not gpu["partitions"] for gpu in host.gpus)
    return True


def _seen(host: Host, match: dict[str, t.Any]) -> str:
    """What on the host fits a ``match`` of the catalog; nothing fits the empty text."""
    if "log" in match:
        return "; ".join(
            entry["line"]
            for entry in host.system["kernel"]["trouble"]
            if re.search(match["log"], entry["line"], re.I)
        )
    if "repository" in match:
        fits = [
            entry for entry in host.system["repositories"] if re.search(match["repository"], entry["uri"])
        ]
        if "signed" in match:
            fits = [entry for entry in fits if entry["signed"] is match["signed"]]
        return ", ".join(f"{entry['uri']} in {entry['path']}" for entry in fits)
    if "package" in match:
        version = host.system["packages"].get(match["package"])
        old = version and (
            "below" not in match or version_key(version.rpartition(":")[2]) < version_key(match["below"])
        )
        return f"{match['package']} {version}" if old else ""
    release = host.system["kernel"]["release"] or ""
    inside = release and version_key(match["kernel_from"]) <= version_key(release) < version_key(
        match["kernel_below"]
    )
    return f"kernel {release}" if inside else ""
