# SPDX-License-Identifier: GPL-3.0-or-later
"""The question of the demo: it reaches each engine, the answers are shown, and a wrong one is a failure."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from play_server import PlayServer

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.serve import ServerPlan
from testbed import real_model

ROOT = Path(__file__).resolve().parents[2]
DEMO = yaml.safe_load((ROOT / "playbooks/demo.yml").read_text(encoding="utf-8"))


OF_THE_PLAN = {"engine": "vllm", "version": "0.32.0", "kind": "quadlet"}


class Engine(ThreadingHTTPServer):
    """Answers chat completions by the model's name, and keeps what it was asked."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[dict] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Engine

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({"path": self.path, **body})
        message = {"role": "assistant", "content": self.server.answers[body["model"]]}
        data = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        """Silent."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine({"right": "The capital of France is Paris.", "wrong": "Berlin, I think."}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def ask(engine: Engine, tmp_path: Path, ansible: PlayServer):
    """ask(host=["right", ...]) runs the demo behind site.yml for hosts that serve these models."""

    def run(**models: list[str]) -> subprocess.CompletedProcess[str]:
        url = f"http://127.0.0.1:{engine.server_address[1]}"
        hosts = {
            host: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "plan_host": {
                    "serve": {
                        "instances": [
                            {
                                **OF_THE_PLAN,
                                "name": name,
                                "served_name": name,
                                "url": url,
                                "worker": name == "worker",
                            }
                            for name in names
                        ],
                    }
                },
            }
            for host, names in models.items()
        }
        inventory = {"all": {"hosts": hosts, "vars": {"report_directory": str(tmp_path)}}}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        (tmp_path / "templates").symlink_to(ROOT / "playbooks/templates")
        (tmp_path / "play.yml").write_text(yaml.safe_dump(DEMO[1:]))
        return ansible.run("ansible-playbook", tmp_path / "play.yml", "-i", tmp_path / "hosts.yml")

    return run


def test_the_demo_begins_with_the_fleet_and_asks_the_question_of_the_test_bed() -> None:
    assert DEMO[0]["ansible.builtin.import_playbook"] == "site.yml" and len(DEMO) == 2
    assert DEMO[1]["vars"]["demo_question"] == real_model.QUESTION
    assert DEMO[1]["vars"]["demo_answer"] == real_model.ANSWER


def test_servers_are_told_of_as_the_plan_has_them() -> None:
    """The plans of this file are written by hand."""
    assert {*OF_THE_PLAN, "name", "served_name", "url", "worker"} <= {
        field.name for field in dataclasses.fields(ServerPlan)
    }


def test_every_engine_is_asked_and_its_answer_is_in_the_last_table(ask, engine: Engine) -> None:
    done = ask(halo=["right"], rack=["right", "worker"])
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.partition("HOST ")[2].splitlines()
    assert table[1].split(maxsplit=4) == [
        "halo",
        "vllm",
        "0.32.0",
        "quadlet",
        "The capital of France is Paris.",
    ]
    assert table[2].split()[0] == "rack"
    assert [request["path"] for request in engine.asked] == ["/v1/chat/completions"] * 2
    assert {request["temperature"] for request in engine.asked} == {0}
    assert engine.asked[0]["messages"] == [{"role": "user", "content": real_model.QUESTION}]


def test_a_wrong_answer_fails_the_demo_and_is_shown(ask) -> None:
    done = ask(halo=["right"], rack=["right", "wrong"], spare=[])
    output = " ".join(done.stdout.split())
    assert done.returncode == 2
    assert "rack vllm 0.32.0 quadlet Berlin, I think." in output
    assert 'was asked "What is the capital of France? Answer in one short sentence.", and said' in output
    assert "spare was asked" in output and "serves no model" in output
    assert "halo was asked" not in output
