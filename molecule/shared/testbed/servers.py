# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of the test bed that only seem to run: a server that does not answer is started anew, and in the end
says why it does not; a container without a process is forgotten."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .machine import LABEL, BedError, podman

TRIES = 3
# Each is a small program; a loaded machine takes seconds for its start.
ANSWER_SECONDS = 60.0
PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Server:
    """A container, and the ports that it must answer at."""

    name: str
    address: str
    ports: tuple[int, ...]
    # The words of `podman run` after its name.
    words: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """How a server is asked; tests put their own in its place."""

    podman: Callable[..., str] = podman
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    connect: Callable[[str, int], str] = field(default_factory=lambda: _connect)


def forget_dead(probe: Probe | None = None, proc: Path = Path("/proc")) -> list[str]:
    """Remove containers whose process is gone. Where everything that a run left was killed, Podman's own watcher was
    too, and Podman takes them for running."""
    ask = (probe or Probe()).podman
    listed = ask("ps", "--no-trunc", f"--filter=label={LABEL}", "--format={{.ID}} {{.Pid}} {{.Names}}")
    dead = [
        name
        for key, pid, name in map(str.split, listed.splitlines())
        if not _runs(proc / pid / "cgroup", key)
    ]
    for name in dead:
        ask("rm", "--force", "--ignore", "--time=0", "--volumes", name)
    return dead


def _runs(cgroup: Path, key: str) -> bool:
    """Whether the process is there and is the container's: its number may be another one's by now."""
    try:
        return key in cgroup.read_text(encoding="utf-8")
    except OSError:
        return False


def ensure(server: Server, probe: Probe | None = None) -> None:
    """Return when the server answers at all its ports, whether it ran before or not."""
    probe = probe or Probe()
    said = ""
    if probe.podman("ps", "--quiet", f"--filter=name=^{server.name}$").strip() and not _silent(
        server, probe, 0
    ):
        return
    for _attempt in range(TRIES):
        probe.podman("rm", "--force", "--ignore", "--time=2", server.name)
        probe.podman("run", "--detach", f"--name={server.name}", *server.words)
        said = _silent(server, probe, ANSWER_SECONDS)
        if not said:
            return
        said += f"; it is {probe.podman('inspect', '--format={{.State.Status}}', server.name, check=False).strip()} and said: "
        said += probe.podman("logs", "--tail=20", server.name, check=False).strip() or "nothing"
    raise BedError(f"the server {server.name} was started {TRIES} times and does not answer: {said}")


def _silent(server: Server, probe: Probe, seconds: float) -> str:
    """Why a port does not answer within the time; empty where all do."""
    deadline = probe.clock() + seconds
    while True:
        faults = [
            f"port {port}: {fault}" for port in server.ports if (fault := probe.connect(server.address, port))
        ]
        if not faults:
            return ""
        if probe.clock() >= deadline:
            return "; ".join(faults)
        probe.sleep(PAUSE_SECONDS)


def _connect(address: str, port: int) -> str:
    """Why there is no connection; empty where there is one."""
    try:
        with socket.create_connection((address, port), timeout=5):
            return ""
    except OSError as error:
        return str(error)
