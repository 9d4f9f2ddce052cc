# SPDX-License-Identifier: GPL-3.0-or-later
"""What one lane of tests does to the hosts of the test bed changes nothing for another lane."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from testbed import hosts, ssh
from testbed.machine import BedError

REPOSITORY = Path(__file__).resolve().parents[3]
BEDS = sorted(
    path
    for place in ("molecule/*", "inventories/*", "tests/bench")
    for path in REPOSITORY.glob(f"{place}/bed*.yml")
)


class Containers:
    """Podman's list of containers: name -> (address, state)."""

    def __init__(self, **states: tuple[str, str]) -> None:
        self.states = {f"amdgpu-fleet-bed-{name}": state for name, state in states.items()}

    def __call__(self, *words: str, **_options: object) -> str:
        assert words[0] == "ps", words
        everything = "--all" in words
        return "".join(
            f"{name} {address}\n"
            for name, (address, state) in self.states.items()
            if everything or state == "running"
        )


@pytest.mark.parametrize("state", ["running", "restarting", "stopping", "exited", "created"])
def test_a_host_of_another_lane_stays_in_ssh_config_whatever_it_does(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Containers(mine=("10.77.0.9", "running"), theirs=("10.77.0.8", state))
    monkeypatch.setattr(ssh, "podman", known)
    ssh.write_config(tmp_path)
    text = (tmp_path / "ssh_config").read_text()
    assert "Host theirs\n  HostName 10.77.0.8\n" in text
    assert "Host mine\n  HostName 10.77.0.9\n" in text
    assert f"IdentityFile {tmp_path}/id_ed25519" in text
    assert text.index("Host *") > text.index("Host theirs"), "what is common comes last, the first value wins"


def test_a_reader_finds_the_whole_file_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "podman", Containers(one=("10.77.0.9", "running")))
    ssh.write_config(tmp_path)
    before = (tmp_path / "ssh_config").read_text()
    replaced = []

    def replace(source: Path, target: Path) -> None:
        replaced.append((target.read_text(), source.read_text()))
        os.replace(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(ssh, "podman", Containers(two=("10.77.0.8", "running")))
    ssh.write_config(tmp_path)
    [(old, new)] = replaced
    assert old == before
    assert new == (tmp_path / "ssh_config").read_text() != before
    assert [path.name for path in tmp_path.iterdir()] == ["ssh_config"]


def test_ssh_config_lists_the_hosts_that_started_although_one_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for name, value in {
        "podman": lambda *words, **_options: "/" if words[0] == "info" else "",
        "image": lambda name: name,
        "_network": lambda: None,
        "_serve": lambda reference: None,
        "_start": _start_all_but("b"),
    }.items():
        monkeypatch.setattr(hosts, name, value)
    monkeypatch.setattr(hosts.repository, "build", lambda: None)
    monkeypatch.setattr(hosts.closed, "serve", lambda *words: None)
    monkeypatch.setattr(hosts.needs, "check", lambda demand, disk: None)
    monkeypatch.setattr(hosts.ssh, "write_config", lambda: written.append(True))
    with pytest.raises(BedError, match="^b does not start$"):
        hosts.up([host(name) for name in "abc"])
    assert written == [True]


def _start_all_but(name: str) -> Callable[..., None]:
    def start(one: hosts.Host, *_words: object) -> None:
        if one.name == name:
            raise BedError(f"{name} does not start")

    return start


def host(name: str) -> hosts.Host:
    return hosts.Host(name=name, host="no-gpu", image="debian12", address="10.77.0.99")


def test_hosts_start_in_waves_and_all_of_them_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    gate = threading.Barrier(4)
    lock, now, most, started = threading.Lock(), 0, 0, []

    def start(one: hosts.Host) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        gate.wait(timeout=30)  # four are there at once ...
        with lock:
            now -= 1
            started.append(one.name)

    hosts.in_waves([host(f"h{number}") for number in range(24)], start)
    assert most == 4  # ... and never a fifth
    assert sorted(started) == sorted(f"h{number}" for number in range(24))


def test_every_host_that_failed_is_named() -> None:
    def start(one: hosts.Host) -> None:
        if one.name != "b":
            raise BedError(f"{one.name} is broken")

    with pytest.raises(BedError, match="^a is broken; c is broken$"):
        hosts.in_waves([host(name) for name in "abc"], start)


def test_a_host_that_was_ready_once_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    monkeypatch.setattr(hosts, "CACHE", tmp_path)
    monkeypatch.setattr(hosts.readiness, "wait", lambda name, probe: waited.append(name))
    (tmp_path / "hosts/a").mkdir(parents=True)
    hosts._settle(host("a"))
    hosts._settle(host("a"))
    assert waited == ["a"]


def test_a_second_up_waits_for_a_host_that_was_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [BedError("not ready"), None]

    def wait(name: str, probe: object) -> None:
        answer = answers.pop(0)
        if answer:
            raise answer

    monkeypatch.setattr(hosts, "CACHE", tmp_path)
    monkeypatch.setattr(hosts.readiness, "wait", wait)
    (tmp_path / "hosts/a").mkdir(parents=True)
    with pytest.raises(BedError, match="not ready"):
        hosts._settle(host("a"))
    hosts._settle(host("a"))
    assert answers == []


def test_no_two_hosts_of_all_bed_files_share_a_name_or_an_address() -> None:
    """Lanes run beside each other: a host of one must not be replaced by a host of another."""
    taken: dict[str, str] = {}
    for bed in BEDS:
        for entry in yaml.safe_load(bed.read_text(encoding="utf-8"))["hosts"]:
            for what in (entry["name"], entry["address"]):
                assert what not in taken, f"{bed}: {what} is also in {taken[what]}"
                taken[what] = str(bed)
    assert len(taken) > 20
    assert not {hosts.SERVER, hosts.closed.ADDRESS} & set(taken)


def test_a_bridge_that_a_killed_run_left_is_told_from_one_that_is_used(tmp_path: Path) -> None:
    shown = "".join(
        f"{number}: {name}    inet 10.77.0.1/24 brd 10.77.0.255 scope global {name}\\ valid_lft forever\n"
        for number, name in enumerate(["podman1", "podman2", "br-lan"], 5)
    )
    for name in ("podman1", "podman2", "br-lan"):
        (tmp_path / name / "brif").mkdir(parents=True)
    (tmp_path / "podman2/brif/veth0").touch()
    assert hosts.left_bridges(shown, tmp_path) == ["podman1"]
    assert hosts.left_bridges("", tmp_path) == []
