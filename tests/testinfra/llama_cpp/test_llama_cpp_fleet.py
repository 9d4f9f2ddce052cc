# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade of two servers of llama.cpp behind a gateway, while clients ask without a break; and a third one that
computes on Vulkan, with a model that the real huggingface_hub fetched from the bed's Hub."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import testinfra

from testbed import real_model
from testbed.closed import NAME as MIRROR
from testbed.machine import podman

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
GATEWAY, KEY = "http://10.77.0.94:8080", "key-of-a-client"
NAMES = ("llama-container", "llama-podman")
MODEL = f"/var/lib/amdgpu-fleet/models/{real_model.ON_THE_HUB}+Q4_1"
testinfra_hosts = ["ansible://llama-vulkan"]


def play(playbook: str, *arguments: str, **variables: object) -> tuple[int, str]:
    command = [
        "ansible-playbook",
        playbook,
        "-i",
        INVENTORY,
        *arguments,
        "--extra-vars",
        json.dumps(variables),
    ]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    return done.returncode, re.sub(r"\\n|\s+", " ", done.stdout + done.stderr)


def ask(tokens: int, stream: bool = False) -> int:
    """The tokens of an answer that came through the gateway."""
    body = {"model": "smol", "prompt": "Paris is", "max_tokens": tokens, "ignore_eos": True, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{GATEWAY}/v1/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=200) as answer:
        text = answer.read().decode()
    if stream:
        *pieces, end = [line.removeprefix("data: ") for line in text.splitlines() if line]
        if end != "[DONE]":
            raise ValueError(f"the stream broke off: {text[-300:]}")
        text = next(piece for piece in reversed(pieces) if json.loads(piece).get("usage"))
    return int(json.loads(text)["usage"]["completion_tokens"])


class Load:
    """Two clients that ask without a break, from `with` to its end: one briefly, one for a long stream."""

    def __init__(self) -> None:
        # When each was asked, and what came of it.
        self.answers: list[tuple[float, int]] = []
        self.failures: list[tuple[float, str]] = []
        self.stop = threading.Event()
        wants = ((6, False), (40, True))
        self.clients = [threading.Thread(target=self.run, args=want) for want in wants]

    def run(self, tokens: int, stream: bool) -> None:
        while not self.stop.is_set():
            started = time.monotonic()
            try:
                self.answers.append((started, ask(tokens, stream)))
            except (OSError, http.client.HTTPException, ValueError, KeyError, StopIteration) as error:
                self.failures.append((started, repr(error)))
            time.sleep(0.3)

    def __enter__(self) -> Load:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop.set()
        for client in self.clients:
            client.join()

    def wait_for_answers(self, count: int, since: float = 0) -> None:
        """Until so many requests that were asked since then are answered."""
        end = time.monotonic() + 300
        while sum(started > since for started, _tokens in self.answers) < count:
            assert time.monotonic() < end, self.failures
            time.sleep(0.2)


def replica(name: str):
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


def invocations() -> list[str]:
    shown = "systemctl show --property=InvocationID --value llama-cpp-smol"
    return [replica(name).check_output(shown) for name in NAMES]


# --- behind the gateway


def test_an_upgrade_loses_no_request():
    before = invocations()
    with Load() as load:
        code, said = play(
            "playbooks/upgrade.yml", fleet_hosts="replicas", llama_cpp_options={"cache-reuse": 64}
        )
    assert code == 0, said[-3000:]
    assert load.failures == [] and len(load.answers) > 10
    assert {tokens for _started, tokens in load.answers} == {6, 40}
    assert all(old != new for old, new in zip(before, invocations(), strict=True))
    for name in NAMES:
        assert "LLAMA_ARG_CACHE_REUSE=64" in replica(name).file("/etc/llama-cpp/smol.env").content_string
        seen = replica(name).check_output(
            "cat /etc/systemd/system/llama-cpp-smol.service /etc/containers/systemd/*.container 2>/dev/null || true"
        )
        assert "inference_drain.py" in seen


def test_a_wrong_option_stops_an_upgrade_before_anything_is_drained():
    before = invocations()
    code, said = play("playbooks/upgrade.yml", fleet_hosts="replicas", llama_cpp_options={"draft-max": 4})
    assert code and "Use spec-draft-n-max instead" in said and "TASK [Drain" not in said, said[-3000:]
    assert invocations() == before and ask(2) == 2


def test_a_replica_that_dies_breaks_off_only_what_it_computed():
    first = replica("llama-container")
    with Load() as load:
        load.wait_for_answers(4)
        first.check_output("systemctl kill --signal=KILL llama-cpp-smol")
        died = time.monotonic()
        # It comes back meanwhile, and is asked again only when it has loaded its model.
        load.wait_for_answers(12, died)
        first.check_output(
            "for at in $(seq 600); do curl -sf http://10.77.0.91:8000/health && exit 0; sleep 0.5; done; exit 1"
        )
        load.wait_for_answers(4, time.monotonic())
    assert [failure for failure in load.failures if failure[0] > died] == []
    assert len(load.failures) <= len(load.clients), load.failures


# --- on Vulkan, from the Hub


def test_the_model_is_what_the_hub_has_and_a_line_that_broke_was_taken_up(host):
    assert host.check_output("ls %s", MODEL) == real_model.FILE.name
    assert host.check_output("sha256sum %s/*.gguf", MODEL).split()[0] == sum_of(real_model.FILE)
    assert host.check_output("find /var/lib/amdgpu-fleet/models -name '*.partial'") == ""
    got = [
        line
        for line in podman("logs", MIRROR).splitlines()
        if "GET" in line and f"/{real_model.FILE.name} " in line
    ]
    assert '" 200 ' in got[0] and '" 206 ' in got[1] and "bytes=" in got[1], got


def sum_of(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def test_it_has_the_render_node_and_no_other_device(host):
    unit = host.file("/etc/containers/systemd/llama-cpp-smol.container").content_string
    assert re.findall(r"^AddDevice=(.*)$", unit, re.M) == ["/dev/dri/renderD128"]
    devices = host.check_output("podman exec llama-cpp-smol ls /dev/dri /dev")
    assert "renderD128" in devices and "kfd" not in devices


def test_it_computes_on_vulkan(host):
    log = host.check_output("podman logs llama-cpp-smol 2>&1")
    assert re.search(r"Vulkan0 model buffer size = +92\.10 MiB", log), log[-3000:]
    assert "offloaded 31/31 layers to GPU" in log
    body = json.dumps({"prompt": "Paris", "n_predict": 2, "temperature": 0})
    answer = json.loads(
        host.check_output("curl -sS --fail-with-body --json %s http://127.0.0.1:8000/completion", body)
    )
    assert answer["tokens_predicted"] == 2
    # It listens on the loopback alone, and asks for no key.
    assert not host.file("/etc/llama-cpp/smol.secret").exists


BOTH_AT_ONCE = """
systemctl stop llama-cpp-second llama-cpp-smol
systemctl start --no-block llama-cpp-second llama-cpp-smol
state() { systemctl show --property=SubState --value llama-cpp-second; }
while [ "$(state)" = dead ] || [ "$(state)" = start-pre ]; do sleep 0.1; done
curl -sf http://127.0.0.1:8000/health || exit 1
for at in $(seq 600); do curl -sf http://127.0.0.1:8001/health && exit 0; sleep 0.5; done
exit 1
"""


def test_servers_of_one_gpu_start_one_after_another(host):
    """Both at once, as at a boot: the first one answers when the second is let go."""
    since = host.check_output("date +%s")
    assert host.check_output("sh -c %s", BOTH_AT_ONCE) == '{"status":"ok"}' * 2
    journal = host.check_output(f"journalctl --no-pager --since=@{since} --unit=llama-cpp-second")
    assert "waiting for llama-cpp-smol.service on the same GPU" in journal, journal
    assert "not waited for" not in journal, journal


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            f"{real_model.ON_THE_HUB}:Q5_K_M",
            f"{real_model.ON_THE_HUB} has no Q5_K_M: there is Q4_1. Set model to one of them",
        ),
        ("tiny/open:Q4_1", "tiny/open has no GGUF file of a model"),
    ],
)
def test_a_quantization_that_is_not_there_changes_nothing(host, model, said):
    before = host.check_output(
        "systemctl show --property=InvocationID llama-cpp-smol; find /var/lib/amdgpu-fleet/models -type f"
    )
    entry = {
        "name": "smol",
        "engine": "auto",
        "model": model,
        "served_name": "smol",
        "options": {"ctx-size": 512},
    }
    code, told = play("molecule/llama_cpp/converge.yml", "--limit", "llama-vulkan", serve_instances=[entry])
    assert code and said in told, told[-3000:]
    after = host.check_output(
        "systemctl show --property=InvocationID llama-cpp-smol; find /var/lib/amdgpu-fleet/models -type f"
    )
    assert after == before
