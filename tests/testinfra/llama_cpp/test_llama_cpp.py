# SPDX-License-Identifier: GPL-3.0-or-later
"""A real answer of a real model from llama-server, who may ask for one, and what is refused. Two hosts are replicas
behind a gateway; the third computes on Vulkan, with a model from a Hub. The tests build on each other, in this
order."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
KEY = "planted-key"
GATEWAY, CLIENT_KEY = "http://10.77.0.94:8080", "key-of-a-client"
ADDRESSES = {"container": "10.77.0.91", "podman": "10.77.0.92"}
testinfra_hosts = ["ansible://llama-container", "ansible://llama-podman"]
QUESTION = "What is the capital of France? Answer in one short sentence."
BODY = json.dumps(
    {"model": "smol", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16, "temperature": 0}
)


@pytest.fixture
def kind(host) -> str:
    return host.check_output("hostname").removeprefix("llama-")


@pytest.fixture
def url(kind) -> str:
    return f"http://{ADDRESSES[kind]}:8000"


def status(host, address: str, key: str = "") -> str:
    bearer = f"Authorization: Bearer {key}"
    return host.check_output("curl -s -o /dev/null -w '%%{http_code}' -H %s %s", bearer, address)


def test_it_knows_the_capital_of_france(host, url):
    answer = host.check_output(
        "curl -sS --fail-with-body -H 'Authorization: Bearer %s' --json %s %s/v1/chat/completions",
        KEY,
        BODY,
        url,
    )
    assert "Paris" in json.loads(answer)["choices"][0]["message"]["content"]


def test_it_serves_the_name_and_the_context_that_were_asked_for(host, url):
    bearer = f"Authorization: Bearer {KEY}"
    models = json.loads(host.check_output("curl -sS -H %s %s/v1/models", bearer, url))
    assert [model["id"] for model in models["data"]] == ["smol"]
    properties = json.loads(host.check_output("curl -sS -H %s %s/props", bearer, url))
    assert properties["total_slots"] == 1
    assert properties["default_generation_settings"]["n_ctx"] == 2048


def test_metrics(host, url):
    bearer = f"Authorization: Bearer {KEY}"
    metrics = host.check_output("curl -sS --fail -H %s %s/metrics", bearer, url)
    assert "llamacpp:tokens_predicted_total" in metrics and "llamacpp:requests_deferred" in metrics


def test_who_has_no_key_is_told_its_health_only(host, url):
    assert status(host, f"{url}/health") == "200"
    assert [status(host, f"{url}{path}") for path in ("/v1/models", "/metrics", "/props")] == ["401"] * 3
    assert status(host, f"{url}/v1/models", KEY) == "200"


def test_the_key_stands_where_root_alone_reads_it(host):
    file = host.file("/etc/llama-cpp/smol.secret")
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


# One that was answered before anybody saw it run is asked again, for twice as much. Prints how much it was.
STOP_WHILE_IT_COMPUTES = """
tokens=$4
while [ "$tokens" -le 3000 ]; do
    curl -sS -H "$1" --json "$(printf %s "$2" | sed "s/TOKENS/$tokens/")" $3/completion >/run/answer 2>&1 &
    while kill -0 $!; do
        if curl -s --max-time 5 -H "$1" $3/slots | grep -q '"is_processing":true'; then
            systemctl stop llama-cpp-smol
            wait $!
            echo "$tokens"
            exit
        fi
        sleep 0.05
    done
    tokens=$((2 * tokens))
done
echo "it was answered before anybody saw it run"
exit 1
"""


@pytest.fixture
def started(host, url):
    """Whatever a test saw, the tests after it find a server."""
    yield
    host.check_output("systemctl start llama-cpp-smol")
    host.check_output("for at in $(seq 600); do curl -sf %s/health && exit 0; sleep 0.5; done; exit 1", url)


def test_what_runs_is_answered_before_it_is_stopped(host, url, started):
    """llama-server itself would break it off, and its client would get nothing."""
    body = {"prompt": "Once upon a time", "n_predict": 24, "ignore_eos": True, "temperature": 0}
    bearer = f"Authorization: Bearer {KEY}"
    asked = "curl -sS --fail-with-body -H %s --json %s %s/completion"
    first = json.loads(host.check_output(asked, bearer, json.dumps(body), url))
    # About three seconds at the speed of now. A busy machine may compute a tenth of that, and the stop waits a minute.
    tokens = min(max(24, int(first["timings"]["predicted_per_second"] * 3)), 1500)
    longer = json.dumps({**body, "n_predict": "TOKENS"}).replace('"TOKENS"', "TOKENS")
    # In one shell on the host: between two commands from here, a fast server has answered.
    stop = "sh -c %s stop %s %s %s %s"
    wanted = int(host.check_output(stop, STOP_WHILE_IT_COMPUTES, bearer, longer, url, str(tokens)))
    journal = host.check_output("journalctl --no-pager --unit=llama-cpp-smol | tail -100")
    assert "1 requests run: waiting up to 60 s" in journal and "nothing runs after" in journal, journal
    answer = host.file("/run/answer").content_string
    assert json.loads(answer).get("tokens_predicted") == wanted, f"{answer}\n{journal}"
    assert KEY not in journal
    assert host.check_output("systemctl show --property=Result --value llama-cpp-smol") == "success"
