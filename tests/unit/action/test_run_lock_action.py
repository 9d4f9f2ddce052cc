# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a host, taken by runs of Ansible itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

LOCK = "run/amdgpu-fleet/run.lock"


@pytest.fixture
def run_lock(tmp_path, ansible):
    def run(**arguments: str) -> subprocess.CompletedProcess[str]:
        # Ansible takes alice for an account, and makes her home a folder of that name here.
        return ansible.run(
            *("ansible", "here", "-i", "here,", "-c", "local", "-m", "amdgpu.fleet.run_lock"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
            *("-a", json.dumps({"root": str(tmp_path), **arguments})),
            cwd=tmp_path, env={"USER": "alice"},
        )  # fmt: skip

    return run


def test_a_run_that_was_killed_holds_nobody_up_and_one_that_lives_does(run_lock, tmp_path):
    first = run_lock()
    assert first.returncode == 0, first.stdout + first.stderr
    held = json.loads((tmp_path / LOCK).read_text())
    assert held["who"].startswith("alice on ")
    # Its process is gone, and it gave nothing back: as if it had been killed.
    second = run_lock()
    assert second.returncode == 0, second.stdout + second.stderr
    now = json.loads((tmp_path / LOCK).read_text())
    assert now["run"] != held["run"]
    # The process of this test lives.
    alive = f"{os.uname().nodename}:{os.getpid()}:x"
    (tmp_path / LOCK).write_text(json.dumps({**now, "run": alive, "who": "bob on admin2"}))
    third = run_lock()
    assert third.returncode == 2 and "bob on admin2 changes this host since" in third.stdout + third.stderr
    (tmp_path / LOCK).write_text(json.dumps({**now, "run": "another-controller:1:x"}))
    assert run_lock().returncode == 2
