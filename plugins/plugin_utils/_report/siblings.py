# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of one kind held against each other, on the controller, from their records alone."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Record, Unlike

# Of fewer hosts none is the usual one.
FEWEST = 3
# What is said first; the others follow by name. Each with its words.
NAMES = {
    "gpus": "GPUs",
    "gpu_memory": "memory of a GPU",
    "link_width": "PCIe lanes",
    "partitions": "partition mode",
    "vbios": "VBIOS",
    "power": "limit of power",
    "driver": "driver",
    "kernel": "kernel",
    "rocm": "ROCm",
    "os": "system",
    "memory": "memory of the host",
}


def unlike(records: t.Sequence[Record]) -> list[Unlike]:
    """What hosts have that most of their kind have otherwise. Where no value has more than half of the hosts,
    none is the usual one: a fleet that is being upgraded is no fault."""
    kinds: dict[tuple[str, tuple[str, ...]], list[Record]] = {}
    for record in records:
        products = tuple(sorted({each["name"] for each in record["gpu_list"]}))
        if products and record["seen"]["versions"]:
            kinds.setdefault((record["profile"], products), []).append(record)
    return [each for (profile, products), same in kinds.items() for each in _of_kind(products, profile, same)]


def _of_kind(products: tuple[str, ...], profile: str, records: list[Record]) -> t.Iterator[Unlike]:
    if len(records) < FEWEST:
        return
    seen = {name for record in records for name in record["seen"]["versions"]}
    for name in sorted(seen, key=_place):
        values: dict[str, list[str]] = {}
        for record in records:
            value = record["seen"]["versions"].get(name)
            if value:
                values.setdefault(value, []).append(record["host"])
        counts = collections.Counter({value: len(hosts) for value, hosts in values.items()})
        usual, most = counts.most_common(1)[0]
        if len(values) < 2 or 2 * most <= sum(counts.values()):
            continue
        kind = f"{', '.join(products)} ({profile})" if profile else ", ".join(products)
        for value, hosts in values.items():
            if value != usual:
                yield Unlike(
                    kind=kind, name=_words(name), hosts=hosts, value=value, usual=usual, others=most
                )  # fmt: skip


def _place(name: str) -> tuple[int, str]:
    known = list(NAMES)
    return known.index(name) if name in NAMES else len(known), name


def _words(name: str) -> str:
    return NAMES.get(name) or name.replace("firmware ", "firmware of ")


def sentence(each: Unlike) -> str:
    """As in "GPUs: 7; the other 15 hosts have 8"."""
    others = f"the other {each['others']} hosts have" if each["others"] > 1 else "the other host has"
    return f"{each['name']}: {each['value']}; {others} {each['usual']}"
