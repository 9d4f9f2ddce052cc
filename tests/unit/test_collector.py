# SPDX-License-Identifier: GPL-3.0-or-later
"""The collector of the role monitor, run as on a host: with the files that the role puts there, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.filter.monitor import monitor_settings
from ansible_collections.amdgpu.fleet.plugins.module_utils import _exposition as exposition
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._monitor import programs
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from testbed.devices import gpus_of
from testbed.tree import load_host, write_tree

HOSTS = Path(__file__).resolve().parents[1] / "hosts"
FAULTS: dict[str, dict[str, Any]] = yaml.safe_load((HOSTS / "faults/health.yml").read_text(encoding="utf-8"))
NAMES = Catalog().monitoring["exporters"]["collector"]["metrics"]
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")
# promtool ends before it has to look for memory.
GO = {**os.environ, "GOMAXPROCS": "1", "GOGC": "off"}
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = list[tuple[str, dict[str, str], float]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("collector")
    for file in programs.programs(str(folder)):
        path = Path(file["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"], encoding="utf-8")
    return folder


@pytest.fixture
def collect(installed, tmp_path) -> Callable[..., Samples]:
    def run(root: Path, gpus: int = 8, accepted: tuple[str, ...] = (), **catalog: Any) -> Samples:
        settings, output = tmp_path / "settings.json", tmp_path / "amdgpu.prom"
        settings.write_text(monitor_settings(catalog, accepted, gpus), encoding="utf-8")
        command = [
            *(
                sys.executable,
                "-I",
                "-X",
                f"pycache_prefix={installed / 'compiled'}",
                installed / "collect.py",
            ),
            *("--settings", settings, "--output", output, "--root", root),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert output.stat().st_mode & 0o777 == 0o644
        assert not output.with_name("amdgpu.prom.tmp").exists()
        text = output.read_text(encoding="utf-8")
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, env=GO
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        return samples(text)

    return run


def samples(text: str) -> Samples:
    found = []
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            found.append((match[1], dict(LABEL.findall(match[2] or "")), float(match[3])))
    return found


def of(found: Samples, name: str, **labels: str) -> list[float]:
    return [value for each, own, value in found if each == name and labels.items() <= own.items()]


def faulty(case: dict[str, Any], root: Path) -> int:
    """As tests of the doctor write it: one GPU, the last but one, has the fault."""
    host = load_host(case["of"])
    first, *rest = host["gpus"]
    count = first["count"] - case.get("lose", 0)
    place = max(count - 2, 0)
    wanted = [
        {**first, "count": place}, {**first, "count": 1, "faults": case.get("faults", {})},
        {**first, "count": count - place - 1},
    ]  # fmt: skip
    host["gpus"] = [item for item in wanted if item["count"]] + rest
    gpus = gpus_of(host)
    if "log" in case:
        index = max((number for number, gpu in enumerate(gpus) if gpu.faults), default=place)
        host["files"] = {"var/log/dmesg": f"[   9.1] amdgpu {gpus[index].address}: amdgpu: {case['log']}"}
    write_tree(host, root)
    return len(gpus)


# Of the host and of siblings: the planner's alone, and GPUs that are missing are told by their number.
NOT_OF_ONE_GPU = {"health.gpu_missing", "health.unequal", "health.unread", "health.false_alarm"}


@pytest.mark.parametrize("name", FAULTS)
def test_it_judges_as_the_doctor_does(name, tmp_path, find_facts, collect):
    root = tmp_path / "host"
    gpus = faulty(FAULTS[name], root)
    plan = planner.plan(find_facts("host_facts", root, health=True), {}, "host")
    said = {each["id"] for each in plan["findings"] if each["id"].startswith("health.")} - NOT_OF_ONE_GPU
    found = collect(root, gpus=gpus)
    assert {labels["finding"] for each, labels, _value in found if each == "amdgpu_fleet_gpu_evidence"
            and labels["finding"].startswith("health.") and labels["finding"] not in NOT_OF_ONE_GPU} == said  # fmt: skip
    for verdict in plan["health"]["gpus"]:
        assert of(found, "amdgpu_fleet_gpu_verdict", gpu=str(verdict["index"]),
                  verdict=verdict["verdict"] or "unknown") == [1]  # fmt: skip
    unread = any(each["id"] == "health.unread" for each in plan["findings"])
    assert any(of(found, "amdgpu_fleet_gpu_unread")) == unread


@pytest.mark.parametrize("name", sorted(path.stem for path in HOSTS.glob("*.yml")))
def test_a_host_that_is_well_has_no_evidence(name, tmp_path, collect):
    root = tmp_path / "host"
    host = load_host(name)
    write_tree(host, root)
    found = collect(root, gpus=0)
    assert [
        each
        for each in found
        if each[0] == "amdgpu_fleet_gpu_evidence" and each[1]["finding"] != "gpu.missing"
    ] == []
    assert of(found, "amdgpu_fleet_collector_success") == [1]
    assert not any(of(found, "amdgpu_fleet_gpu_unread"))
    assert {each for each, _labels, _value in found} <= set(NAMES)


def test_every_name_of_the_catalog_is_told(tmp_path, collect):
    root = tmp_path / "host"
    host = load_host("mi300x-8")
    host["gpus"] = [{**host["gpus"][0], "count": 8, "faults": {"ras": {"umc": {"ue": 1}}}}]
    host["files"] = {"var/log/dmesg": "[ 9.1] amdgpu 0000:05:00.0: amdgpu: GPU reset(1) succeeded!"}
    write_tree(host, root)
    folder = root / "run/inference-check-chat"
    folder.mkdir(parents=True)
    told = {"unit": "vllm-chat.service", "model": "chat", "success": True, "timestamp_seconds": 5.0,
            "seconds": 0.5, "interval_seconds": 60, "first_token_seconds": 0.1}  # fmt: skip
    (folder / "last.json").write_text(json.dumps(told))
    found = collect(root)
    assert {each for each, _labels, _value in found} == set(NAMES)
    assert of(found, "amdgpu_fleet_probe_success", unit="vllm-chat.service", model="chat") == [1]
    assert of(found, "amdgpu_fleet_gpu_memory_bytes", gpu="0")[0] > 1 << 37
    assert of(found, "amdgpu_fleet_gpu_xgmi_links", gpu="3", state="up") == [7]


def test_a_gpu_that_is_gone_is_told_by_the_number(tmp_path, collect):
    root = tmp_path / "host"
    host = load_host("mi300x-8")
    host["gpus"] = [{**host["gpus"][0], "count": 7}]
    write_tree(host, root)
    found = collect(root)
    assert (of(found, "amdgpu_fleet_gpus_found"), of(found, "amdgpu_fleet_gpus_expected")) == ([7], [8])


def test_what_the_inventory_says_counts(tmp_path, collect):
    root = tmp_path / "host"
    faulty({"of": "mi300x-8", "faults": {"ras": {"umc": {"ue": 3}}}}, root)
    accepted = collect(root, accepted=("health.ecc_uncorrectable",))
    assert of(accepted, "amdgpu_fleet_gpu_evidence", verdict="watch", rule="ecc_uncorrectable") == [1]
    tolerant = collect(root, health={"rules": {"ecc_uncorrectable": {"limit": 5}}})
    assert of(tolerant, "amdgpu_fleet_gpu_evidence") == []


def test_a_watched_finding_that_is_accepted_is_silent(tmp_path, collect):
    root = tmp_path / "host"
    faulty({"of": "mi300x-8", "faults": {"cap": 500}}, root)
    assert of(collect(root), "amdgpu_fleet_gpu_evidence", finding="health.power_cap") == [1]
    assert of(collect(root, accepted=("health.power_cap",)), "amdgpu_fleet_gpu_evidence") == []


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"unit": 5}', '{"unit": "a", "model": "b", "seconds": "1"}', "\0"]
)
def test_a_damaged_probe_says_nothing_false(tmp_path, collect, text):
    folder = tmp_path / "host/run/inference-check-chat"
    folder.mkdir(parents=True)
    (folder / "last.json").write_text(text)
    found = collect(tmp_path / "host", gpus=0)
    assert of(found, "amdgpu_fleet_collector_success") == [1]
    assert of(found, "amdgpu_fleet_probe_seconds") == [] and 1 not in of(found, "amdgpu_fleet_probe_success")


def test_a_collector_that_fails_says_so_and_tells_the_rest(tmp_path, collect):
    root = tmp_path / "host"
    write_tree(load_host("mi300x-8"), root)
    assert of(collect(root), "amdgpu_fleet_collector_success") == [1]
    # Settings of another release: a rule that this one asks for is not there.
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["health"]["rules"].pop("temperature_near")
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, Path(programs.COLLECTION / programs.PROGRAM), "--settings", broken, "--output",
         tmp_path / "out.prom", "--root", root],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(programs.COLLECTION / ".collections")},
    )  # fmt: skip
    assert done.returncode == 1 and "KeyError" in done.stderr
    told = samples((tmp_path / "out.prom").read_text())
    assert of(told, "amdgpu_fleet_collector_success") == [0]
    assert of(told, "amdgpu_fleet_gpus_expected") == [8] and of(told, "amdgpu_fleet_gpus_found") == [8]


def test_texts_of_a_host_stay_in_their_label():
    page = exposition.Page({})
    page.add("x", 1, {"a": 'one"} y 5\n# TYPE \\ \x1b[31m' + "z" * 999})
    (line,) = [each for each in page.text().splitlines() if not each.startswith("#")]
    ((name, labels, value),) = samples(line)
    assert (name, value) == ("x", 1.0) and len(labels["a"]) < 220 and "\x1b" not in line


def test_what_is_not_known_is_no_sample():
    page = exposition.Page({})
    page.add("x", None)
    page.add("y", False)
    assert [name for name, _labels, _value in samples(page.text())] == ["y"]
