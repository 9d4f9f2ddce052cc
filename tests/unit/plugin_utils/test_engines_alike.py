# SPDX-License-Identifier: GPL-3.0-or-later
"""The same inventory with `engine: vllm` and `engine: llama_cpp` differs in that word and in the format of the model,
and in nothing else: whatever is said of a server means the same for both."""

from __future__ import annotations

import pytest
import tiny_gguf as tiny
import yaml
from plans import first as server_of
from plugin_utils.test_confined import KEYS, lines, rendered

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import checks
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.quadlet import for_podman

FILE, FOLDER = "/srv/models/chat/chat.gguf", "/srv/models/chat"
MODELS = {"vllm": FOLDER, "llama_cpp": FILE}
# Every variable of a server that is not an engine's own, with a value that is not its default.
INVENTORY = """
serve_kind: {kind}
serve_start_timeout: 900
serve_check_interval: 300
serve_secret_environment: {{ACCESS_KEY: planted}}
serve_read_only: true
serve_podman_arguments: --pids-limit=4096
serve_instances:
  - name: chat
    engine: {engine}
    model: {model}
    served_name: talk
    host: 10.0.0.5
    port: 8100
    gpus: [1, 2]
    numa: none
    probe: health
    environment: {{OWN_VALUE: "1"}}
"""
# What belongs to the engine: its names, its files, its program, and the model in its format.
OWN = {
    *("engine", "title", "documentation", "version", "variant", "unit", "unit_file", "configuration_file"),
    *(
        "environment_file",
        "secret_file",
        "shared_secret_file",
        "model",
        "read_only",
        "environment",
        "options",
    ),
    *("memory", "image", "launch"),
}
OWN_OF_LAUNCH = {
    *("command", "configuration", "configuration_path", "environment", "cache_environment", "read_only"),
    *("caches", "seed", "api_key_variable", "told_version", "stop_timeout", "drain_timeout", "no_restart"),
    *("shm_size", "memory", "options"),
}
# Lines of a unit that are the same for both.
SAME_LINES = (
    *("PublishPort", "AddDevice", "GroupAdd", "NoNewPrivileges", "ReadOnly", "Tmpfs", "DropCapability", "AddCapability"),
    *("Pull", "PodmanArgs", "Restart", "RestartSec", "TimeoutStartSec", "WantedBy", "Wants", "After", "RunInit"),
)  # fmt: skip


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return tiny.facts(tmp_path_factory.mktemp("gguf"), FILE, 30)


@pytest.fixture
def plans(make_plan, gguf):
    """plans("quadlet") -> the plan of the same inventory with each engine."""

    def there(_gpus, system):
        system["podman"] = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": []}
        folder = {"exists": True, "directory": True, "model": True, "weights_bytes": 1 << 30, "place": FOLDER}
        system["paths"][FOLDER] = {**folder, "model_type": "llama", "architecture": "LlamaForCausalLM"}
        system["paths"][FILE] = {
            "exists": True,
            "directory": False,
            "model": False,
            "place": FILE,
            "gguf": gguf,
        }

    def make(kind):
        found = {}
        for engine, model in MODELS.items():
            wants = yaml.safe_load(INVENTORY.format(kind=kind, engine=engine, model=model))
            accepted = ["vllm.environment", "llama.environment"]
            found[engine] = make_plan("mi300x-8", there, plan_accept=accepted, **wants)
        return found

    return make


@pytest.mark.parametrize("kind", ["quadlet", "podman"])
def test_one_word_and_the_format_of_the_model_are_all_that_differs(plans, kind):
    made = plans(kind)
    servers = {}
    for engine, plan in made.items():
        assert [each["id"] for each in plan["findings"] if each["severity"] == "fail"] == [], engine
        servers[engine] = server_of(plan)
    first, second = servers["vllm"], servers["llama_cpp"]
    assert set(first) == set(second)
    assert {name: first[name] for name in first if name not in OWN} == {
        name: second[name] for name in second if name not in OWN
    }
    launches = [each["launch"] for each in (first, second)]
    assert set(launches[0]) == set(launches[1])
    for name in set(launches[0]) - OWN_OF_LAUNCH:
        assert launches[0][name] == launches[1][name], name
    # What was asked for arrived, and not only in the same way.
    assert (first["port"], first["address"], first["gpus"], first["served_name"], first["exposed"]) == (
        8100, "10.0.0.5", [1, 2], "talk", True)  # fmt: skip
    for server in (first, second):
        assert server["environment"]["OWN_VALUE"] == "1" and server["launch"]["probe"] == "health"


@pytest.mark.parametrize("kind", ["quadlet", "podman"])
def test_the_rest_of_the_plan_is_one_and_the_same(plans, kind):
    first, second = plans(kind).values()
    for section in ("kernel", "firmware", "driver", "rocm", "devices"):
        assert first[section] == second[section], section
    # Modes are set before the server starts, whose unit has the name of its engine.
    for plan in (first, second):
        assert plan["partition"].pop("before") == [server_of(plan)["unit"]]
    assert first["partition"] == second["partition"]
    for name in ("state", "purge", "podman", "user", "start_timeout", "check_interval", "secret_variables"):
        assert first["serve"][name] == second["serve"][name], name


def test_both_units_are_confined_and_reached_alike(plans):
    units = []
    for plan in plans("quadlet").values():
        (server,) = plan["serve"]["instances"]
        variables = {"serve_podman_arguments": "--pids-limit=4096"}
        units.append(for_podman(rendered(plan, "server.container.j2", server, **variables), "5.4", KEYS))
    for key in SAME_LINES:
        assert lines(units[0], key) == lines(units[1], key), key
    assert lines(units[0], "PublishPort") == ["10.0.0.5:8100:8100"] and lines(units[0], "AddDevice")


def test_what_is_common_has_no_name_of_an_engine():
    """A variable of all engines begins with `serve`; one of an engine's own begins with its name."""
    options = checks.specification()
    instance = options["serve_instances"]["options"]
    assert not [name for name in instance if name.startswith(("vllm", "llama"))]
    of_engines = {
        engine: {name.removeprefix(f"{engine}_") for name in options if name.startswith(f"{engine}_")}
        for engine in MODELS
    }
    # Both have these, so that an inventory changes one word of their names.
    shared = {"version", "image", "image_archive", "image_digest", "options", "environment"}
    assert shared <= of_engines["vllm"] & of_engines["llama_cpp"]
