# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one program under a time limit, its output in a file, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import typing as t

from .judge import Ended

LOOK = 0.1
GRACE = 5.0
# Bytes of output after which a program is ended, and how many of them are read.
FLOOD, READ = 256 << 20, 32 << 20


class Group(t.NamedTuple):
    """A process group, and when its leader began: numbers of processes are used again."""

    number: int
    began: str


def began(pid: int) -> str:
    """Clock ticks since the boot, as the kernel tells; empty where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def end_group(number: int, grace: float = GRACE) -> None:
    """Ask all of a process group to end, and make it."""
    for kind, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, grace)):
        if not _signal(number, kind):
            return
        limit = time.monotonic() + patience
        while time.monotonic() < limit:
            if not _signal(number, 0):
                return
            time.sleep(LOOK)


def _signal(number: int, kind: int) -> bool:
    """Whether there was anything to send it to. What has ended and waits for its parent counts as gone."""
    try:
        os.killpg(number, kind)
    except (ProcessLookupError, PermissionError):
        return False
    return any(_alive(number))


def _alive(number: int) -> t.Iterator[bool]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", encoding="ascii",
                                                                errors="replace") as file:  # fmt: skip
                words = file.read().rpartition(")")[2].split()
                if words[2] == str(number) and words[0] not in ("Z", "X"):
                    yield True


def end_leftover(group: t.Mapping[str, t.Any]) -> bool:
    """End what a run left that was killed itself; only where it is the same process still."""
    number = group.get("number")
    if not isinstance(number, int) or number <= 1 or not group.get("began"):
        return False
    if began(number) != group["began"]:
        return False
    end_group(number)
    return True


class Job(t.NamedTuple):
    """A program, and the file that has what it prints; ``again``: the file goes on."""

    argv: t.Sequence[str]
    environment: t.Mapping[str, str]
    log: str
    timeout: int
    again: bool = False


def run(job: Job, started: t.Callable[[Group], None]) -> Ended:
    """``started`` is told the group before anything else happens. Raises OSError where it cannot be
    started."""
    begin = time.monotonic()
    with open(job.log, "ab" if job.again else "wb", opener=_private) as output:
        child = subprocess.Popen(
            list(job.argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(job.environment),
            start_new_session=True,
            cwd=os.path.dirname(job.log),
        )
        timed_out = flooded = False
        try:
            started(Group(child.pid, began(child.pid)))
            while child.poll() is None and not (timed_out or flooded):
                time.sleep(LOOK)
                timed_out = time.monotonic() - begin > job.timeout
                flooded = os.fstat(output.fileno()).st_size > FLOOD
        finally:
            # Also where it ended by itself: what it started must not compute beside the next test.
            end_group(child.pid)
            child.wait()
    code = None if timed_out or flooded else child.returncode
    return Ended(code, timed_out, round(time.monotonic() - begin, 1), flooded)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def read(path: str, start: int = 0) -> str:
    """What a program wrote, as far as anybody reads; empty where it wrote no such file."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(READ).decode("utf-8", "replace")
    except OSError:
        return ""
