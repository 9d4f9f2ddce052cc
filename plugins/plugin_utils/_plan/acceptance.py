# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The acceptance section of a plan: which tests this host has to pass, with which thresholds, and whether it
may serve by what it has passed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing as t

from .acceptance_engines import EngineTest, engine_tests
from .driver import DriverPlan
from .facts import Gpu
from .host import Host
from .kernel import KernelPlan
from .partition import PartitionPlan
from .rocm import RocmPlan
from .serve import ServePlan
from .wants import INVENTORY, Wants, WantsError

LEVELS = ("quick", "full", "burn_in")
NONE = "none"
# Groups whose tests need the GPUs to themselves.
ALONE = ("device", "model")
ACCEPT = "Run the playbook amdgpu.fleet.accept for it"


@dataclasses.dataclass(frozen=True)
class Least:
    """The least that a figure may be."""

    metric: str
    least: float
    unit: str
    source: str


@dataclasses.dataclass(frozen=True)
class Test:
    """One test with nothing left to decide: options of the module ``acceptance_test``."""

    name: str
    title: str
    group: str
    programs: list[str]
    package: str
    command: list[str]
    format: str
    output: str
    timeout: int
    devices: int
    each: bool
    repeat: int
    thresholds: list[Least]
    environment: dict[str, str]
    secret_file: str
    optional: bool
    idle: bool
    # Why the inventory leaves it out; empty where it runs.
    skipped: str
    source: str


@dataclasses.dataclass(frozen=True)
class AcceptancePlan:
    """What the role acceptance runs, and what the role serve waits for."""

    level: str
    # What of the plan results hold for.
    digest: str
    required: str
    # Why the host may not serve, as a sentence; empty where it may.
    refused: str
    # Where it was asked for.
    tests: list[Test] = dataclasses.field(default_factory=list)
    packages: list[str] = dataclasses.field(default_factory=list)
    versions: dict[str, str | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Sections:
    """What acceptance depends on: another driver makes another host of it."""

    kernel: KernelPlan
    driver: DriverPlan
    rocm: RocmPlan
    partition: PartitionPlan
    serve: ServePlan


def section(host: Host, plan: Sections) -> AcceptancePlan:
    """``tests`` are there where the role acceptance asks for them."""
    _check_names(host)
    wants = host.wants
    digest = _digest(host, plan)
    tests = _tests(host, plan.serve) if wants.plan_acceptance else []
    return AcceptancePlan(
        level=wants.acceptance_level,
        digest=digest,
        required=wants.acceptance_required,
        refused=_refused(host, plan.serve, digest),
        tests=tests,
        packages=sorted({test.package for test in tests if test.package and not test.skipped}),
        versions={"driver": plan.driver.release, "rocm": plan.rocm.version} if tests else {},
    )


def _digest(host: Host, plan: Sections) -> str:
    kept = [
        *(host.gfx, plan.driver.policy, plan.driver.release, plan.rocm.version),
        *(plan.partition.compute, plan.partition.memory),
        *(sorted(plan.kernel.present), plan.kernel.module_options),
    ]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _check_names(host: Host) -> None:
    known = host.catalog.acceptance["tests"]
    wants = host.wants
    names = [("acceptance_tests", name) for name in wants.acceptance_tests]
    names += [("acceptance_skip", name) for name in wants.acceptance_skip]
    names += [("acceptance_thresholds", name.partition(".")[0]) for name in wants.acceptance_thresholds]
    for variable, name in names:
        if name not in known:
            raise WantsError(
                f"{variable}: there is no test {name!r}. Choose from {', '.join(sorted(known))}."
            )
    for name, least in wants.acceptance_thresholds.items():
        number = isinstance(least, (int, float)) and not isinstance(least, bool) and least >= 0
        if not name.partition(".")[2] or not (number or least is None):
            raise WantsError(
                f"acceptance_thresholds: {name} is {least!r}. Write test.metric and the least that it may "
                f"be, or null for none."
            )


def _refused(host: Host, serve: ServePlan, digest: str) -> str:
    """Why it may not serve, where the inventory demands a pass and there is none that holds."""
    wanted = host.wants.acceptance_required
    if wanted == NONE or not serve.instances:
        return ""
    known = host.system["acceptance"]
    if known is None or LEVELS.index(wanted) > _rank(known["level"]) or known["verdict"] != "pass":
        seen = "no record" if known is None else f"{known['verdict']} at level {known['level']}"
        if known and known["failed"]:
            seen += f" ({', '.join(known['failed'])})"
        host.findings.add("acceptance.missing", seen, f"a pass at level {wanted}", level=wanted)
        return f"acceptance.missing: seen {seen}, expected a pass at level {wanted}. {ACCEPT}"
    old = _outdated(host.wants, known["age_hours"])
    changed = list(known["changed"])
    if known["plan"] != digest:
        changed.append("the plan of driver, kernel, ROCm or modes")
    if not old and not changed:
        return ""
    seen = "; ".join([*([old] if old else []), *([f"other {', '.join(changed)}"] if changed else [])])
    host.findings.add("acceptance.stale", seen, "a pass that still holds", level=wanted)
    return f"acceptance.stale: seen {seen}, expected a pass that still holds. {ACCEPT}"


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else -1


def _outdated(wants: Wants, hours: int | None) -> str:
    if not wants.acceptance_max_age:
        return ""
    if hours is None:
        return "of unknown age"
    return f"{hours // 24} days old" if hours > 24 * wants.acceptance_max_age else ""


def _tests(host: Host, serve: ServePlan) -> list[Test]:
    catalog, level = host.catalog.acceptance, host.wants.acceptance_level
    found: list[Test] = []
    for name, entry in catalog["tests"].items():
        if level not in entry["levels"]:
            continue
        if entry["group"] in ("engine", "model"):
            found += [
                _test(host, f"{name}_{each.server}".replace("-", "_"), name, each)
                for each in engine_tests(host, serve, entry, catalog["load"][level])
            ]
        elif _applies(host, entry):
            found.append(_test(host, name, name, None))
    return found


def _applies(host: Host, entry: dict[str, t.Any]) -> bool:
    group = entry["group"]
    if group == "network":
        network = host.system["network"]
        rdma = any(port["up"] for port in network["rdma"]) if network else False
        return bool(host.wants.acceptance_peer) and (rdma or not entry.get("rdma"))
    if group != "device":
        return True
    if not host.gpus or _devices(host.gpus) < entry.get("devices", 1):
        return False
    if entry.get("instinct") and not all(_instinct(gpu) for gpu in host.gpus):
        return False
    products = {gpu["product"] for gpu in host.gpus}
    if "products" in entry and not products <= set(entry["products"]):
        return False
    return not any("{rvs}" in word for word in entry["command"]) or bool(_rvs_folder(host))


def _instinct(gpu: Gpu) -> bool:
    return (gpu["family"] or "").startswith("cdna")


def _devices(gpus: t.Sequence[Gpu]) -> int:
    return sum(gpu["partitions"] for gpu in gpus)


def _rvs_folder(host: Host) -> str:
    folders = {host.catalog.acceptance["rvs_folders"].get(gpu["product"]) for gpu in host.gpus}
    return str(folders.pop() or "") if len(folders) == 1 else ""


def _test(host: Host, name: str, entry_name: str, engine: EngineTest | None) -> Test:
    catalog = host.catalog.acceptance
    entry = catalog["tests"][entry_name]
    tool = catalog["tools"][entry["tool"]]
    words = {"devices": str(_devices(host.gpus)), "rvs": _rvs_folder(host)}
    command = engine.command if engine else [_filled(word, words) for word in entry["command"]]
    return Test(
        name=name,
        title=f"{entry['title']} ({engine.server})" if engine else entry["title"],
        group=entry["group"],
        programs=engine.programs if engine and engine.programs else list(tool["programs"]),
        package=tool["packages"].get(host.package_manager or "", ""),
        command=command,
        format=entry["format"],
        output=engine.output if engine else "",
        timeout=entry["timeout"],
        devices=_devices(host.gpus),
        each=entry.get("each", False),
        repeat=entry.get("repeat", 1),
        thresholds=_thresholds(host, entry_name),
        environment=engine.environment if engine else {},
        secret_file=engine.secret_file if engine else "",
        optional=entry.get("optional", False),
        idle=entry["group"] in ALONE,
        skipped=_skipped(host.wants, entry_name),
        source=entry["source"],
    )


def _skipped(wants: Wants, name: str) -> str:
    if name in wants.acceptance_skip:
        return "left out by acceptance_skip"
    if wants.acceptance_tests and name not in wants.acceptance_tests:
        return "left out by acceptance_tests"
    return ""


def _filled(word: str, values: t.Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


def _thresholds(host: Host, name: str) -> list[Least]:
    """Those of the catalog that were published for these GPUs, and what the inventory says instead."""
    products = {gpu["product"] for gpu in host.gpus}
    found = {
        key: Least(entry["metric"], entry["least"], entry["unit"], entry["source"])
        for key, entry in host.catalog.acceptance["thresholds"].items()
        if entry["test"] == name and entry["least"] is not None and _fits(host, entry, products)
    }
    own = host.wants.acceptance_thresholds
    metrics = {key.partition(".")[2]: least for key, least in own.items() if key.partition(".")[0] == name}
    kept = [each for each in found.values() if each.metric not in metrics]
    units = {each.metric: each.unit for each in found.values()}
    asked = [
        Least(metric, float(least), units.get(metric, ""), INVENTORY)
        for metric, least in metrics.items()
        if least is not None
    ]
    return [*kept, *asked]


def _fits(host: Host, entry: dict[str, t.Any], products: set[str | None]) -> bool:
    if not products or not products <= set(entry["products"]):
        return False
    if entry.get("devices", _devices(host.gpus)) != _devices(host.gpus):
        return False
    return all(
        wanted is None or all(gpu[key] in (wanted, None) for gpu in host.gpus)  # type: ignore[literal-required]
        for key, wanted in (
            ("compute_partition", entry.get("compute")),
            ("memory_partition", entry.get("memory")),
        )
    )
