# SPDX-License-Identifier: GPL-3.0-or-later
"""One model on two hosts: a completion that needs both, what a worker is given, and what happens when one of
them ends."""

from __future__ import annotations

import json
import time

import pytest

HEAD = "http://10.77.0.70:8000"
UNIT = "vllm-tiny.service"
BODY = json.dumps({"model": "tiny-llama", "prompt": "AMD GPUs are", "max_tokens": 4, "temperature": 0})


@pytest.fixture
def first(host) -> bool:
    return host.check_output("hostname") == "multi-a"


def complete(host) -> str:
    key = host.file("/etc/vllm/tiny.secret").content_string.strip().partition("=")[2]
    answer = host.check_output(
        "curl -sS -m 30 --fail-with-body -H 'Authorization: Bearer %s' --json %s %s/v1/completions",
        key,
        BODY,
        HEAD,
    )
    return json.loads(answer)["choices"][0]["text"]


def test_what_each_host_is_told(host, first):
    text = host.file("/etc/vllm/tiny.yaml").content_string
    for option in (
        "nnodes: 2",
        "pipeline-parallel-size: 2",
        "master-addr: 10.77.0.70",
        f"node-rank: {int(not first)}",
    ):
        assert option in text.splitlines(), text
    assert ("headless: true" in text) is not first
    variables = host.file("/etc/vllm/tiny.env").content_string
    address = host.check_output("ip -json route get 10.77.0.%s", "71" if first else "70")
    route = json.loads(address)[0]
    assert (
        f"VLLM_HOST_IP={route['prefsrc']}\nGLOO_SOCKET_IFNAME={route['dev']}\n" in variables
        and "NCCL" not in variables
    )


def test_only_the_first_host_answers_and_has_a_key(host, first):
    assert host.service("vllm-tiny").is_running and host.service("amdgpu-lifeline-tiny").is_running
    assert bool(host.check_output("ss -Hltn sport = :8000")) is first
    assert host.file("/etc/vllm/tiny.secret").exists is first


def test_a_completion_needs_both(host, first):
    """The layers of the model are shared out: each host loaded one stage of two."""
    if first:
        assert complete(host)
    journal = host.check_output("journalctl --no-pager --output=cat CONTAINER_NAME=vllm-tiny")
    assert f"world_size=2 rank={int(not first)} " in journal


def test_hosts_end_together_and_come_back_together(host, first):
    """A worker that dies takes the first host along, which would say that it is well and answer nothing; then
    all of them serve again."""
    if first:
        return
    host.check_output("systemctl kill --signal=SIGKILL %s", UNIT)
    started = time.monotonic()
    while not host.run("curl -sf -m 5 %s/health", HEAD).rc:
        assert time.monotonic() - started < 60, "the first host did not notice"
        time.sleep(1)
    while host.run("curl -sf -m 5 %s/health", HEAD).rc:
        assert time.monotonic() - started < 300, "the hosts did not come back"
        time.sleep(2)
    assert host.service("amdgpu-lifeline-tiny").is_running
    assert host.check_output("systemctl show --property=NRestarts --value %s", UNIT) == "1"
