# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until vLLM computes nothing, against a server that shows metrics as vLLM does."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import NoAnswer, Server

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="tiny {{x}}"}} {}.0
vllm:num_requests_running{{engine="1",model_name="tiny {{x}}"}} 0.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="tiny {{x}}"}} {}.0
vllm:num_requests_waiting_by_reason{{engine="0",reason="capacity"}} 7.0
"""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments) -> None:
        pass

    def do_GET(self) -> None:
        texts = self.server.texts
        text = texts.pop(0) if len(texts) > 1 else texts[0]
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        for _piece in range(300 if text == "trickle" else 0):
            self.wfile.write(b"x")
            time.sleep(0.1)
        self.wfile.write(text.encode())


@pytest.fixture
def idle(run_module):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def run(*texts: str, **arguments):
        server.texts = list(texts)
        return run_module(
            "inference_idle",
            **{"url": f"http://127.0.0.1:{server.server_port}", "timeout": 5, "interval": 0.05, **arguments},
        )

    run.server = server
    yield run
    server.shutdown()
    server.server_close()


def test_a_server_that_is_idle(idle):
    result = idle(METRICS.format(0, 0))
    assert (
        result["reachable"] and result["requests"] == 0 and result["seen"] is None and not result["changed"]
    )


def test_running_and_waiting_requests_are_waited_for(idle):
    result = idle(
        METRICS.format(2, 1), METRICS.format(1, 0), METRICS.format(0, 1), METRICS.format(0, 0), interval=0.2
    )
    assert result["reachable"] and result["requests"] == 3 and 0.5 < result["waited_seconds"] < 5


def test_requests_that_do_not_end(idle):
    result = idle(METRICS.format(1, 0), timeout=1)
    assert result["failed"] and "still computes 1 requests after 1 s" in result["msg"]


def test_nobody_listens(idle):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result = idle("", url=f"http://127.0.0.1:{free.getsockname()[1]}")
    assert not result["reachable"] and result["requests"] is None and "refused" in result["seen"]


@pytest.mark.parametrize("text", ["", "<html>", "vllm:num_requests_running", "other_metric 1.0\n"])
def test_metrics_of_something_else(idle, text):
    result = idle(text)
    assert not result["reachable"] and "the numbers of requests are not among them" in result["seen"]


@pytest.mark.parametrize("number", ["1.2.3", ".", "1e999"])
def test_numbers_that_are_none(idle, number):
    result = idle(METRICS.format(0, 0).replace(" 0.0", f" {number}"))
    assert not result["reachable"] and "the numbers of requests are no numbers" in result["seen"]


def test_metrics_without_an_end(idle):
    assert "the answer is longer than 4 MiB" in idle("x" * (5 << 20))["seen"]


def test_metrics_that_come_byte_by_byte(idle):
    idle.server.texts = ["trickle"]
    with pytest.raises(NoAnswer, match="/metrics: it took longer than 1 s"):
        Server(f"http://127.0.0.1:{idle.server.server_port}", timeout=1).requests()
