# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be served here? What is offered is planned as it was offered, and what is not known is told."""

from __future__ import annotations

import pytest
import yaml
from plans import first, said
from test_page_of_models import NOT_KNOWN

from ansible_collections.amdgpu.fleet.plugins.filter.models import models_that_fit
from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import classes, offer

CATALOG = Catalog()
RELEASE = CATALOG.vllm["default_version"]
MODELS = CATALOG.vllm["models"]


def card(gfx: str, count: int, gib: float, product: str = "") -> offer.Card:
    return offer.Card(gfx, product or gfx, count, int(gib * (1 << 30)), CATALOG.profile(gfx) or {})


MI300X = card("gfx942", 8, 192, "AMD Instinct MI300X")
R9700 = card("gfx1201", 2, 31.86, "AMD Radeon AI PRO R9700")
HALO = card("gfx1151", 1, 112)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NOT_KNOWN])
def test_the_numbers_of_a_model_are_a_shape_that_is_counted(name):
    config = MODELS[name]["config"]
    shape = classes.marked(CATALOG, config["architectures"][0], _model.shape(config))
    assert shape and "uncounted" not in shape and shape["context"] and shape["vocabulary"]


# Bytes of a token on one GPU, from public logs and pages (facts that reviewers can look up): with one GPU.
@pytest.mark.parametrize(
    ("model", "each"),
    [
        ("openai/gpt-oss-120b", 36864),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 163840),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 57344),
        ("meta-llama/Llama-3.3-70B-Instruct", 327680),
        ("Qwen/Qwen3-8B", 147456),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 24576),
    ],
)
def test_a_token_is_as_large_as_it_is_known_to_be(model, each):
    (found, *_others) = offer.offers(CATALOG, MI300X, RELEASE, [model])
    assert found.verdict == "fits" and found.kv_bytes_per_token * found.gpus == each


@pytest.mark.parametrize(
    ("where", "model", "gpus"),
    [
        (MI300X, "deepseek-ai/DeepSeek-R1", 4),
        (MI300X, "moonshotai/Kimi-K2-Instruct", 8),
        # 768 wide experts in blocks of 128 cannot be shared out over four.
        (MI300X, "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", 2),
        (R9700, "Qwen/Qwen3-32B-AWQ", 1),
        (HALO, "openai/gpt-oss-120b", 1),
    ],
)
def test_the_fewest_gpus_are_taken(where, model, gpus):
    (found,) = offer.offers(CATALOG, where, RELEASE, [model])
    assert (found.verdict, found.gpus) == ("fits", gpus), found


@pytest.mark.parametrize(
    ("where", "model", "words"),
    [
        (R9700, "meta-llama/Llama-3.3-70B-Instruct", "GiB of weights"),
        (R9700, "deepseek-ai/DeepSeek-V3.2-Exp", "sparse attention"),
        (MI300X, "deepseek-ai/DeepSeek-V4-Pro", "does not run on MI300X"),
    ],
)
def test_what_does_not_fit_says_why(where, model, words):
    (found,) = offer.offers(CATALOG, where, RELEASE, [model])
    assert found.verdict == "no" and words in found.why and not found.line


def test_a_model_without_numbers_is_not_known(make_plan):
    (recipe, nothing) = offer.offers(CATALOG, MI300X, RELEASE, ["zai-org/GLM-4.6", "own/model"])
    assert recipe.verdict == nothing.verdict == "unknown"
    assert "its numbers are not" in recipe.why and "weights_gib" in nothing.why


@pytest.mark.parametrize("host", ["mi300x-8", "rx9070xt"])
def test_what_is_offered_is_planned_as_it_was_offered(make_plan, read_facts, ids, host):
    rows = models_that_fit(read_facts(host)["amd_gpus"])
    offered = [row for row in rows if row["verdict"] == "fits"]
    assert offered and rows[: len(offered)] == offered
    for row in offered:
        (wanted,) = yaml.safe_load(row["line"])
        entry = next(
            entry
            for entry in MODELS.values()
            if row["model"] in {each["model"] for each in entry["checkpoints"]}
        )
        (checkpoint,) = (each for each in entry["checkpoints"] if each["model"] == row["model"])
        quantized = (
            {"quantization_config": checkpoint["quantization_config"]}
            if "quantization_config" in checkpoint
            else {}
        )
        plan = make_plan(
            host,
            serve_instances=[
                {
                    **wanted,
                    "model_config": {**entry["config"], **quantized},
                    "weights_gib": checkpoint["weights_gib"],
                }
            ],
        )
        memory = first(plan)["memory"]
        assert memory["verdict"] == "fits", (row, memory)
        for name in ("weights_bytes", "kv_bytes_per_token"):
            assert memory[name] == row[name], (row, memory)
        bad = [name for name in ids(plan) if name.startswith(("vllm.", "serve."))]
        assert set(bad) <= {"vllm.remote_code"}, (row["model"], bad)


def test_a_gpu_that_vllm_has_no_code_for_is_offered_nothing(read_facts):
    # The display of a Ryzen beside the Radeon.
    rows = [row for row in models_that_fit(read_facts("rx9070xt")["amd_gpus"]) if row["gfx"] == "gfx1036"]
    assert rows and {row["verdict"] for row in rows} == {"no"}
    assert all("no code for gfx1036" in row["why"] for row in rows)


def test_hosts_without_a_known_gpu_are_offered_nothing(read_facts):
    assert models_that_fit(read_facts("no-gpu")["amd_gpus"]) == []
    assert models_that_fit({"gpus": [{"gfx": None, "usable_bytes": None}]}) == []


def test_the_pool_of_an_apu_is_what_the_plan_makes_it(read_facts):
    facts = read_facts("strix-halo-128")["amd_gpus"]
    large = models_that_fit(facts, "openai/gpt-oss-120b", {"kernel": {"pool_bytes": 112 << 30}})
    assert large[0]["usable_bytes"] == 112 << 30 and large[0]["verdict"] == "fits"


def test_a_model_of_the_catalog_is_planned_by_its_name_before_it_is_fetched(make_plan, ids):
    plan = make_plan(
        "mi300x-8", serve_instances=[{"name": "chat", "model": "Qwen/Qwen3-32B-AWQ", "gpus": [0]}]
    )
    memory = first(plan)["memory"]
    assert (memory["verdict"], memory["kv_bytes_per_token"], memory["weights_bytes"]) == (
        "fits",
        262144,
        18 << 30,
    )
    large = make_plan("rx9070xt", serve_instances=[{"name": "chat", "model": "Qwen/Qwen3-32B"}])
    text = said(large, "serve.weights_do_not_fit")
    assert len(text) == 1 and "as the catalog has it; the model is not on the host yet" in text[0]

    def there(_gpus, rocm):
        # What lies on the host beats the catalog, whatever it is.
        place = "/var/lib/amdgpu-fleet/models/Qwen/Qwen3-32B"
        rocm["paths"][place] = {"exists": True, "directory": True, "model": True, "weights_bytes": 1 << 30}

    plan = make_plan("rx9070xt", there, serve_instances=[{"name": "chat", "model": "Qwen/Qwen3-32B"}])
    assert "serve.weights_do_not_fit" not in ids(plan)
    assert first(plan)["memory"]["verdict"] == "unknown"
