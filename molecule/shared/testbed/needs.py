# SPDX-License-Identifier: GPL-3.0-or-later
"""What the test bed needs of the machine, asked before a host starts: each lack is one sentence with its cure.

Without this, a machine that has too little shows as a unit that fails in one of many hosts: udev of the 20th
host ends with start-limit-hit where the kernel has no more inotify instances, and dbus where /dev/null cannot
be opened.
"""

from __future__ import annotations

import os
import resource
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .machine import BedError

# Counted on hosts of the test bed: systemd, udev, dbus, logind, journald and a login each hold some.
INOTIFY_PER_HOST = 8
NOFILE, NPROC = 20000, 30000
GIB = 1 << 30
HOST_MEMORY, ENGINE_MEMORY = GIB // 6, 3 * GIB
# A virtual environment of vLLM's CPU build has 3.6 GB; a host with Podman reads the machine's images instead.
BASE_DISK, HOST_DISK, ENGINE_DISK = GIB, GIB // 4, 4 * GIB
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_SYS_RESOURCE = 24


@dataclass(frozen=True)
class Demand:
    """How many hosts are to start, how many of them may serve with vLLM, and how many install it."""

    hosts: int = 0
    engines: int = 0
    environments: int = 0


@dataclass(frozen=True)
class Machine:
    """What this machine has, in files below `root` and in limits; tests describe other machines."""

    root: Path = Path("/")
    disk: Path = Path("/")
    nofile: int = field(default_factory=lambda: _hard(resource.RLIMIT_NOFILE))
    nproc: int = field(default_factory=lambda: _hard(resource.RLIMIT_NPROC))
    mode: Callable[[Path], int] = lambda path: path.stat().st_mode


def check(demand: Demand, disk: Path) -> None:
    """Raise one error that names everything the machine has too little of."""
    machine = Machine(disk=disk)
    lacking = lacks(machine, demand)
    if lacking:
        raise BedError("this machine cannot run the hosts: " + "; ".join(lacking))
    for sentence in tight(machine, demand):
        print(f"bed: {sentence}", file=sys.stderr)


def lacks(machine: Machine, demand: Demand) -> list[str]:
    """What makes hosts fail."""
    return [
        *_devices(machine),
        *_limits(machine),
        *_inotify(machine, demand),
        *_disk(machine, demand),
        *_memory(machine, demand.hosts * HOST_MEMORY, f"{demand.hosts} hosts need"),
    ]


def tight(machine: Machine, demand: Demand) -> list[str]:
    """What is too little only if every host that may serve does so at once."""
    if not demand.engines or _memory(machine, demand.hosts * HOST_MEMORY, ""):
        return []
    needed = demand.hosts * HOST_MEMORY + demand.engines * ENGINE_MEMORY
    return _memory(machine, needed, f"vLLM on {demand.engines} hosts at once needs")


def _hard(limit: int) -> int:
    number = resource.getrlimit(limit)[1]
    return sys.maxsize if number == resource.RLIM_INFINITY else number


def _devices(machine: Machine) -> list[str]:
    """Podman copies the mode of these into every container."""
    lacking = []
    for name in DEVICES:
        path = machine.root / "dev" / name
        try:
            mode = machine.mode(path)
        except OSError:
            lacking.append(f"/dev/{name} is missing: make it again with mknod(1)")
            continue
        if not stat.S_ISCHR(mode):
            lacking.append(f"/dev/{name} is not a device, something replaced it: make it again with mknod(1)")
        elif mode & 0o666 != 0o666:
            lacking.append(f"/dev/{name} has mode {mode & 0o777:04o}: run `chmod 0666 /dev/{name}`")
    return lacking


def _limits(machine: Machine) -> list[str]:
    """A hard limit that lies below what hosts get can be raised only with CAP_SYS_RESOURCE."""
    status = _read(machine.root / "proc/self/status")
    words = [line.split() for line in status.splitlines() if line.startswith("CapEff:")]
    if words and int(words[0][1], 16) >> _SYS_RESOURCE & 1:
        return []
    pairs = (("n", "open files", machine.nofile, NOFILE), ("u", "processes", machine.nproc, NPROC))
    return [
        f"the hard limit of {what} is {has}, hosts need {needed}: raise it to `ulimit -H{letter} {needed}`"
        for letter, what, has, needed in pairs
        if has < needed
    ]


def _inotify(machine: Machine, demand: Demand) -> list[str]:
    path = "fs.inotify.max_user_instances"
    text = _read(machine.root / "proc/sys" / path.replace(".", "/"))
    if not text.strip().isdigit() or not demand.hosts:
        return []
    limit, used = int(text), _inotify_used(machine.root / "proc")
    needed = used + demand.hosts * INOTIFY_PER_HOST
    if limit >= needed:
        return []
    return [
        f"{path} is {limit}, of which {used} are in use, and {demand.hosts} hosts need "
        f"{demand.hosts * INOTIFY_PER_HOST}: run `sysctl -w {path}={max(1024, 2 * needed)}`"
    ]


def _inotify_used(proc: Path) -> int:
    """Instances that this user's processes hold: the limit is counted for each user."""
    count = 0
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if process.stat().st_uid == os.geteuid():
                count += sum(os.readlink(link) == "anon_inode:inotify" for link in (process / "fd").iterdir())
        except OSError:
            continue  # it ended meanwhile
    return count


def _disk(machine: Machine, demand: Demand) -> list[str]:
    needed = BASE_DISK + demand.hosts * HOST_DISK + demand.environments * ENGINE_DISK
    free = shutil.disk_usage(machine.disk).free
    if free >= needed:
        return []
    return [
        f"{machine.disk} has {free / GIB:.1f} GiB free, {demand.hosts} hosts need {needed / GIB:.1f}: free some"
    ]


def _memory(machine: Machine, needed: int, who: str) -> list[str]:
    lines = _read(machine.root / "proc/meminfo").splitlines()
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if not available or available[0] >= needed:
        return []
    return [
        f"{available[0] / GIB:.1f} GiB of memory are available, {who} {needed / GIB:.1f}: "
        "end something or start fewer"
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def demand_of(hosts: Sequence[object]) -> Demand:
    """The demand of entries of a bed file."""
    engines = [host for host in hosts if getattr(host, "engine", False)]
    return Demand(len(hosts), len(engines), sum(not getattr(host, "podman", False) for host in engines))
