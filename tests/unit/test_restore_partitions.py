# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that restores partition modes at boot, on generated hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.tree import load_host, write_tree

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "roles/partition/files/restore-partitions"
PCI = "sys/bus/pci/devices"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture
def boot(tmp_path):
    """boot("mi300x-8")("CPX", "NPS4") -> what the script did with the host of this description."""

    class Boot:
        root = tmp_path / "root"
        log = tmp_path / "commands"

        def __init__(self, name):
            write_tree(load_host(name), self.root)
            (tmp_path / "description.json").write_text(json.dumps(load_host(name)))
            self.modprobe(
                f"PYTHONPATH={REPOSITORY}/molecule/shared exec {sys.executable} -m testbed.partitions --root "
                f"{self.root}"
                f' --description {tmp_path}/description.json modprobe "$@"'
            )

        def modprobe(self, text):
            place = tmp_path / "bin/modprobe"
            place.parent.mkdir(exist_ok=True)
            self.log.touch()
            place.write_text(f'#!/bin/sh\necho "modprobe $*" >>{self.log}\n{text}\n')
            place.chmod(0o755)

        def modes(self):
            return {path.read_text().strip() for path in (self.root / PCI).glob("*/current_*_partition")}

        def __call__(self, *arguments, shell="sh"):
            command = [shell, "sh"] if shell == "busybox" else [shell]
            environment = {
                "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
                "AMDGPU_FLEET_ROOT": str(self.root),
                "AMDGPU_FLEET_TIMEOUT": "1",
            }
            return subprocess.run(
                [*command, SCRIPT, *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

    return Boot


@pytest.mark.parametrize("shell", SHELLS)
def test_it_sets_both_modes_once(boot, shell):
    rack = boot("mi300x-8")
    result = rack("CPX", "NPS4", shell=shell)
    assert result.returncode == 0 and result.stderr == "", result
    assert rack.modes() == {"CPX", "NPS4"} and rack.log.read_text().splitlines() == [
        "modprobe -r amdgpu",
        "modprobe amdgpu",
    ]
    assert (
        "setting 0000:05:00.0 from NPS1 to NPS4" in result.stdout
        and "8 GPUs in compute mode CPX" in result.stdout
    )
    again = rack("CPX", "NPS4", shell=shell)
    assert (
        again.returncode == 0
        and "setting" not in again.stdout
        and len(rack.log.read_text().splitlines()) == 2
    )


def test_one_mode_alone(boot):
    rack = boot("mi300x-8")
    assert rack("DPX", "-").returncode == 0 and rack.modes() == {"DPX", "NPS1"} and rack.log.read_text() == ""
    assert rack("-", "NPS1").returncode == 0 and rack.modes() == {"DPX", "NPS1"}


@pytest.mark.parametrize("name", ["rx9070xt", "no-gpu", "mi300x-8-nodriver"])
def test_a_host_that_offers_nothing_is_a_failure(boot, name):
    result = boot(name)("CPX", "-")
    assert result.returncode == 1 and "no GPU offers partition modes" in result.stderr


def test_it_waits_for_the_driver(boot):
    rack = boot("mi300x-8")
    (rack.root / "sys/module/amdgpu/initstate").write_text("coming\n")
    result = rack("CPX", "-")
    assert result.returncode == 1 and rack.modes() == {"SPX", "NPS1"}


def test_a_driver_that_refuses_is_named_with_the_gpu(boot):
    rack = boot("mi300x-8")
    target = rack.root / PCI / "0000:47:00.0/current_compute_partition"
    target.unlink()
    target.mkdir()  # no shell can write that, not even as root
    result = rack("CPX", "-")
    assert (
        result.returncode == 1
        and "the driver refuses CPX for 0000:47:00.0" in result.stderr
        and "SPX, DPX, CPX" in result.stderr
    )


def test_a_driver_that_is_held(boot):
    rack = boot("mi300x-8")
    rack.modprobe("echo 'modprobe: FATAL: Module amdgpu is in use.' >&2; exit 1")
    result = rack("CPX", "NPS4")
    assert result.returncode == 1 and "something holds a GPU" in result.stderr and "CPX" not in rack.modes()


def test_a_memory_mode_that_does_not_come(boot):
    rack = boot("mi300x-8")
    rack.modprobe(f"for file in {rack.root}/{PCI}/*/current_memory_partition; do echo NPS1 >$file; done")
    result = rack("CPX", "NPS4")
    assert result.returncode == 1 and "NPS4 did not come" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("CPX",), ("CPX", "NPS4", "x")])
def test_called_wrongly(boot, arguments):
    rack = boot("mi300x-8")
    assert rack(*arguments).returncode == 2 and rack.modes() == {"SPX", "NPS1"}
