# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of the test bed: one that answers stays, one that does not is started anew and says why in the end."""

from __future__ import annotations

import pytest

from testbed import servers
from testbed.machine import BedError

SERVER = servers.Server("bed-repository", "10.77.0.2", (80, 5000), ("image", "serve"))


class Machine:
    """A Podman and a clock; `answers` says after how many starts the server answers, and how long that takes."""

    def __init__(self, running: bool, answers: int, after: float = 0.0) -> None:
        self.running, self.answers, self.after = running, answers, after
        self.now = self.started_at = 0.0
        self.starts = 0
        self.calls: list[str] = []

    def podman(self, *words: str, check: bool = True) -> str:
        self.calls.append(words[0])
        if words[0] == "ps":
            return "abc\n" if self.running else ""
        if words[0] == "rm":
            self.running = False
        if words[0] == "run":
            self.running, self.starts, self.started_at = True, self.starts + 1, self.now
        return {"inspect": "exited\n", "logs": "address already in use\n"}.get(words[0], "")

    def connect(self, address: str, port: int) -> str:
        assert address == SERVER.address and port in SERVER.ports
        well = self.running and self.starts >= self.answers and self.now - self.started_at >= self.after
        return "" if well else "Connection refused"

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1.0)

    def probe(self) -> servers.Probe:
        return servers.Probe(self.podman, lambda: self.now, self.sleep, self.connect)


def test_one_that_answers_is_left_alone() -> None:
    machine = Machine(running=True, answers=0)
    servers.ensure(SERVER, machine.probe())
    assert machine.calls == ["ps"]


@pytest.mark.parametrize("running", [True, False])
def test_one_that_does_not_run_or_runs_deaf_is_started_and_waited_for(running: bool) -> None:
    machine = Machine(running, answers=1, after=20.0)
    servers.ensure(SERVER, machine.probe())
    assert machine.starts == 1 and machine.now >= 20


def test_one_that_comes_up_at_the_second_try_is_enough() -> None:
    machine = Machine(running=False, answers=2)
    servers.ensure(SERVER, machine.probe())
    assert machine.starts == 2


def test_one_that_never_answers_says_what_it_said() -> None:
    machine = Machine(running=False, answers=9)
    with pytest.raises(BedError) as error:
        servers.ensure(SERVER, machine.probe())
    assert machine.starts == servers.TRIES
    for words in (
        "bed-repository",
        "port 80: Connection refused",
        "port 5000",
        "exited",
        "address already in use",
    ):
        assert words in str(error.value)


def test_a_container_without_a_process_is_forgotten(tmp_path) -> None:
    calls = []

    def podman(*words: str, check: bool = True) -> str:
        calls.append(words)
        return "aaa 11 bed-alive\nbbb 12 bed-killed\nccc 13 bed-replaced\n" if words[0] == "ps" else ""

    for pid, text in (("11", "0::/libpod_parent/libpod-aaa/init.scope\n"), ("13", "0::/somebody-else\n")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(text)
    assert servers.forget_dead(servers.Probe(podman), tmp_path) == ["bed-killed", "bed-replaced"]
    assert [words[-1] for words in calls if words[0] == "rm"] == ["bed-killed", "bed-replaced"]
