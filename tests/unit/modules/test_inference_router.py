# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until llama.cpp's router computes nothing: it has the numbers of each model, and none of all together."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _inference
from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import (
    NoAnswer,
    Server,
    wait_until_idle,
)

NUMBERS = "llamacpp:requests_processing {}\nllamacpp:requests_deferred {}\n"


class Handler(BaseHTTPRequestHandler):
    """Each look at the list of models is one moment: its models with their state, and what each computes."""

    def log_message(self, *_arguments) -> None:
        pass

    def do_GET(self) -> None:
        parts, made = urlsplit(self.path), self.server
        asked = parse_qs(parts.query)
        made.asked.append(self.path)
        if made.key and self.headers.get("Authorization") != f"Bearer {made.key}":
            self.answer(401, "Invalid API Key")
        elif parts.path == "/v1/models":
            made.now = made.moments.pop(0) if len(made.moments) > 1 else made.moments[0]
            models = [{"id": name, **state} for name, (state, _runs) in made.now.items()]
            self.answer(200, json.dumps({"data": models}))
        elif parts.path == "/health":
            self.answer(200, '{"status": "ok"}')
        elif parts.path == "/props":
            self.answer(200, json.dumps(made.properties))
        elif "model" not in asked:
            self.answer(400, "model name is missing from the request")
        else:
            self.model(asked)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        pieces = [{"choices": [{"text": "Paris"}]}, {"choices": [], "usage": {"completion_tokens": 1}}]
        self.answer(200, "".join(f"data: {json.dumps(each)}\n\n" for each in pieces) + "data: [DONE]\n\n")

    def model(self, asked: dict[str, list[str]]) -> None:
        # Whoever asks without it may make the router load a model.
        assert asked["autoload"] == ["false"]
        runs = self.server.now[asked["model"][0]][1]
        if isinstance(runs, int) and runs >= 100:
            self.answer(runs, "it comes or goes")
        else:
            self.answer(200, NUMBERS.format(runs, 0))

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())


def model(state: str, runs: int = 0) -> tuple[dict, int]:
    return ({"status": {"value": state, "args": []}}, runs)


@pytest.fixture
def router(monkeypatch):
    monkeypatch.setattr(_inference, "CALM", 0.2)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.key, made.asked, made.properties = "", [], {"role": "router", "models_autoload": True}
    made.now, made.moments = {}, [{"a": model("loaded")}]
    made.url = f"http://127.0.0.1:{made.server_port}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_it_is_the_sum_of_its_models(router):
    router.moments = [{"a": model("loaded", 2), "b c/d:Q4": model("loaded", 1), "e": model("unloaded", 9)}]
    assert Server(router.url).requests() == 3
    assert "/metrics?model=b%20c%2Fd%3AQ4&autoload=false" in router.asked
    # One that is not loaded computes nothing, and one that sleeps would be woken.
    router.moments = [{"a": model("sleeping", 9), "b": model("unloaded", 9)}]
    assert Server(router.url).requests() == 0


def test_it_waits_until_all_of_them_are_idle(router):
    router.moments = [
        {"a": model("loaded", 1), "b": model("loaded", 2)},
        {"a": model("loaded", 0), "b": model("loaded", 1)},
        {"a": model("loaded", 0), "b": model("loaded", 0)},
    ]
    seen: list[int] = []
    idle = wait_until_idle(Server(router.url), 30, 0.05, seen.append)
    assert (idle.first, idle.last, idle.seen, seen) == (3, 0, None, [3]) and len(router.moments) == 1


def test_a_request_that_waits_for_its_model_is_waited_for(router):
    """With room for one model the router gives up the first one, and nobody shows the request for the second."""
    router.moments = [
        {"a": model("loaded", 0), "b": model("unloaded")},
        # It ends, and does not answer any more.
        {"a": model("loaded", 500), "b": model("unloaded")},
        {"a": model("unloaded"), "b": model("loading")},
        {"a": model("unloaded"), "b": model("loaded", 1)},
        {"a": model("unloaded"), "b": model("loaded", 0)},
    ]
    idle = wait_until_idle(Server(router.url), 30, 0.02)
    assert (idle.first, idle.last) == (1, 0) and len(router.moments) == 1


def test_a_model_that_loads_at_the_start_keeps_nobody_waiting(router):
    """Where all are loaded at the start, a request for one that is not there yet is refused."""
    router.moments = [{"a": model("loading"), "b": model("loaded", 0)}]
    assert Server(router.url).requests() == 1
    router.properties["models_autoload"] = False
    assert Server(router.url).requests() == 0


def test_one_that_was_given_up_this_moment_computes_nothing(router):
    router.moments = [{"a": model("loaded", 400)}]
    assert Server(router.url).requests() == 0


def test_what_shows_no_numbers_is_not_waited_for(router):
    router.moments = [{"a": model("loaded", 501)}]
    with pytest.raises(NoAnswer, match="501"):
        Server(router.url).requests()
    # A server that is no router, and refuses to show its numbers.
    router.moments = [{"a": ({}, 0)}]
    with pytest.raises(NoAnswer, match="answered 400"):
        Server(router.url).requests()
    idle = wait_until_idle(Server(router.url), 5, 0.05)
    assert idle.last is None and idle.seen


def test_a_playbook_waits_for_a_router_with_its_key(router, run_module, tmp_path):
    secret = tmp_path / "chat.secret"
    secret.write_text("LLAMA_API_KEY=key-of-the-test\n")
    router.key = "key-of-the-test"
    router.moments = [{"a": model("loaded", 1)}, {"a": model("loaded", 0)}]
    result = run_module("inference_idle", url=router.url, timeout=30, interval=0.05, api_key_file=str(secret))
    assert (result["reachable"], result["requests"]) == (True, 1)


def test_what_never_ends_is_told(router, run_module):
    router.moments = [{"a": model("loaded", 1), "b": model("loaded", 1)}]
    result = run_module("inference_idle", url=router.url, timeout=1, interval=0.05)
    assert "still computes 2 requests" in result["msg"]


# --- the start of a router, which says that it is well before any of its models is loaded


def failed(code: int) -> tuple[dict, int]:
    return ({"status": {"value": "unloaded", "failed": True, "exit_code": code}}, 0)


def test_a_probe_waits_until_the_first_models_are_loaded(router, run_module):
    router.properties["models_autoload"] = False
    router.moments = [
        {"a": model("loading"), "b": model("loading")},
        {"a": model("loaded"), "b": model("loading")},
        {"a": model("loaded"), "b": model("loaded")},
    ]
    result = run_module("inference_probe", url=router.url, model="a", timeout=30, interval=0.05)
    assert result["models"] == ["a", "b"] and result["text"] == "Paris" and len(router.moments) == 1


def test_a_model_that_could_not_be_loaded_is_named_at_once(router, run_module):
    router.properties["models_autoload"] = False
    router.moments = [{"a": model("loaded"), "b": failed(1)}]
    result = run_module("inference_probe", url=router.url, model="a", timeout=600, interval=0.05)
    assert "is up but does not serve: /v1/models: b could not be loaded" in result["msg"]


def test_a_probe_does_not_wait_for_ever(router, run_module):
    router.properties["models_autoload"] = False
    router.moments = [{"a": model("loading")}]
    result = run_module("inference_probe", url=router.url, model="a", timeout=1, interval=0.05)
    assert "a is still loading" in result["msg"]


def test_a_model_that_comes_when_it_is_asked_for_is_asked_for(router, run_module):
    router.moments = [{"a": model("unloaded"), "b": model("loading")}]
    assert (
        run_module("inference_probe", url=router.url, model="a", timeout=5, interval=0.05)["text"] == "Paris"
    )
