# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts what a run costs: module executions (each a round trip to the host) and tasks (skipped ones too),
with their times."""

from __future__ import annotations

import os
import time
from collections import defaultdict

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: cost
type: aggregate
short_description: Count module executions and tasks
description: See the module.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "cost"

    def __init__(self) -> None:
        super().__init__()
        self.log = os.environ["COST_LOG"]
        self.tasks: dict[str, list[str]] = defaultdict(list)
        self.seconds: dict[str, float] = defaultdict(float)
        self.started: dict[str, float] = {}
        _count_executions(self.log)

    def v2_runner_on_start(self, host, task) -> None:
        self.started[f"{host.name} {task._uuid}"] = time.monotonic()

    def _done(self, result) -> None:
        name = result.task.get_name()
        self.tasks[result.host.name].append(name)
        start = self.started.get(f"{result.host.name} {result.task._uuid}")
        if start:
            self.seconds[name] += time.monotonic() - start

    v2_runner_on_ok = v2_runner_on_skipped = v2_runner_on_failed = v2_runner_on_unreachable = _done

    def v2_playbook_on_stats(self, stats) -> None:
        executions: dict[str, list[str]] = defaultdict(list)
        with open(self.log, encoding="utf-8") as file:
            for line in file:
                host, task = line.rstrip("\n").split("\t")
                executions[host].append(task)
        hosts = sorted(self.tasks)
        print(f"\n{'seconds':>8} {'executions':>11}  task")
        for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            count = sum(entry == name for host in hosts for entry in executions[host])
            if count or seconds > 0.05:
                print(f"{seconds:8.2f} {count:11d}  {name}")
        print(f"\nmodule executions per host: {max(len(executions[host]) for host in hosts)}")
        print(f"tasks per host: {max(len(tasks) for tasks in self.tasks.values())}")


def _count_executions(log: str) -> None:
    """Workers are forks of this process, so the count goes through a file."""
    original = ActionBase._execute_module

    def counted(self, *args, **kwargs):
        with open(log, "a", encoding="utf-8") as file:
            file.write(
                f"{self._task.get_name() and self._templar.available_variables.get('inventory_hostname')}\t{self._task.get_name()}\n"
            )
        return original(self, *args, **kwargs)

    ActionBase._execute_module = counted
