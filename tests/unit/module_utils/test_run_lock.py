# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _run_lock as lock

REPOSITORY = Path(__file__).resolve().parents[3]


def test_another_run_is_refused_and_learns_who_holds_it(tmp_path):
    lock.take(str(tmp_path), "a", "alice on admin1", now=1_000_000.0)
    with pytest.raises(
        lock.LockError, match=r"alice on admin1 changes this host since 1970-01-12 13:46 UTC"
    ) as error:
        lock.take(str(tmp_path), "b", "bob on admin2", now=1_000_060.0)
    assert "remove /run/amdgpu-fleet/run.lock" in str(error.value)


def test_the_holder_may_come_again_and_stays_since_when_it_was(tmp_path):
    lock.take(str(tmp_path), "a", "alice", now=100.0)
    assert lock.take(str(tmp_path), "a", "alice", now=200.0) == lock.Holder("a", "alice", 100.0, 200.0)


def test_it_ages_from_the_last_sign_of_its_holder(tmp_path):
    lock.take(str(tmp_path), "a", "alice", now=100.0)
    lock.take(str(tmp_path), "a", "alice", now=5000.0)
    with pytest.raises(lock.LockError):
        lock.take(str(tmp_path), "b", "bob", now=100.0 + lock.AGES + 1)
    assert lock.take(str(tmp_path), "b", "bob", now=5000.0 + lock.AGES).run == "b"


def test_only_the_holder_gives_it_back(tmp_path):
    lock.take(str(tmp_path), "a", "alice")
    assert not lock.release(str(tmp_path), "b")
    assert lock.release(str(tmp_path), "a") and not lock.release(str(tmp_path), "a")
    assert lock.take(str(tmp_path), "b", "bob").run == "b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"run": 1}',
        "\0" * 100,
        '{"run":"a","who":"x","since":1,"seen":"NaN"}',
        "[" * 4000,
    ],
)
def test_a_damaged_lock_holds_nobody_up(tmp_path, text):
    place = tmp_path / lock.PLACE
    place.parent.mkdir(parents=True)
    place.write_text(text)
    assert lock.take(str(tmp_path), "b", "bob").run == "b"


def test_check_mode_looks_and_writes_nothing(tmp_path):
    assert lock.take(str(tmp_path), "a", "alice", write=False).run == "a"
    assert not (tmp_path / "run").exists()
    lock.take(str(tmp_path), "a", "alice")
    with pytest.raises(lock.LockError):
        lock.take(str(tmp_path), "b", "bob", write=False)


def test_a_link_is_not_followed(tmp_path):
    place = tmp_path / lock.PLACE
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(lock.LockError, match="cannot be used as the lock"):
        lock.take(str(tmp_path), "a", "alice")
    assert not (tmp_path / "elsewhere").exists()


def test_of_many_at_once_one_gets_it(tmp_path):
    program = (
        "import sys; from ansible_collections.amdgpu.fleet.plugins.module_utils import _run_lock as lock\n"
        "try:\n    lock.take(sys.argv[1], sys.argv[2], sys.argv[2])\nexcept lock.LockError:\n    sys.exit(3)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {"PYTHONPATH": str(REPOSITORY / ".collections")}
    running = [subprocess.Popen([*command, f"run{number}"], env=environment) for number in range(6)]
    assert sorted(process.wait() for process in running) == [0, 3, 3, 3, 3, 3]
