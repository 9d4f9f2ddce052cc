# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would stop a package manager half-way: states that an earlier run left, and a lock that somebody
holds."""

from __future__ import annotations

from .facts_host import Unfinished
from .host import Host
from .plan import Plan

# States that a running apt has for moments.
DRIVER = {"amdgpu-dkms", "amdgpu-dkms-firmware"}
TRIGGERS = ("triggers-awaited", "triggers-pending")


def check(host: Host, dkms: bool) -> None:
    """``dkms``: whether the driver is to be built."""
    state = host.system["package_state"]
    broken = [entry for entry in state["unfinished"] if entry["state"] not in TRIGGERS]
    if broken:
        seen = ", ".join(f"{entry['name']} {entry['version']} {entry['state']}" for entry in broken)
        # apt configures the driver anew with the headers that the role installs before it.
        again = {entry["name"] for entry in broken} <= DRIVER and dkms
        host.findings.add(
            "packages.unfinished",
            seen,
            "every package configured",
            severity="warn" if again else "fail",
            remedy=_way_out(host, broken, dkms),
        )
    elif state["unfinished"] and not state["busy"]:
        names = ", ".join(entry["name"] for entry in state["unfinished"])
        host.findings.add(
            "packages.unfinished",
            f"{names} waiting for triggers",
            "every package configured",
            severity="warn",
            remedy="Run `dpkg --configure -a`",
        )
    if state["interrupted"]:
        host.findings.add(
            "packages.interrupted", "files in /var/lib/dpkg/updates", "a dpkg that came to its end"
        )
    if state["duplicates"]:
        names = ", ".join(state["duplicates"])
        host.findings.add("packages.duplicates", names, "one version of each")
    if state["busy"]:
        host.findings.add("packages.busy", state["busy"], "a package manager that is free")


def check_plan(host: Host, plan: Plan) -> None:
    """Packages that the plan changes and somebody holds: apt refuses the whole transaction then."""
    words = [*plan.firmware.install, *plan.driver.install, *plan.driver.remove]
    words += [*plan.rocm.install, *plan.rocm.remove]
    words += [word for each in plan.serve.installs if each.packages for word in each.packages.install]
    changed = {word.partition("=")[0].partition(">")[0].strip() for word in words}
    ours = set(host.system["held"])
    theirs = [name for name in host.system["package_state"]["on_hold"] if name in changed - ours]
    if theirs:
        names = " ".join(theirs)
        host.findings.add("packages.on_hold", names, "packages that may change", names=names)


def _way_out(host: Host, broken: list[Unfinished], dkms: bool) -> str:
    """apt stops at a package that is half configured, and runs the script that failed again each time."""
    names = [entry["name"] for entry in broken]
    log = host.rocm["driver"]["build_log"]
    if "amdgpu-dkms" in names:
        first = f"Read {log}" if log else "Read /var/lib/dkms/amdgpu/*/build/make.log"
        gone = (
            "`apt-get purge amdgpu-dkms`, or where apt refuses `dpkg --purge "
            "--force-remove-reinstreq amdgpu-dkms`"
        )
        if not dkms:
            return f"Remove it, the inbox driver is used here: {gone}"
        return f"{first}, mend the cause and run `dpkg --configure -a`; to start anew, {gone}"
    if any(entry["state"] == "half-installed" for entry in broken):
        return f"Run `apt-get install --reinstall {' '.join(names)}`, then `dpkg --configure -a`"
    return "Run `dpkg --configure -a` and mend what it stops at, then `apt-get --fix-broken install`"
