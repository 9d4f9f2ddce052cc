# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of the report: what is stored of a host, and what is said about a run."""

from __future__ import annotations

import typing as t

Severity = t.Literal["fail", "warn", "ok"]
# A failure that begins like this is told by findings.
BY_FINDINGS = "stopped before anything was changed, by"
Level = t.Literal["fail", "warn", "wait", "ok"]
# Hosts that need a look come first.
LEVELS: tuple[Level, ...] = ("fail", "warn", "wait", "ok")


class Finding(t.TypedDict):
    id: str
    host: str
    severity: Severity
    title: str
    seen: str
    expected: str
    why: str
    remedy: str
    reference: t.Optional[str]
    mended_by: t.Optional[str]


class Setting(t.TypedDict):
    role: str
    setting: str
    # Of the inventory, the catalog or a fact, and as it stands there.
    value: t.Any
    reason: str
    source: t.Any


class Gpu(t.TypedDict):
    index: int
    name: str
    gfx: str
    pci: str
    memory_bytes: int
    partitions: int
    mode: str
    verdict: t.Optional[str]
    evidence: str


class Endpoint(t.TypedDict):
    name: str
    url: str
    target: t.Optional[str]
    unit: str
    model: str
    engine: str
    kind: str
    version: str
    variant: str
    gpus: list[int]
    memory: dict[str, t.Any]
    # None: nobody asked it in this run.
    answered: t.Optional[bool]
    text: str
    reason: str
    waited_seconds: t.Optional[float]
    time_to_first_token_ms: t.Optional[float]
    time_per_output_token_ms: t.Optional[float]


class Component(t.TypedDict):
    """One part of what runs on a host."""

    # package, image, wheel or model.
    kind: str
    name: str
    version: str
    # Empty where none is known.
    digest: str
    # Its folder or environment.
    place: str


class Acceptance(t.TypedDict):
    """What the host passed, in short."""

    level: str
    # pass, fail or incomplete; empty where there is no record.
    verdict: str
    finished: str
    failed: list[str]
    warnings: int
    # What is another one since then, in words.
    changed: list[str]


class Past(t.TypedDict):
    """One earlier run, for the history of a host."""

    at: str
    command: str
    state: str
    fail: int
    warn: int


class Seen(t.TypedDict):
    """What the next run compares with."""

    boot_id: str
    # By kind and name: kernel, vbios, "firmware smc".
    versions: dict[str, str]
    # By "kind|PCI address|detail"; what is 0 is left out.
    counters: dict[str, int]
    # Whether the state of the GPUs was read, so that a counter that is left out is 0.
    health: bool
    # Whether the host was held against its plan, and which roles have something to do.
    compared: bool
    drift: dict[str, str]
    # Whether a run has brought it to its plan.
    brought: bool


class Change(t.TypedDict):
    """One thing that is not as in the last run."""

    # Its entry of the part changes of health.yml.
    kind: str
    what: str
    before: str
    now: str
    why: str
    severity: Severity


class Unlike(t.TypedDict):
    """What hosts have otherwise than most hosts of their kind."""

    kind: str
    name: str
    hosts: list[str]
    value: str
    usual: str
    # How many hosts have the usual one.
    others: int


class Record(t.TypedDict):
    """All that is stored of one host. ``hosts/NAME.json`` holds it."""

    host: str
    at: str
    run: str
    command: str
    inventory: list[str]
    # When the host was last looked at, where this run could not.
    known_at: str
    failure: str
    os: str
    kernel: str
    memory_bytes: int
    driver: dict[str, t.Any]
    rocm: str
    profile: str
    title: str
    gpus: str
    gpu_list: list[Gpu]
    # For groups of the inventory plugin: architectures, GPUs, and modes as CPX_NPS4.
    gfx: list[str]
    gpu_count: int
    partition_modes: list[str]
    partitions: int
    usable_bytes: int
    findings: list[Finding]
    # Gone when the host was looked at again.
    mended: list[Finding]
    # A role of this run set it right, and nobody has looked since.
    applied: list[Finding]
    settings: list[Setting]
    # The bill of materials.
    deployed: list[Component]
    reboot: list[str]
    endpoints: list[Endpoint]
    history: list[Past]
    # What this run saw, what the last one had seen, and the difference.
    seen: Seen
    last: Seen
    changes: list[Change]
    acceptance: Acceptance
    # Whether the run is on the host itself, and cannot reboot it.
    local: bool
    # Which boot of the host it was, and whether the run took everything back.
    boot_id: str
    teardown: bool
    # Of this report and not of the host: whether the run was for it, and whether its turn is still to come.
    asked: bool
    waiting: bool


class Run(t.NamedTuple):
    """One call of ansible-playbook."""

    id: str
    at: str
    started: str
    command: str
    limit: str
    check: bool
    inventory: list[str]


def no_acceptance() -> Acceptance:
    return Acceptance(level="", verdict="", finished="", failed=[], warnings=0, changed=[])


def nothing_seen() -> Seen:
    return Seen(boot_id="", versions={}, counters={}, health=False, compared=False, drift={}, brought=False)


def empty(host: str) -> Record:
    """A host of which nothing is known."""
    return Record(
        host=host, at="", run="", command="", inventory=[], known_at="", failure="", os="", kernel="",
        memory_bytes=0, driver={}, rocm="", profile="", title="", gpus="", gpu_list=[], gfx=[], gpu_count=0,
        partition_modes=[], partitions=0, usable_bytes=0, findings=[], mended=[], applied=[], settings=[],
        deployed=[], reboot=[], endpoints=[], history=[], local=False, boot_id="", acceptance=no_acceptance(),
        seen=nothing_seen(), last=nothing_seen(), changes=[], teardown=False, asked=False, waiting=False,
    )  # fmt: skip


def count(record: Record, severity: Severity) -> int:
    return sum(finding["severity"] == severity for finding in record["findings"])


def level(record: Record) -> Level:
    """How urgent a look at the host is."""
    if record["failure"] or count(record, "fail"):
        return "fail"
    if count(record, "warn") or record["reboot"]:
        return "warn"
    return "wait" if record["waiting"] or not record["at"] else "ok"


def state(record: Record) -> str:
    """The state of the host in a word or two."""
    if record["failure"] or count(record, "fail"):
        return "failed"
    if record["waiting"]:
        return "waiting"
    words = ["serving"] if serves(record) else []
    words += ["reboot needed"] if record["reboot"] else []
    return ", ".join(words) or ("ready" if record["at"] else "unknown")


def serves(record: Record) -> bool:
    """Every endpoint was asked and answered."""
    return bool(record["endpoints"]) and all(each["answered"] for each in record["endpoints"])
