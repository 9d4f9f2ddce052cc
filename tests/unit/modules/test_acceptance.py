# SPDX-License-Identifier: GPL-3.0-or-later
"""acceptance_test and acceptance_record: programs that are good, slow, failing and hanging, runs that are cut short,
errors that rise, and what is remembered of it all."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance import rise, run, state
from testbed import acceptance as samples

FOLDER = "var/lib/amdgpu-fleet/acceptance"
LEAST = [{"metric": "busbw_in_place_8g", "least": 304, "source": "AMD"}]
# Longer than any test waits.
FOREVER = 600


@pytest.fixture
def program(tmp_path):
    """program(text) -> a program that prints it; ``then`` is what its shell does afterwards."""

    def make(text: str, then: str = "", name: str = "all_reduce_perf") -> Path:
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
        path = tmp_path / name
        path.write_text(
            f"#!/bin/sh\necho run >> {tmp_path}/runs\ncat {tmp_path}/{name}.txt\n{then}\n", encoding="utf-8"
        )
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def runs(tmp_path):
    path = tmp_path / "runs"
    return lambda: path.read_text(encoding="utf-8").count("run") if path.exists() else 0


@pytest.fixture
def root(emulated):
    return emulated()


@pytest.fixture
def accept(run_module, root):
    def make(path: Path | str, **more: Any) -> dict[str, Any]:
        options = {
            "name": "rccl_all_reduce", "programs": [str(path)], "command": ["{program}", "-g", "8"], "devices": 8,
            "format": "rccl_tests", "timeout": 60, "thresholds": LEAST, "plan": "p1", "root": str(root), **more,
        }  # fmt: skip
        return run_module("acceptance_test", **options)

    return make


def test_a_good_run_passes_and_is_remembered(accept, program, runs, root):
    path = program(samples.rccl_tests(busbw=320))
    first = accept(path)
    assert first["changed"] and first["result"]["verdict"] == "pass" and not first["result"]["resumed"]
    assert first["result"]["metrics"]["busbw_in_place_8g"]["value"] > 304
    log = Path(first["result"]["log"])
    assert log.read_text(encoding="utf-8") == samples.rccl_tests(busbw=320)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600 and stat.S_IMODE((root / FOLDER).stat().st_mode) == 0o700
    second = accept(path)
    assert not second["changed"] and second["result"]["resumed"] and second["result"]["verdict"] == "pass"
    assert runs() == 1
    assert accept(path, again=True)["changed"] and runs() == 2


def test_a_slow_one_fails_with_figure_and_threshold(accept, program, runs):
    path = program(samples.rccl_tests(busbw=250))
    result = accept(path)["result"]
    assert result["verdict"] == "fail"
    assert "at least 304 is asked" in result["reasons"][0] and "busbw_in_place_8g" in result["reasons"][0]
    assert accept(path)["result"]["verdict"] == "fail" and runs() == 2


def test_a_failing_one_fails_whatever_it_printed(accept, program):
    result = accept(program(samples.rccl_tests(busbw=400), "exit 3"))["result"]
    assert result["verdict"] == "fail" and result["reasons"][0] == "it ended with exit code 3"
    result = accept(program(samples.rccl_tests(busbw=400), "kill -SEGV $$"))["result"]
    assert result["reasons"][0] == "it ended with signal 11"


def test_a_hanging_one_is_ended_with_all_that_it_started(accept, program, tmp_path):
    path = program(
        "half of a line", f"sleep {FOREVER} & echo $! > {tmp_path}/child\ntrap '' TERM\nsleep {FOREVER}"
    )
    result = accept(path, timeout=2)["result"]
    assert result["verdict"] == "fail" and result["reasons"][0] == "it did not end within 2 s"
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    assert run.began(child) == "" or _zombie(child)


def _zombie(pid: int) -> bool:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return text.rpartition(")")[2].split()[0] == "Z"


def test_what_a_good_one_leaves_running_is_ended(accept, program, tmp_path):
    path = program(samples.rccl_tests(), f"sleep {FOREVER} >/dev/null & echo $! > {tmp_path}/child")
    assert accept(path)["result"]["verdict"] == "pass"
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    assert run.began(child) == "" or _zombie(child)


def test_output_that_is_cut_is_an_error_and_not_a_pass(accept, program):
    result = accept(program(samples.rccl_tests()[:3000]))["result"]
    assert result["verdict"] == "error" and result["reasons"]


def test_what_is_not_installed_is_skipped_and_names_its_package(accept):
    result = accept("/opt/none/all_reduce_perf", package="amdrocm-rccl-test")
    assert not result["result"]["resumed"] and result["result"]["verdict"] == "skip"
    assert "amdrocm-rccl-test" in result["result"]["reasons"][0]


@pytest.mark.parametrize(("name", "verdict"), [("podman", "skip"), ("all_reduce_perf", "fail")])
def test_a_container_without_the_program_is_skipped(accept, program, name, verdict):
    found = accept(program("", "exit 127", name=name))["result"]
    assert found["verdict"] == verdict
    assert (found["reasons"] == ["the image of the server has no such program"]) == (name == "podman")


@pytest.mark.parametrize(
    "more", [{"plan": "p2"}, {"command": ["{program}", "-g", "4"]}, {"thresholds": []}, {"timeout": 61}]
)
def test_another_plan_or_command_is_another_test(accept, program, runs, more):
    path = program(samples.rccl_tests(busbw=320))
    accept(path)
    accept(path, **more)
    assert runs() == (1 if "timeout" in more else 2)


def test_another_board_in_the_slot_has_passed_nothing(accept, program, runs, root):
    path = program(samples.rccl_tests(busbw=320))
    accept(path)
    (root / "sys/bus/pci/devices/0000:05:00.0/serial_number").write_text("0123456789\n", encoding="utf-8")
    accept(path)
    assert runs() == 2


def test_errors_that_rise_meanwhile_fail_it(accept, program, root):
    counter = next((root / "sys/bus/pci/devices/0000:05:00.0/ras").glob("*umc*"))
    counter.write_text("ue: 0\nce: 0\nde: 0\n", encoding="utf-8")
    path = program(samples.rccl_tests(busbw=400), f"printf 'ue: 0\\nce: 3\\nde: 0\\n' > {counter}")
    result = accept(path)["result"]
    assert result["verdict"] == "fail"
    assert result["reasons"][0] == "GPU 0: correctable errors of umc rose from 0 to 3"
    assert accept(path)["result"]["verdict"] == "pass"


def test_check_mode_says_what_would_run_and_touches_nothing(accept, program, runs, root):
    path = program(samples.rccl_tests(busbw=320))
    found = accept(path, _check=True)
    assert found["changed"] and found["result"]["verdict"] == "would_run"
    assert found["result"]["thresholds"][0]["least"] == 304 and found["result"]["command"] == [
        str(path),
        "-g",
        "8",
    ]
    assert runs() == 0 and not (root / FOLDER).exists()
    accept(path)
    found = accept(path, _check=True)
    assert not found["changed"] and found["result"]["verdict"] == "pass"
    assert accept("/opt/none", name="other", _check=True)["result"]["verdict"] == "skip"


def test_one_run_for_each_device_and_the_best_of_several(accept, program, tmp_path):
    speeds = "case $HIP_VISIBLE_DEVICES in 1) f=slow ;; *) f=good ;; esac\ncat $(dirname $0)/$f.txt"
    for name, copy in (("good", 4200000), ("slow", 3900000)):
        (tmp_path / f"{name}.txt").write_text(samples.babelstream(copy), encoding="utf-8")
    options = {
        "name": "babelstream", "format": "babelstream", "each": True, "repeat": 2, "devices": 3,
        "thresholds": [{"metric": "copy", "least": 4177285}],
    }  # fmt: skip
    result = accept(program("", speeds), **options)["result"]
    assert result["verdict"] == "fail" and "copy of device 1 is 3900000" in result["reasons"][0]
    assert result["metrics"]["copy"]["each"] == {"0": 4200000, "1": 3900000, "2": 4200000}
    options["thresholds"] = []
    result = accept(program("", speeds), **options)["result"]
    assert result["verdict"] == "recorded"
    assert any("copy of device 1" in each and "siblings" in each for each in result["warnings"])


def test_the_result_may_be_in_a_file_and_an_old_one_does_not_count(accept, program, root):
    text = samples.vllm_bench_serve()
    options = {"name": "vllm_serve_chat", "format": "vllm_bench_serve", "output": "chat.json", "thresholds": [],
               "command": ["{program}", "{output}/chat.json"]}  # fmt: skip
    assert (
        accept(program(text, 'cp $(dirname $0)/all_reduce_perf.txt "$1"'), **options)["result"]["verdict"]
        == "pass"
    )
    result = accept(program("no file\n"), **options, again=True)["result"]
    assert result["verdict"] == "error"


def test_a_key_is_in_the_environment_and_nowhere_else(accept, program, root, tmp_path):
    secret = tmp_path / "chat.secret"
    secret.write_text("VLLM_API_KEY=planted-key\n", encoding="utf-8")
    path = program(samples.rccl_tests(), 'printf %s "$OPENAI_API_KEY" > $(dirname $0)/seen')
    found = accept(path, secret_file=str(secret))
    assert (tmp_path / "seen").read_text(encoding="utf-8") == "planted-key"
    kept = "".join(each.read_text(encoding="utf-8") for each in (root / FOLDER).rglob("*") if each.is_file())
    assert "planted-key" not in kept and "planted-key" not in json.dumps(found)


def test_a_gpu_that_computes_for_somebody_else_is_not_tested(accept, program, runs, root, process):
    (root / "sys/class/kfd/kfd/proc/4711").mkdir(parents=True)
    busy = root / "sys/bus/pci/devices/0000:05:00.0/gpu_busy_percent"
    busy.write_text("97\n", encoding="utf-8")
    path = program(samples.rccl_tests())
    with process(path, idle=True) as child:
        result = json.loads(child.communicate(timeout=120)[0])["result"]
    assert result["verdict"] == "error" and "acceptance_beside_servers" in result["reasons"][0]
    assert runs() == 0
    assert accept(path, idle=False)["result"]["verdict"] == "pass"


def _options(root: Path, path: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "rccl_all_reduce", "programs": [str(path)], "command": ["{program}"], "devices": 8,
        "format": "rccl_tests", "timeout": 60, "plan": "p1", "root": str(root), **more,
    }  # fmt: skip


CODE = """
import json, sys
from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance import testing
from ansible_collections.amdgpu.fleet.plugins.modules import acceptance_test
testing.IDLE_WAIT = 1
sys.argv = ["acceptance_test", sys.argv[1]]
acceptance_test.main()
"""


@pytest.fixture
def process(collections_path, root):
    """process(path, **options) -> the module as a process of its own, which can be killed."""

    def start(path: Path, **more: Any) -> subprocess.Popen[str]:
        module = {"ANSIBLE_MODULE_ARGS": {**_options(root, path, **more), "_ansible_remote_tmp": str(root)}}
        command = [sys.executable, "-c", CODE, json.dumps(module)]
        environment = {**os.environ, "PYTHONPATH": str(collections_path)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return start


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_resumes(accept, program, runs, root, tmp_path, process, kind):
    path = program("# Using devices\n", f"echo $$ > {tmp_path}/leader\nsleep {FOREVER}")
    with process(path, command=["{program}", "-g", "8"], thresholds=LEAST) as child:
        _wait_for(
            lambda: (
                (tmp_path / "leader").exists() and (tmp_path / "leader").read_text(encoding="utf-8").strip()
            )
        )
        leader = int((tmp_path / "leader").read_text(encoding="utf-8"))
        child.send_signal(kind)
        child.wait(timeout=60)
    if kind == signal.SIGTERM:
        _wait_for(lambda: run.began(leader) == "")
    else:
        assert run.began(leader), "a killed module can end nothing"
    (tmp_path / "all_reduce_perf").write_text(
        f"#!/bin/sh\necho run >> {tmp_path}/runs\ncat {tmp_path}/good.txt\n", encoding="utf-8"
    )
    (tmp_path / "good.txt").write_text(samples.rccl_tests(), encoding="utf-8")
    result = accept(path)["result"]
    assert result["verdict"] == "pass" and not result["resumed"] and runs() == 2
    _wait_for(lambda: run.began(leader) == "")
    assert state.load(str(root / FOLDER))["running"] is None


def _wait_for(done) -> None:
    limit = time.monotonic() + 60
    while not done():
        assert time.monotonic() < limit, "it never came about"
        time.sleep(0.05)


def test_a_process_with_the_number_of_an_old_one_is_left_alone(root):
    child = subprocess.Popen(["sleep", str(FOREVER)], start_new_session=True)
    try:
        assert not run.end_leftover({"number": child.pid, "began": "1"})
        assert not run.end_leftover({"number": child.pid})
        assert not run.end_leftover({"number": 1, "began": run.began(1)})
        assert child.poll() is None
        assert run.end_leftover({"number": child.pid, "began": run.began(child.pid)})
        assert child.wait(timeout=60) == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()


def test_a_run_that_somebody_else_has_at_work_is_waited_for(accept, program, runs, tmp_path, process):
    path = program(samples.rccl_tests(), f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done")
    command = {"command": ["{program}", "-g", "8"], "thresholds": LEAST}
    with process(path, **command) as first:
        _wait_for(lambda: runs() == 1)
        with process(path, **command) as second:
            (tmp_path / "go").touch()
            said = [json.loads(each.communicate(timeout=120)[0])["result"] for each in (first, second)]
    assert [each["verdict"] for each in said] == ["pass", "pass"]
    assert sorted(each["resumed"] for each in said) == [False, True] and runs() == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 9}', '{"schema": 1, "tests": [], "past": 3}', "\0" * 99]
)
def test_a_damaged_state_is_an_empty_one(accept, program, root, text):
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / "state.json").write_text(text, encoding="utf-8")
    assert accept(program(samples.rccl_tests()))["result"]["verdict"] == "pass"


def test_a_figure_far_from_its_own_past_is_a_warning(accept, program):
    for _turn in range(3):
        accept(program(samples.rccl_tests(busbw=400)), again=True)
    result = accept(program(samples.rccl_tests(busbw=320)), again=True)["result"]
    assert result["verdict"] == "pass"
    assert any("its own past is" in each for each in result["warnings"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "../x"}, "no name of a test"),
        ({"output": "../x"}, "not the name of a file"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_what_does_not_fit_is_refused(run_module, root, program, wrong, words):
    answer = run_module("acceptance_test", **{**_options(root, program("")), **wrong})
    assert words in answer["msg"]


def test_what_rises_between_two_looks():
    def gpu(**more: Any) -> dict[str, Any]:
        return {"index": 0, "pci_address": "0000:05:00.0", "ras": None, **more}

    def facts(*gpus: dict[str, Any], log: tuple = (), boot: str = "b") -> dict[str, Any]:
        return {"boot_id": boot, "gpus": list(gpus), "log": list(log)}

    before = facts(gpu(replay_count=1, bad_pages={"retired": 0}))
    assert rise.rose(before, before) == []
    assert rise.rose(before, facts(gpu(replay_count=None, bad_pages={"retired": 0}))) == []
    assert rise.rose(before, facts(gpu(replay_count=4, bad_pages={"retired": 2}))) == [
        "GPU 0: retired pages of memory rose from 0 to 2", "GPU 0: packets sent again rose from 1 to 4",
    ]  # fmt: skip
    assert rise.rose(before, facts()) == ["GPU 0 (0000:05:00.0) is gone"]
    assert rise.rose(before, facts(gpu(), boot="c")) == ["the host was rebooted meanwhile"]
    line = {"kind": "reset", "gpu": None, "count": 1, "line": "GPU reset begin!"}
    assert rise.rose(facts(gpu()), facts(gpu(), log=(line,))) == ["the kernel log says: GPU reset begin!"]
    assert rise.rose(facts(gpu(), log=(line,)), facts(gpu(), log=(line,))) == []
    appeared = gpu(ras={"blocks": {"umc": {"correctable": 0, "uncorrectable": 1, "deferred": 0}}})
    assert rise.rose(facts(gpu()), facts(appeared)) == ["GPU 0: uncorrectable errors of umc rose from 0 to 1"]


def record(run_module, root: Path, *tests: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = run_module(
        "acceptance_record", level="quick", plan="p1", tests=list(tests), root=str(root), **more
    )
    return answer["ansible_facts"]["amd_acceptance"]


WELL = [{"index": 0, "verdict": "ok", "evidence": ""}]


def test_the_record_is_bound_to_what_is_there(run_module, accept, program, root, find_facts):
    accept(program(samples.rccl_tests()))
    found = record(run_module, root, {"name": "rccl_all_reduce"}, health=WELL)
    assert found["verdict"] == "pass" and [each["name"] for each in found["tests"]] == [
        "health",
        "rccl_all_reduce",
    ]
    assert len(found["binding"]["gpus"]) == 8 and found["binding"]["driver"] == "7.1.3.31500000"
    assert stat.S_IMODE((root / FOLDER / "record.json").stat().st_mode) == 0o600
    seen = find_facts("host_facts", root)["amd_host"]["acceptance"]
    assert seen == {
        "level": "quick", "verdict": "pass", "finished": found["finished"], "age_hours": 0, "plan": "p1", "failed": [],
        "warnings": 0, "changed": [],
    }  # fmt: skip
    (root / "sys/bus/pci/devices/0000:05:00.0/vbios_version").write_text("113-NEW\n", encoding="utf-8")
    assert find_facts("host_facts", root)["amd_host"]["acceptance"]["changed"] == [
        "vbios of GPU 0000:05:00.0"
    ]
    assert record(run_module, root, {"name": "rccl_all_reduce"}, health=WELL)["verdict"] == "incomplete"


@pytest.mark.parametrize(
    ("tests", "health", "verdict"),
    [
        ([{"name": "rccl_all_reduce"}, {"name": "babelstream"}], WELL, "incomplete"),
        ([{"name": "rccl_all_reduce"}, {"name": "babelstream", "optional": True}], WELL, "pass"),
        ([{"name": "rccl_all_reduce"}], [{"index": 3, "verdict": "drain", "evidence": "2 errors"}], "fail"),
        ([{"name": "rccl_all_reduce"}], [{"index": 3, "verdict": "watch", "evidence": "1 page"}], "pass"),
        ([{"name": "other"}], [], "incomplete"),
    ],
)
def test_a_pass_needs_every_test_that_is_not_optional(
    run_module, accept, program, root, tests, health, verdict
):
    accept(program(samples.rccl_tests()))
    assert record(run_module, root, *tests, health=health)["verdict"] == verdict


def test_one_failure_is_the_failure_of_the_host(run_module, accept, program, root):
    accept(program(samples.rccl_tests(busbw=100)))
    found = record(run_module, root, {"name": "rccl_all_reduce", "optional": True}, health=WELL)
    assert found["verdict"] == "fail"


def test_in_check_mode_no_record_is_written(run_module, root):
    answer = run_module("acceptance_record", level="quick", tests=[], root=str(root), _check=True)
    assert answer["changed"] and "ansible_facts" not in answer and not (root / FOLDER).exists()


def test_a_record_is_as_old_as_its_oldest_test(run_module, accept, program, root, runs):
    accept(program(samples.rccl_tests()))
    kept = state.load(str(root / FOLDER))
    kept["tests"]["rccl_all_reduce"]["finished_at"] = 1_700_000_000
    state.save(str(root / FOLDER), "state.json", kept)
    options = {"level": "quick", "plan": "p1", "tests": [{"name": "rccl_all_reduce"}], "root": str(root)}
    first = run_module("acceptance_record", **options)
    assert first["ansible_facts"]["amd_acceptance"]["finished_at"] == 1_700_000_000 and first["changed"]
    assert not run_module("acceptance_record", **options)["changed"]
    assert accept(program(samples.rccl_tests()))["result"]["resumed"] and runs() == 1
    assert not accept(program(samples.rccl_tests()), max_age=30)["result"]["resumed"] and runs() == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 1, "tests": 3, "binding": [], "finished_at": "x"}', "\0"]
)
def test_a_damaged_record_is_no_pass_and_no_traceback(root, find_facts, text):
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / "record.json").write_text(text, encoding="utf-8")
    seen = find_facts("host_facts", root)["amd_host"]
    assert seen["acceptance"] is None or seen["acceptance"]["verdict"] == "None"
