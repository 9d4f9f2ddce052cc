# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm of Debian 13 with what the playbook handover told it: counted devices, confined jobs, a health check that
drains, and the reboot of a run of the playbook site, which is over when this begins."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import testinfra

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
testinfra_hosts = ["ansible://slurm-controller"]
HIERARCHY = "/run/bed-cgroup/devices"


def on(name: str):
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


@pytest.fixture(scope="module")
def rack() -> Iterator[object]:
    host = on("slurm-rack")
    yield host
    # Groups of a hierarchy that the whole machine shares would outlive the host.
    for node in (host, on("slurm-halo")):
        node.run("systemctl stop slurmd")
        node.run(f"find {HIERARCHY}/slurm_* -depth -type d -exec rmdir {{}} + 2>/dev/null")


@pytest.fixture(scope="module")
def halo():
    return on("slurm-halo")


def node(host, name: str) -> dict[str, str]:
    """What scontrol shows of a node: State, Reason, Gres, ..."""
    text = host.check_output(f"scontrol show node {name}")
    reason = re.search(r"^\s*Reason=(.*)$", text, re.MULTILINE)
    return {**dict(re.findall(r"(\w+)=(\S+)", text)), "Reason": reason.group(1) if reason else ""}


def wait(what: Callable[[], bool], words: str, seconds: int = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"{words} did not come within {seconds} s"
        time.sleep(1)


def opened(host, name: str, gres: str) -> dict[str, str]:
    """What a job is told when it opens each render node of the host."""
    code = (
        "import os, glob, json; found = {}\n"
        "for path in sorted(glob.glob('/dev/dri/renderD*')):\n"
        "    try: os.close(os.open(path, os.O_RDWR)); found[path] = 'open'\n"
        "    except OSError as error: found[path] = error.strerror\n"
        "print(json.dumps([found, dict(os.environ)]))"
    )
    printed = host.check_output(f'srun --chdir=/ --nodelist={name} --gres={gres} python3 -c "{code}"')
    found, environment = json.loads(printed)
    assert environment["ROCR_VISIBLE_DEVICES"] and "CUDA_VISIBLE_DEVICES" not in environment
    return found


def listed(host) -> list[str]:
    """The render nodes of gres.conf."""
    text = host.check_output("cat /etc/slurm/gres.conf")
    numbers = []
    for listing in re.findall(r"File=/dev/dri/renderD\[?([0-9,-]+)", text):
        for part in listing.split(","):
            first, _between, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    return [f"/dev/dri/renderD{number}" for number in numbers]


def test_slurm_counts_the_gpus(host, rack):
    assert node(host, "slurm-rack")["Gres"].startswith("gpu:mi300x:8")
    halo = node(host, "slurm-halo")
    assert halo["Gres"].startswith("gpu:8060s:1") and halo["Weight"] == "10"
    assert halo["ActiveFeatures"] == "amdgpu,gfx1151,workstation"
    shown = host.check_output("sinfo --noheader --Node --format='%N %G %T'")
    assert "slurm-rack gpu:mi300x:8" in shown
    assert len(listed(rack)) == 8
    printed = rack.run("slurmd -G").stderr
    assert re.search(r"Gres Name=gpu Type=mi300x Count=8 .*ENV_RSMI", printed) and "error" not in printed


def test_a_job_sees_its_devices_only(host, rack):
    found = opened(host, "slurm-rack", "gpu:mi300x:2")
    ours = listed(rack)
    denied = [path for path in ours if found[path] == "Operation not permitted"]
    assert len(denied) == 6 and set(denied) < set(ours), found
    # Nobody is behind the emulated devices, so what is allowed says that no such device exists.
    assert {found[path] for path in set(ours) - set(denied)} <= {
        "open",
        "No such device",
        "No such device or address",
    }


def test_two_jobs_have_different_devices(host, rack):
    host.check_output(
        "sbatch --chdir=/tmp --nodelist=slurm-rack --gres=gpu:5 --output=/dev/null --wrap='sleep 30'"
    )
    wait(
        lambda: "R" in host.check_output("squeue --noheader --format=%t --nodelist=slurm-rack").split(),
        "the job",
    )
    allowed = [
        path
        for path, said in opened(host, "slurm-rack", "gpu:3").items()
        if said != "Operation not permitted"
    ]
    assert len(set(allowed) & set(listed(rack))) == 3
    host.check_output("scancel --user=root")
    wait(lambda: not host.check_output("squeue --noheader"), "the end of the job")


def test_the_reboot_drained_waited_and_returned(host, rack):
    """What reboot.yml did before: the job went on to its end, and the node is in service."""
    assert rack.check_output("cat /var/tmp/long.out") == "whole"
    seen = node(host, "slurm-rack")
    assert seen["State"] == "IDLE"
    assert rack.file("/var/lib/amdgpu-fleet/rebooted").exists
    log = host.check_output("cat /var/log/slurm/slurmctld.log")
    # Slurm forgets the reason with the return; its log does not.
    drained = re.search(r"update_node: node slurm-rack reason set to: amdgpu.fleet site: reboot for ", log)
    assert drained and "slurm-rack" in log[drained.end() :]


def test_a_gpu_that_is_not_well_drains_its_node_and_comes_back(host, rack, halo):
    file = rack.check_output("ls /sys/bus/pci/devices/*/ras/aca_umc | head -n1")
    well = rack.check_output(f"cat {file}")
    rack.check_output(f"printf 'ue: 3\\nce: 0\\nde: 0\\n' >{file}")
    wait(lambda: "DRAIN" in node(host, "slurm-rack")["State"], "the drain")
    reason = node(host, "slurm-rack")["Reason"]
    assert reason.startswith(
        "amdgpu.fleet health: GPU 0: 3 in umc uncorrectable (limit none) [health.ecc_uncorrectable]"
    )
    assert "DRAIN" not in node(host, "slurm-halo")["State"]
    rack.check_output(f"printf '{well}\\n' >{file}")
    wait(lambda: node(host, "slurm-rack")["State"] == "IDLE", "the return")


def test_the_drain_of_somebody_else_stays(host, rack):
    host.check_output("scontrol update NodeName=slurm-halo State=DRAIN Reason='a new fan'")
    log = on("slurm-halo")
    done = log.run("/usr/local/lib/amdgpu-fleet/slurm/health")
    assert (done.rc, done.stdout, done.stderr) == (0, "", "")
    seen = node(host, "slurm-halo")
    assert "DRAIN" in seen["State"] and seen["Reason"].startswith("a new fan")
    host.check_output("scontrol update NodeName=slurm-halo State=RESUME")


def play(name: str, *arguments: str, **variables) -> subprocess.CompletedProcess:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    command = ["ansible-playbook", name, "-i", INVENTORY, *arguments, "-e", json.dumps(variables)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


def test_a_node_that_runs_jobs_for_too_long_is_not_rebooted(host, rack):
    host.check_output(
        "sbatch --chdir=/tmp --nodelist=slurm-rack --gres=gpu:1 --output=/dev/null --wrap='sleep 600'"
    )
    wait(
        lambda: "R" in host.check_output("squeue --noheader --format=%t --nodelist=slurm-rack").split(),
        "the job",
    )
    boot = rack.check_output("systemctl show --property=UserspaceTimestampMonotonic --value")
    done = play(
        "playbooks/site.yml",
        "--limit=slurm-rack",
        kernel_arguments_present=["nosmt", "audit=0"],
        fleet_drain_timeout=5,
    )
    host.check_output("scancel --user=root")
    assert done.returncode == 2 and "still runs jobs after 5 s" in re.sub(r"\s+", " ", done.stdout)
    assert rack.check_output("systemctl show --property=UserspaceTimestampMonotonic --value") == boot
    wait(lambda: node(host, "slurm-rack")["State"] == "IDLE", "the return")


def test_one_node_is_taken_back_and_the_other_stays(host, rack, halo):
    done = play("playbooks/handover.yml", "--limit=slurm-halo", slurm_state="absent")
    assert done.returncode == 0, done.stdout
    assert not halo.file("/usr/local/lib/amdgpu-fleet/slurm").exists
    for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
        assert "amdgpu.fleet" not in halo.check_output(f"cat /etc/slurm/{name}")
    assert "not found" in host.run("scontrol show node slurm-halo").stdout
    assert node(host, "slurm-rack")["Gres"].startswith("gpu:mi300x:8")
    again = play("playbooks/handover.yml", "--limit=slurm-halo", slurm_state="absent")
    assert re.search(r"slurm-halo\s+: .*changed=0 ", again.stdout), again.stdout


def test_the_last_node_takes_the_rest_along(host, rack):
    done = play("playbooks/handover.yml", "--limit=slurm-rack", slurm_state="absent")
    assert done.returncode == 0, done.stdout
    assert "amdgpu" not in host.check_output("cat /etc/slurm/slurm.conf; ls /etc/slurm")
    assert host.service("slurmctld").is_running
