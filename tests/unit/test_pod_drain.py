# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kubelet runs before it tells a server to stop: the program of a pod, as it is, with sh and curl."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles/serve/files/pod_drain.sh"
KEY = 'a "key" \\ of the test'
SHELLS = [shell for shell in ("sh", "bash") if shutil.which(shell)]
LLAMA = "llamacpp:requests_processing {}\nllamacpp:requests_deferred 0\nllamacpp:tokens_predicted_total 7\n"
VLLM = 'vllm:num_requests_running{{engine="0",model_name="a b"}} {}\nvllm:num_requests_waiting{{engine="0"}} 0.0\n'


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        given = self.headers.get("Authorization")
        texts = self.server.pages.get(self.path, [])
        allowed = texts and (not self.server.key or given == f"Bearer {self.server.key}")
        text = (texts.pop(0) if len(texts) > 1 else texts[0]) if allowed else ""
        code = 401 if texts and not allowed else text if isinstance(text, int) else 200 if texts else 400
        self.send_response(code)
        self.end_headers()
        self.wfile.write(str(text).encode())


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.key, made.asked, made.pages = "", [], {}
    made.url = f"http://127.0.0.1:{made.server_port}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def drain(*words: str, key: str = "", shell: str = "sh", seconds: int = 60, before: int = 0) -> float:
    """How long it took."""
    command = [shell, PROGRAM, str(before), str(seconds), "ENGINE_KEY", *words]
    environment = {"PATH": os.environ["PATH"], **({"ENGINE_KEY": key} if key else {})}
    start = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return time.monotonic() - start


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("page", [LLAMA, VLLM])
def test_it_waits_until_nothing_runs(server, shell, page):
    server.pages["/metrics"] = [page.format(number) for number in ("10", "1.0", "0.0", "0")]
    drain(f"{server.url}/metrics", shell=shell)
    # Twice in a row it saw nothing.
    assert len(server.asked) == 4


def test_a_request_between_two_looks_is_waited_for(server):
    server.pages["/metrics"] = [LLAMA.format(number) for number in (0, 1, 0, 0)]
    drain(f"{server.url}/metrics")
    assert len(server.asked) == 4


def test_each_model_of_a_router_is_asked(server):
    first, second, third = (f"/metrics?model={name}&autoload=false" for name in ("a", "b", "c"))
    server.pages[first] = [LLAMA.format(0)]
    server.pages[second] = [LLAMA.format(number) for number in (1, 0)]
    # The third one is not loaded, which it says with 400.
    drain(*(server.url + path for path in (first, second, third)))
    assert server.asked.count(second) == 3 and server.asked.count(third) == 2


def test_a_model_that_a_request_waits_for_is_waited_for(server):
    """A router that gives up one model for another: neither answers for a while."""
    first, second = "/metrics?model=a&autoload=false", "/metrics?model=b&autoload=false"
    server.pages[first] = [LLAMA.format(1), 500, 400]
    server.pages[second] = [400, 500, 503, LLAMA.format(1), LLAMA.format(0)]
    drain(server.url + first, server.url + second)
    assert server.asked.count(second) >= 5
    # A server with one model that loads has nobody waiting.
    server.asked.clear()
    server.pages["/metrics"] = [503]
    drain(f"{server.url}/metrics")
    assert len(server.asked) == 2


def test_the_key_goes_along_and_no_argument_shows_it(server, tmp_path):
    server.key, server.pages["/metrics"] = KEY, [LLAMA.format(number) for number in (1, 0)]
    arguments = tmp_path / "arguments"
    shim = tmp_path / "curl"
    shim.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {arguments}\nexec {shutil.which("curl")} "$@"\n')
    shim.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["sh", PROGRAM, "0", "60", "ENGINE_KEY", f"{server.url}/metrics"]
    subprocess.run(command, env={"PATH": path, "ENGINE_KEY": KEY}, timeout=60, check=True)
    assert len(server.asked) == 3 and "of the test" not in arguments.read_text()


def test_it_gives_up_in_time(server):
    server.pages["/metrics"] = [LLAMA.format(1)]
    assert 2 <= drain(f"{server.url}/metrics", seconds=3) < 30


def test_nothing_keeps_a_server_from_being_stopped(server):
    # Nobody listens there; the page is refused; it has no numbers.
    drain("http://127.0.0.1:9/metrics")
    server.key, server.pages["/metrics"] = KEY, [LLAMA.format(1)]
    drain(f"{server.url}/metrics", key="another")
    server.key, server.pages["/metrics"] = "", ["<html>"]
    drain(f"{server.url}/metrics")


def test_first_it_lets_everybody_know(server):
    server.pages["/metrics"] = [LLAMA.format(0)]
    assert drain(f"{server.url}/metrics", before=2) >= 2


def test_an_image_without_curl_says_so(tmp_path):
    """Kubernetes tells what a hook says that fails, and stops the server all the same."""
    for name in ("printenv", "sed"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    command = [str(shutil.which("sh")), PROGRAM, "0", "5", "NO_KEY", "http://127.0.0.1:9/metrics"]
    done = subprocess.run(
        command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1 and "There is no curl in this image" in done.stderr
