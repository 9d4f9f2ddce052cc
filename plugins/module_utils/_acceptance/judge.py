# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on one run of a test. A pass needs a figure for every threshold, and output that is whole."""

from __future__ import annotations

import dataclasses
import statistics
import typing as t

from .parsed import Metric, Parsed

# Below this share of the median of its siblings, or of its own past, a figure is worth a look: nobody
# published a number, so it is never more than that.
OF_SIBLINGS, OF_PAST = 0.95, 0.9
# How many earlier figures make a past, and how many are kept.
LEAST_PAST, KEPT_PAST = 3, 20
# Units of which less is better.
LESS_IS_BETTER = ("ms", "segments")
MOST = 3


class Threshold(t.NamedTuple):
    """The least that a figure may be, and where that is known from."""

    metric: str
    least: float
    source: str


class Ended(t.NamedTuple):
    """How the program ended."""

    code: int | None
    timed_out: bool
    seconds: float
    # The output was larger than anybody reads.
    flooded: bool = False


@dataclasses.dataclass
class Verdict:
    """pass, fail, error (nobody can tell) or recorded (whole, and no threshold to hold it to)."""

    verdict: str
    reasons: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


def judge(ended: Ended, parsed: Parsed, thresholds: t.Sequence[Threshold], limit: int) -> Verdict:
    """``limit``: the seconds that it had."""
    failed: list[str] = []
    if ended.timed_out:
        failed.append(f"it did not end within {limit} s")
    elif ended.flooded:
        failed.append("it wrote more than anybody reads, and was ended")
    elif ended.code != 0:
        failed.append(f"it ended with {_exit(ended.code)}")
    failed += parsed.failures
    missing = list(parsed.problems)
    for each in thresholds:
        metric = parsed.metrics.get(each.metric)
        if metric is None:
            missing.append(f"no figure {each.metric}, which {each.least:.10g} is asked of")
        elif metric.value < each.least:
            failed.append(f"{_figure(each.metric, metric)}, at least {each.least:.10g} is asked")
    if failed:
        # Of a program that was ended nobody expects the rest.
        return Verdict("fail", failed + (missing if ended.code == 0 else []))
    if missing:
        return Verdict("error", missing)
    return Verdict("pass" if thresholds or parsed.own else "recorded", warnings=siblings(parsed.metrics))


def _exit(code: int | None) -> str:
    return "no exit code" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"


def _figure(name: str, metric: Metric) -> str:
    which = [device for device, value in metric.each.items() if value == metric.value]
    of = f" of device {which[0]}" if which else ""
    return f"{name}{of} is {metric.value:.10g} {metric.unit}"


def siblings(metrics: t.Mapping[str, Metric]) -> list[str]:
    """Devices of this host whose figure is far from that of the others."""
    found = []
    for name, metric in metrics.items():
        if len(metric.each) < 3:
            continue
        middle = statistics.median(metric.each.values())
        slow = [device for device, value in metric.each.items() if value < OF_SIBLINGS * middle]
        found += [
            f"{name} of device {device} is {metric.each[device]:.10g} {metric.unit}, "
            f"its siblings have {middle:.10g}"
            for device in slow[:MOST]
        ]
    return found


def far_from(name: str, metric: Metric, others: t.Sequence[float], whose: str, share: float) -> str:
    """One figure beside others of its kind: a sentence where it is far from them, with their spread."""
    if len(others) < LEAST_PAST:
        return ""
    middle = statistics.median(others)
    far = metric.value > middle / share if metric.unit in LESS_IS_BETTER else metric.value < share * middle
    if not far:
        return ""
    return (
        f"{name} is {metric.value:.10g} {metric.unit}; {whose} is {middle:.10g} "
        f"({min(others):.10g} to {max(others):.10g})"
    )


def past(metrics: t.Mapping[str, Metric], before: t.Mapping[str, t.Sequence[float]]) -> list[str]:
    """Figures that are far from those of earlier runs on this host."""
    found = [
        far_from(name, metric, before.get(name, ()), "its own past", OF_PAST)
        for name, metric in metrics.items()
    ]
    return [each for each in found if each]
