# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a host: for as long as something moves, and asked again before it is called broken.

A loaded machine makes a host slow, and now and then makes one of its units miss a time limit. Neither is a
fault of the host. So there is no limit on the whole start; a host is given up when nothing in it has moved for
a while, and a unit is called failed when it has failed again after it was started again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .machine import BedError, podman, run

STALL_SECONDS = 90.0
# A loaded machine answers slowly: a host is not given up before it was asked this often without a change.
STALL_QUESTIONS = 40
# In the end something that moves in circles (a unit that is restarted for ever) is broken too.
LONGEST_SECONDS = 1500.0
UNIT_TRIES = 3
PAUSE_SECONDS = 0.3


@dataclass(frozen=True)
class State:
    """What a host answers: the state of its systemd, its failed units, and what changes while it starts."""

    systemd: str
    failed: tuple[str, ...] = ()
    ssh: bool = False
    progress: str = ""


@dataclass(frozen=True)
class Probe:
    """How a host is asked and helped; tests put their own in its place."""

    ask: Callable[[], State]
    restart: Callable[[str], None]
    explain: Callable[[str], str]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait(name: str, probe: Probe) -> None:
    """Return when systemd has finished starting and sshd answers; else say what is wrong with the host."""
    started = moved = probe.clock()
    last, questions = State(""), 0
    tries: dict[str, int] = {}
    while True:
        state = probe.ask()
        now = probe.clock()
        if state.systemd == "running" and state.ssh:
            return
        if state != last:
            last, moved, questions = state, now, 0
        questions += 1
        if state.systemd == "degraded":
            for unit in state.failed:
                tries[unit] = tries.get(unit, 0) + 1
                if tries[unit] >= UNIT_TRIES:
                    raise BedError(
                        f"host {name} is degraded: {unit} failed {UNIT_TRIES} times; {probe.explain(unit)}"
                    )
                probe.restart(unit)
        stalled = now - moved >= STALL_SECONDS and questions >= STALL_QUESTIONS
        if stalled or now - started >= LONGEST_SECONDS:
            what = (
                f"nothing moved in it for {now - moved:.0f} s"
                if stalled
                else f"it was still starting after {now - started:.0f} s"
            )
            raise BedError(
                f"host {name} is not ready: {what} (systemd: {state.systemd or 'no answer'}, ssh: "
                f"{'answers' if state.ssh else 'no answer'}); {probe.explain('')}"
            )
        probe.sleep(PAUSE_SECONDS)


def probe_of(container: str, address: str) -> Probe:
    """The probe of a container."""
    return Probe(
        ask=lambda: _ask(container, address),
        # Without a wait: the next question shows what became of it.
        restart=lambda unit: _restart(container, unit),
        explain=lambda unit: _explain(container, unit),
    )


def _ask(container: str, address: str) -> State:
    system = podman("exec", container, "systemctl", "is-system-running", check=False).strip()
    failed: tuple[str, ...] = ()
    if system == "degraded":
        listed = podman("exec", container, "systemctl", "--failed", "--plain", "--no-legend", check=False)
        failed = tuple(line.split()[0] for line in listed.splitlines() if line.split())
    jobs = ""
    if system == "starting":
        jobs = podman(
            "exec", container, "systemctl", "show", "--property=NJobs,NInstalledJobs,NNames", check=False
        )
    # Before systemd answers, the first process builds the emulated machine: the time it used is all there is.
    progress = jobs or ("" if system in ("running", "degraded") else _processor_time(container))
    return State(system, failed, _answers(address), progress)


def _processor_time(container: str) -> str:
    pid = podman("inspect", "--format={{.State.Pid}}", container, check=False).strip()
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return pid
    return f"{pid} {' '.join(fields[11:15])}"


def _restart(container: str, unit: str) -> None:
    # A unit that failed too often within a short time is refused until its count is forgotten.
    podman("exec", container, "systemctl", "reset-failed", unit, check=False)
    podman("exec", container, "systemctl", "restart", "--no-block", unit, check=False)


def _explain(container: str, unit: str) -> str:
    if unit:
        log = podman("exec", container, "journalctl", "--boot", "--unit", unit, "--lines=5", check=False)
        return f"its journal ends with:\n{log.strip()}"
    return (
        f"its console ends with:\n{run(['tail', '-n', '20'], stdin=podman('logs', container, check=False))}"
    )


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
