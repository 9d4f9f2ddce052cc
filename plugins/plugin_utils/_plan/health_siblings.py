# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of one host held against each other, and their number against what boards of their kind have."""

from __future__ import annotations

import collections
import typing as t

from .health_checks import Case, Evidence

if t.TYPE_CHECKING:
    from .host import Host


def check_count(host: Host) -> None:
    """Whether GPUs are missing that nothing on the host shows. A guest or a container has as many as it was
    given."""
    if host.system["place"]["kind"] != "host":
        return
    counts: collections.Counter[str] = collections.Counter(
        gpu["product"] or "" for gpu in host.gpu_facts["gpus"] if not gpu["virtual_function"]
    )
    linked = _linked(host)
    for product, count in counts.items():
        board = next((each for each in host.catalog.health["boards"] if product in each["products"]), None)
        if board is None:
            continue
        whole = next((number for number in board["counts"] if number >= count), count)
        expected = max(whole, linked if len(counts) == 1 else 0)
        if count < expected:
            host.findings.add("health.gpu_missing", f"{count} {product}", f"{expected}, as their boards have")


def _linked(host: Host) -> int:
    """How many GPUs the largest hive says that it has."""
    gpus = host.health["gpus"] if host.health else []
    return max((gpu["xgmi"]["nodes"] or 0 for gpu in gpus if gpu["xgmi"]), default=0)


def unlike(cases: t.Sequence[Case]) -> dict[int, list[Evidence]]:
    """Links between GPUs that siblings have and this one has not."""
    found: dict[int, list[Evidence]] = {}
    for group in _kinds(cases).values():
        for name, words in (("links_up", "links up"), ("nodes", "GPUs in its hive")):
            values = {one.gpu["index"]: _xgmi(one, name) for one in group}
            usual = max((value for value in values.values() if value), default=0)
            for one in group:
                value = values[one.gpu["index"]]
                if value is not None and value < usual:
                    evidence = one.evidence("xgmi_down", f"{value} {words}", f"{usual}, as its siblings have")
                    found.setdefault(one.gpu["index"], []).append(evidence)
        for name, words in (("width", "lanes"), ("speed", "Gbit/s")):
            values = {one.gpu["index"]: _xgmi(one, name) for one in group}
            usual = max((value for value in values.values() if value), default=0)
            for one in group:
                value = values[one.gpu["index"]]
                # A GPU without work may let its links sleep.
                if value and value < usual and not any(each.idle for each in group):
                    evidence = one.evidence("xgmi_down", f"XGMI links with {value} {words}", f"{usual}")
                    found.setdefault(one.gpu["index"], []).append(evidence)
    return found


def _xgmi(one: Case, name: str) -> int | None:
    xgmi = one.health["xgmi"]
    values: dict[str, t.Any] = dict(xgmi) if xgmi else {}
    value: int | None = values.get(name)
    return value


def _kinds(cases: t.Sequence[Case]) -> dict[str | None, list[Case]]:
    """GPUs that should be equal."""
    kinds: dict[str | None, list[Case]] = {}
    for one in cases:
        if one.gpu["driver"] == "amdgpu":
            kinds.setdefault(one.gpu["pci_id"], []).append(one)
    return kinds


def check_equal(host: Host, cases: t.Sequence[Case]) -> None:
    """Versions and sizes that differ from those of most siblings."""
    for group in _kinds(cases).values():
        parts = sorted({part for one in group for part in one.health["firmware"]})
        for what, values in (
            ("VBIOS", [one.health["vbios"] for one in group]),
            *((f"firmware of {part}", [one.health["firmware"].get(part) for one in group]) for part in parts),
            ("the memory size", [_text(one.gpu["vram_bytes"]) for one in group]),
            ("the default limit of power", [_text(one.health["power"]["cap_default"]) for one in group]),
        ):
            _report(host, what, group, values)


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _report(host: Host, what: str, group: t.Sequence[Case], values: t.Sequence[str | None]) -> None:
    counts = collections.Counter(value for value in values if value is not None)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    others = [
        (str(one.gpu["index"]), value)
        for one, value in zip(group, values)
        if value is not None and value != usual
    ]
    host.findings.add(
        "health.unequal",
        "; ".join(f"{what} {value} on GPU {index}" for index, value in others),
        f"{usual}, as the other {counts[usual]} have",
        what=what,
        names=", ".join(index for index, _value in others),
    )
