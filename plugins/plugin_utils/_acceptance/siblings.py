# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of one host beside those of others with the same GPUs, from the records that lie in one folder."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance import judge
from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance.parsed import Metric, quantity

Record = t.Dict[str, t.Any]
WHOSE = "the median of its siblings"


def read(folder: Path, but: str) -> list[Record]:
    """The records of other hosts. One that is damaged is left out."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(known, dict) and known.get("host") not in (None, but):
            found.append(known)
    return found


def compare(record: Record, others: t.Sequence[Record]) -> None:
    """Add a warning to each test whose figure is far from those of its siblings."""
    alike = [other for other in others if _gpus(other) == _gpus(record)]
    for test in record["tests"]:
        figures = _figures(test)
        known = [_figures(each) for other in alike for each in _tests(other) if _same(each, test)]
        for name, metric in figures.items():
            values = [each[name].value for each in known if name in each]
            warning = judge.far_from(name, metric, values, WHOSE, judge.OF_SIBLINGS)
            if warning:
                test["warnings"] = [*test["warnings"], warning]


def _gpus(record: Record) -> list[str]:
    bound = record.get("binding")
    gpus = bound.get("gpus") if isinstance(bound, dict) else None
    keys = ("product", "compute_partition", "memory_partition")
    return sorted(" ".join(str(gpu.get(key)) for key in keys) for gpu in gpus or [] if isinstance(gpu, dict))


def _tests(record: Record) -> list[Record]:
    tests = record.get("tests")
    return [each for each in tests if isinstance(each, dict)] if isinstance(tests, list) else []


def _same(one: Record, other: Record) -> bool:
    return bool(one.get("name") == other["name"] and one.get("verdict") in ("pass", "recorded"))


def _figures(test: Record) -> dict[str, Metric]:
    metrics = test.get("metrics")
    found = {}
    for name, each in metrics.items() if isinstance(metrics, dict) else ():
        value = quantity(each.get("value")) if isinstance(each, dict) else None
        if value is not None:
            found[str(name)] = Metric(value, str(each.get("unit") or ""), {})
    return found
