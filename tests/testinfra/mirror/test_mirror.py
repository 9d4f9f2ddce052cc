# SPDX-License-Identifier: GPL-3.0-or-later
"""One host keeps what three fetch: what was sent from outside, a mirror that dies in the middle, and a full disk.
The tests build on each other, in this order."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import testinfra

from testbed.closed import FOLDER
from testbed.closed import NAME as OUTSIDE
from testbed.machine import LABEL, podman

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
testinfra_hosts = ["ansible://mirror-store"]
STORE, CLIENTS = "10.77.0.220", ("mirror-one", "mirror-two", "mirror-three")
URL = f"http://{STORE}:8090"
MODELS = "/var/lib/amdgpu-fleet/models"
# What never changes: a commit of a model, a wheel, a package.
IMMUTABLE = re.compile(r"/resolve/[0-9a-f]{40}/|\.whl$|\.deb$")


@functools.cache
def machine(name: str) -> testinfra.host.Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


def play(name: str, *words: str, **variables: object) -> subprocess.Popen[str]:
    command = ["ansible-playbook", name, "-i", INVENTORY, "--extra-vars", json.dumps(variables), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[bool, str]:
    """Whether a play went through, and what it said."""
    said = process.communicate(timeout=400)[0]
    return process.returncode == 0, re.sub(r"\\n|\s+", " ", said)


def begin(*hosts: str, **variables: object) -> subprocess.Popen[str]:
    converge = str(REPOSITORY / "molecule/mirror/converge.yml")
    return play(converge, "--limit", ",".join(hosts), "--tags", "model", **variables)


def fetch(*hosts: str, **variables: object) -> tuple[bool, str]:
    """Let hosts fetch their models."""
    return ended(begin(*hosts, **variables))


def keep(**variables: object) -> tuple[bool, str]:
    return ended(play(str(REPOSITORY / "playbooks/mirror.yml"), **variables))


def outside(since: int = 0) -> list[str]:
    """What was asked of the outside by hosts of this scenario since they were started, after so many lines."""
    started = podman("inspect", "--format={{.State.StartedAt.Unix}}", f"{LABEL}-mirror-store").strip()
    lines = podman("logs", f"--since={started}", OUTSIDE).splitlines()
    return [line for line in lines if re.match(r"10\.77\.0\.22[0-3] ", line)][since:]


def crossed(lines: list[str]) -> Counter[str]:
    """Bytes of each path that never changes."""
    found: Counter[str] = Counter()
    for line in lines:
        words = line.split()
        if words[1] == "sent" and IMMUTABLE.search(words[3]):
            found[words[3]] += int(words[2])
    return found


def wait(what: str, look: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


def sums(name: str, model: str) -> str:
    return machine(name).check_output(
        "cd %s && find . -type f -not -path './.cache/*' -exec sha256sum {} + | sort", f"{MODELS}/{model}"
    )


@pytest.fixture
def slow() -> Iterator[str]:
    """A model of the Hub that comes slowly."""
    folder = FOLDER / "hub/tiny/slow"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FOLDER / "hub/tiny/open", folder)
    (folder / "padding.txt").write_bytes(os.urandom(24_000_000))
    folder.with_name("slow.slow").touch()
    yield "tiny/slow"
    shutil.rmtree(folder)
    folder.with_name("slow.slow").unlink()


def test_nothing_crossed_twice_though_three_hosts_fetched_at_once():
    lines = outside()
    # Nobody but the mirror went outside.
    assert {line.split()[0] for line in lines} == {STORE}
    paths = crossed(lines)
    for wanted in ("/resolve/", ".whl", ".deb"):
        assert [path for path in paths if wanted in path], wanted
    size = {path: (FOLDER / "hub" / re.sub(r"/resolve/[0-9a-f]{40}", "", path).lstrip("/")) for path in paths}
    for path, count in paths.items():
        if "/resolve/" in path and "weak" not in path:
            assert count == size[path].stat().st_size, path
    asked = Counter(
        line.split()[3] for line in lines if line.split()[1] == "sent" and IMMUTABLE.search(line.split()[3])
    )
    once = {path: count for path, count in asked.items() if "padding" not in path}
    assert set(once.values()) == {1}, once


def test_the_hosts_have_what_was_there():
    for name in CLIENTS:
        assert sums(name, "tiny/open") == sums(CLIENTS[0], "tiny/open")
        assert (
            machine(name).check_output("stat --format %%s %s", f"{MODELS}/tiny/weak/padding.txt")
            == "24000000"
        )
    for name in CLIENTS[:2]:
        sources = machine(name).check_output("cat /etc/apt/sources.list.d/amdgpu-fleet-*.sources")
        assert f"{URL}/files/stable.repo.amd.com/" in sources and "10.77.0.3" not in sources
        assert machine(name).package("amdrocm-amdsmi10.0").is_installed


def test_three_hosts_cost_what_one_costs(host):
    host.check_output(
        "systemctl stop amdgpu-mirror && rm -rf /var/cache/amdgpu-mirror/kept_* && systemctl start amdgpu-mirror"
    )
    for name in CLIENTS:
        machine(name).check_output("rm -rf %s /opt/amdgpu-fleet/hub-*", MODELS)
    before = len(outside())
    worked, said = fetch(CLIENTS[0])
    assert worked, said
    one = crossed(outside(before))
    assert one.total() > 24_000_000
    worked, said = fetch(*CLIENTS[1:])
    assert worked, said
    three = crossed(outside(before))
    # The Python of Debian 13 has wheels of its own.
    assert {path: count for path, count in three.items() if path in one} == dict(one)
    assert not [path for path in three if path not in one and not path.endswith(".whl")]


def test_a_mirror_that_dies_in_the_middle_is_said_and_the_next_run_goes_on(host, slow):
    running = begin("mirror-three", model_sources=[{"model": slow}])
    try:
        wait(
            "the download begins",
            lambda: any("GET /tiny/slow/resolve/" in line and "padding" in line for line in outside()),
        )
        host.check_output("systemctl kill --signal KILL amdgpu-mirror && systemctl stop amdgpu-mirror")
    finally:
        worked, said = ended(running)
    assert not worked and f"tiny/slow could not be fetched from {URL}/hub" in said, said
    assert not machine("mirror-three").file(f"{MODELS}/tiny/slow").exists
    host.check_output("systemctl start amdgpu-mirror")
    worked, said = fetch("mirror-three", model_sources=[{"model": slow}])
    assert worked, said
    there = machine("mirror-three").check_output("sha256sum %s", f"{MODELS}/tiny/slow/padding.txt").split()[0]
    assert (
        there
        == subprocess.check_output(["sha256sum", FOLDER / "hub/tiny/slow/padding.txt"], text=True).split()[0]
    )


def test_a_disk_that_is_full_is_said_to_the_host_and_room_ends_it(host):
    host.check_output("mkdir -p /srv/small && mount -t tmpfs -o size=8M tmpfs /srv/small")
    worked, said = keep(mirror_directory="/srv/small")
    assert (
        not worked
        and "mirror_min_free: 64M is to stay free, and the disk of /srv/small has 8.0 MiB in all" in said
    ), said
    host.check_output("mount -o remount,size=160M /srv/small")
    worked, said = keep(mirror_directory="/srv/small")
    assert worked, said
    host.check_output("head -c 120M /dev/zero >/srv/small/of-somebody-else")
    wait("the disk is seen to be full", lambda: host.run("curl -sf %s/health", URL).rc != 0)
    machine("mirror-one").check_output("rm -rf %s", MODELS)
    worked, said = fetch("mirror-one")
    sentence = "The disk of the mirror mirror-store is full: /srv/small has less than 64M free, so nothing new is fetched. Make room there"
    assert not worked and sentence in said, said
    host.check_output("rm /srv/small/of-somebody-else")
    wait("there is room again", lambda: host.run("curl -sf %s/health", URL).rc == 0)
    worked, said = fetch("mirror-one")
    assert worked, said


def test_it_is_confined_and_asked_by_known_networks_alone(host):
    for unit in ("amdgpu-mirror", "amdgpu-mirror-room"):
        level = re.search(
            r"([0-9.]+) [A-Z]+ ", host.run(f"systemd-analyze security --no-pager {unit} | tail -1").stdout
        )
        assert level and float(level[1]) <= 3, level
    assert host.check_output("ps -o user:32= -C nginx | sort -u") == "amdgpu-mirror"
    worked, said = keep(mirror_networks=["127.0.0.0/8", STORE])
    assert worked, said
    assert (
        machine("mirror-one").check_output("curl -s -o /dev/null -w '%%{http_code}' %s/health", URL) == "403"
    )
    assert host.check_output("curl -s -o /dev/null -w '%%{http_code}' %s/health", URL) == "200"
    assert '"GET /health" 403' in host.check_output("journalctl --no-pager -t amdgpu_mirror")
    assert '"GET /hub/tiny/open/resolve/' in host.check_output("journalctl --no-pager -t amdgpu_mirror")


def test_it_can_be_taken_away(host):
    worked, said = keep(mirror_state="absent")
    assert worked, said
    assert not host.service("amdgpu-mirror").is_running and host.user("amdgpu-mirror").exists
    assert host.check_output("ls /var/cache/amdgpu-mirror").startswith("kept_")
    worked, said = keep(mirror_state="absent", mirror_purge=True, mirror_directory="/srv/small")
    assert worked, said
    assert not host.service("amdgpu-mirror").is_running and not host.user("amdgpu-mirror").exists
    assert (
        host.check_output(
            "find /srv/small -mindepth 1; find /etc/amdgpu-mirror -type f; ls /etc/systemd/system | grep amdgpu-mirror || true"
        )
        == ""
    )
    worked, said = keep(mirror_state="absent", mirror_purge=True, mirror_directory="/srv/small")
    assert worked and "changed=0" in said, said
    # The others go outside again, or to what their inventory says.
    host.check_output("umount /srv/small")
