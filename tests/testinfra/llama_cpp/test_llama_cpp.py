# SPDX-License-Identifier: GPL-3.0-or-later
"""A real answer of a real model from llama-server, who may ask for one, and an option that it does not take."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
URL, KEY = "http://127.0.0.1:8000", "planted-key"
QUESTION = "What is the capital of France? Answer in one short sentence."
BODY = json.dumps(
    {"model": "smol", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16, "temperature": 0}
)


@pytest.fixture
def kind(host) -> str:
    return host.check_output("hostname").removeprefix("llama-")


@pytest.fixture
def key(kind) -> str:
    return KEY if kind == "podman" else ""


def status(host, path: str, key: str = "") -> str:
    bearer = f"Authorization: Bearer {key}"
    return host.check_output("curl -s -o /dev/null -w '%%{http_code}' -H %s %s", bearer, f"{URL}{path}")


def test_it_knows_the_capital_of_france(host, key):
    answer = host.check_output(
        "curl -sS --fail-with-body -H 'Authorization: Bearer %s' --json %s %s/v1/chat/completions",
        key,
        BODY,
        URL,
    )
    assert "Paris" in json.loads(answer)["choices"][0]["message"]["content"]


def test_it_serves_the_name_and_the_context_that_were_asked_for(host, key):
    bearer = f"Authorization: Bearer {key}"
    models = json.loads(host.check_output("curl -sS -H %s %s/v1/models", bearer, URL))
    assert [model["id"] for model in models["data"]] == ["smol"]
    properties = json.loads(host.check_output("curl -sS -H %s %s/props", bearer, URL))
    assert properties["total_slots"] == 1
    assert properties["default_generation_settings"]["n_ctx"] == 2048


def test_metrics(host, key):
    bearer = f"Authorization: Bearer {key}"
    metrics = host.check_output("curl -sS --fail -H %s %s/metrics", bearer, URL)
    assert "llamacpp:tokens_predicted_total" in metrics and "llamacpp:requests_deferred" in metrics


def test_who_has_no_key_is_told_its_health_only(host, kind):
    assert status(host, "/health") == "200"
    assert status(host, "/v1/models") == ("401" if kind == "podman" else "200")
    assert status(host, "/v1/models", KEY) == "200"


def test_the_key_stands_where_root_alone_reads_it(host, kind):
    file = host.file("/etc/llama-cpp/smol.secret")
    assert file.exists is (kind == "podman")
    if kind == "podman":
        assert (file.mode, file.content_string.strip()) == (0o600, f"LLAMA_API_KEY={KEY}")
    assert KEY not in host.check_output("cat /etc/llama-cpp/smol.env /etc/llama-cpp/smol.yaml")
    assert KEY not in host.check_output("ps -eo args")


def converge(host, **variables: object) -> subprocess.CompletedProcess[str]:
    """The playbook of the scenario again, on this host alone."""
    command = ["ansible-playbook", "molecule/llama_cpp/converge.yml", "-i", INVENTORY,
               "--limit", host.check_output("hostname"), "--extra-vars", json.dumps(variables)]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


def invocation(host) -> str:
    return host.check_output("systemctl show --property=InvocationID llama-cpp-smol")


def test_a_server_that_is_as_planned_is_compared_and_asked_and_nothing_else(host):
    before = invocation(host)
    result = converge(host, plan_compare=True)
    assert result.returncode == 0 and "changed=0" in result.stdout, result.stdout[-2000:]
    assert "Verify | look whether all servers serve" in result.stdout
    assert "write units, options and environment" not in result.stdout
    assert invocation(host) == before


def test_what_drifted_is_found_by_comparing_and_put_right(host):
    before = invocation(host)
    host.check_output("echo DRIFTED=1 >> /etc/llama-cpp/smol.env")
    result = converge(host, plan_compare=True)
    assert result.returncode == 0, result.stdout[-2000:]
    assert "DRIFTED" not in host.file("/etc/llama-cpp/smol.env").content_string
    assert invocation(host) != before


def test_what_a_run_that_was_killed_wrote_is_taken_up_by_the_next_one(host):
    note, before = "/var/lib/amdgpu-fleet/pending-serve", invocation(host)
    host.check_output("echo /etc/llama-cpp/smol.env > %s", note)
    result = converge(host, plan_compare=True)
    assert result.returncode == 0, result.stdout[-2000:]
    assert invocation(host) != before
    assert not host.file(note).exists


def test_a_wrong_option_is_refused_before_anything_is_deployed(host):
    before = invocation(host)
    result = converge(host, llama_cpp_options={"no-mmap": True})
    assert result.returncode and "load-mode: none" in result.stdout, result.stdout[-2000:]
    assert invocation(host) == before
    assert "NO_MMAP" not in host.file("/etc/llama-cpp/smol.env").content_string


def test_it_ends_soon_when_it_is_told_to(host):
    host.check_output("systemctl restart llama-cpp-smol")
    assert host.check_output("systemctl show --property=Result --value llama-cpp-smol") == "success"
