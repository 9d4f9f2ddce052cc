# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual machine's processes are ended by their own id, and only while that id is still theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed import vm
from testbed.machine import BedError


@pytest.fixture
def process(tmp_path: Path):
    """A process with the test's folder in its command line."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path)]) as started:
        # Between fork and exec it has none, and counts as the one that was started.
        while str(tmp_path).encode() not in Path(f"/proc/{started.pid}/cmdline").read_bytes():
            assert started.poll() is None
        yield started
        started.kill()


def test_a_process_is_ended_by_its_pid_file(process, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text(f"{process.pid} {tmp_path}")
    assert vm._runs(file)
    vm._end(file)
    assert process.wait(timeout=5) < 0
    assert not file.exists()


def test_a_pid_that_went_to_somebody_else_is_left_alone(process, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text(f"{process.pid} /somewhere/else")
    assert not vm._runs(file)
    vm._end(file)
    assert process.poll() is None


def test_nothing_to_end(tmp_path: Path) -> None:
    vm._end(tmp_path / "pid")


def test_a_machine_without_the_memory_is_told_so(monkeypatch) -> None:
    monkeypatch.setattr(vm, "MEMORY_MIB", 1 << 40)
    with pytest.raises(BedError, match=r"needs \d+ MiB of memory, and \d+ MiB are free"):
        vm.check()
