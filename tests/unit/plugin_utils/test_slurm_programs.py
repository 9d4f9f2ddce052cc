# SPDX-License-Identifier: GPL-3.0-or-later
"""The health check and the prolog of a node, run as Slurm runs them: a process without Ansible and without this
repository, on the tree of an emulated host, with a scontrol that remembers what it was told."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.filter import slurm as filters
from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _shipped
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import slurm_health, slurm_prolog
from testbed.tree import load_host, write_tree

SITE = "TaskPlugin=task/cgroup\n"
SLURMD = "CPUs=8 RealMemory=9000"
WANTS = {
    "slurm_node_name": "n1",
    "slurm_health": True,
    "slurm_health_accept": [],
    "slurm_partition_mode": "",
    "slurm_python": sys.executable,
}
SCONTROL = """#!/bin/sh
# Answers with what lies beside it, and keeps what it was told.
here=$(dirname "$0")
if [ "$1" = show ]; then cat "$here/node"; else echo "$@" >>"$here/told"; fi
"""
NODE = "NodeName=n1 Arch=x86_64\n   Gres=gpu:mi300x:8(S:0-1)\n   State={}\n{}   SlurmdStartTime=2026-11-28T19:02:27\n"
CASES = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "hosts/faults/health.yml").read_text(encoding="utf-8")
)


class NodeOfSlurm:
    """The files that the role writes, below a folder; its code, which is the same for every node, in another."""

    def __init__(self, folder: Path, code: Path, facts_of_well) -> None:
        self.code = code
        self.root = folder / "root"
        self.programs = folder / "programs"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / "scontrol").write_text(SCONTROL)
        (self.bin / "scontrol").chmod(0o755)
        self.state("IDLE")
        self._facts_of_well = facts_of_well
        self.settings: dict[str, str] = {}

    def host(self, name: str, faults: dict | None = None, lose: int = 0) -> None:
        host = load_host(name)
        first = host["gpus"][0]
        count = first["count"] - lose
        host["gpus"] = [{**first, "count": 1, "faults": faults or {}}, {**first, "count": count - 1}]
        host["gpus"] = [gpu for gpu in host["gpus"] if gpu["count"]]
        if self.root.exists():
            subprocess.run(["rm", "-r", str(self.root)], check=True)
        write_tree(host, self.root)

    def install(self, name: str = "mi300x-8", **wanted) -> None:
        """As a run does it while the host is well."""
        facts = self._facts_of_well(name)
        seen = {"slurmd": SLURMD, "slurm_conf": SITE, "gres_conf": "", "directory": "/etc/slurm"}
        wants = {**WANTS, **wanted}
        planned = filters.slurm_plan(facts, wants, seen)
        written = filters.slurm_programs(planned, wants, {})
        for file in written["settings"]:
            if "content" in file:
                path = self.programs / file["path"].lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file["content"])
                self.settings[path.name] = str(path)
        self.library = str(self.code / "usr/local/lib/amdgpu-fleet/slurm/lib")
        for file in written["code"]:
            path = self.code / file["path"].lstrip("/")
            if path.exists():
                assert path.read_text() == file["content"]
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])

    def state(self, state: str, reason: str = "") -> None:
        line = f"   Reason={reason} [root@2026-11-28T19:02:30]\n" if reason else ""
        (self.bin / "node").write_text(NODE.format(state, line))

    def run(self, module: str, arguments: str) -> subprocess.CompletedProcess:
        code = (
            f"import sys; sys.path.insert(0, {self.library!r})\n"
            f"from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover.{module} import main\n"
            f"sys.exit(main({arguments}))"
        )
        return subprocess.run(
            [sys.executable, "-IS", "-X", f"pycache_prefix={self.code / 'compiled'}", "-c", code],
            env={"PATH": f"{self.bin}:/usr/bin:/bin"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def check(self) -> list[str]:
        """What the health check told Slurm."""
        (self.bin / "told").unlink(missing_ok=True)
        done = self.run("slurm_health", f"{self.settings['slurm-health.json']!r}, {str(self.root)!r}")
        assert done.returncode == 0, done.stderr
        told = self.bin / "told"
        return told.read_text().splitlines() if told.exists() else []


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    return tmp_path_factory.mktemp("code")


@pytest.fixture(scope="module")
def facts_of_well(tmp_path_factory, find_facts):
    known: dict[str, str] = {}

    def facts(name: str) -> dict:
        if name not in known:
            root = tmp_path_factory.mktemp(name)
            write_tree(load_host(name), root)
            known[name] = json.dumps(find_facts("host_facts", root))
        return json.loads(known[name])

    return facts


@pytest.fixture
def node(tmp_path, code, facts_of_well):
    return NodeOfSlurm(tmp_path, code, facts_of_well)


UE = {"ras": {"umc": {"ue": 3}}}
UE_REASON = "amdgpu.fleet health: GPU 0: 3 in umc uncorrectable (limit none) [health.ecc_uncorrectable]"


def test_a_node_that_is_well_is_left_alone(node):
    node.host("mi300x-8")
    node.install()
    assert node.check() == []


def test_a_fault_drains_with_the_finding_as_reason(node):
    node.install()
    node.host("mi300x-8", UE)
    assert node.check() == [f"update NodeName=n1 State=DRAIN Reason={UE_REASON}"]


@pytest.mark.parametrize(
    "name", sorted(name for name, case in CASES.items() if case["of"] == "mi300x-8" and "log" not in case)
)
def test_the_verdict_of_the_catalog_decides(node, name):
    case = CASES[name]
    node.install()
    node.host("mi300x-8", case.get("faults"), case.get("lose", 0))
    drains = case.get("verdict") in ("drain", "replace") or bool(case.get("lose"))
    assert bool(node.check()) is drains


@pytest.mark.parametrize(
    ("state", "reason", "faults", "told"),
    [
        ("IDLE+DRAIN", UE_REASON, UE, []),
        ("IDLE+DRAIN", UE_REASON, {}, ["update NodeName=n1 State=RESUME"]),
        ("MIXED+DRAIN", UE_REASON, {}, ["update NodeName=n1 State=RESUME"]),
        # Somebody else's drain, with and without a fault.
        ("IDLE+DRAIN", "a new power supply", UE, []),
        ("IDLE+DRAIN", "a new power supply", {}, []),
        ("DOWN", "Not responding", UE, []),
        # The drain before a reboot becomes one that the reboot does not end.
        (
            "IDLE+DRAIN",
            "amdgpu.fleet site: iommu=pt",
            UE,
            [f"update NodeName=n1 State=DRAIN Reason={UE_REASON}"],
        ),
        ("IDLE+DRAIN", "amdgpu.fleet site: iommu=pt", {}, []),
        # Slurm keeps the text of a reason after the node is back.
        ("IDLE", UE_REASON, {}, []),
        ("ALLOCATED", UE_REASON, UE, [f"update NodeName=n1 State=DRAIN Reason={UE_REASON}"]),
    ],
)
def test_only_our_own_drain_is_taken_back(node, state, reason, faults, told):
    node.install()
    node.host("mi300x-8", faults)
    node.state(state, reason)
    assert node.check() == told


def test_a_gpu_that_left_the_bus_drains(node):
    node.install()
    node.host("mi300x-8", lose=1)
    (told,) = node.check()
    assert "is not there [health.gpu_missing]" in told


def test_devices_that_are_gone_drain(node):
    node.install("mi300x-8-cpx")
    node.host("mi300x-8")
    (told,) = node.check()
    assert "does not show renderD" in told and len(told) < 460


def test_a_finding_that_is_accepted_drains_nothing(node):
    node.install(slurm_health_accept=["health.ecc_uncorrectable"])
    node.host("mi300x-8", UE)
    assert node.check() == []


def test_a_card_that_slurm_does_not_hand_out_drains_nothing(node):
    node.host("rx9070xt")
    node.install("rx9070xt")
    assert node.check() == []


def test_without_an_answer_of_slurm_it_says_so(node):
    node.host("mi300x-8")
    node.install()
    (node.bin / "scontrol").write_text(
        "#!/bin/sh\necho 'slurm_load_node error: Unable to contact' >&2\nexit 1\n"
    )
    done = node.run("slurm_health", f"{node.settings['slurm-health.json']!r}, {str(node.root)!r}")
    assert done.returncode == 1 and "Unable to contact" in done.stderr and "Traceback" not in done.stderr


def test_damaged_settings_end_in_a_sentence(node):
    node.host("mi300x-8")
    node.install()
    Path(node.settings["slurm-health.json"]).write_text("{")
    done = node.run("slurm_health", f"{node.settings['slurm-health.json']!r}, {str(node.root)!r}")
    assert done.returncode == 1 and "Traceback" not in done.stderr


# --- the prolog


def prolog(node, gpus: str) -> subprocess.CompletedProcess:
    environment = {"SLURM_JOB_GPUS": gpus}
    return node.run(
        "slurm_prolog", f"{node.settings['slurm-prolog.json']!r}, {environment!r}, {str(node.root)!r}"
    )


def test_the_mode_that_is_there_is_left_alone(node):
    node.host("mi300x-8-cpx")
    node.install("mi300x-8-cpx", slurm_partition_mode="CPX")
    assert prolog(node, "0,9").returncode == 0
    assert prolog(node, "").returncode == 0


def test_a_gpu_that_was_reset_is_divided_again(node):
    node.host("mi300x-8-cpx")
    node.install("mi300x-8-cpx", slurm_partition_mode="CPX")
    files = sorted(node.root.glob("sys/bus/pci/devices/*/current_compute_partition"))
    assert len(files) == 8
    for number in (0, 1):
        files[number].write_text("SPX\n")
    # The tree shows the devices of CPX all the time, which stands for a driver that brings them.
    done = prolog(node, "8,9,10")
    assert done.returncode == 0, done.stderr
    assert files[1].read_text().strip() == "CPX"
    assert files[0].read_text().strip() == "SPX", "a GPU of no job of this one was touched"


def test_a_gpu_in_use_is_not_touched(node):
    node.host("mi300x-8-cpx")
    node.install("mi300x-8-cpx", slurm_partition_mode="CPX")
    file = sorted(node.root.glob("sys/bus/pci/devices/*/current_compute_partition"))[0]
    file.write_text("SPX\n")
    holder = node.root / "proc/4711/fd"
    holder.mkdir(parents=True)
    (holder.parent / "comm").write_text("train\n")
    (holder / "3").symlink_to("/dev/kfd")
    done = prolog(node, "0")
    assert done.returncode == 1 and "train (pid 4711" in done.stderr
    assert file.read_text() == "SPX\n"


def test_the_job_names_its_gpus_by_index():
    devices = ["a", "a", "b", "b"]
    assert slurm_prolog.asked(devices, {"SLURM_JOB_GPUS": "1,2,3"}) == ["a", "b"]
    assert slurm_prolog.asked(devices, {"SLURM_JOB_GPUS": "9"}) == []
    assert slurm_prolog.asked(devices, {}) == []


# --- what is shipped


def test_what_is_shipped_is_of_python_39_and_the_standard_library():
    names = [f"plugins.plugin_utils._plan.handover.{name}" for name in ("slurm_health", "slurm_prolog")]
    for path, text in _shipped.files(*names).items():
        tree = ast.parse(text, feature_version=(3, 9))
        for one in ast.walk(tree):
            names_of = [alias.name for alias in one.names] if isinstance(one, ast.Import) else []
            if isinstance(one, ast.ImportFrom) and not one.level:
                names_of = [one.module or ""]
            for name in names_of:
                top = name.partition(".")[0]
                assert (
                    top in sys.stdlib_module_names
                    or top == "ansible_collections"
                    or (top == "ansible" and path.endswith("_answer.py"))
                ), f"{path} imports {name}"


def test_files_that_only_a_type_checker_reads_are_not_shipped():
    shipped = _shipped.files("plugins.plugin_utils._plan.handover.slurm_health")
    assert not [path for path in shipped if path.endswith(("/host.py", "/catalog.py", "/findings.py"))]


def test_what_is_not_wanted_is_taken_away():
    planned = {"node_name": "n1", "expected": {}, "devices": []}
    written = filters.slurm_programs(planned, {**WANTS, "slurm_health": False}, {})
    assert written["code"] == [] and {file["state"] for file in written["settings"]} == {"absent"}


def test_a_limit_of_the_inventory_reaches_the_node():
    planned = {"node_name": "n1", "expected": {}, "devices": []}
    catalog = {"health": {"rules": {"bad_pages": {"limit": 10}}}}
    (about,) = [
        file
        for file in filters.slurm_programs(planned, WANTS, catalog)["settings"]
        if file["path"].endswith("health.json")
    ]
    assert json.loads(about["content"])["limits"]["rules"]["bad_pages"]["limit"] == 10


def test_the_health_check_has_less_than_a_minute():
    assert slurm_health.run(["sh", "-c", "echo x"]) == (0, "x\n", "")
    assert slurm_health.run(["no-such-program"])[0] == 127
