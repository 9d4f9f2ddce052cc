# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node is taken out of service and returned, with time limits and the way back."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _slurm as slurm

# A question that fails while slurmctld is restarted is asked again; one that keeps failing is an end.
PATIENCE = 3


class Waits(t.NamedTuple):
    """How long and how often; the clock is given, so that a test does not wait."""

    timeout: float
    interval: float
    clock: t.Any


class Change:
    """One change of one node."""

    def __init__(self, scontrol: slurm.Scontrol, name: str, waits: Waits, check: bool) -> None:
        self._scontrol = scontrol
        self._name = name
        self._waits = waits
        self._check = check
        self.changed = False
        self.waited = 0.0

    def drain(self, node: slurm.Node, why: str) -> slurm.Node:
        """No new jobs, and no jobs. One that is out of service already keeps its reason."""
        reason = slurm.one_line(slurm.SITE + why)
        if not node.out:
            self.changed = True
            if self._check:
                return node._replace(states=node.states | {"DRAIN"}, reason=reason)
            self._scontrol.drain(self._name, reason)
        if self._check:
            return node
        last = self._until(lambda seen: "it still runs jobs" if seen.busy else "")
        if last.busy:
            kept = "It stays drained"
            if self.changed:
                self._scontrol.resume(self._name)
                kept = "It was returned to service"
            raise slurm.SlurmError(
                f"{self._name} still runs jobs after {self._waits.timeout:g} s (`squeue "
                f"--nodelist={self._name}`). "
                f"{kept}, and the host was not touched. Give it longer with fleet_drain_timeout."
            )
        return last

    def resume(self, node: slurm.Node, gres: str, not_started: str, rebooted: bool) -> slurm.Node:
        """In service again, where the drain was ours and the node is as it should be."""
        if not node.out or not self._ours(node, rebooted):
            return node
        if self._check:
            self.changed = True
            return node._replace(states=node.states - set(slurm.OUT))
        last = self._until(lambda seen: slurm.wrong(seen, gres, not_started))
        problem = slurm.wrong(last, gres, not_started)
        if problem:
            raise slurm.SlurmError(
                f"{self._name} stays drained: {problem}, after {self._waits.timeout:g} s. Look at the log "
                "of slurmd "
                f"on it. Then `scontrol update NodeName={self._name} State=RESUME` returns it, and so does "
                "the next "
                "run of the playbook site."
            )
        # What the health check found meanwhile outranks the drain before the reboot.
        if last.out and self._ours(last, rebooted):
            self._scontrol.resume(self._name)
            self.changed = True
            last = self._scontrol.node(self._name)
        return last

    @staticmethod
    def _ours(node: slurm.Node, rebooted: bool) -> bool:
        return node.reason.startswith(slurm.SITE) or (rebooted and node.reason == slurm.REBOOTED)

    def _until(self, problem: t.Callable[[slurm.Node], str]) -> slurm.Node:
        """The node when nothing is wrong with it any more, or when the time is over."""
        clock = self._waits.clock
        start = clock.monotonic()
        failures = 0
        while True:
            try:
                node = self._scontrol.node(self._name)
                failures = 0
            except slurm.SlurmError:
                failures += 1
                if failures >= PATIENCE:
                    raise
                clock.sleep(self._waits.interval)
                continue
            self.waited = round(clock.monotonic() - start, 1)
            if not problem(node) or self.waited >= self._waits.timeout:
                return node
            clock.sleep(self._waits.interval)
