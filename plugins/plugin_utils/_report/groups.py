# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of many hosts in few blocks: one for each kind, with the hosts listed."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Change, Finding, Record

ORDER = {"fail": 0, "warn": 1, "ok": 2}


class Variant(t.NamedTuple):
    """Hosts that show the same."""

    seen: str
    expected: str
    hosts: list[str]


class Group(t.NamedTuple):
    """One kind of finding."""

    first: Finding
    variants: list[Variant]
    remedies: list[str]
    reasons: list[str]

    @property
    def hosts(self) -> list[str]:
        return list(dict.fromkeys(host for variant in self.variants for host in variant.hosts))


def group(findings: t.Iterable[Finding]) -> list[Group]:
    """By severity, then those of most hosts first."""
    kinds: dict[tuple[str, str, str], list[Finding]] = {}
    for each in findings:
        kinds.setdefault((each["id"], each["severity"], each["title"]), []).append(each)
    groups = [
        Group(same[0], _variants(same), _each(same, "remedy"), _each(same, "why")) for same in kinds.values()
    ]
    return sorted(groups, key=lambda each: (ORDER[each.first["severity"]], -len(each.hosts)))


def _variants(findings: list[Finding]) -> list[Variant]:
    hosts: dict[tuple[str, str], list[str]] = {}
    for each in findings:
        hosts.setdefault((each["seen"], each["expected"]), []).append(each["host"])
    variants = [Variant(seen, expected, names) for (seen, expected), names in hosts.items()]
    return sorted(variants, key=lambda each: -len(each.hosts))


def _each(findings: list[Finding], key: t.Literal["remedy", "why"]) -> list[str]:
    return list(dict.fromkeys(each[key] for each in findings))


def of_records(records: list[Record], severities: t.Collection[str] = ("fail", "warn", "ok")) -> list[Group]:
    return group(
        {**each, "host": record["host"]}
        for record in records
        for each in record["findings"]
        if each["severity"] in severities
    )


def put_right(records: list[Record]) -> dict[str, list[Group]]:
    """What was wrong and is not any more: looked at again, or only set right."""
    mended = [
        t.cast("Finding", {**each, "host": record["host"]}) for record in records for each in record["mended"]
    ]
    applied = [
        t.cast("Finding", {**each, "host": record["host"]})
        for record in records
        for each in record["applied"]
    ]
    return {"mended": group(mended), "set right": group(applied)}


class Changed(t.NamedTuple):
    """Hosts with the same change since their last run."""

    first: Change
    hosts: list[str]


def changed(records: list[Record]) -> list[Changed]:
    """By severity, then those of most hosts first."""
    hosts: dict[tuple[str, str, str], list[str]] = {}
    first: dict[tuple[str, str, str], Change] = {}
    for record in records:
        for each in record["changes"]:
            key = (each["what"], each["before"], each["now"])
            hosts.setdefault(key, []).append(record["host"])
            first.setdefault(key, each)
    found = [Changed(first[key], names) for key, names in hosts.items()]
    return sorted(found, key=lambda each: (ORDER[each.first["severity"]], -len(each.hosts)))


def reboots(records: list[Record]) -> dict[str, list[str]]:
    """Hosts by the reasons for their reboot."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record["reboot"]:
            found.setdefault("; ".join(record["reboot"]), []).append(record["host"])
    return found
