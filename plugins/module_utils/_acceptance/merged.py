# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of several runs as those of one test: a device for each run, and of several runs the best."""

from __future__ import annotations

from .judge import LESS_IS_BETTER
from .parsed import Metric, Parsed


class Merged:
    """What the runs so far say together."""

    def __init__(self) -> None:
        self.parsed = Parsed()

    def take(self, device: str, more: Parsed) -> None:
        whole = self.parsed
        where = f"device {device}: " if device else ""
        for text in more.failures:
            whole.fail(where + text)
        for text in more.problems:
            whole.lacks(where + text)
        if more.own is not None and whole.own is not False:
            whole.own = more.own
        for name, metric in more.metrics.items():
            self._figure(device, name, metric)
        if device:
            for name in self.parsed.metrics.keys() - more.metrics.keys():
                whole.lacks(f"{where}no figure {name}")

    def _figure(self, device: str, name: str, metric: Metric) -> None:
        known = self.parsed.metrics.get(name)
        less = metric.unit in LESS_IS_BETTER
        if not device:
            if known is None or (metric.value < known.value if less else metric.value > known.value):
                self.parsed.metrics[name] = metric
            return
        each = dict(known.each) if known else {}
        best = min if less else max
        each[device] = best(metric.value, each.get(device, metric.value))
        worst = max if less else min
        self.parsed.metrics[name] = Metric(worst(each.values()), metric.unit, each)
