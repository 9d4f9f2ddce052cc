# SPDX-License-Identifier: GPL-3.0-or-later
"""Several models behind one gateway: a request goes to the model that it names, at the paths of its task."""

from __future__ import annotations

import contextlib
import json

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from test_gateway import KEY, REPLICA_KEY, Haproxy, configuration, needs_haproxy, template, validate

from ansible_collections.amdgpu.fleet.plugins.filter.gateway import replicas as replicas_filter
from ansible_collections.amdgpu.fleet.plugins.module_utils import _gateway as gateway

CHAT, EMBED, HEAR = "/v1/chat/completions", "/v1/embeddings", "/v1/audio/transcriptions"
MODELS = {
    "halo.chat": {"models": ["org/Chat"], "task": "generate"},
    "twin.chat": {"models": ["org/Chat"], "task": "generate"},
    "halo.moe": {"models": ["org/Chat-MoE", "adapter"], "task": "generate"},
    "halo.embed": {"models": ["embed"], "task": "pooling"},
    "halo.hear": {"models": ["whisper"], "task": "transcription"},
}


@pytest.fixture
def running(tmp_path):
    given = {"gateway_api_keys": [KEY], "gateway_replica_key": REPLICA_KEY, "gateway_model_kib": 32}
    with contextlib.closing(Haproxy(tmp_path / "gateway", more=MODELS, **given)) as found:
        yield found


def ask(running: Haproxy, path: str, body: object) -> tuple[int, str]:
    return running.request(path, body=body if isinstance(body, str) else json.dumps(body))


@needs_haproxy
@pytest.mark.parametrize(
    ("path", "model", "answers"),
    [
        (CHAT, "org/Chat", {"halo.chat", "twin.chat"}),
        (CHAT, "org/Chat-MoE", {"halo.moe"}),
        ("/v1/completions", "adapter", {"halo.moe"}),
        (EMBED, "embed", {"halo.embed"}),
        ("/score", "embed", {"halo.embed"}),
        (HEAR, "org/Chat", {"halo.chat", "twin.chat"}),
    ],
)
def test_a_request_goes_to_the_model_that_it_names(running, path, model, answers):
    seen = [ask(running, path, {"messages": [{"model": "embed"}], "model": model}) for _each in range(4)]
    assert {status for status, _text in seen} == {200} and {text for _status, text in seen} == answers


@needs_haproxy
@pytest.mark.parametrize(
    ("path", "model"),
    [
        (CHAT, "embed"), ("/v1/completions", "embed"), (HEAR, "embed"), (EMBED, "org/Chat"), ("/rerank", "org/Chat"),
        (CHAT, "whisper"), (EMBED, "whisper"), (CHAT, "nobody"), (CHAT, "org/chat"), (CHAT, "org/Chat "),
    ],
)  # fmt: skip
def test_a_model_does_not_answer_at_the_paths_of_another_task(running, path, model):
    status, text = ask(running, path, {"model": model})
    assert status == 404 and json.loads(text)["error"]["param"] == "model"
    assert not [entry for replica in running.replicas.values() for entry in replica.asked]


@needs_haproxy
def test_a_path_may_name_the_model(running):
    for model, name in (("org/Chat-MoE", "halo.moe"), ("adapter", "halo.moe"), ("embed", "halo.embed")):
        assert ask(running, f"/models/{model}/v1/models?x=1", "")[1] == name
    assert running.replicas["halo.moe"].asked == [("/v1/models?x=1", f"Bearer {REPLICA_KEY}")] * 2
    assert ask(running, "/models/org/Chat-MoE" + CHAT, {"model": "embed"}) == (200, "halo.moe")
    assert ask(running, "/models/embed" + CHAT, {"model": "org/Chat"})[0] == 404
    for path in (
        "/models/embed/metrics",
        "/models/nobody" + CHAT,
        "/models/embed",
        "/models/embed/../metrics",
    ):
        assert ask(running, path, "{}")[0] == 404, path
    assert running.request("/models/embed" + EMBED, key=None)[0] == 401


@needs_haproxy
def test_the_name_may_stand_far_behind_or_nowhere(running):
    """32 KiB of a body are looked at; all of it reaches the model."""
    near, far = "x" * 20_000, "x" * 400_000
    body = json.dumps({"messages": [{"role": "user", "content": near}], "model": "org/Chat-MoE"})
    assert ask(running, CHAT, body) == (200, "halo.moe") and running.replicas["halo.moe"].read == len(body)
    for unnamed in (
        {"messages": far, "model": "org/Chat-MoE"},
        {},
        "{",
        "[]",
        {"model": None},
        {"x": {"model": "embed"}},
    ):
        status, text = ask(running, CHAT, unnamed)
        assert status == 400 and "32 KiB" in json.loads(text)["error"]["message"], str(unnamed)[:40]
    first = json.dumps({"model": "org/Chat-MoE", "messages": far})
    assert ask(running, CHAT, first) == (200, "halo.moe")
    assert running.replicas["halo.moe"].read == len(body) + len(first)
    assert ask(running, "/models/org/Chat-MoE" + CHAT, {"messages": far}) == (200, "halo.moe")
    # One model is all that this path can lead to.
    assert ask(running, EMBED, {"input": far, "model": "embed"}) == (200, "halo.embed")
    assert ask(running, HEAR, "--mark\r\n") == (200, "halo.hear")


@needs_haproxy
def test_the_list_is_of_all_models(running):
    status, text = running.request("/v1/models", body=None)
    assert status == 200
    assert [each["id"] for each in json.loads(text)["data"]] == sorted(
        {name for each in MODELS.values() for name in each["models"]}
    )
    assert running.request("/v1/models", body=None, key=None)[0] == 401


@needs_haproxy
def test_a_model_whose_servers_are_gone_takes_no_other_along(running):
    running.replicas["halo.embed"].well = False
    running.wait(lambda: gateway.servers(running.ask, "replicas")["halo.embed"].health.startswith("DOWN"))
    assert ask(running, EMBED, {"model": "embed"})[0] == 503
    assert ask(running, CHAT, {"model": "org/Chat-MoE"})[0] == 200
    assert running.request("/health", key=None, body=None)[0] == 200
    for replica in running.replicas.values():
        replica.well = False
    running.wait(lambda: running.request("/health", key=None, body=None)[0] == 503)


@needs_haproxy
def test_only_a_server_of_the_same_model_can_do_the_work_of_another(running, run_module):
    def drain(*names: str, **arguments):
        places = {"socket": str(running.folder / "admin.sock"), "state_file": ""}
        given = {"state": "drain", "timeout": 5, "interval": 0.05, **places, **arguments}
        return run_module("gateway_server", servers=list(names), **given)

    for check in (True, False):
        refused = drain("halo.chat", "halo.moe", _check=check)
        assert (
            refused["failed"]
            and "Without halo.moe, 0 of 0 other servers would take requests" in refused["msg"]
        )
    assert drain("halo.chat")["changed"] and not drain("halo.chat")["changed"]
    assert {ask(running, CHAT, {"model": "org/Chat"})[1] for _each in range(4)} == {"twin.chat"}
    assert drain("twin.chat")["failed"]
    assert drain("halo.chat", state="ready")["changed"]
    assert drain("halo.moe", "halo.embed", keep=0)["after"]["halo.embed"]["state"] == "drain"
    assert drain("halo.chat", backend="replicas.other")["msg"].startswith(
        "HAProxy has no backend replicas.other"
    )


@needs_haproxy
def test_a_model_that_nothing_is_known_of_is_refused_nothing(tmp_path):
    more = {"a": {"models": ["a"], "task": "unknown"}, "b": {"models": ["b"], "task": "pooling"}}
    with contextlib.closing(Haproxy(tmp_path / "gateway", more=more, gateway_api_keys=[KEY])) as running:
        for path in (CHAT, EMBED, "/score", HEAR):
            assert ask(running, path, {"model": "a"}) == (200, "a"), path
        # Without a name: text is for the one, vectors are for the other.
        assert ask(running, CHAT, {}) == (200, "a") and ask(running, EMBED, {}) == (200, "b")
        assert ask(running, HEAR, {}) == (200, "a")


@needs_haproxy
@pytest.mark.parametrize(
    ("task", "answered"),
    [
        ("unknown", {CHAT, EMBED, HEAR}),
        ("generate", {CHAT, HEAR}),
        ("pooling", {EMBED, "/score"}),
        ("transcription", {HEAR}),
    ],
)
def test_a_gateway_for_one_model_has_the_paths_of_its_task(tmp_path, task, answered):
    with contextlib.closing(Haproxy(tmp_path / "gateway", task=task, gateway_api_keys=[KEY])) as running:
        for path in (CHAT, EMBED, "/score", HEAR):
            assert running.request(path)[0] == (200 if path in answered else 404), path
        assert running.request("/v1/models")[0] == 200


def entry(name: str, **more) -> dict:
    return {"name": name, "address": "10.0.0.1", **more}


@needs_haproxy
def test_haproxy_takes_it_without_a_warning(tmp_path):
    odd = ["a", "a/b", "A", "q:4_1", "-".join("x" * 90), "m@1+2"]
    replicas = [entry(f"n{at}", models=[name]) for at, name in enumerate(odd)]
    result = validate(configuration(tmp_path, gateway_address="10.0.0.1", gateway_replicas=replicas))
    assert result.returncode == 0 and "WARNING" not in result.stderr and "ALERT" not in result.stderr, (
        result.stderr
    )


def test_nothing_is_read_of_requests_for_one_model():
    text = template("haproxy.cfg.j2", gateway_replicas=[entry("a", models=[]), entry("b")])
    assert "json_query" not in text and "bufsize" not in text and text.count("\nbackend replicas\n") == 1


def test_the_configuration_is_the_same_each_time():
    """The paths keep their order, which a set of texts has not."""
    paths = [f"/v1/path-{number}" for number in range(20)]
    text = template("haproxy.cfg.j2", gateway_paths=paths, gateway_replicas=[entry("a", models=["x"])])
    assert [line.split()[-1] for line in text.splitlines() if "acl allowed" in line] == paths


@pytest.mark.parametrize(
    ("replicas", "words"),
    [
        ([entry("a", models=["x"]), entry("b", models=[1])], "as a text"),
        ([entry("a", models=[["x"]])], "as a text"),
        ([entry("a", models=["x"]), entry("b")], "for some replicas only"),
        ([entry("a", models=["x"]), entry("b", models=["y", "x"])], "in two different lists"),
        ([entry("a", models=["x y"])], "other characters"),
        ([entry("a", models=["x'"])], "other characters"),
        ([entry("a", models=["x)"])], "other characters"),
        ([entry("a", models=["../x"])], "other characters"),
        ([entry("a", models=["a/../x"])], "other characters"),
        (
            [entry("a", models=["x/y"]), entry("b", models=["x_y"]), entry("c", models=["x@y"])],
            "differ in a character",
        ),
        ([entry("a", models=["x"]), entry("b", models=["x"], task="pooling")], "have different tasks"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(replicas, words):
    checks = yaml.safe_load(template("checks.yml.j2", gateway_replicas=replicas))
    wrong = [check["expected"] for check in checks if not check["that"]]
    assert len(wrong) == 1 and words in wrong[0], wrong


def test_what_fits_passes():
    checks = yaml.safe_load(
        template("checks.yml.j2", gateway_replicas=[entry(name, **more) for name, more in MODELS.items()])
    )
    assert all(check["that"] for check in checks)


# --- the inventory


def found(*instances: dict) -> list[tuple[list[str] | None, str | None]]:
    hostvars = {"a": {"serve_instances": [{"host": "10.0.0.1", **each} for each in instances]}}
    return [(each.get("models"), each.get("task")) for each in replicas_filter(["a"], hostvars)]


def test_servers_of_different_models_have_their_names():
    assert found(
        {"name": "x", "model": "org/One"}, {"name": "y", "model": "/srv/Two/", "served_name": "2"}
    ) == [
        (["One"], None),
        (["2"], None),
    ]
    assert found(
        {"name": "x", "model": "o/M-GGUF:Q4_1", "options": {"models": {"n": "o/N-GGUF"}}},
        {"name": "y", "model": "/m/z.gguf"},
        {
            "name": "z",
            "model": "m",
            "options": {"served_model_name": ["a", "b"], "lora-modules": ["c=/c", {"name": "d"}]},
        },
    ) == [(["M-GGUF:Q4_1", "n"], None), (["z"], None), (["a", "b", "c", "d"], None)]


def test_servers_of_one_model_have_none():
    assert (
        found({"name": "x", "model": "org/One", "count": 2}, {"name": "y", "model": "/srv/One"})
        == [(None, None)] * 3
    )


def test_the_task_is_what_the_inventory_says():
    asked = [{"options": {"convert": "embed"}}, {"options": {"reranking": True}}, {"probe": "score"}, {"probe": "transcription"},
             {"probe": "health"}, {}, {"probe": "completion"}, {"options": {"runner": "generate"}}]  # fmt: skip
    tasks = [
        task
        for _models, task in found(
            *({"name": f"n{at}", "model": "m", **each} for at, each in enumerate(asked))
        )
    ]
    assert tasks == ["pooling", "pooling", "pooling", "transcription", None, None, "generate", "generate"]


def test_one_of_them_is_found_by_its_name():
    hostvars = {"a": {"serve_instances": [{"name": "x", "model": "1"}, {"name": "y", "model": "2"}]}}
    assert replicas_filter(["a"], hostvars, "x") == [{"name": "a", "address": "127.0.0.1", "port": 8000}]
    with pytest.raises(AnsibleFilterError, match="a has no instance z"):
        replicas_filter(["a"], hostvars, "z")
