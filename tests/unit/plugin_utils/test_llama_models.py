# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF models that are fetched, and what is loaded beside them: projectors, drafts, other files."""

from __future__ import annotations

import pytest
import tiny_gguf as tiny
from plans import first, said
from plugin_utils.test_confined import rendered

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.llama_cpp import fit

DIRECTORY = "/var/lib/amdgpu-fleet/models"
NAME, COMMIT = "unsloth/Qwen3-8B-GGUF:Q4_K_M", "31c69efc29464b6bb0aee1398b5a7b50a99340c3"
PLACE = f"{DIRECTORY}/unsloth/Qwen3-8B-GGUF+Q4_K_M"
DRAFT = "unsloth/Qwen3-0.6B-GGUF:Q8_0"
DRAFT_PLACE = f"{DIRECTORY}/unsloth/Qwen3-0.6B-GGUF+Q8_0"


@pytest.fixture
def serve(make_plan, tmp_path):
    """serve({folder: {file: (values, tensors)}}, {of the instance}, variable=...) -> the plan of a host that
    has these files."""

    def make(files=None, given=None, host="strix-halo-128", change=None, **wants):
        for folder, inside in (files or {}).items():
            for name, (values, tensors) in inside.items():
                tiny.write(tmp_path / folder[1:] / name, values, tensors)

        def there(gpus, rocm):
            rocm["podman"] = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": []}
            tree = Tree(str(tmp_path))
            paths = [
                path
                for folder, inside in (files or {}).items()
                for path in (folder, *(f"{folder}/{n}" for n in inside))
            ]
            rocm["paths"] = type("Paths", (dict,), {"setdefault": lambda *_: None})(_model.paths(tree, paths))
            if change:
                change(gpus, rocm)

        entry = {"name": "chat", "engine": "llama_cpp", "model": NAME, **(given or {})}
        return make_plan(host, there, serve_instances=[entry], **wants)

    return make


MODEL = (tiny.llama(layers=4), tiny.layers_of(4))
SMALL = (tiny.llama(layers=2), tiny.layers_of(2))
PROJECTOR = ({"general.architecture": "clip", "general.type": "mmproj"}, {"v.w": ("F16", [640, 640])})


# --- from a Hub


@pytest.mark.parametrize("engine", ["llama_cpp", "auto"])
def test_a_quantization_of_a_repository_is_fetched_and_served(serve, ids, engine):
    plan = serve(given={"engine": engine}, model_sources=[{"model": NAME, "revision": COMMIT}])
    [fetch] = plan["model"]["fetch"]
    assert (fetch["kind"], fetch["format"], fetch["repository"], fetch["quantization"], fetch["revision"]) == (
        *("hub", "gguf", "unsloth/Qwen3-8B-GGUF", "Q4_K_M", COMMIT),
    )  # fmt: skip
    assert fetch["path"] == f"{PLACE}@{COMMIT}"
    assert first(plan)["engine"] == "llama_cpp" and first(plan)["served_name"] == "Qwen3-8B-GGUF:Q4_K_M"
    assert first(plan)["read_only"] == [f"{PLACE}@{COMMIT}"]
    assert ids(plan) == [] and said(plan, "serve.unpinned") == said(serve(), "serve.unpinned")[1:]


def test_a_branch_is_said_to_move(serve):
    assert any(
        NAME in sentence and "revision main" in sentence for sentence in said(serve(), "serve.unpinned")
    )


def test_once_it_is_there_its_file_is_served_and_nothing_is_fetched(serve, ids):
    plan = serve({PLACE: {"Qwen3-8B-Q4_K_M.gguf": MODEL}})
    assert not plan["model"]["change"] and ids(plan) == []
    assert first(plan)["environment"]["LLAMA_ARG_MODEL"] == f"{PLACE}/Qwen3-8B-Q4_K_M.gguf"
    assert first(plan)["memory"]["verdict"] == "fits"


def test_a_repository_without_a_quantization_is_fetched_in_the_format_of_its_engine(serve):
    for engine, form in (("llama_cpp", "gguf"), ("vllm", "safetensors")):
        plan = serve(given={"engine": engine, "model": "Qwen/Qwen3-8B"})
        assert [fetch["format"] for fetch in plan["model"]["fetch"]] == [form]


def test_a_closed_network_brings_it_from_its_mirror(serve):
    mirror = {"url": "http://m", "registry": "m:5000", "pip_index": "http://m/simple", "hub": "http://m/hub"}
    plan = serve(plan_mirror=mirror)
    assert plan["model"]["endpoint"] == "http://m/hub" and said(plan, "mirror.outside") == []
    told = said(serve(plan_mirror={**mirror, "hub": ""}), "mirror.outside")
    assert any(f"{NAME} from the public Hub" in sentence for sentence in told)


def test_an_engine_that_loads_no_gguf_is_told_so_before_the_download(serve):
    assert "a model in gguf for vLLM" in said(serve(given={"engine": "vllm"}), "serve.engine")[0]


def test_a_folder_of_gguf_with_the_config_of_its_model_is_gguf(serve, tmp_path, ids):
    """As many repositories have it."""

    def configured(_gpus, rocm):
        (tmp_path / "srv/m/config.json").write_text('{"num_hidden_layers": 4, "num_attention_heads": 9}')
        rocm["paths"].update(_model.paths(Tree(str(tmp_path)), ["/srv/m"]))
        assert rocm["paths"]["/srv/m"]["model"]

    for engine in ("auto", "llama_cpp"):
        given = {"engine": engine, "model": "/srv/m"}
        plan = serve({"/srv/m": {"x-Q4_0.gguf": MODEL}}, given, change=configured)
        assert first(plan)["engine"] == "llama_cpp" and ids(plan) == []


@pytest.mark.parametrize("name", ["a/b:", "a/b:../x", "a/b:Q4/0", "a:Q4_0", "a/b:Q4_0:x", "/srv/m:Q4_0"])
def test_a_name_that_is_none(serve, ids, name):
    assert ids(serve(given={"model": name})) == ["serve.model"]


# --- projectors and drafts


def test_a_projector_in_the_folder_is_used_and_counted(serve, ids):
    plan = serve({PLACE: {"x-Q4_K_M.gguf": MODEL, "mmproj-F16.gguf": PROJECTOR}})
    assert first(plan)["environment"]["LLAMA_ARG_MMPROJ"] == f"{PLACE}/mmproj-F16.gguf" and ids(plan) == []
    assert first(plan)["read_only"] == [PLACE]
    alone = serve(
        {PLACE: {"x-Q4_K_M.gguf": MODEL, "mmproj-F16.gguf": PROJECTOR}}, {"options": {"mmproj": None}}
    )
    assert "LLAMA_ARG_MMPROJ" not in first(alone)["environment"]
    more = first(plan)["memory"]["weights_bytes"] - first(alone)["memory"]["weights_bytes"]
    assert more == 640 * 640 * 2
    host = serve(given={"options": {"mmproj-offload": False}}, files={PLACE: {}})
    assert first(host)["memory"]["weights_bytes"] == first(alone)["memory"]["weights_bytes"]


def test_a_projector_of_another_folder_is_mounted_alone(serve, ids):
    files = {PLACE: {"x-Q4_K_M.gguf": MODEL}, "/srv/p": {"mmproj.gguf": PROJECTOR}}
    plan = serve(files, {"options": {"mmproj": "/srv/p/mmproj.gguf"}})
    assert first(plan)["read_only"] == [PLACE, "/srv/p/mmproj.gguf"] and ids(plan) == []
    lone = serve(files)
    more = first(plan)["memory"]["weights_bytes"] - first(lone)["memory"]["weights_bytes"]
    assert more == 640 * 640 * 2


def test_a_damaged_projector_is_said(serve, tmp_path):
    def damaged(_gpus, rocm):
        (tmp_path / PLACE[1:] / "mmproj-F16.gguf").write_bytes(b"GGUF")
        rocm["paths"].update(_model.paths(Tree(str(tmp_path)), [PLACE]))

    files = {PLACE: {"x-Q4_K_M.gguf": MODEL, "mmproj-F16.gguf": PROJECTOR}}
    plan = serve(files, {"model": PLACE}, change=damaged)
    assert "has mmproj-F16.gguf beside it, which is no GGUF file" in said(plan, "serve.model")[0]


def test_a_draft_is_fetched_mounted_and_counted(serve, ids):
    wants = {"model_sources": [{"model": DRAFT}]}
    given = {"options": {"spec-draft-model": DRAFT, "parallel": 2, "ctx-size": 4096}}
    plan = serve({PLACE: {"x-Q4_K_M.gguf": MODEL}}, given, **wants)
    assert [fetch["path"] for fetch in plan["model"]["fetch"]] == [DRAFT_PLACE] and ids(plan) == []
    files = {PLACE: {"x-Q4_K_M.gguf": MODEL}, DRAFT_PLACE: {"d-Q8_0.gguf": SMALL}}
    plan = serve(files, given, **wants)
    assert ids(plan) == [] and not plan["model"]["change"]
    assert first(plan)["read_only"] == [PLACE, f"{DRAFT_PLACE}/d-Q8_0.gguf"]
    variables = first(plan)["environment"]
    assert variables["LLAMA_ARG_SPEC_DRAFT_MODEL"] == f"{DRAFT_PLACE}/d-Q8_0.gguf"
    # Without a type llama-server 0.7.0 loads a draft and says "no implementations specified".
    assert variables["LLAMA_ARG_SPEC_TYPE"] == "draft-simple"
    assert variables["LLAMA_ARG_N_GPU_LAYERS_DRAFT"] == "all"
    alone = serve(files, {"options": {"parallel": 2, "ctx-size": 4096}})
    here, there = first(plan)["memory"], first(alone)["memory"]
    # Two of the layers that the model has four of; its cache is as long.
    assert here["kv_bytes"] * 2 == there["kv_bytes"] * 3
    assert here["weights_bytes"] > there["weights_bytes"]


def test_the_type_of_a_draft_that_says_what_it_is_is_left_to_it(serve):
    head = ({**tiny.llama("eagle3", layers=1)}, tiny.layers_of(1))
    files = {PLACE: {"x-Q4_K_M.gguf": MODEL}, "/srv/d": {"eagle3-x.gguf": head}}
    plan = serve(files, {"options": {"spec-draft-model": "/srv/d"}})
    assert first(plan)["environment"]["LLAMA_ARG_SPEC_DRAFT_MODEL"] == "/srv/d/eagle3-x.gguf"
    assert first(plan)["environment"]["LLAMA_ARG_SPEC_TYPE"] == "draft-eagle3"


def test_a_draft_in_parts_brings_its_folder(serve, ids):
    parts = {}
    for part in (1, 2):
        values = {**(tiny.llama(layers=2) if part == 1 else {}), "split.count": 2}
        parts[f"d-{part:05}-of-00002.gguf"] = (values, {f"blk.{part}.attn_q.weight": ("Q4_K", [256, 256])})
    files = {PLACE: {"x-Q4_K_M.gguf": MODEL}, "/srv/d": parts}
    plan = serve(files, {"options": {"spec-draft-model": "/srv/d/d-00001-of-00002.gguf"}})
    assert first(plan)["read_only"] == [PLACE, "/srv/d"] and ids(plan) == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("own/other-GGUF:Q8_0", "Add own/other-GGUF:Q8_0 to model_sources"),
        ("/srv/nowhere.gguf", "Put the file there, or correct spec-draft-model"),
    ],
)
def test_a_draft_that_nothing_brings(serve, value, told):
    assert told in said(serve(given={"options": {"spec-draft-model": value}}), "llama.option")[0]


def test_a_draft_takes_from_the_context_that_fits():
    model = {"weights_bytes": 1 << 30, "total_bytes": 1 << 30, "projector_bytes": 0, "state_bytes": 1 << 20,
             "key_width": 1024, "value_width": 1024, "window": 0, "window_key_width": 0, "window_value_width": 0,
             "heads": 8, "context": 131072}  # fmt: skip
    asked, budget = fit.Settings(context=0, slots=1), 3 << 30
    beside = fit.Beside(draft=model, drafted=3)
    assert fit.largest_context(model, asked, budget, beside) < fit.largest_context(model, asked, budget)
    assert fit.need(model, fit.Settings(4096, 2), beside).states == (1 << 20) * 2 * 4
    # On the CPU all of it is in the memory of the host, embedding included.
    large = {**model, "total_bytes": 3 << 30}
    assert fit.need(large, asked, fit.Beside(on_host=True)).weights == 3 << 30


# --- several models in one server

TWO = {PLACE: {"x-Q4_K_M.gguf": MODEL}, "/srv/s": {"s-Q8_0.gguf": SMALL}}


def test_a_router_has_a_section_for_each_model_and_memory_for_all(serve, ids):
    given = {
        "served_name": "large",
        "options": {"models": {"small": "/srv/s"}, "parallel": 2, "ctx-size": 4096},
    }
    plan = serve(TWO, given)
    assert ids(plan) == []
    server = first(plan)
    assert server["launch"]["configuration"] == (
        f"version = 1\n\n[large]\nmodel = {PLACE}/x-Q4_K_M.gguf\nload-on-startup = true\n\n"
        "[small]\nmodel = /srv/s/s-Q8_0.gguf\nload-on-startup = true\n"
    )
    variables = server["environment"]
    assert (
        variables["LLAMA_ARG_MODELS_PRESET"]
        == server["launch"]["configuration_path"]
        == "/etc/llama-cpp/config.yaml"
    )
    # Every process inherits them.
    assert not {"LLAMA_ARG_MODEL", "LLAMA_ARG_ALIAS"} & set(variables)
    assert (variables["LLAMA_ARG_MODELS_MAX"], variables["LLAMA_ARG_MODELS_AUTOLOAD"]) == ("2", "0")
    assert server["read_only"] == [PLACE, "/srv/s/s-Q8_0.gguf"] and server["served_name"] == "large"
    alone = first(serve(TWO, {**given, "options": {"parallel": 2, "ctx-size": 4096}}))["memory"]
    assert server["memory"]["kv_bytes"] * 2 == alone["kv_bytes"] * 3
    # It shows no numbers of all models together, but those of each.
    launch = server["launch"]
    assert launch["drain_timeout"] == 60
    assert launch["drain_paths"] == [f"/metrics?model={name}&autoload=false" for name in ("large", "small")]
    unit = rendered(plan, "server.container.j2", server)
    assert "inference_drain.py http://127.0.0.1:8000 --seconds 60" in unit
    silent = {**given, "options": {**given["options"], "metrics": False}}
    launch = first(serve(TWO, silent))["launch"]
    assert (launch["drain_timeout"], launch["drain_paths"]) == (0, [])


def test_a_router_that_holds_fewer_than_all_loads_what_is_asked_for(serve, ids):
    given = {
        "served_name": "large",
        "options": {"models": {"small": "/srv/s"}, "models-max": 1, "ctx-size": 4096, "parallel": 2},
    }
    plan = serve(TWO, given)
    assert ids(plan) == [] and first(plan)["environment"]["LLAMA_ARG_MODELS_AUTOLOAD"] == "1"
    assert (
        "[small]\nmodel = /srv/s/s-Q8_0.gguf\nload-on-startup = false"
        in first(plan)["launch"]["configuration"]
    )
    alone = first(serve(TWO, {**given, "options": {"parallel": 2, "ctx-size": 4096}}))["memory"]
    assert first(plan)["memory"]["kv_bytes"] == alone["kv_bytes"]


def test_the_models_of_a_router_come_from_the_hub_too(serve, ids):
    given = {"served_name": "large", "options": {"models": {"small": DRAFT}}}
    plan = serve(given=given, model_sources=[{"model": DRAFT}])
    assert ids(plan) == [] and {each["path"] for each in plan["model"]["fetch"]} == {PLACE, DRAFT_PLACE}
    assert first(plan)["read_only"] == [PLACE, DRAFT_PLACE]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"models": ["/srv/s"]}, "Correct models in the options of chat"),
        ({"models": {"a b": "/srv/s"}}, "Correct models in the options of chat"),
        ({"models": {"a]\nx": "/srv/s"}}, "Correct models in the options of chat"),
        ({"models": {"large": "/srv/s"}}, "that no other model has"),
        ({"models": {"small": "/srv/nowhere.gguf"}}, "Put the model small there"),
        ({"models": {"small": "own/x-GGUF:Q4_0"}}, "Add own/x-GGUF:Q4_0 to model_sources"),
        ({"models": {"small": "/srv/s"}, "spec-draft-model": "/srv/s"}, "Remove spec-draft-model or models"),
        ({"models-max": 2}, "Remove models-max, or name the others in models"),
        ({"models-dir": "/srv"}, "models names them"),
    ],
)
def test_a_router_that_cannot_be(serve, options, told):
    assert told in " ".join(said(serve(TWO, {"served_name": "large", "options": options}), "llama.option"))
