# SPDX-License-Identifier: GPL-3.0-or-later
"""The real module against a real HTTP server that behaves, or misbehaves, like vLLM."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import NoAnswer, Server

REPOSITORY = Path(__file__).resolve().parents[3]
KEY = "topsecretkeyofthetest"
TEXT = ["AMD", " GPUs", " are", " fine"]


class Vllm(ThreadingHTTPServer):
    """A server of one model. Tests change its attributes to make it misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.health = [200]  # one answer after the other, then the last one for ever
        self.models = json.dumps({"object": "list", "data": [{"id": "chat", "object": "model"}]}).encode()
        self.key = None
        self.echo = ""
        self.stream = [*(event(text) for text in TEXT), event(usage=len(TEXT)), b"data: [DONE]\n\n"]
        self.length = None  # of the stream, when the server promises one
        self.delay = 0.0
        self.trickles = ""  # the path of an answer that comes byte by byte, for half a minute
        self.asked: list[tuple[str, dict | None]] = []


def event(text: str | None = None, usage: int | None = None) -> bytes:
    choices = [{"index": 0, "text": text}] if text is not None else []
    numbers = {"prompt_tokens": 4, "completion_tokens": usage} if usage is not None else None
    return (
        b"data: "
        + json.dumps({"object": "text_completion", "choices": choices, "usage": numbers}).encode()
        + b"\n\n"
    )


class Handler(BaseHTTPRequestHandler):
    server: Vllm

    def log_message(self, *_arguments) -> None:
        pass

    def answer(self, code: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def trickle(self, start: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.wfile.write(start)
        for _piece in range(300):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def allowed(self) -> bool:
        given = self.headers.get("Authorization")
        if self.server.key is None or given == f"Bearer {self.server.key}":
            return True
        self.answer(
            401, json.dumps({"error": "Unauthorized" + (f": {given}" if self.server.echo else "")}).encode()
        )
        return False

    def do_GET(self) -> None:
        self.server.asked.append((self.path, None))
        if self.path == self.server.trickles:
            self.trickle()
        elif self.path == "/health":
            code = self.server.health.pop(0) if len(self.server.health) > 1 else self.server.health[0]
            if code == "slow":
                self.trickle(b"")
                return
            if code == "slow error":
                self.trickle(b"HTTP/1.1 500 No\r\n\r\n")
                return
            if code == "garbage":
                self.wfile.write(b"SSH-2.0-OpenSSH_10.0\r\n")
                return
            if code == "silence":
                time.sleep(self.server.delay)
                return
            self.answer(code, b"" if code == 200 else b"engine is dead")
        elif self.allowed():
            if self.path == "/v1/models":
                self.answer(200, self.server.models)
            else:
                self.answer(404, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        if not self.allowed():
            return
        if self.path == self.server.trickles:
            self.trickle(b"HTTP/1.1 200 OK\r\n\r\n" + event("x"))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if self.server.length:
            self.send_header("Content-Length", str(self.server.length))
        self.end_headers()
        for piece in self.server.stream:
            time.sleep(self.server.delay)
            self.wfile.write(piece)
            self.wfile.flush()


@pytest.fixture
def vllm():
    server = Vllm()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def probe(vllm, run_module):
    def run(**arguments):
        return run_module(
            "inference_probe",
            **{"url": vllm.url, "model": "chat", "timeout": 5, "interval": 0.05, **arguments},
        )

    return run


@pytest.mark.parametrize("check", [False, True])
def test_a_completion_comes_back(vllm, probe, check):
    vllm.delay = 0.05
    result = probe(prompt="AMD GPUs are", max_tokens=7, _check=check)
    assert result["text"] == "AMD GPUs are fine" and result["tokens"] == 4 and result["models"] == ["chat"]
    assert not result["changed"] and result["waited_seconds"] < 5
    assert result["time_to_first_token_ms"] >= 50 and result["time_per_output_token_ms"] >= 5
    assert [path for path, _body in vllm.asked] == ["/health", "/v1/models", "/v1/completions"]
    body = vllm.asked[-1][1]
    assert body["model"] == "chat" and body["prompt"] == "AMD GPUs are" and body["max_tokens"] == 7
    assert (
        body["stream"] is True
        and body["stream_options"] == {"include_usage": True}
        and body["temperature"] == 0
    )


def test_health_alone(vllm, probe):
    vllm.health = [503, 200]
    assert probe(completion=False)["waited_seconds"] < 5
    assert {path for path, _body in vllm.asked} == {"/health"}


def test_a_slash_at_the_end_of_the_address_and_one_token(vllm, probe):
    vllm.stream = [event("x"), event(usage=1), b"data: [DONE]\n\n"]
    result = probe(url=vllm.url + "/")
    assert result["tokens"] == 1 and result["time_per_output_token_ms"] is None
    assert vllm.asked[0][0] == "/health"


def test_half_a_character(vllm, probe):
    vllm.stream = [event("\ud83d"), event(usage=1), b"data: [DONE]\n\n"]
    assert probe()["text"] == "\ufffd"


def test_a_server_that_is_not_ready_yet(vllm, probe):
    vllm.health = [503, 503, 503, 200]
    assert probe()["text"] == "AMD GPUs are fine"
    assert [path for path, _body in vllm.asked].count("/health") == 4


@pytest.mark.parametrize(
    ("health", "seen"), [([503], "/health answered 503: engine is dead"), (["garbage"], "/health")]
)
def test_a_server_that_never_gets_ready(vllm, probe, health, seen):
    vllm.health = health
    result = probe(timeout=1)
    assert (
        result["failed"]
        and vllm.url in result["msg"]
        and "not ready after 1 s" in result["msg"]
        and seen in result["msg"]
    )


def test_a_server_that_accepts_and_says_nothing(vllm, probe):
    """The time limit holds for a single request too."""
    vllm.health, vllm.delay = ["silence"], 20
    started = time.monotonic()
    result = probe(timeout=1)
    assert result["failed"] and "not ready after 1 s" in result["msg"] and time.monotonic() - started < 8


def test_the_completion_has_the_time_of_the_module(vllm, probe):
    """Headers come at once, the first token late: with the time limit of the module, neither sooner nor
    later, the probe gives up."""
    vllm.delay = 2.5
    vllm.stream = [event("x"), b"data: [DONE]\n\n"]
    started = time.monotonic()
    result = probe(timeout=1)
    assert result["failed"] and "/v1/completions" in result["msg"] and "nothing came for 1 s" in result["msg"]
    assert time.monotonic() - started < 6
    assert probe(timeout=8)["text"] == "x"


@pytest.mark.parametrize("health", ["slow", "slow error", 200])
def test_a_health_that_comes_byte_by_byte(vllm, probe, health):
    vllm.health, vllm.trickles = [health], "/health" if health == 200 else ""
    started = time.monotonic()
    assert "not ready after 1 s" in probe(timeout=1)["msg"] and time.monotonic() - started < 8


def test_a_completion_that_comes_byte_by_byte(vllm, probe):
    vllm.trickles = "/v1/completions"
    started = time.monotonic()
    assert "it did not end within 2 s" in probe(timeout=2)["msg"] and time.monotonic() - started < 10


def test_a_list_of_models_that_comes_byte_by_byte(vllm):
    vllm.trickles = "/v1/models"
    with pytest.raises(NoAnswer, match="/v1/models"):
        Server(vllm.url, timeout=1).models()


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "127.0.0.1:8000", "http://[::1", "http://", "http://a b", "ftp://host", "http://h:x"],
)
def test_an_address_that_is_none_is_said_at_once(probe, run_module, url):
    for result in (probe(url=url, timeout=50), run_module("inference_idle", url=url, timeout=50)):
        assert result["failed"] and f"url {url!r} is not the address of a server" in result["msg"]


@pytest.mark.parametrize("interval", [-1, float("nan"), float("inf")])
def test_an_interval_that_is_none(probe, run_module, vllm, interval):
    for result in (
        probe(interval=str(interval)),
        run_module("inference_idle", url=vllm.url, interval=str(interval)),
    ):
        assert result["msg"].startswith("interval must be between 0 and 3600 seconds")


def test_nobody_listens(probe):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = probe(url=url, timeout=1)
    assert result["failed"] and url in result["msg"] and "refused" in result["msg"] and "1 s" in result["msg"]


def test_another_model_on_the_port(probe):
    result = probe(model="other")
    assert (
        result["failed"]
        and "serves chat, not other" in result["msg"]
        and "served-model-name" in result["msg"]
    )


# --- the key


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "chat.secret"
    path.write_text(f"# key\nHF_TOKEN=x\nVLLM_API_KEY={KEY}\n", encoding="utf-8")
    return path


def test_with_the_key(vllm, probe, key_file):
    vllm.key = KEY
    result = probe(api_key_file=str(key_file))
    assert result["text"] == "AMD GPUs are fine" and KEY not in json.dumps(result)


def test_without_the_key(vllm, probe):
    vllm.key = KEY
    result = probe()
    assert result["failed"] and "/v1/models answered 401" in result["msg"] and "Unauthorized" in result["msg"]


def test_a_wrong_key_is_never_shown_even_if_the_server_repeats_it(vllm, probe, key_file):
    vllm.key, vllm.echo = "another", True
    result = probe(api_key_file=str(key_file))
    assert result["failed"] and "401" in result["msg"] and KEY not in json.dumps(result)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["cannot be read", "No such file"]),
        (b"VLLM_KEY=x\n", ["no line VLLM_API_KEY"]),
        (b"", ["no line VLLM_API_KEY"]),
        (b"\xff\xfe\x00binary", ["no line VLLM_API_KEY"]),
        (b"VLLM_API_KEY=   \nA=b\n", ["no line VLLM_API_KEY"]),
    ],
)
def test_a_key_file_that_holds_no_key(probe, tmp_path, content, words):
    path = tmp_path / "k"
    if content is not None:
        path.write_bytes(content)
    result = probe(api_key_file=str(path))
    assert result["failed"] and str(path) in result["msg"] and all(word in result["msg"] for word in words), (
        result
    )


# --- answers that are none


@pytest.mark.parametrize(
    "models",
    [b"<html>", b"{}", b"[]", b'{"data": 5}', b'{"data": [1]}', b'"chat"', b"\xff\xfe", b"[" * 100000],
)
def test_a_list_of_models_that_is_none(vllm, probe, models):
    vllm.models = models
    result = probe()
    assert result["failed"] and "/v1/models" in result["msg"] and "not a list of models" in result["msg"]


def test_a_server_with_no_model(vllm, probe):
    vllm.models = b'{"data": []}'
    assert "serves nothing, not chat" in probe()["msg"]


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ([event("AMD")], "broke off"),  # the engine died: the stream ends without its last line
        ([event("AMD"), b"data: {\n\n"], "broke off"),
        ([event("AMD"), b"data: \xff\xfe\n\n"], "broke off"),
        ([event("AMD"), b'data: "text"\n\n'], "broke off"),
        ([event("AMD"), b"data: 5\n\n"], "broke off"),
        ([b'data: {"choices": 5}\n\n'], "broke off"),
        ([b'data: {"choices": [5]}\n\n'], "broke off"),
        (
            [event("AMD"), b'data: {"usage": {"completion_tokens": "many"}}\n\n', b"data: [DONE]\n\n"],
            "broke off",
        ),
        (
            [event("AMD"), b'data: {"error": {"message": "EngineDeadError", "code": 500}}\n\n'],
            "EngineDeadError",
        ),
        ([b"data: [DONE]\n\n"], "no text"),
        ([], "no text"),
        ([b"<html>hello</html>\n"], "no text"),
        ([b'data: {"choices": [{"text": 5}]}\n\n'], "broke off"),
        (
            [event("AMD"), b'data: {"usage": {"completion_tokens": 1e999}}\n\n', b"data: [DONE]\n\n"],
            "broke off",
        ),
        (
            [
                event("AMD"),
                b'data: {"usage": {"completion_tokens": ' + b"9" * 400 + b"}}\n\n",
                b"data: [DONE]\n\n",
            ],
            "broke off",
        ),
        ([event("AMD"), b"data: " + b"[" * 100000 + b"\n\n"], "broke off"),
        ([event("AMD"), b"data: " + b"x" * (2 << 20)], "a line without an end"),
        ([event("x" * (1 << 19)) for _piece in range(10)], "more than 4 MiB came"),
    ],
)
def test_a_stream_that_breaks_off(vllm, probe, stream, words):
    vllm.stream = stream
    result = probe()
    assert result["failed"] and "/v1/completions" in result["msg"] and words in result["msg"], result


def test_a_key_that_no_header_can_carry(probe, tmp_path):
    path = tmp_path / "k"
    path.write_text("VLLM_API_KEY=schl\u0142ssel\n", encoding="utf-8")
    result = probe(api_key_file=str(path), timeout=50)
    assert result["msg"].startswith(
        "The API key holds a character that no header of HTTP can carry"
    ) and "schl" not in str(result["msg"])


def test_fewer_bytes_than_promised(vllm, probe):
    vllm.length = 100000
    vllm.stream = vllm.stream[:2]
    result = probe()
    assert result["failed"] and "broke off" in result["msg"]


# --- the unit


@pytest.fixture
def systemd(tmp_path):
    """systemctl and journalctl that say what a test wants, in front of the real ones on the PATH."""

    def write(state: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        calls = tmp_path / "calls"
        for name, output in (
            ("systemctl", state),
            ("journalctl", "torch.OutOfMemoryError: HIP out of memory\nMain process exited\n"),
        ):
            (folder / f"{name}.out").write_text(output, encoding="utf-8")
            script = folder / name
            script.write_text(
                f'#!/bin/sh\necho "{name} $*" >>"{calls}"\ncat "{folder}/{name}.out"\n', encoding="utf-8"
            )
            script.chmod(0o755)
        return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    write.calls = tmp_path / "calls"
    return write


def unit(active: str, sub: str, result: str, restarts: int) -> str:
    return f"ActiveState={active}\nSubState={sub}\nResult={result}\nNRestarts={restarts}\n"


@pytest.mark.parametrize(
    "state",
    [
        unit("failed", "failed", "exit-code", 0),
        unit("inactive", "dead", "success", 0),
        unit("activating", "auto-restart", "exit-code", 3),
    ],
)
def test_a_unit_that_will_not_come_up_ends_the_wait(vllm, probe, systemd, state):
    vllm.health = [503]
    started = time.monotonic()
    result = probe(unit="vllm-chat.service", timeout=60, _env=systemd(state))
    assert time.monotonic() - started < 20
    active, _sub, why = (line.split("=")[1] for line in state.splitlines()[:3])
    assert result["failed"] and f"vllm-chat.service is {active} ({why})" in result["msg"]
    assert "HIP out of memory" in result["msg"] and vllm.url in result["msg"]
    calls = systemd.calls.read_text(encoding="utf-8")
    assert "systemctl show" in calls and "journalctl" in calls and "vllm-chat.service" in calls


@pytest.mark.parametrize(
    "state",
    [
        unit("active", "running", "success", 0),
        unit("activating", "start", "success", 0),
        unit("activating", "auto-restart", "exit-code", 2),
        "ActiveState=active\nNRestarts=[not set]\n",
        "",
    ],
)
def test_a_unit_that_may_still_come_up_is_waited_for(vllm, probe, systemd, state):
    vllm.health = [503, 503, 200]
    assert probe(unit="vllm-chat.service", _env=systemd(state))["text"] == "AMD GPUs are fine"


def test_the_time_limit_with_a_unit_names_it(vllm, probe, systemd):
    vllm.health = [503]
    result = probe(unit="vllm-chat.service", timeout=1, _env=systemd(unit("active", "running", "success", 0)))
    assert "Read the journal of vllm-chat.service" in result["msg"] and "answered 503" in result["msg"]


@pytest.fixture
def check(vllm, tmp_path):
    """As a timer on a host runs it: two files, without the collection."""
    program = tmp_path / "alone/inference_check.py"
    program.parent.mkdir()
    shutil.copy(REPOSITORY / "plugins/module_utils/_inference.py", program.with_name("inference.py"))
    shutil.copy(REPOSITORY / "roles/serve/files/inference_check.py", program)

    def run(model, **environment):
        command = [sys.executable, program, vllm.url, model, "--key-variable", "VLLM_API_KEY"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    return run


def test_a_check_of_a_timer_says_how_it_went(vllm, check):
    vllm.key = KEY
    result = check("chat", VLLM_API_KEY=KEY)
    assert result.returncode == 0 and result.stdout.startswith(
        f"{vllm.url} serves chat: 4 tokens, the first after "
    ), result
    assert result.stderr == ""


def test_a_check_of_a_timer_fails_with_what_it_saw_and_without_the_key(vllm, check):
    assert "does not serve other: /v1/models: chat, not other" in check("other").stderr
    vllm.key, vllm.echo = KEY + "x", "yes"
    result = check("chat", VLLM_API_KEY=KEY)
    assert result.returncode == 1 and "answered 401" in result.stderr and "(the key)" in result.stderr
    assert KEY not in result.stdout + result.stderr
    vllm.health = [503]
    assert (check("chat").returncode, check("chat").stdout) == (1, "")
