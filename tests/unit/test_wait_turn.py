# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit runs before it starts a server beside others on one GPU, with a systemctl that a file tells the states."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYSTEMCTL = """#!{python}
import json, os, sys
name = "{states}"
looks = json.load(open(name))
now = looks.pop(0) if len(looks) > 1 else looks[0]
json.dump(looks, open(name + ".new", "w"))
os.replace(name + ".new", name)
for unit in [word for word in sys.argv if word.endswith(".service")]:
    state = {{"NRestarts": "0", "Job": "0", "ActiveEnterTimestampMonotonic": "{now}", **now.get(unit, {{}})}}
    print("Id=" + unit, *(f"{{key}}={{value}}" for key, value in state.items()), "", sep="\\n")
"""
A, B = "vllm-a.service", "vllm-b.service"
RUNS, FAILED = {"ActiveState": "active"}, {"ActiveState": "failed"}
WAITS = {"ActiveState": "activating", "SubState": "start-pre"}
AGAIN = {"ActiveState": "activating", "SubState": "auto-restart"}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments) -> None:
        pass

    def do_GET(self) -> None:
        codes = self.server.codes
        self.send_response(codes.pop(0) if len(codes) > 1 else codes[0])
        self.end_headers()


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.codes = [200]
    made.url = f"http://127.0.0.1:{made.server_port}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def wait(tmp_path):
    """wait(states, *words) -> the end of the program, as a unit runs it: files alone, without the collection."""
    shutil.copy(ROOT / "plugins/module_utils/_inference.py", tmp_path / "inference.py")
    shutil.copy(ROOT / "roles/serve/files/wait_turn.py", tmp_path)
    (tmp_path / "bin").mkdir()
    program, states = tmp_path / "bin/systemctl", tmp_path / "states.json"
    now = int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)
    program.write_text(SYSTEMCTL.format(python=sys.executable, states=states, now=now))
    program.chmod(0o755)

    def run(looks: list[dict], *words: str, seconds: float = 60):
        states.write_text(json.dumps(looks))
        command = [sys.executable, tmp_path / "wait_turn.py", "--interval", "0.05", "--seconds", str(seconds)]
        environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
        return subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, timeout=90, check=False
        )

    run.looks = lambda: len(json.loads(states.read_text()))
    return run


def test_started_is_not_ready(server, wait):
    server.codes = [503, 503, 200]
    result = wait([{A: RUNS}], "--before", f"{A}={server.url}")
    assert result.returncode == 0 and len(server.codes) == 1
    assert result.stdout == f"waiting for {A} on the same GPU: it loads\n" and result.stderr == ""


@pytest.mark.parametrize(
    "state", [WAITS, AGAIN, {"ActiveState": "inactive", "Job": "17"}, {"ActiveState": "deactivating"}]
)
def test_one_that_comes_first_is_waited_for_until_it_serves(server, wait, state):
    result = wait([{A: state}, {A: state}, {A: RUNS}], "--before", f"{A}={server.url}")
    assert result.returncode == 0 and wait.looks() == 1 and f"waiting for {A}" in result.stdout


@pytest.mark.parametrize("state", [FAILED, {"ActiveState": "inactive"}, {}])
def test_one_that_failed_or_was_stopped_keeps_nobody_waiting(wait, state):
    result = wait([{A: state}], "--before", f"{A}=http://127.0.0.1:9", seconds=3600)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_one_that_never_comes_up_is_waited_for_no_longer_than_that(wait):
    result = wait([{A: AGAIN}], "--before", f"{A}=http://127.0.0.1:9", seconds=0.3)
    assert (
        result.returncode == 0 and f"{A} is not ready after 0 s: not waited for any longer" in result.stderr
    )


def test_one_that_ends_again_and_again_is_given_up(wait):
    """systemd would start it for ever. Restarts of months ago do not count."""
    looks = [{A: {**AGAIN, "NRestarts": str(number)}} for number in (40, 41, 42, 43)]
    result = wait(looks, "--before", f"{A}=http://127.0.0.1:9", seconds=3600)
    assert result.returncode == 0 and wait.looks() == 1 and result.stderr == ""


def test_one_that_hangs_since_long_loads_no_more(wait):
    hangs = {**RUNS, "ActiveEnterTimestampMonotonic": "1"}
    result = wait([{A: hangs}], "--before", f"{A}=http://127.0.0.1:9", seconds=0.5)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_one_that_comes_later_is_waited_for_while_it_loads(server, wait):
    """The first of two ends while the second loads: what it comes back with would be measured with the other's."""
    server.codes = [503, 503, 200]
    assert "it loads" in wait([{B: RUNS}], "--beside", f"{B}={server.url}").stdout
    starts = {"ActiveState": "activating", "SubState": "start"}
    assert "it starts" in wait([{B: starts}, {B: RUNS}], "--beside", f"{B}={server.url}").stdout


@pytest.mark.parametrize("state", [WAITS, AGAIN])
def test_two_do_not_wait_for_each_other(wait, state):
    result = wait([{B: state}], "--beside", f"{B}=http://127.0.0.1:9", seconds=3600)
    assert (result.returncode, result.stdout) == (0, "")


def test_one_that_answers_nobody_here_is_ready_when_it_runs(wait):
    result = wait([{A: WAITS}, {A: RUNS}], "--before", f"{A}=", seconds=3600)
    assert result.returncode == 0 and "it starts" in result.stdout


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho garbage\n", ""])
def test_without_systemd_it_keeps_nothing_from_starting(wait, tmp_path, text):
    program = tmp_path / "bin/systemctl"
    program.write_text(text)
    result = wait([{A: RUNS}], "--before", f"{A}=http://127.0.0.1:9", seconds=3600)
    assert result.returncode == 0 and "Traceback" not in result.stderr
