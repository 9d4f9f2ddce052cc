# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_partition on generated hosts, whose KFD devices follow the modes as a driver makes them do."""

from __future__ import annotations

import errno
import json
import sys
import threading
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _partition as partition
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from testbed import partitions
from testbed.tree import load_host, write_tree

PCI = "sys/bus/pci/devices"
FIRST = "0000:05:00.0"
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def host(tmp_path, run_module):
    """A host by its description. Its driver follows the modes; modprobe and systemctl are programs that write
    down what they were told."""
    stop = threading.Event()
    threads = []

    class Host:
        root = tmp_path / "root"
        log = tmp_path / "commands"

        def __init__(self, name, drives=True, gpus=3):
            self.description = load_host(name)
            for item in self.description["gpus"]:  # three of a kind are a rack too, and quicker to read
                item["count"] = min(item["count"], gpus)
            write_tree(self.description, self.root)
            (tmp_path / "description.json").write_text(json.dumps(self.description))
            self.log.touch()
            self.running = tmp_path / "running"
            self.running.touch()
            self.program("modprobe", self.driver())
            self.program(
                "systemctl",
                f'eval "unit=\\${{$#}}"\ncase $1 in\n  is-active) grep -qx "$unit" {self.running} ;;\n'
                f'  stop) sed -i "/^$unit\\$/d" {self.running}; rm -rf {self.root}/proc/4711 ;;\n'
                f'  start) echo "$unit" >>{self.running} ;;\nesac\n',
            )
            if drives:
                threads.append(threading.Thread(target=self.follow, daemon=True))
                threads[-1].start()

        def driver(self):
            return (
                f"PYTHONPATH={REPOSITORY}/molecule/shared exec {sys.executable} -m testbed.partitions --root "
                f"{self.root}"
                f' --description {tmp_path}/description.json modprobe "$@"\n'
            )

        def follow(self):
            drawn = partitions.modes(self.description, self.root)
            while not stop.wait(0.05):
                try:
                    seen = partitions.modes(self.description, self.root)
                    if seen != drawn:
                        partitions.redraw(self.description, self.root)
                        drawn = seen
                except (ValueError, OSError):
                    continue

        def program(self, name, text):
            place = self.root / "usr/sbin" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{text}')
            place.chmod(0o755)

        def put(self, path, text):
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

        def holder(self, pid, name, cgroup, device="/dev/kfd"):
            self.put(f"proc/{pid}/comm", f"{name}\n")
            self.put(f"proc/{pid}/cgroup", f"0::{cgroup}\n")
            (self.root / f"proc/{pid}/fd").mkdir()
            (self.root / f"proc/{pid}/fd/7").symlink_to(device)

        def modes(self):
            files = sorted((self.root / PCI).glob("*/current_*_partition"))
            return {
                f"{path.parent.name} {path.name.split('_')[1]}": path.read_text().strip() for path in files
            }

        def commands(self):
            return self.log.read_text().splitlines()

        def __call__(self, _check=False, **arguments):
            return run_module(
                "gpu_partition", _check=_check, root=str(self.root), **{"timeout": 20, **arguments}
            )

    yield Host
    stop.set()
    for thread in threads:
        thread.join(10)


def four_times(host, **arguments):
    """Check, real, check again, real again."""
    before = host.modes()
    checked = host(_check=True, **arguments)
    assert checked["changed"] and host.modes() == before
    commands = host.commands()
    assert not [line for line in commands if "is-active" not in line and "modprobe" in line]
    real = host(**arguments)
    assert real["changed"], real
    for key in ("before", "after", "actions", "diff", "reload_required"):
        assert checked[key] == real[key], key
    settled, commands = host.modes(), host.commands()
    assert settled != before
    for check in (True, False):
        again = host(_check=check, **arguments)
        assert (
            not again["changed"]
            and again["actions"] == []
            and again["before"] == again["after"] == real["after"]
        )
    assert host.modes() == settled and host.commands() == commands
    return real


def test_up_further_and_back(host):
    rack = host("mi300x-8", gpus=8)
    up = four_times(rack, compute="CPX", memory="NPS4")
    assert up["actions"][:9] == [
        *(f"ask {state['address']} for memory mode NPS4" for state in up["before"]),
        "load the driver amdgpu again",
    ]
    assert up["actions"][9] == f"set {FIRST} to CPX" and len(up["actions"]) == 17
    assert [state["devices"] for state in up["after"]] == [8] * 8 and up["reload_required"]
    assert set(rack.modes().values()) == {"CPX", "NPS4"}
    assert rack.commands() == ["modprobe -r amdgpu", "modprobe amdgpu"]
    assert up["diff"]["after"].splitlines()[0] == f"{FIRST} CPX NPS4 devices=8"

    rack.log.write_text("")
    other = four_times(rack, compute="DPX", memory="NPS2")
    assert [state["devices"] for state in other["after"]] == [2] * 8

    rack.log.write_text("")
    back = four_times(rack, compute="SPX", memory="NPS1")
    assert set(rack.modes().values()) == {"SPX", "NPS1"}
    assert [state["devices"] for state in back["after"]] == [1] * 8
    # Memory first, then the driver, then compute; the driver brought SPX already, so nothing is left to
    # write.
    assert back["actions"][0].startswith("ask") and back["actions"][8] == "load the driver amdgpu again"


def test_a_compute_mode_alone_needs_no_reload(host):
    rack = host("mi300x-8")
    result = four_times(rack, compute="CPX")
    assert not result["reload_required"] and rack.commands() == []
    assert {state["memory"] for state in result["after"]} == {"NPS1"}
    four_times(rack, compute="SPX")


@pytest.mark.parametrize("name", [FIRST, "05:00.0", "0"])
def test_one_gpu(host, name):
    rack = host("mi300x-8")
    result = four_times(rack, compute="DPX", gpus=[name])
    assert result["actions"] == [f"set {FIRST} to DPX"]
    assert [state["devices"] for state in result["after"]] == [2, 1, 1]


def test_a_reload_gives_every_gpu_its_compute_mode_again(host):
    rack = host("mi300x-8-cpx")
    result = rack(memory="NPS4")
    assert result["changed"] and f"set {FIRST} to CPX again" in result["actions"]
    assert set(rack.modes().values()) == {"CPX", "NPS4"}
    assert [state["devices"] for state in result["after"]] == [8] * 3


def test_mi355x_in_qpx(host):
    result = four_times(host("mi355x-8"), compute="QPX", memory="NPS2")
    assert [state["devices"] for state in result["after"]] == [4] * 3


# --- refusals


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("mi300x-8", {"compute": "QPX"}, [FIRST, "does not offer QPX", "SPX, DPX, CPX"]),
        ("mi300x-8", {"compute": "CPX", "memory": "NPS8"}, ["does not offer NPS8", "NPS1, NPS2, NPS4"]),
        ("mi300x-8", {"memory": "NPS4"}, ["NPS4 with SPX is not possible", "Give compute and memory together"]),
        ("mi300x-8", {"compute": "DPX", "memory": "NPS4"}, ["NPS4 with DPX is not possible", "compute partitions (2)"]),
        ("mi300x-8-cpx-nps4", {"compute": "SPX"}, ["NPS4 with SPX is not possible"]),
        ("mi300x-8", {"compute": "CPX", "memory": "NPS4", "gpus": ["0", "1"]}, ["linked by XGMI", "0000:47:00.0", "Leave gpus empty"]),
        ("mi300x-8", {"compute": "CPX", "gpus": ["8"]}, ["no GPU 8", "0 (0000:05:00.0)"]),
        ("rx9070xt", {"compute": "CPX"}, ["RX 9070 XT", "offers no partition modes", "MI300 and later"]),
        ("strix-halo-128", {"compute": "CPX"}, ["offers no partition modes"]),
        ("mi250-4", {"memory": "NPS4"}, ["offers no partition modes"]),
        ("mi300x-8-nodriver", {"compute": "CPX"}, ["offers no partition modes", "with the amdgpu driver loaded"]),
        ("no-gpu", {"compute": "CPX"}, ["no AMD GPU"]),
        ("mi300x-8", {}, ["one of the following is required: compute, memory"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_is_touched(host, name, arguments, words):
    machine = host(name, drives=False)
    before = machine.modes()
    for check in (True, False):
        result = machine(_check=check, stop_services=["gpuagent"], **arguments)
        assert result["failed"] and all(word in result["msg"] for word in words), result["msg"]
    assert machine.modes() == before and machine.commands() == []


def test_a_virtual_function_is_refused(host):
    rack = host("mi300x-8")
    for path in (rack.root / PCI).glob("*/current_compute_partition"):
        (path.parent / "device").write_text("0x74b5\n")
        (path.parent / "uevent").write_text(
            (path.parent / "uevent").read_text().replace("1002:74A1", "1002:74B5")
        )
    assert "virtual function" in rack(compute="CPX")["msg"]


def test_back_to_spx_when_the_list_depends_on_the_memory_mode(host):
    """Newer drivers leave SPX out of the list in NPS4; it comes with NPS1."""
    rack = host("mi300x-8-cpx-nps4")
    for path in (rack.root / PCI).glob("*/available_compute_partition"):
        path.write_text("CPX\n")
    assert "does not offer DPX" in rack(compute="DPX", memory="NPS2")["msg"]
    assert rack(compute="SPX", memory="NPS1")["changed"]
    assert set(rack.modes().values()) == {"SPX", "NPS1"}


@pytest.mark.parametrize("ids", ["xcd", "none"])
@pytest.mark.parametrize("place", ["function", "high"])
def test_every_naming_of_partitions_is_counted_right(host, tmp_path, ids, place):
    """Neither the id nor the place of a partition is that of its GPU on every driver."""
    description = load_host("mi300x-8")
    description["driver"] |= {"xcp_unique_ids": ids, "xcp_location": place}
    given = tmp_path / "host.yml"
    given.write_text(json.dumps(description))
    rack = host(given, gpus=2)
    result = rack(compute="CPX")
    assert [state["devices"] for state in result["before"]] == [1, 1]
    assert [state["devices"] for state in result["after"]] == [8, 8]
    assert "warnings" not in result
    assert [len(gpu.nodes) for gpu in partition.read(Tree(str(rack.root)))] == [9, 9]


def test_all_modes_of_a_newer_driver_are_known(host):
    rack = host("mi300x-8-cpx-nps4")
    for path in (rack.root / PCI).glob("*/available_compute_partition"):
        path.write_text("CPX\n")
        rack.put(
            f"{PCI}/{path.parent.name}/compute_partition_config/supported_xcp_configs", "SPX, DPX, CPX\n"
        )
    assert rack(compute="DPX", memory="NPS2")["changed"]


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\xff\xfe", b"banana\n"])
def test_damaged_files_are_no_traceback(host, content):
    rack = host("mi300x-8", drives=False)
    for path in (rack.root / PCI).glob("*/available_compute_partition"):
        path.write_bytes(content)
    assert rack(compute="CPX")["failed"]


# --- who has the GPUs open


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("/system.slice/ollama.service", "ollama.service"),
        ("/system.slice/docker-0a1b.scope", "docker-0a1b.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/notebook.service", "notebook.service"),
        ("/system.slice/vllm-main.service/libpod-payload-5f", "vllm-main.service"),
        ("/", "no unit of systemd"),
    ],
)
def test_a_holder_that_nobody_named_is_named_before_anything_is_touched(host, cgroup, unit):
    rack = host("mi300x-8", drives=False)
    rack.holder(4711, "python3", cgroup)
    before = rack.modes()
    for check in (True, False):
        result = rack(_check=check, compute="CPX", memory="NPS4", stop_services=["gpuagent"])
        assert result["failed"] and all(
            word in result["msg"] for word in ("python3", "pid 4711", unit, "/dev/kfd", "Nothing was changed")
        )
    assert rack.modes() == before and rack.commands() == []


def test_a_holder_that_may_be_stopped_is_stopped_and_started_again(host):
    rack = host("mi300x-8")
    rack.running.write_text("gpuagent.service\nvllm-main.service\n")
    rack.holder(4711, "gpuagent", "/system.slice/gpuagent.service", "/dev/dri/renderD128")
    arguments = {
        "compute": "CPX",
        "memory": "NPS4",
        "stop_services": ["gpuagent", "vllm-main.service", "idle"],
    }
    result = rack(_check=True, **arguments)
    assert result["changed"] and rack.commands() == []
    result = rack(**arguments)
    assert result["changed"] and result["stopped_services"] == ["gpuagent.service", "vllm-main.service"]
    commands = [line for line in rack.commands() if "is-active" not in line]
    assert commands == [
        "systemctl stop gpuagent.service", "systemctl stop vllm-main.service", "modprobe -r amdgpu", "modprobe amdgpu",
        "systemctl start vllm-main.service", "systemctl start gpuagent.service",
    ]  # fmt: skip
    rack.log.write_text("")
    assert not rack(**arguments)["changed"] and rack.commands() == []


def test_a_unit_that_leaves_a_process_behind_is_started_again_and_the_process_named(host):
    rack = host("mi300x-8")
    rack.running.write_text("gpuagent.service\n")
    rack.holder(42, "orphan", "/system.slice/gpuagent.service")
    before = rack.modes()
    result = rack(compute="CPX", stop_services=["gpuagent"])
    assert "orphan (pid 42" in result["msg"] and "although stop_services were stopped" in result["msg"]
    assert rack.commands()[-1] == "systemctl start gpuagent.service" and rack.modes() == before


def test_who_has_another_gpu_open_is_in_the_way_of_a_reload_only(host):
    rack = host("mi300x-8")
    rack.holder(42, "Xorg", "/system.slice/display.service", "/dev/dri/card17")
    assert rack(compute="DPX", gpus=["0"])["changed"]
    assert (
        "Xorg (pid 42, display.service) has /dev/dri/card17 open" in rack(compute="CPX", memory="NPS4")["msg"]
    )


@pytest.mark.parametrize("separator", [".", "_"])
def test_the_partitions_of_newer_and_older_drivers_are_watched(host, separator):
    """amdgpu_xcp.0 was amdgpu_xcp_0; the render nodes of all partitions are below them."""
    rack = host("mi300x-8", drives=False)
    platform = rack.root / "sys/devices/platform"
    for folder in platform.glob("amdgpu_xcp*"):
        folder.rename(platform / f"amdgpu_xcp{separator}{folder.name[len('amdgpu_xcp') + 1 :]}")
    rack.holder(42, "python3", "/system.slice/job.service", "/dev/dri/renderD151")
    assert "/dev/dri/renderD151" in rack(compute="CPX", memory="NPS4")["msg"]


# --- a driver that does not do what it is told


def test_a_driver_that_does_not_unload(host):
    rack = host("mi300x-8")
    rack.running.write_text("gpuagent.service\n")
    rack.program("modprobe", "echo 'modprobe: FATAL: Module amdgpu is in use.' >&2; exit 1\n")
    result = rack(compute="CPX", memory="NPS4", stop_services=["gpuagent"])
    assert (
        "modprobe -r amdgpu ended with 1" in result["msg"]
        and "is in use" in result["msg"]
        and "the request for NPS4 stays" in result["msg"]
    )
    assert rack.commands()[-1] == "systemctl start gpuagent.service"


@pytest.mark.parametrize("check", [True, False])
def test_without_modprobe_no_memory_mode_is_asked_for(host, check):
    rack = host("mi300x-8")
    (rack.root / "usr/sbin/modprobe").unlink()
    rack.running.write_text("gpuagent.service\n")
    before = rack.modes()
    result = rack(compute="CPX", memory="NPS4", stop_services=["gpuagent"], _check=check)
    assert result["failed"] and "There is no modprobe" in result["msg"]
    assert rack.modes() == before and not [line for line in rack.commands() if "stop" in line]


def test_a_driver_that_does_not_come_back(host):
    rack = host("mi300x-8")
    rack.program(
        "modprobe",
        '[ "$1" = -r ] || { echo "modprobe: ERROR: could not insert amdgpu: No such device" >&2; exit 1; }\n',
    )
    result = rack(compute="CPX", memory="NPS4")
    assert "The driver is not loaded now. Run modprobe amdgpu" in result["msg"]


def test_a_module_that_something_uses_is_not_asked_for_a_mode(host):
    rack = host("mi300x-8")
    rack.put("sys/module/amdgpu/refcnt", "2\n")
    before = rack.modes()
    result = rack(compute="CPX", memory="NPS4")
    assert "in use 2 times" in result["msg"] and rack.modes() == before and rack.commands() == []


def test_a_memory_mode_that_does_not_come(host):
    rack = host("mi300x-8")
    rack.program(
        "modprobe", f"for file in {rack.root}/{PCI}/*/current_memory_partition; do echo NPS1 >$file; done\n"
    )
    result = rack(compute="CPX", memory="NPS4", timeout=1)
    assert "NPS4 did not come within 1 s" in result["msg"] and f"{FIRST} shows NPS1" in result["msg"]


def test_a_missing_device_is_a_warning(host, monkeypatch):
    """63 of 64: a display chip of the BMC has the last minor number."""
    rack = host("mi300x-8", drives=False)
    waits = []

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            waits.append(seconds)
            self.now += 5
            partitions.redraw(rack.description, rack.root)
            shown = sorted(
                (rack.root / "sys/class/kfd/kfd/topology/nodes").iterdir(), key=lambda path: int(path.name)
            )
            (shown[-1] / "properties").unlink()

    tree = Tree(str(rack.root))
    work = partition.Work(tree, lambda command: (0, "", ""), Clock(), timeout=60)
    seen = work.carry_out(partition.plan(partition.read(tree), "CPX", None))
    assert [gpu.devices for gpu in seen] == [8, 8, 7]
    assert (
        len(work.warnings) == 1
        and "shows 7 of 8 devices" in work.warnings[0]
        and "free_drm_minors" in work.warnings[0]
        and waits
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EBUSY, ["the GPU is in use", "stop_services"]),
        (errno.EINVAL, ["does not take this mode", "NPS1"]),
        (errno.EPERM, ["reset", "become"]),
        (errno.EACCES, ["permission denied", "become"]),
        (errno.EROFS, ["read-only", "not in a container"]),
        (errno.ENOENT, ["modprobe amdgpu"]),
        (errno.EIO, ["input/output error", "dmesg"]),
    ],
)
def test_an_error_of_the_driver_is_a_sentence_and_the_others_go_back(host, code, words):
    rack = host("mi300x-8", drives=False)
    before = rack.modes()

    def write(path, mode):
        if "0000:47:00.0" in path:
            raise OSError(code, "as the driver does" if code != errno.EIO else "Input/output error")
        partition.write_mode(path, mode)

    class Clock:
        monotonic = sleep = staticmethod(lambda *_arguments: 0.0)

    tree = Tree(str(rack.root))
    work = partition.Work(tree, lambda command: (0, "", ""), Clock, timeout=1, write=write)
    with pytest.raises(partition.PartitionError) as caught:
        work.carry_out(partition.plan(partition.read(tree), "CPX", None))
    assert all(
        word in str(caught.value) for word in [*words, "0000:47:00.0", "All GPUs are in the mode they had"]
    ), caught.value
    assert rack.modes() == before


@pytest.mark.parametrize("kind", ["compute", "memory"])
def test_a_gpu_whose_mode_cannot_be_read_is_not_passed_over(host, kind):
    rack = host("mi300x-8", drives=False)
    rack.put(f"{PCI}/{FIRST}/current_{kind}_partition", "UNKNOWN\n")
    before = rack.modes()
    result = rack(compute="CPX", memory="NPS4")
    assert f"The {kind} mode of {FIRST}" in result["msg"] and "reset" in result["msg"]
    assert rack.modes() == before and rack.commands() == []


def test_a_memory_request_that_is_refused(host):
    rack = host("mi300x-8", drives=False)

    def write(path, mode):
        raise OSError(errno.EPERM, "x")

    tree = Tree(str(rack.root))
    work = partition.Work(tree, lambda command: (0, "", ""), None, timeout=1, write=write)
    with pytest.raises(
        partition.PartitionError,
        match=r"was not set to NPS4: the driver does not allow it.*Nothing was changed",
    ):
        work.carry_out(partition.plan(partition.read(tree), "CPX", "NPS4"))


def test_another_root_never_touches_the_driver_of_this_machine(tmp_path):
    with pytest.raises(FileNotFoundError):
        partition.below_root(str(tmp_path), ["modprobe", "-r", "amdgpu"])
    assert partition.below_root("/", ["modprobe", "amdgpu"]) == ["modprobe", "amdgpu"]
