# SPDX-License-Identifier: GPL-3.0-or-later
"""A rack that is accepted: stand-ins of ROCm's tests that are good, slow, failing and hanging, the benchmark of a real
vLLM, a real network, and the servers stopped and started around it. The tests build on each other, in this order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
import testinfra
import yaml

from testbed import processes

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
REPORTS = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "reports"
FOLDER = "/var/lib/amdgpu-fleet/acceptance"
BEHAVIOUR = "/etc/bed-acceptance"
DEVICE = ("bandwidth", "transferbench_a2a", "transferbench_p2p", "rccl_all_reduce")
testinfra_hosts = ["ansible://accept-rack"]
# All of them: pytest puts tests of one parametrized fixture together, and would change the order otherwise.
pytestmark = pytest.mark.usefixtures("host")


def command(playbook: str, *arguments: str, **variables) -> list[str]:
    words = ["ansible-playbook", playbook, "-i", INVENTORY, *arguments]
    return [*words, "-e", json.dumps({"report_directory": str(REPORTS), **variables})]


def play(playbook: str, *arguments: str, **variables) -> subprocess.CompletedProcess:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    asked = command(playbook, *arguments, **variables)
    return subprocess.run(
        asked, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def accept(*arguments: str, **variables) -> subprocess.CompletedProcess:
    return play("playbooks/accept.yml", *arguments, **variables)


def flat(result: subprocess.CompletedProcess) -> str:
    return re.sub(r"\s+", " ", result.stdout + result.stderr)


def results(folder: Path = REPORTS) -> dict[str, dict]:
    record = json.loads((folder / "acceptance/accept-rack.json").read_text(encoding="utf-8"))
    return {test["name"]: test for test in record["tests"]}


def started(host) -> str:
    return host.check_output("systemctl show --property=ActiveEnterTimestampMonotonic --value vllm-tiny")


def test_the_rack_passed_and_is_held_to_amds_figures():
    record = json.loads((REPORTS / "acceptance/accept-rack.json").read_text(encoding="utf-8"))
    assert record["verdict"] == "pass" and record["level"] == "quick"
    assert len(record["binding"]["gpus"]) == 8 and record["binding"]["driver"]
    found = results()
    assert {name: found[name]["verdict"] for name in DEVICE} == {
        "bandwidth": "recorded", "transferbench_a2a": "pass", "transferbench_p2p": "pass", "rccl_all_reduce": "pass",
    }  # fmt: skip
    assert found["rccl_all_reduce"]["thresholds"][0]["least"] == 304
    assert "system-acceptance-docs" in found["rccl_all_reduce"]["thresholds"][0]["source"]
    assert found["babelstream"]["verdict"] == "skip" and found["babelstream"]["optional"]
    assert found["health"]["verdict"] == "pass"


def test_vllm_was_really_measured(host):
    found = results()["vllm_serve_tiny"]
    assert found["verdict"] == "pass", found["reasons"]
    figures = {name: each["value"] for name, each in found["metrics"].items()}
    assert figures["output_tokens_per_second"] > 0 and figures["median_ttft_ms"] > 0
    measured = json.loads(host.check_output(f"cat {FOLDER}/logs/tiny.json"))
    assert (
        measured["completed"] == 32 and measured["output_throughput"] == figures["output_tokens_per_second"]
    )
    files = host.check_output(f"grep -rl planted-key {FOLDER} || true")
    assert files == "", "the key stands in a file"


def test_engines_in_containers_were_really_measured():
    asked = {"acceptance_tests": ["vllm_serve", "llama_bench"], "acceptance_beside_servers": True}
    result = accept("--limit", "accept-desk", **asked)
    assert "accept-desk did not pass level quick (incomplete): bandwidth was not run" in flat(result)
    record = json.loads((REPORTS / "acceptance/accept-desk.json").read_text(encoding="utf-8"))
    found = {test["name"]: test for test in record["tests"]}
    vllm, llama = found["vllm_serve_tiny"], found["llama_bench_smol"]
    assert vllm["verdict"] == "pass" and vllm["command"][0].endswith("podman"), vllm
    assert vllm["metrics"]["output_tokens_per_second"]["value"] > 0
    assert llama["verdict"] == "recorded" and llama["command"][0].endswith("podman"), llama
    assert llama["metrics"]["tg128"]["value"] > 0
    desk = testinfra.get_host(f"ansible://accept-desk?ansible_inventory={INVENTORY}")
    assert desk.check_output(f"grep -rl planted-key {FOLDER} || true") == "", "the key stands in a file"


def test_memory_and_network_were_really_measured(host):
    found = results()
    assert found["host_memory"]["metrics"]["memcpy"]["value"] > 100
    assert found["network_tcp"]["metrics"]["gbit_per_second"]["value"] > 0.01
    assert found["network_tcp"]["command"][1:3] == ["--client", "accept-gateway"]


def test_the_record_is_junit_too():
    suite = xml.parse(REPORTS / "acceptance/accept-rack.xml").getroot().find("testsuite")
    assert suite is not None and suite.get("failures") == "0" and suite.get("hostname") == "accept-rack"
    names = {case.get("name") for case in suite.iter("testcase")}
    assert {*DEVICE, "health", "vllm_serve_tiny"} <= names
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert properties["gpu0.product"] == "AMD Instinct MI300X" and properties["driver"]


def test_the_server_serves_again(host):
    assert host.check_output("systemctl is-active vllm-tiny") == "active"


def test_the_gateway_sends_requests_again():
    gateway = testinfra.get_host(f"ansible://accept-gateway?ansible_inventory={INVENTORY}")
    status = gateway.check_output(
        "curl -s -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer key-of-a-client' "
        '-H \'Content-Type: application/json\' -d \'{"model": "tiny-llama", "prompt": "AMD", "max_tokens": 2}\' '
        "http://10.77.0.241:8080/v1/completions"
    )
    assert status == "200"


def test_check_mode_says_what_would_run(host):
    before = started(host)
    result = accept("--check", acceptance_again=True, acceptance_beside_servers=True)
    assert result.returncode == 0, result.stdout
    assert "WOULD RUN rccl_all_reduce, busbw_in_place_8g of at least 304" in flat(result)
    assert started(host) == before


def test_nothing_runs_beside_a_server_unless_asked(host):
    before = started(host)
    result = accept(acceptance_again=True)
    assert result.returncode != 0 and "Set acceptance_drain to stop its servers meanwhile" in flat(result)
    assert started(host) == before


def test_what_passed_needs_no_server_to_stop(host):
    before = started(host)
    result = accept()
    assert result.returncode == 0, result.stdout
    assert "PASS (passed before) rccl_all_reduce" in flat(result) and "PASS quick" in result.stdout
    assert started(host) == before


@pytest.fixture(scope="module")
def four_ways():
    """One run of tests that are good, slow, failing and hanging."""
    host = testinfra.get_host(f"ansible://accept-rack?ansible_inventory={INVENTORY}")
    host.check_output(f"rm -rf {BEHAVIOUR}; mkdir {BEHAVIOUR}")
    for program, word in (
        ("all_reduce_perf", "slow"),
        ("TransferBench", "failing"),
        ("rocm-bandwidth-test", "hanging"),
    ):
        host.check_output(f"echo {word} > {BEHAVIOUR}/{program}")
    tests = yaml.safe_load(
        (REPOSITORY / "roles/plan/files/catalog/acceptance.yml").read_text(encoding="utf-8")
    )["tests"]
    quick = {**tests["bandwidth"], "timeout": 5}
    result = accept(
        acceptance_again=True,
        acceptance_beside_servers=True,
        acceptance_tests=["host_memory", "rccl_all_reduce", "transferbench_a2a", "bandwidth"],
        plan_catalog={"acceptance": {"tests": {"bandwidth": quick}}},
    )
    yield host, result, results()
    host.check_output(f"rm -rf {BEHAVIOUR}")


def test_good_slow_failing_and_hanging_are_told_apart(four_ways):
    _host, result, found = four_ways
    assert result.returncode != 0
    assert found["host_memory"]["verdict"] == "recorded"
    assert found["rccl_all_reduce"]["verdict"] == "fail"
    assert "at least 304 is asked" in found["rccl_all_reduce"]["reasons"][0]
    assert found["transferbench_a2a"]["verdict"] == "fail"
    assert found["transferbench_a2a"]["reasons"][0] == "it ended with exit code 1"
    assert found["bandwidth"]["verdict"] == "fail"
    assert found["bandwidth"]["reasons"][0] == "it did not end within 5 s"
    assert "FAIL quick" in result.stdout


def test_nothing_of_the_hanging_one_is_left(four_ways):
    host, _result, _found = four_ways
    child = host.check_output(f"cat {BEHAVIOUR}/child")
    assert host.run(f"kill -0 {child}").rc != 0
    assert host.run("pgrep -f [b]in/rocm-bandwidth-test").rc == 1


def test_a_host_that_failed_may_not_serve(four_ways, host):
    before = started(host)
    result = play("molecule/accept/serve.yml", acceptance_required="quick")
    assert result.returncode != 0
    assert "accept-rack may not serve: acceptance.missing: seen fail at level quick" in flat(result)
    assert started(host) == before


def test_a_run_that_is_killed_resumes(host):
    host.check_output(f"rm -rf {BEHAVIOUR}; mkdir {BEHAVIOUR}; echo waiting > {BEHAVIOUR}/all_reduce_perf")
    with subprocess.Popen(
        command("playbooks/accept.yml", acceptance_beside_servers=True),
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as run:  # fmt: skip
        limit = time.monotonic() + 300
        while host.run(f"test -e {BEHAVIOUR}/child").rc:
            assert time.monotonic() < limit and run.poll() is None, "the test never began"
            time.sleep(1)
        processes.kill(run.pid)
        run.wait()
    # The test itself goes on, on the host; its module is killed too, as by a host that loses its power.
    running = json.loads(host.check_output(f"cat {FOLDER}/state.json"))["running"]
    assert running["test"] == "rccl_all_reduce"
    left = str(running["number"])
    host.check_output(f"kill -KILL $(ps -o ppid= -p {left})")
    assert host.run(f"kill -0 {left}").rc == 0
    host.check_output(f"rm -rf {BEHAVIOUR}")
    result = accept(acceptance_beside_servers=True)
    assert result.returncode == 0, result.stdout
    assert host.run(f"kill -0 {left}").rc != 0, "what the killed run left is still there"
    said = flat(result)
    assert "(passed before) transferbench_a2a" in said, "what the killed run passed runs again"
    assert "PASS rccl_all_reduce" in said


def test_a_host_that_passed_serves(host):
    result = play("molecule/accept/serve.yml", acceptance_required="quick")
    assert result.returncode == 0, result.stdout
    refused = play("molecule/accept/serve.yml", acceptance_required="full")
    assert "seen pass at level quick, expected a pass at level full" in flat(refused)


def test_errors_that_rise_fail_a_test(host):
    """A corrected error of its memory comes up while the test runs."""
    counter = host.check_output("ls -d /sys/bus/pci/devices/*/ras/*umc* | head -1")
    good = host.check_output(f"cat {counter}")
    host.check_output(f"mkdir -p {BEHAVIOUR}; echo waiting > {BEHAVIOUR}/all_reduce_perf")
    with subprocess.Popen(
        command("playbooks/accept.yml", acceptance_beside_servers=True, acceptance_again=True,
                acceptance_tests=["rccl_all_reduce"]),
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as run:  # fmt: skip
        limit = time.monotonic() + 300
        while host.run(f"test -e {BEHAVIOUR}/child").rc:
            assert time.monotonic() < limit and run.poll() is None, "the test never began"
            time.sleep(1)
        host.check_output(f"printf 'ue: 0\\nce: 7\\nde: 0\\n' > {counter}; touch {BEHAVIOUR}/go")
        said = re.sub(r"\s+", " ", run.communicate(timeout=300)[0])
    host.check_output(f"printf '%s\\n' '{good}' > {counter}; rm -rf {BEHAVIOUR}")
    assert run.returncode != 0 and "correctable errors of umc rose from 0 to 7" in said
