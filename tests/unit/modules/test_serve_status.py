# SPDX-License-Identifier: GPL-3.0-or-later
"""serve_status: units as systemctl shows them, servers that answer over HTTP, and the findings of a doctor."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _serve_status as status
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import serving

WANTED = status.Wanted("chat", "vllm-chat.service", "http://127.0.0.1:8000", "chat", False, None)
RUNS = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success", "NRestarts": "0",
        "ExecMainStatus": "0", "StateChangeTimestampMonotonic": "400000000"}  # fmt: skip


def unit(**state: str) -> status.Unit:
    text = "\n".join(f"{key}={value}" for key, value in {"Id": "vllm-chat.service", **RUNS, **state}.items())
    seen = []

    def run(command):
        seen.append(command)
        return 0, text + "\n", ""

    found = status.units(run, ["vllm-chat.service"], 1000.0)
    assert len(seen) == 1
    return found["vllm-chat.service"]


def judge(state: status.Unit | None, answer: dict) -> dict:
    return status.judge(WANTED, state, lambda _wanted: answer)


@pytest.mark.parametrize(
    ("state", "answer", "verdict", "words"),
    [
        ({}, {"models": ["chat"]}, "ok", ""),
        ({"ActiveState": "inactive", "SubState": "dead"}, {}, "down", "vllm-chat.service is inactive for 10 min"),
        ({"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}, {}, "down", "exit status 1"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, {}, "absent", "does not exist"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "7", "ExecMainStatus": "1"}, {}, "restarting", "ended 7 times"),
        ({"NRestarts": "4"}, {"error": "/health: refused"}, "restarting", "ended 4 times"),
        ({"NRestarts": "4"}, {"models": ["chat"]}, "ok", ""),
        ({"ActiveState": "activating", "SubState": "start"}, {"error": "/health: refused"}, "starting", "activating"),
        ({}, {"error": "/health: refused"}, "deaf", "is active for 10 min; /health: refused"),
        ({}, {"models": ["other"]}, "other_model", "serves other"),
        ({}, {"models": []}, "other_model", "serves no model"),
        ({"StateChangeTimestampMonotonic": "garbage", "NRestarts": "x"}, {"error": "no"}, "deaf", "is active; no"),
    ],
)  # fmt: skip
def test_verdicts(state, answer, verdict, words):
    seen = judge(unit(**state), answer)
    assert seen["verdict"] == verdict and words in seen["reason"]


def test_a_unit_that_systemd_does_not_name_is_absent():
    assert judge(None, {})["verdict"] == "absent"


def test_a_stopped_engine_is_a_failure_and_one_that_waits_for_a_reboot_is_not():
    down = judge(unit(ActiveState="inactive", SubState="dead"), {})
    (found,) = serving.found("box", {"fleet_serving": {"servers": [down]}}, [])
    assert (found["id"], found["severity"]) == ("serve.down", "fail")
    assert "systemctl restart vllm-chat.service" in found["remedy"]
    (found,) = serving.found("box", {"fleet_serving": {"servers": [down]}}, ["iommu=pt is not in effect"])
    assert (found["id"], found["severity"]) == ("serve.waits", "warn")


@pytest.mark.parametrize(
    ("told", "wanted", "other"),
    [
        ("0.33.0+rocm723", "0.33.0", False),
        ("0.33.0", "0.33.0+rocm723", False),
        ("0.33.0rc1", "0.33.0", True),
        ("0.32.1.dev4+g12ab", "0.33.0", True),
        ("b11669-Debian", "b11669", False),
        ("b11500-1a2b3c", "b11669", True),
        ("0.33.0", "", False),
    ],
)
def test_another_version_of_the_engine_is_named_and_is_no_reason_to_start_it_again(told, wanted, other):
    found = status.judge(
        WANTED._replace(version=wanted), unit(), lambda _w: {"models": ["chat"], "version": told}
    )
    assert (found["verdict"], found["other_version"]) == ("ok", other)
    findings = serving.found("box", {"fleet_serving": {"servers": [found]}}, [])
    assert [(each["id"], each["seen"], each["expected"]) for each in findings] == (
        [("serve.other_version", told, wanted)] if other else []
    )


@pytest.mark.parametrize("says", ["vllm", "llama.cpp", "nothing", "nonsense"])
def test_a_server_is_asked_for_its_version_where_one_is_wanted(answering, says):
    versions = {
        "vllm": {"/version": '{"version": "0.33.0+rocm723"}'},
        "llama.cpp": {"/props": '{"build_info": "b11669-Debian"}'},
        "nothing": {},
        "nonsense": {"/version": '["0.33.0"]', "/props": "<html>"},
    }[says]
    url, asked = answering({"/health": "", "/v1/models": '{"data": [{"id": "chat"}]}', **versions})
    told = {"vllm": "0.33.0+rocm723", "llama.cpp": "b11669-Debian"}.get(says)
    wanted = WANTED._replace(url=url)
    assert status.ask(wanted._replace(version="0.33.0")) == {"models": ["chat"], "version": told}
    asked.clear()
    assert status.ask(wanted) == {"models": ["chat"]} and asked == ["/health", "/v1/models"]


@pytest.fixture
def answering():
    """A server with these paths; its address, and what it was asked."""
    running = []

    def make(paths):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200 if self.path in paths else 404)
                self.end_headers()
                self.wfile.write(paths.get(self.path, "{}").encode())

            def log_message(self, *_arguments):
                pass

        running.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}", asked

    yield make
    for each in running:
        each.shutdown()


@pytest.mark.parametrize("verdict", ["absent", "down", "restarting", "starting", "deaf", "other_model"])
def test_every_verdict_has_words(verdict):
    server = {"name": "a", "unit": "u", "verdict": verdict, "reason": "r", "expected": "e"}
    (found,) = serving.found("box", {"fleet_serving": {"servers": [server]}}, [])
    assert found["id"] == f"serve.{verdict}" and "{" not in found["why"] + found["remedy"]


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            key = self.headers.get("Authorization") == "Bearer s3cret-key"
            body = (
                json.dumps({"data": [{"id": "chat"}]})
                if key or self.path == "/health"
                else "who asks with s3cret-key?"
            )
            self.send_response(200 if key or self.path == "/health" else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_arguments):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


def test_the_model_is_asked_for_with_the_key(server):
    assert status.ask(WANTED._replace(url=server, api_key="s3cret-key")) == {"models": ["chat"]}
    assert "401" in status.ask(WANTED._replace(url=server))["error"]


def test_a_port_without_a_server_is_an_error():
    assert "refused" in status.ask(WANTED._replace(url="http://127.0.0.1:9"))["error"]
