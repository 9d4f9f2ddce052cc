# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that give no completions, each asked what it is for: a real HTTP server with vLLM's paths."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import NoAnswer, Server, silence

REPOSITORY = Path(__file__).resolve().parents[3]
ANSWERS = {
    "/v1/embeddings": {"data": [{"embedding": [0.1, 0.2]}]},
    "/score": {"data": [{"score": 0.5}]},
    "/classify": {"data": [{"probs": [0.4, 0.6], "label": "a"}]},
    "/pooling": {"data": [{"data": [[0.1], [0.2]]}]},
    "/v1/audio/transcriptions": {"text": ""},
}


class Tasks(ThreadingHTTPServer):
    """It has the paths of ``answers``; any other one is 404, as with vLLM."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, object] = {}
        self.asked: list[tuple[str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Tasks

    def log_message(self, *_arguments) -> None:
        pass

    def say(self, code: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.say(200, {"data": [{"id": "chat"}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        self.server.asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        found = self.server.answers.get(self.path)
        self.say(404 if found is None else 200, {"detail": "Not Found"} if found is None else found)


@pytest.fixture
def tasks():
    server = Tasks()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("embed", "/v1/embeddings"),
        ("score", "/score"),
        ("classify", "/classify"),
        ("pooling", "/pooling"),
        ("transcription", "/v1/audio/transcriptions"),
    ],
)
def test_each_is_asked_at_the_path_of_its_task(tasks, question, path):
    tasks.answers = ANSWERS
    assert Server(tasks.url).ask(question, "chat", 10)["path"] == path
    assert [asked for asked, _body in tasks.asked] == [path]
    assert b"chat" in tasks.asked[0][1]


@pytest.mark.parametrize(
    ("question", "path"),
    [("embed", "/pooling"), ("score", "/classify"), ("classify", "/score"), ("score", "/pooling")],
)
def test_another_path_of_the_task_will_do(tasks, question, path):
    tasks.answers = {path: ANSWERS[path]}
    assert Server(tasks.url).ask(question, "chat", 10)["path"] == path


@pytest.mark.parametrize(
    ("question", "answers", "word"),
    [
        # It completes and does not embed.
        ("embed", {"/v1/completions": {}}, "answered 404"),
        ("embed", {"/v1/embeddings": {"data": []}}, "not one of this task"),
        ("embed", {"/v1/embeddings": {"data": [{"embedding": []}]}}, "not one of this task"),
        ("score", {"/score": {"data": [{"score": "high"}]}}, "not one of this task"),
        ("score", {"/score": ["x"]}, "not one of this task"),
        ("transcription", {"/v1/audio/transcriptions": {"text": None}}, "not one of this task"),
    ],
)
def test_an_answer_that_is_none_is_told(tasks, question, answers, word):
    tasks.answers = answers
    with pytest.raises(NoAnswer, match=word):
        Server(tasks.url).ask(question, "chat", 10)


def test_what_is_heard_is_a_second_of_silence(tasks):
    tasks.answers = ANSWERS
    Server(tasks.url).ask("transcription", "chat", 10)
    body = tasks.asked[0][1]
    assert silence() in body and b'filename="silence.wav"' in body
    assert silence()[:4] == b"RIFF" and len(silence()) == 44 + 32000


@pytest.mark.parametrize(("question", "rc"), [("embed", 0), ("score", 1)])
def test_the_module_and_the_timer_ask_it_too(tasks, tmp_path, question, rc):
    tasks.answers = {"/v1/embeddings": ANSWERS["/v1/embeddings"]}
    wanted = {
        "url": tasks.url,
        "model": "chat",
        "question": question,
        "timeout": 10,
        "_ansible_remote_tmp": str(tmp_path),
    }
    module = "ansible_collections.amdgpu.fleet.plugins.modules.inference_probe"
    run = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": wanted}),
        env={"PYTHONPATH": str(REPOSITORY / ".collections"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = json.loads(run.stdout)
    assert bool(told.get("failed")) is bool(rc), told
    assert rc or told["path"] == "/v1/embeddings"
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, source in (
        ("inference.py", "plugins/module_utils/_inference.py"),
        ("inference_check.py", "roles/serve/files/inference_check.py"),
    ):
        (programs / name).write_text((REPOSITORY / source).read_text(encoding="utf-8"), encoding="utf-8")
    check = subprocess.run(
        [sys.executable, str(programs / "inference_check.py"), tasks.url, "chat", "--question", question],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert check.returncode == rc, check.stderr
    assert ("/v1/embeddings" in check.stdout) is not bool(rc)
