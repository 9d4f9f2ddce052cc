# SPDX-License-Identifier: GPL-3.0-or-later
"""A served host in trouble: the engine is stopped, killed in a loop, serves another model, its port is taken, a file
is not as planned. The doctor names each, and is silent when it is healed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# One host is enough: how a unit is written is no matter here.
testinfra_hosts = ["ansible://llama-container"]

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
UNIT = "llama-cpp-smol"
OPTIONS = "/etc/llama-cpp/smol.env"
# Where the server listens, for the gateway to reach it.
ADDRESS = "10.77.0.91"
HEALTH = f"curl -s --fail -o /dev/null http://{ADDRESS}:8000/health"


def until(check: Callable[[], bool], seconds: int = 300) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One report for all runs: the doctor compares with the run before."""
    return tmp_path_factory.mktemp("reports")


@pytest.fixture
def doctor(folder) -> Callable[..., dict[str, Any]]:
    def run(**variables: Any) -> dict[str, Any]:
        given = {"report_directory": str(folder), "fleet_show_plan": False, **variables}
        result = subprocess.run(
            ["ansible-playbook", "playbooks/doctor.yml", "-i", INVENTORY, "--limit", "llama-container",
             "--extra-vars", json.dumps(given)],
            cwd=REPOSITORY, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        (record,) = json.loads((folder / "report.json").read_text())
        found = {each["id"]: each for each in record["findings"] if each["id"].startswith("serve.")}
        (endpoint,) = record["endpoints"]
        return {
            **record,
            "rc": result.returncode,
            "said": result.stdout,
            "found": found,
            "endpoint": endpoint,
        }

    return run


@pytest.fixture
def healed(host):
    """Whatever a test broke, the server serves again afterwards."""
    yield
    host.run("systemctl stop squatter killer")
    host.check_output("sed -i '/^LLAMA_ARG_ALIAS=/s/another/smol/' %s", OPTIONS)
    host.run("systemctl reset-failed %s", UNIT)
    host.check_output("systemctl restart %s", UNIT)
    until(lambda: host.run(HEALTH).rc == 0)


def test_a_server_that_is_well_is_no_matter(doctor):
    seen = doctor(doctor_probe="completion")
    assert seen["found"] == {} and seen["endpoint"]["answered"] is True, seen["said"]
    assert seen["endpoint"]["text"], "with doctor_probe it was asked for a completion"
    assert seen["rc"] == (2 if any(each["severity"] == "fail" for each in seen["findings"]) else 0)


def test_one_that_is_stopped_is_named(host, doctor, healed):
    host.check_output("systemctl stop %s", UNIT)
    seen = doctor()
    assert list(seen["found"]) == ["serve.down"] and seen["rc"] == 2, seen["said"]
    assert f"{UNIT}.service is inactive" in seen["found"]["serve.down"]["seen"]
    assert seen["endpoint"]["answered"] is False
    assert f"not as planned any more (serve): as planned, now {UNIT}.service is inactive" in seen["said"]
    assert "FAIL llama-container: A wanted server does not run [serve.down]" in seen["said"]


def test_one_that_is_killed_in_a_loop_is_named(host, doctor, healed):
    loop = f"while :; do systemctl kill --signal=KILL {UNIT}; sleep 0.3; done"
    host.check_output("systemd-run --quiet --unit=killer sh -c %s", loop)
    count = f"systemctl show --property=NRestarts --value {UNIT}"
    until(lambda: int(host.check_output(count)) >= 3)
    seen = doctor()
    assert list(seen["found"]) == ["serve.restarting"] and seen["rc"] == 2, seen["said"]
    assert "times" in seen["found"]["serve.restarting"]["seen"]


def test_one_that_serves_another_model_is_named(host, doctor, healed):
    # The file that it reads its options from is not as planned, and it was started with that.
    host.check_output("sed -i '/^LLAMA_ARG_ALIAS=/s/smol/another/' %s", OPTIONS)
    host.check_output("systemctl restart %s", UNIT)
    until(lambda: host.run(HEALTH).rc == 0)
    seen = doctor()
    assert list(seen["found"]) == ["serve.other_model"] and seen["rc"] == 2, seen["said"]
    assert "serves another" in seen["found"]["serve.other_model"]["seen"]
    (change,) = [each for each in seen["changes"] if each["kind"] == "drift" and "serve" in each["what"]]
    assert "smol.env" in change["now"], change


def test_a_port_that_somebody_else_took_is_named(host, doctor, healed):
    host.check_output("systemctl stop %s", UNIT)
    host.check_output(f"systemd-run --quiet --unit=squatter python3 -m http.server --bind {ADDRESS} 8000")
    until(lambda: host.run(f"curl -s -o /dev/null http://{ADDRESS}:8000/").rc == 0, 60)
    seen = doctor()
    assert "serve.port" in seen["found"] and seen["rc"] == 2, seen["said"]
    assert seen["found"]["serve.port"]["seen"] == "8000 held by squatter.service"
    assert "serve.down" in seen["found"], "and the server that it keeps down"


def test_what_was_healed_is_no_matter_and_the_runs_are_kept(doctor, folder):
    seen = doctor()
    assert seen["found"] == {} and seen["endpoint"]["answered"] is True, seen["said"]
    assert "serve" not in seen["seen"]["drift"] and seen["changes"] == []
    lines = [json.loads(line) for line in (folder / "history/llama-container.jsonl").read_text().splitlines()]
    serve = [[each for each in line["findings"] if " serve." in each] for line in lines]
    assert serve == [
        [],
        ["fail serve.down"],
        ["fail serve.restarting"],
        ["fail serve.other_model"],
        ["fail serve.down", "fail serve.port"],
        [],
    ]
