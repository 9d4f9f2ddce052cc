# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp's server of the test bed serves the real model: on the CPU, and on Vulkan by Mesa's llvmpipe."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testbed import llama_cpp, real_model
from testbed.engine import MODELS
from testbed.hosts import LIMITS
from testbed.machine import LABEL, podman

# Not a time that a good server needs: one that does nothing is given up.
LONGEST_SECONDS = 900


@dataclass
class Server:
    """A container that serves."""

    name: str
    url: str

    def get(self, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=LONGEST_SECONDS) as answer:
            return json.load(answer)

    def log(self) -> str:
        """What llama-server said; it writes to standard error."""
        return podman("exec", self.name, "cat", "/tmp/log", check=False)


@pytest.fixture(scope="module", params=["cpu", "vulkan"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    llama_cpp.prepare()
    real_model.prepare()
    vulkan = request.param == "vulkan"
    name = f"{LABEL}-llama-{request.param}"
    port = 18080 + vulkan
    # A server does not start on a device that it does not have.
    device = "--device Vulkan0 --gpu-layers 99" if vulkan else "--device none"
    words = f"llama-server --model {real_model.GGUF} --host 127.0.0.1 --port {port} --ctx-size 512 --parallel 1 {device}"
    environment = [f"--env={key}={value}" for key, value in llama_cpp.VULKAN.items()] if vulkan else []
    podman("rm", "--force", "--ignore", "--time=2", name)
    podman(
        "run", "--detach", f"--name={name}", f"--label={LABEL}=test", "--privileged", *LIMITS, "--network=host", *environment,
        f"--volume={MODELS}:/srv/models:ro", "--entrypoint=sh", llama_cpp.IMAGE, "-c", f"exec {words} >/tmp/log 2>&1",
    )  # fmt: skip
    made = Server(name, f"http://127.0.0.1:{port}")
    try:
        _wait(made)
        yield made
    finally:
        podman("rm", "--force", "--time=2", name)


def _wait(server: Server) -> None:
    started = time.monotonic()
    while True:
        try:
            assert server.get("/health")["status"] == "ok"
            return
        except (urllib.error.URLError, ConnectionError):
            running = podman("inspect", "--format={{.State.Running}}", server.name).strip()
            assert running == "true", "llama-server ended"
            assert time.monotonic() - started < LONGEST_SECONDS, server.log()
        time.sleep(0.5)


def test_it_knows_the_capital_of_france(server: Server) -> None:
    body = {
        "messages": [{"role": "user", "content": real_model.QUESTION}],
        "temperature": 0,
        "max_tokens": 16,
    }
    answer = server.get("/v1/chat/completions", body)
    assert real_model.ANSWER in answer["choices"][0]["message"]["content"], answer


def test_vulkan_is_mesas_llvmpipe(server: Server) -> None:
    """A device that is a CPU is hidden unless it is named, so the CPU's server must see none."""
    devices = podman("exec", server.name, "llama-server", "--list-devices")
    assert ("Vulkan0: llvmpipe" in devices) is server.name.endswith("vulkan"), devices
