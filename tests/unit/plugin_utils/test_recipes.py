# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of vLLM: which one a model has, and what it sets."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import (
    attention,
    history,
    recipes,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm.recipes import Gpu

CATALOG = Catalog()
MI300X = Gpu("gfx942", "AMD Instinct MI300X OAM", 8, 192)
MI325X = Gpu("gfx942", "AMD Instinct MI325X", 8, 256)
MI355X = Gpu("gfx950", "AMD Instinct MI355X", 8, 288)
R9700 = Gpu("gfx1201", "Radeon AI PRO R9700", 2, 32)


def said(
    model: str, gpu: Gpu, release: str = "0.33.0", catalog: Catalog = CATALOG
) -> dict[tuple[str, str], object]:
    recipe = recipes.find(catalog, model)
    assert recipe is not None
    found = recipes.settings(recipe, gpu, release)
    assert all(setting.reason and setting.source.startswith("vLLM ") for setting in found)
    return {(setting.kind, setting.name): setting.value for setting in found}


def test_glm_keeps_its_vision_encoder_whole() -> None:
    found = said("zai-org/GLM-4.5V", MI300X)
    assert found["option", "mm-encoder-tp-mode"] == "data"
    assert found["parser", "tool-call-parser"] == found["parser", "reasoning-parser"] == "glm45"
    assert found["left_out", "allowed-local-media-path"] == "/"
    assert ("trust", "trust-remote-code") in found
    assert ("option", "language-model-only") not in found


@pytest.mark.parametrize(("gpu", "runs"), [(MI300X, False), (MI325X, False), (MI355X, True)])
def test_what_a_recipe_says_does_not_run_is_refused(gpu: Gpu, runs: bool) -> None:
    found = said("deepseek-ai/DeepSeek-V4-Pro", gpu)
    if runs:
        assert found["option", "kv-cache-dtype"] == "fp8"
    else:
        assert found == {("refuse", "deepseek-ai/DeepSeek-V4-Pro"): recipes.card(gpu)}


def test_amd_gpus_beat_the_strategy() -> None:
    found = said("MiniMaxAI/MiniMax-M2", MI300X)
    assert found["option", "tensor-parallel-size"] == 2
    assert found["option", "attention-backend"] == "ROCM_AITER_FA"
    assert found["environment", "VLLM_ROCM_USE_AITER"] == "1"


def test_what_was_tried_on_instinct_is_told_on_a_radeon() -> None:
    found = said("MiniMaxAI/MiniMax-M2", R9700)
    assert found["left_out", "attention-backend"] == "ROCM_AITER_FA"
    assert ("environment", "VLLM_ROCM_USE_AITER") not in found
    assert found["parser", "tool-call-parser"] == "minimax_m2"


def test_minimax_m3_has_its_block_size_on_every_gpu() -> None:
    for gpu in (MI300X, MI355X, R9700):
        assert said("MiniMaxAI/MiniMax-M3", gpu)["option", "block-size"] == 128
    modes = [name for kind, name in said("MiniMaxAI/MiniMax-M3", MI300X) if kind == "speculative"]
    assert modes == ["eagle3", "eagle3_gqa"]


def test_a_card_beats_amd() -> None:
    name = ("environment", "VLLM_USE_BREAKABLE_CUDAGRAPH")
    assert said("deepseek-ai/DeepSeek-V4.1-Flash", MI300X)[name] == "0"
    assert said("deepseek-ai/DeepSeek-V4.1-Flash", MI355X)[name] == "1"


def test_a_checkpoint_of_a_recipe_is_found_with_its_variant() -> None:
    recipe = recipes.find(CATALOG, "ZAI-org/glm-4.5v-fp8")
    assert recipe and (recipe.model, recipe.variant, recipe.exact) == ("zai-org/GLM-4.5V", "fp8", True)
    assert recipes.find(CATALOG, "example/nothing") is None
    names = [variant[0] for variant in recipes.variants(recipe, Gpu("gfx942", "MI300X", 1, 192))]
    assert names == ["fp8"]


@pytest.mark.parametrize(
    "config", [{"base_model": ["MiniMaxAI/MiniMax-M2"]}, {"_name_or_path": "MiniMaxAI/MiniMax-M2"}]
)
def test_a_model_that_comes_from_another_asks_about_its_parsers(config: dict) -> None:
    recipe = recipes.find(CATALOG, "/srv/models/tuned", config)
    assert recipe and not recipe.exact
    found = {(s.kind, s.name): s for s in recipes.settings(recipe, MI300X, "0.33.0")}
    assert "chat template" in found["left_out", "tool-call-parser"].reason
    assert ("option", "tensor-parallel-size") not in found
    assert found["option", "attention-backend"].value == "ROCM_AITER_FA"


def test_a_release_gets_what_it_knows() -> None:
    old = said("zai-org/GLM-4.7", MI300X, "0.23.0")
    assert old["parser", "tool-call-parser"] == "glm47"
    assert old["parser", "reasoning-parser"] == "glm45"
    assert said("zai-org/GLM-4.7", MI300X, "0.24.0")["parser", "reasoning-parser"] == "glm47"
    assert said("MiniMaxAI/MiniMax-M3", MI300X, "0.23.0")["minimum", "MiniMaxAI/MiniMax-M3"] == "0.24.0"


@pytest.mark.parametrize(
    ("model", "config", "release", "tool", "reasoning"),
    [
        ("zai-org/GLM-4.7-Flash", {"model_type": "glm4_moe_lite"}, "0.33.0", "glm47", "glm47"),
        ("zai-org/GLM-4.7-Flash", {}, "0.22.1", "glm47", "glm45"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", {"model_type": "qwen3_moe"}, "0.33.0", "hermes", None),
        ("Qwen/Qwen3-8B", {"model_type": "qwen3"}, "0.33.0", "hermes", "qwen3"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", {"model_type": "qwen3_moe"}, "0.33.0", "qwen3_coder", None),
        ("meta-llama/Llama-3.3-70B-Instruct", {"model_type": "llama"}, "0.33.0", "llama3_json", None),
        ("somebody/tuned", {"model_type": "llama"}, "0.33.0", None, None),
        ("somebody/gpt-like", {"model_type": "gpt_oss"}, "0.33.0", "openai", "openai_gptoss"),
        ("MiniMaxAI/Other", {"model_type": "minimax_m3"}, "0.23.0", None, None),
    ],
)
def test_parsers_of_a_family(
    model: str, config: dict, release: str, tool: str | None, reasoning: str | None
) -> None:
    found = {s.name: s.value for s in recipes.family_parsers(CATALOG, model, config, release)}
    expected = {"tool-call-parser": tool, "reasoning-parser": reasoning}
    assert found == {name: value for name, value in expected.items() if value}


def test_the_parsers_of_families_exist() -> None:
    newest = CATALOG.vllm["default_version"]
    for family in CATALOG.vllm["families"]:
        for kind in ("tool", "reasoning"):
            for name in family.get(kind, []):
                assert history.parser_known(CATALOG, kind, name, newest), (family["family"], name)


def test_every_recipe_answers_on_every_card() -> None:
    for model in CATALOG.vllm["recipes"]:
        for gpu in (MI300X, MI355X, R9700):
            for kind, name in said(model, gpu):
                assert (
                    kind not in ("option", "environment") or name not in CATALOG.vllm["recipe_rules"]["never"]
                )


def test_a_recipe_is_added_and_changed_by_the_inventory() -> None:
    own = {"min": None, "context_length": None, "hardware": [], "environment": {}, "source": "vLLM of ours"}
    catalog = Catalog(
        {
            "vllm": {
                "recipes": {
                    "Our/Model": {**own, "options": {"block-size": 32}, "date": "2026-11-28"},
                    "MiniMaxAI/MiniMax-M2": {"cards": {"gfx1201": {"options": {"block-size": 16}}}},
                }
            }
        }
    )
    assert said("Our/Model", R9700, catalog=catalog) == {("option", "block-size"): 32}
    assert said("MiniMaxAI/MiniMax-M2", R9700, catalog=catalog)["option", "block-size"] == 16


PLAIN = {"model_type": "qwen3", "head_dim": 128, "num_attention_heads": 32, "hidden_size": 4096}


@pytest.mark.parametrize(
    ("gfx", "change", "backend"),
    [
        ("gfx942", {}, "ROCM_AITER_FA"),
        ("gfx950", {"head_dim": None}, "ROCM_AITER_FA"),
        ("gfx90a", {}, None),
        ("gfx1201", {}, None),
        ("gfx942", {"head_dim": 80}, None),
        ("gfx942", {"kv_lora_rank": 512}, None),
        ("gfx942", {"model_type": "gemma4"}, None),
        ("gfx942", {"model_type": None}, None),
    ],
)
def test_the_backend_that_vllm_takes_only_when_asked(gfx: str, change: dict, backend: str | None) -> None:
    found = attention.preferred(CATALOG, gfx, {**PLAIN, **change}, "0.33.0")
    assert (found[0] if found else None) == backend


def test_a_key_that_a_release_forbids_is_left_out() -> None:
    """vLLM ends with a key of compilation-config that it does not have, whoever wrote it."""
    recipe = recipes.find(CATALOG, "inclusionAI/Ring-1T-FP8")
    assert recipe is not None
    found = {setting.name: setting for setting in recipes.settings(recipe, MI355X, "0.33.0")}
    assert found["compilation-config"].kind == "left_out"
    assert "vLLM 0.33.0 does not know use_inductor in it" in found["compilation-config"].reason
    kept = said("openai/gpt-oss-120b", MI300X)
    assert ("option", "compilation-config") in kept


@pytest.mark.parametrize("model", CATALOG.vllm["recipes"])
@pytest.mark.parametrize("gpu", [MI300X, MI355X, R9700])
def test_no_setting_that_vllm_refuses_is_taken(model: str, gpu: Gpu) -> None:
    recipe = recipes.find(CATALOG, model)
    assert recipe is not None
    for setting in recipes.settings(recipe, gpu, "0.33.0"):
        if setting.kind == "option":
            assert history.option_refuses(CATALOG, setting.name, setting.value, "0.33.0") is None, setting
            known = history.keys(CATALOG, setting.name, "0.33.0")
            assert not known or not isinstance(setting.value, dict) or set(setting.value) <= set(known), (
                setting
            )
