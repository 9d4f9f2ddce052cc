# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that ends vLLM on all hosts of a model together: real processes, real connections, a systemctl
that writes down its words."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "roles/serve/files/lifeline.py"
# What must happen does so at once; a busy machine may take longer.
SECONDS = 180


@pytest.fixture
def run(tmp_path):
    """run(name, arguments...) -> the process; ``killed(name)`` says which unit its systemctl was told to
    kill."""
    started = []

    def start(name: str, *arguments: str) -> subprocess.Popen:
        tools = tmp_path / name
        tools.mkdir()
        tool = tools / "systemctl"
        tool.write_text(f'#!/bin/sh\necho "$*" >> {tools}/calls\n', encoding="utf-8")
        tool.chmod(0o755)
        environment = dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}")
        process = subprocess.Popen(
            [sys.executable, SCRIPT, f"{name}.service", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    def killed(name: str) -> str:
        calls = tmp_path / name / "calls"
        return calls.read_text(encoding="utf-8") if calls.exists() else ""

    start.killed = killed
    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_a_worker_that_ends_takes_the_first_host_along_and_that_the_others(run, port):
    one = run("one", "127.0.0.1", port)  # before the first host is there
    head = run("head", "127.0.0.1", port, "--peers", "127.0.0.1", "127.0.0.3")
    two = run("two", "127.0.0.1", port, "--source", "127.0.0.3")
    assert {head.stdout.readline() for _worker in range(2)} == {
        "127.0.0.1 is there\n",
        "127.0.0.3 is there\n",
    }
    assert one.stdout.readline() == two.stdout.readline() == "127.0.0.1 is there\n"
    assert one.poll() is head.poll() is two.poll() is None and not run.killed("head")
    one.kill()
    assert head.wait(SECONDS) == 0 and run.killed("head") == "kill --signal=SIGKILL head.service\n"
    assert two.wait(SECONDS) == 0 and run.killed("two") == "kill --signal=SIGKILL two.service\n"


def test_strangers_are_turned_away(run, port):
    head = run("head", "127.0.0.1", port, "--peers", "127.0.0.2")
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(port)), timeout=SECONDS) as stranger:
                assert stranger.recv(1) == b"", "the connection is closed by the first host"
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    time.sleep(0.3)
    assert head.poll() is None and not run.killed("head")
