# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until llama.cpp's server computes nothing: before a stop by systemd, and in a playbook."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import Server, wait_until_idle

REPOSITORY = Path(__file__).resolve().parents[3]
KEY = "key-of-the-test"
METRICS = """# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing {}
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred {}
llamacpp:tokens_predicted_total 7
"""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments) -> None:
        pass

    def handle(self) -> None:
        # The client of a silent answer is gone.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        allowed = not self.server.key or given == f"Bearer {self.server.key}"
        if self.server.silences:
            time.sleep(self.server.silences.pop(0))
        texts = self.server.texts
        text = texts.pop(0) if len(texts) > 1 else texts[0]
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write((text if allowed else f"Invalid API Key {given}").encode())


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.silences = []
    made.key, made.texts = "", [METRICS.format(0, 0)]
    made.url = f"http://127.0.0.1:{made.server_port}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def drain(server, tmp_path):
    """As a unit on a host runs it: two files, without the collection."""
    program = tmp_path / "alone/inference_drain.py"
    program.parent.mkdir()
    shutil.copy(REPOSITORY / "plugins/module_utils/_inference.py", program.with_name("inference.py"))
    shutil.copy(REPOSITORY / "roles/serve/files/inference_drain.py", program)

    def run(*words: str, url: str = ""):
        command = [sys.executable, program, url or server.url, *words]
        return subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "chat.secret"
    path.write_text(f"# Written by amdgpu.fleet\nLLAMA_API_KEY={KEY}\n")
    return str(path)


def test_it_waits_until_all_requests_are_answered(server, drain):
    server.texts = [METRICS.format(1, 2), METRICS.format(1, 0), METRICS.format(0, 0)]
    result = drain("--seconds", "30")
    assert result.returncode == 0 and len(server.texts) == 1
    assert "3 requests run: waiting up to 30 s until they are answered" in result.stdout
    assert "nothing runs after" in result.stdout and result.stderr == ""


def test_an_idle_server_is_not_waited_for(drain):
    result = drain()
    assert (result.returncode, result.stdout, result.stderr) == (0, "nothing runs\n", "")


def test_requests_that_do_not_end_are_broken_off_and_that_is_said(server, drain):
    server.texts = [METRICS.format(2, 0)]
    result = drain("--seconds", "1")
    assert result.returncode == 0
    assert "2 requests are broken off: they did not end within 1 s" in result.stderr


def test_a_key_comes_from_its_file_and_is_told_to_nobody(server, drain, secret):
    server.key, server.texts = KEY, [METRICS.format(1, 0), METRICS.format(0, 0)]
    assert "nothing runs after" in drain("--key-file", secret).stdout
    server.key = "another"
    result = drain("--key-file", secret)
    assert result.returncode == 0 and "answered 401" in result.stderr and KEY not in result.stderr


def test_a_server_that_computes_a_long_prompt_is_waited_for(server):
    """llama.cpp's answers between two batches alone."""
    server.silences, server.texts = [0, 0.5], [METRICS.format(1, 0), METRICS.format(0, 0)]
    seen: list[int] = []
    idle = wait_until_idle(Server(server.url, timeout=0.2), 30, 0.05, seen.append)
    assert (idle.first, idle.last, idle.seen, seen) == (1, 0, None, [1])


def test_a_server_that_stays_silent_is_taken_for_one_that_does_not_answer(server):
    server.silences = [0.5, 0.5, 0.5]
    idle = wait_until_idle(Server(server.url, timeout=0.1), 30, 0.05, silence_seconds=0.15)
    assert idle.last is None and idle.first is None and idle.seen


def test_a_server_that_falls_silent_at_the_end_of_the_time_still_computes(server):
    server.silences, server.texts = [0, 0.6], [METRICS.format(2, 0)]
    idle = wait_until_idle(Server(server.url, timeout=0.3), 0.2, 0.05)
    assert (idle.first, idle.last) == (2, 2) and idle.seen


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://x", "nonsense"])
def test_a_server_that_does_not_answer_keeps_nobody_waiting(drain, url):
    result = drain("--key-file", "/nonexistent", url=url)
    assert result.returncode == 0 and "not waited for" in result.stderr and "Traceback" not in result.stderr


def test_a_playbook_waits_for_llama_cpp_too(server, run_module, secret):
    server.key, server.texts = KEY, [METRICS.format(1, 1), METRICS.format(0, 0)]
    wanted = {"url": server.url, "timeout": 5, "interval": 0.05}
    result = run_module("inference_idle", api_key_file=secret, **wanted)
    assert (result["reachable"], result["requests"]) == (True, 2)
    # Without its key it would be taken for one that is down, and its requests would be broken off.
    assert "answered 401" in run_module("inference_idle", **wanted)["seen"]
    assert run_module("inference_idle", api_key_file="/nonexistent", **wanted)["reachable"] is False
