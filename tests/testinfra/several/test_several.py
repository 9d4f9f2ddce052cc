# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat model with tools, an embedding model, a reranker, a mixture of experts and a hybrid on the real engine,
behind one gateway: each is asked what it is for, and a request goes to the model that it names."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import testinfra

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
GATEWAY, KEY = "10.77.0.207", "key-of-a-client"
CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
# Each server: its host, the name that clients ask for, its question, and the path that answers that.
SERVERS = {
    "chat": ("several-halo", "chat", "completion", ""),
    "embed": ("several-halo", "tiny-embed", "embed", EMBED),
    "rank": ("several-halo", "tiny-rank", "score", "/score"),
    "moe": ("several-rack", "tiny-moe", "completion", ""),
    "hybrid": ("several-rack", "tiny-hybrid", "completion", ""),
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        # Held to the schema, of which few answers are possible: a small model comes to an end.
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
testinfra_hosts = ["ansible://several-gateway"]


def ask(path: str, body: dict | None = None, key: str | None = KEY) -> tuple[int, dict]:
    """What a client gets from the gateway."""
    connection = http.client.HTTPConnection(GATEWAY, 8080, timeout=200)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def on(name: str):
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


def weather(choice: object, question: str = "What is the weather in Paris?") -> dict:
    messages = [{"role": "user", "content": question}]
    more = {"tools": [TOOL], "tool_choice": choice, "max_tokens": 80, "temperature": 0}
    status, answer = ask(CHAT, {"messages": messages, "model": "chat", **more})
    assert status == 200, answer
    assert answer["model"] == "chat" and answer["object"] == "chat.completion"
    return answer["choices"][0]


# --- through the gateway


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_chat_model_calls_the_tool_that_it_must(choice):
    (call,) = weather(choice)["message"]["tool_calls"]
    assert call["type"] == "function" and call["id"] and call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) in ({"city": "Paris"}, {"city": "Rome"})


def test_a_chat_model_may_do_without_a_tool():
    choice = weather("auto", "What is the capital of France? Answer in one short sentence.")
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] or choice["message"].get("tool_calls")


@pytest.mark.parametrize("model", ["tiny-moe", "tiny-hybrid"])
def test_a_mixture_of_experts_and_a_hybrid_complete(model):
    body = {"prompt": "AMD GPUs are", "model": model, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    first, second = ask("/v1/completions", body), ask("/v1/completions", body)
    assert first[0] == 200 and first[1]["model"] == model, first
    assert first[1]["usage"]["completion_tokens"] == 8
    # A state that one request leaves behind must not change the next one.
    assert second[1]["choices"][0]["text"] == first[1]["choices"][0]["text"]


def test_vectors_are_as_wide_as_the_model_and_tell_texts_apart():
    status, answer = ask(EMBED, {"model": "tiny-embed", "input": ["one text", "another one", "one text"]})
    assert status == 200, answer
    first, other, again = (each["embedding"] for each in answer["data"])
    assert {len(first), len(other)} == {64}
    assert first == pytest.approx(again, abs=1e-3) and first != pytest.approx(other, abs=1e-3)
    assert sum(each * each for each in first) == pytest.approx(1, abs=1e-2)


def test_a_reranker_scores_documents():
    documents = ["GPUs of AMD", "a recipe"]
    for path, body in (
        ("/v1/rerank", {"query": "GPU", "documents": documents}),
        ("/score", {"text_1": "GPU", "text_2": documents}),
    ):
        status, answer = ask(path, {"model": "tiny-rank", **body})
        assert status == 200, answer
        scores = [
            each.get("relevance_score", each.get("score")) for each in answer.get("results") or answer["data"]
        ]
        assert len(scores) == 2 and all(0 <= score <= 1 for score in scores), answer


def test_a_long_prompt_may_stand_before_the_name():
    """16 KiB is what HAProxy looks at unless it is told otherwise."""
    status, answer = ask(EMBED, {"input": ["long"] * 4000, "model": "tiny-moe"})
    assert status == 404 and answer["error"]["param"] == "model"
    status, answer = ask(CHAT, {"messages": [{"role": "user", "content": "x " * 20_000}], "model": "chat"})
    # The server itself says that this is more than its context.
    assert status == 400 and "1024" in answer["error"]["message"], answer


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (CHAT, "tiny-embed"),
        ("/v1/completions", "tiny-rank"),
        (EMBED, "tiny-moe"),
        ("/score", "tiny-moe"),
        (CHAT, "gpt-4"),
    ],
)
def test_a_model_does_not_answer_at_the_paths_of_another_task(path, model):
    before = requests()
    status, answer = ask(path, {"model": model, "messages": [], "prompt": "x", "input": "x"})
    assert status == 404 and answer["error"]["message"] == "No model of this name answers at this path."
    assert requests() == before


def requests() -> list[str]:
    """How many requests HAProxy sent to each model."""
    shown = on("several-gateway").check_output(
        "python3 -c %s",
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/amdgpu-gateway/admin.sock'); "
        "s.sendall(b'show stat\\n'); print(s.makefile().read())",
    )
    found = [line.split(",") for line in shown.splitlines() if line.startswith("replicas.")]
    assert len({line[0] for line in found}) == len(SERVERS)
    return [line[7] for line in found if line[1] == "BACKEND"]


def test_the_gateway_lists_all_models_and_a_path_may_name_one():
    status, answer = ask("/v1/models")
    assert status == 200 and sorted(each["id"] for each in answer["data"]) == sorted(
        model for _host, model, _question, _path in SERVERS.values()
    )
    for _host, model, _question, _path in SERVERS.values():
        status, answer = ask(f"/models/{model}/v1/models")
        assert status == 200 and [each["id"] for each in answer["data"]] == [model]
    assert ask("/v1/models", key=None)[0] == 401 and ask("/models/chat/metrics")[0] == 404


# --- on the hosts


@pytest.mark.parametrize("name", SERVERS)
def test_the_timer_of_each_asks_what_it_is_for(name):
    host, model, question, path = SERVERS[name]
    unit = f"inference-check-{name}.service"
    asked = on(host).check_output("systemctl cat %s", unit)
    assert re.findall(r"--question (\w+)", asked) == ([] if question == "completion" else [question])
    on(host).check_output("systemctl start %s", unit)
    said = on(host).check_output("journalctl --no-pager --output=cat --lines=3 --unit=%s", unit)
    assert re.search(rf"serves {model}" + (f", asked at {path}" if path else r": \d+ tokens"), said), said


def test_the_doctor_asks_each_and_all_answer(tmp_path):
    given = {"report_directory": str(tmp_path), "fleet_show_plan": False, "doctor_probe": "completion"}
    done = subprocess.run(
        ["ansible-playbook", "playbooks/doctor.yml", "-i", INVENTORY, "--limit", "servers", "--extra-vars", json.dumps(given)],
        cwd=REPOSITORY, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    records = json.loads((tmp_path / "report.json").read_text())
    findings = [each for record in records for each in record["findings"] if each["severity"] != "ok"]
    # Accepted in the inventory: the image computes on the CPU.
    assert {each["id"] for each in findings if each["id"].startswith("serve.")} == {"serve.code_objects"}, (
        done.stdout
    )
    endpoints = {each["name"]: each for record in records for each in record["endpoints"]}
    assert {name for name, each in endpoints.items() if each["answered"]} == set(SERVERS), done.stdout
    # Only who completes says something.
    assert {name for name, each in endpoints.items() if each["text"]} == {"chat", "moe", "hybrid"}


def test_the_servers_of_one_gpu_started_in_the_order_of_the_inventory():
    """Each began to load when the one before answered."""
    host = on("several-halo")
    seen = []
    for name in ("chat", "embed", "rank"):
        shown = "systemctl show --property=ExecMainStartTimestamp --value --timestamp=unix vllm-%s.service"
        seen.append(int(host.check_output(shown, name).removeprefix("@")))
        journal = "journalctl --no-pager --output=short-unix CONTAINER_NAME=vllm-%s"
        lines = [line for line in host.check_output(journal, name).splitlines() if "startup complete" in line]
        seen.append(int(float(lines[-1].split()[0])))
    assert seen == sorted(seen), seen
    for later, before in (("embed", ["chat"]), ("rank", ["chat", "embed"])):
        text = host.check_output("systemctl cat vllm-%s.service", later)
        assert re.findall(r"^After=vllm-(\w+)[.]service$", text, re.M) == before
        journal = host.check_output("journalctl --no-pager --output=cat --unit=vllm-%s.service", later)
        assert f"waiting for vllm-{before[-1]}.service on the same GPU" in journal
        assert "not waited for" not in journal


def test_each_keeps_to_its_share():
    host = on("several-halo")
    shares = [
        re.findall(
            r"^gpu-memory-utilization: (.*)$", host.file(f"/etc/vllm/{name}.yaml").content_string, re.M
        )
        for name in ("chat", "embed", "rank")
    ]
    assert shares == [["0.5"], ["0.1"], ["0.1"]]
