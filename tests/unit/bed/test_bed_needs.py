# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine has too little of is named, with its cure, before a host starts."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from testbed import needs
from testbed.hosts import Host
from testbed.needs import GIB, Demand, Machine, demand_of, lacks, tight

WITHOUT_SYS_RESOURCE = "Name:\tbed\nCapEff:\t000001fffeffffff\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    """A machine with enough of everything, but for what is given."""

    def build(
        inotify: int = 8192, memory_gib: float = 32, disk_gib: float = 500, used: int = 0, **limits: object
    ) -> Machine:
        for path, text in {
            "proc/self/status": WITHOUT_SYS_RESOURCE,
            "proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {int(memory_gib * GIB / 1024)} kB\n",
            "proc/sys/fs/inotify/max_user_instances": f"{inotify}\n",
        }.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        (tmp_path / "proc/17/fd").mkdir(parents=True)
        for number in range(used):
            (tmp_path / f"proc/17/fd/{number}").symlink_to("anon_inode:inotify")
        (tmp_path / "proc/17/fd/900").symlink_to("socket:[1]")
        free = SimpleNamespace(free=int(disk_gib * GIB))
        monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: free)
        values = {"nofile": 20000, "nproc": 30000, "mode": lambda path: stat.S_IFCHR | 0o666, **limits}
        return Machine(tmp_path, Path("/disk"), **values)

    return build


def test_a_machine_with_enough_lacks_nothing(machine: Callable[..., Machine]) -> None:
    assert lacks(machine(), Demand(32, 3, 1)) == []


def test_inotify_instances_are_counted_for_the_hosts_that_are_to_start(
    machine: Callable[..., Machine],
) -> None:
    small = machine(inotify=128, used=28)
    assert lacks(small, Demand(8)) == []
    [sentence] = lacks(small, Demand(24))
    assert "fs.inotify.max_user_instances is 128, of which 28 are in use, and 24 hosts need 192" in sentence
    assert "run `sysctl -w fs.inotify.max_user_instances=1024`" in sentence
    assert lacks(small, Demand()) == []


def test_a_device_with_a_lost_mode_is_named(machine: Callable[..., Machine]) -> None:
    modes = {"null": stat.S_IFCHR | 0o600, "full": stat.S_IFREG | 0o666}

    def mode(path: Path) -> int:
        if path.name == "zero":
            raise FileNotFoundError(path)
        return modes.get(path.name, stat.S_IFCHR | 0o666)

    broken = machine(mode=mode)
    assert lacks(broken, Demand()) == [
        "/dev/null has mode 0600: run `chmod 0666 /dev/null`",
        "/dev/zero is missing: make it again with mknod(1)",
        "/dev/full is not a device, something replaced it: make it again with mknod(1)",
    ]


@pytest.mark.parametrize(("limit", "letter"), [("nofile", "n"), ("nproc", "u")])
def test_a_hard_limit_below_what_hosts_get_is_named(
    limit: str, letter: str, machine: Callable[..., Machine]
) -> None:
    low = machine(**{limit: 4096})
    [sentence] = lacks(low, Demand(1))
    assert "is 4096, hosts need" in sentence and f"ulimit -H{letter}" in sentence
    (low.root / "proc/self/status").write_text("CapEff:\t000001ffffffffff\n")
    assert lacks(low, Demand(1)) == [], "with CAP_SYS_RESOURCE crun raises it"


def test_disk_and_memory_are_named_with_what_is_needed(machine: Callable[..., Machine]) -> None:
    poor = machine(memory_gib=1, disk_gib=3)
    assert lacks(poor, Demand(2)) == []
    disk, memory = lacks(poor, Demand(12))
    assert disk == "/disk has 3.0 GiB free, 12 hosts need 4.0: free some"
    assert memory.startswith("1.0 GiB of memory are available, 12 hosts need 2.0")


def test_engines_that_may_not_fit_at_once_are_a_warning_and_no_error(
    machine: Callable[..., Machine],
) -> None:
    """A scenario may start hosts with an engine and serve on one of them only."""
    poor = machine(memory_gib=4)
    demand = Demand(2, engines=2)
    assert lacks(poor, demand) == []
    [sentence] = tight(poor, demand)
    assert "vLLM on 2 hosts at once needs 6.3" in sentence
    assert tight(poor, Demand(2)) == []


def test_everything_that_lacks_is_in_one_error(
    machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = machine(inotify=128, used=100, disk_gib=1)
    monkeypatch.setattr(needs, "Machine", lambda disk: poor)
    with pytest.raises(needs.BedError, match="this machine cannot run the hosts: fs.inotify.*; /disk has"):
        needs.check(Demand(8), Path("/disk"))


def test_the_demand_is_that_of_the_bed_file() -> None:
    def host(name: str, **more: bool) -> Host:
        return Host(name, "no-gpu", "debian12", "10.77.0.9", **more)

    hosts = [host("a"), host("b", engine=True), host("c", engine=True, podman=True), host("d", podman=True)]
    assert demand_of(hosts) == Demand(4, 2, 1)


def test_this_machine_itself_can_be_asked() -> None:
    assert isinstance(lacks(Machine(), Demand()), list)
