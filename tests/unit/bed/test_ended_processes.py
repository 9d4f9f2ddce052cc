# SPDX-License-Identifier: GPL-3.0-or-later
"""What is killed is the whole family, whatever session its members made for themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from testbed import processes

# As Ansible does it: the controller forks a worker, which begins a session and starts a program.
CONTROLLER = """
import os, subprocess, time
if not os.fork():
    os.setsid()
    subprocess.Popen(["sleep", "600"])
    time.sleep(600)
time.sleep(600)
"""


def test_workers_with_sessions_of_their_own_are_killed_too() -> None:
    controller = subprocess.Popen([sys.executable, "-c", CONTROLLER])
    end = time.monotonic() + 60
    while len(processes.family(controller.pid)) < 3:
        assert time.monotonic() < end and controller.poll() is None
        time.sleep(0.05)
    members = processes.family(controller.pid)
    processes.kill(controller.pid)
    controller.wait()
    while any(_runs(each) for each in members):
        assert time.monotonic() < end
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """A process that ended and that nobody has waited for is a zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
