# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is slow is waited for; one in which nothing moves, or a unit fails again and again, is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from testbed import readiness
from testbed.machine import BedError
from testbed.readiness import Probe, State, wait


class Scripted:
    """A host that answers as a script says, and a clock that only its questions move."""

    def __init__(self, states: Iterator[State], seconds_per_question: float = 1.0) -> None:
        self.states, self.seconds, self.now = states, seconds_per_question, 0.0
        self.restarted: list[str] = []
        self.questions = 0

    def ask(self) -> State:
        self.questions += 1
        self.now += self.seconds
        return next(self.states)

    def probe(self) -> Probe:
        return Probe(
            self.ask,
            self.restarted.append,
            lambda unit: f"log of {unit or 'it'}",
            lambda: self.now,
            self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds


READY = State("running", (), True)


def script(*parts: tuple[State, int], last: State | None = None) -> Iterator[State]:
    for state, times in parts:
        for _time in range(times):
            yield state
    while last:
        yield last


def starting(count: int, every: int) -> Iterator[State]:
    """A host that starts for `count` questions, and moves at every `every`th."""
    for number in range(count):
        yield State("starting", (), False, f"NJobs={number // every}")
    yield READY


def test_a_host_that_moves_is_waited_for_however_long_it_takes() -> None:
    slow = Scripted(starting(1000, every=60))
    wait("slow", slow.probe())
    assert slow.now > 1000


def test_a_host_in_which_nothing_moves_is_named_with_the_end_of_its_console() -> None:
    dead = Scripted(script(last=State("starting", (), False, "NJobs=4")))
    with pytest.raises(BedError, match=r"host dead is not ready: nothing moved in it for 9\d s .*log of it"):
        wait("dead", dead.probe())
    assert dead.now < 2 * readiness.STALL_SECONDS


def test_a_machine_that_answers_slowly_is_given_its_number_of_questions() -> None:
    """One question in 30 s: three without a change are no proof that the host is dead."""
    slow = Scripted(starting(36, every=12), seconds_per_question=30)
    wait("slow", slow.probe())
    assert slow.questions == 37


def test_what_moves_in_circles_ends() -> None:
    def circles() -> Iterator[State]:
        number = 0
        while True:
            number += 1
            yield State("starting", (), False, str(number))

    with pytest.raises(BedError, match="it was still starting after 15"):
        wait("circles", Scripted(circles()).probe())


@pytest.mark.parametrize("missing", [State("running"), State("starting", (), True), State("", (), True)])
def test_both_systemd_and_sshd_must_be_ready(missing: State) -> None:
    host = Scripted(script((missing, 10), (READY, 1)))
    wait("host", host.probe())
    assert host.questions == 11


def degraded(*units: str) -> State:
    return State("degraded", units, True)


def test_a_unit_that_failed_once_under_load_is_started_again() -> None:
    host = Scripted(script((degraded("a.service", "b.service"), 1), (State("running"), 2), (READY, 1)))
    wait("host", host.probe())
    assert host.restarted == ["a.service", "b.service"]


def test_a_unit_that_fails_again_and_again_is_named() -> None:
    host = Scripted(script(last=degraded("udev.service")))
    with pytest.raises(
        BedError, match="host host is degraded: udev.service failed 3 times; log of udev.service"
    ):
        wait("host", host.probe())
    assert host.restarted == ["udev.service"] * 2


def test_a_failure_of_another_unit_does_not_count_against_the_first() -> None:
    host = Scripted(
        script((degraded("a"), 1), (degraded("b"), 1), (degraded("a"), 1), (degraded("b"), 1), (READY, 1))
    )
    wait("host", host.probe())
    assert host.restarted == ["a", "b", "a", "b"]


def test_a_host_that_has_no_systemd_yet_moves_by_its_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first process builds the emulated machine before it becomes systemd."""
    answers: dict[str, Callable[[], str]] = {"inspect": lambda: "1", "exec": lambda: ""}
    monkeypatch.setattr(readiness, "podman", lambda *words, **_options: answers[words[0]]())
    monkeypatch.setattr(readiness, "_answers", lambda address: False)
    state = readiness._ask("container", "10.77.0.9")
    assert state.systemd == "" and state.progress.startswith("1 ") and len(state.progress.split()) == 5
    answers["inspect"] = lambda: ""
    assert readiness._ask("container", "10.77.0.9").progress == ""


def test_failed_units_are_read_from_systemctl(monkeypatch: pytest.MonkeyPatch) -> None:
    def podman(*words: str, **_options: object) -> str:
        if "is-system-running" in words:
            return "degraded\n"
        assert "--failed" in words
        return "dbus.service loaded failed failed D-Bus\nssh.service loaded failed failed OpenSSH\n"

    monkeypatch.setattr(readiness, "podman", podman)
    monkeypatch.setattr(readiness, "_answers", lambda address: True)
    assert readiness._ask("c", "10.77.0.9").failed == ("dbus.service", "ssh.service")
