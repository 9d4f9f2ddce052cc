# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: facts, wants and catalog in, one plan out. Pure: no clock, no network, no host.

The order is the one below and nothing else: each section is given what it needs of those before it.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing as t

from . import (
    acceptance,
    code_objects,
    declarative,
    devices,
    driver,
    firmware,
    health,
    initramfs,
    kernel,
    machine,
    model,
    next_boot,
    outside,
    owners,
    packages,
    partition,
    place,
    reach,
    rocm,
    room,
    serve,
)
from .catalog import Catalog, CatalogError
from .checks import normalize
from .engines import choice
from .examine import examine
from .facts import of
from .findings import Findings
from .handover import kubernetes
from .host import Host, look_at
from .memory import host_memory
from .packaging import MANAGERS
from .plan import NoPlan, Plan, plain
from .wants import Wants, WantsError


def plan(
    facts: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any], host: str, unreachable: str = ""
) -> dict[str, t.Any]:
    """The plan of one host as plain data."""
    return plain(whole(facts, variables, host, unreachable)[1])


def whole(
    facts: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any], host: str, unreachable: str = ""
) -> tuple[Host | None, Plan | NoPlan]:
    """The plan of one host from the facts ``amd_gpus``, ``amd_rocm`` and ``amd_host``, and the host.

    Bad wants and bad overrides become findings; the host is then left alone, as one is that was not reached.
    """
    if unreachable:
        findings = Findings(host, Catalog().known_issues)  # this one cannot be accepted
        reach.say(findings, unreachable)
        return None, NoPlan(host, findings.sorted())
    findings = Findings(host, Catalog().known_issues, _accepted(variables))
    try:
        wants = normalize(variables)
        catalog = Catalog(wants.plan_catalog)
        catalog.check_overrides()
        findings.known = catalog.known_issues
        _check_accepted(wants, catalog)
        settled = choice.settled(look_at(host, of(facts), wants, catalog, findings))
        return settled, _sections(settled)
    except WantsError as error:
        seen, expected = "an inventory that does not fit", "known variables and values"
        findings.add("inventory.variable", seen, expected, detail=error)
    except CatalogError as error:
        seen, expected = "an override that does not fit", "the layout of the catalog"
        findings.add("inventory.catalog", seen, expected, detail=error)
    return None, NoPlan(host, findings.sorted())


def _accepted(variables: t.Mapping[str, t.Any]) -> list[str]:
    """The findings that the inventory accepts. Without wants and catalog there is no plan to go on with, so
    what is wrong with these cannot be accepted."""
    names = variables.get("plan_accept") or []
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    known = names if isinstance(names, list) else []
    return [name for name in known if not str(name).startswith("inventory.")]


def _check_accepted(wants: Wants, catalog: Catalog) -> None:
    for name in map(str.strip, wants.plan_accept):
        if name not in catalog.known_issues:
            close = difflib.get_close_matches(name, catalog.known_issues, n=1)
            remedy = f" Did you mean {close[0]}?" if close else " Remove it."
            raise WantsError(f"plan_accept: there is no finding {name!r}.{remedy}")


def _sections(host: Host) -> Plan:
    policy = driver.policy(host)
    dkms = policy.name == "dkms"
    place.check(host)
    packages.check(host, dkms)
    owners.check(host, dkms)
    examine(host)
    host_memory(host)
    kernel_plan, for_others = kernel.section(host, policy)
    firmware_plan = firmware.section(host)
    driver_plan = driver.section(host, policy, for_others.loaded_late)
    rocm_plan = rocm.section(host, policy)
    partition_plan, planned = partition.section(host, serve.units(host.wants))
    model_plan = model.section(host, serve.unindexed(host.wants), serve.formats(host.wants))
    serve_plan = code_objects.check(host, serve.section(host, planned, for_others))
    devices_plan = devices.section(host, serve_plan.container or bool(serve_plan.handed_over))
    plan = Plan(
        host=host.name,
        profile=host.gfx,
        title=host.profile.get("title"),
        gpus=_summary(host),
        package_manager=host.package_manager,
        kernel=kernel_plan,
        firmware=firmware_plan,
        driver=driver_plan,
        rocm=rocm_plan,
        devices=devices_plan,
        partition=partition_plan,
        model=model_plan,
        serve=serve_plan,
        findings=[],
        settings=host.settings,
        health=health.section(host),
        acceptance=acceptance.section(
            host, acceptance.Sections(kernel_plan, driver_plan, rocm_plan, partition_plan, serve_plan)
        ),
    )
    plan = kubernetes.section(host, plan, planned)
    plan = machine.check(host, plan)
    if place.is_inside(host):
        plan = place.leave_to_the_owner(host, plan)
    else:
        plan = declarative.check(host, plan)
        packages.check_plan(host, plan)
        room.check(host, plan)
        initramfs.check(host, plan)
        next_boot.check(host, plan)
    plan = _gate_packages(host, plan)
    outside.check(host, plan.driver, plan.rocm, model_plan, serve_plan)
    return dataclasses.replace(plan, findings=host.findings.sorted())


def _gate_packages(host: Host, plan: Plan) -> Plan:
    """Where no role can use the package manager, nothing is planned for it: the run would stop half-way."""
    if host.package_manager in MANAGERS:
        return plan
    changes = plan.driver
    wanted = [
        *plan.firmware.install,
        *(*changes.install, *changes.remove, *changes.headers, *changes.hold, *changes.unhold),
        *(*plan.rocm.install, *plan.rocm.remove),
    ]
    if wanted:
        seen = f"{host.package_manager or 'none'} on {host.system['os']['name']}"
        host.findings.add("host.package_manager", seen, " or ".join(MANAGERS))
    return dataclasses.replace(
        plan.without_packages(),
        driver=dataclasses.replace(plan.without_packages().driver, build=changes.build),
    )


def _summary(host: Host) -> str:
    counts: dict[str, int] = {}
    for gpu in host.gpus:
        name = f"{gpu['product'] or gpu['pci_id']} ({gpu['gfx']})"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items()) or "none"
