# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes in the plan: found by name, folder or base model; beneath the inventory and above the profile."""

from __future__ import annotations

import pytest
from plans import said

QWEN3 = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "hidden_size": 4096, "vocab_size": 151936, "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}  # fmt: skip
TOOLS = {"enable-auto-tool-choice": True}


@pytest.fixture
def serve(make_plan):
    """serve(model, host, **instance) -> the server, and the plan."""

    def make(model: str, host: str = "mi300x-8", change=None, catalog=None, **instance) -> tuple[dict, dict]:
        wanted = {"name": "chat", "model": model, **instance}
        plan = make_plan(
            host, change, serve_instances=[wanted], **({"plan_catalog": catalog} if catalog else {})
        )
        return plan["serve"]["instances"][0], plan

    return make


def reason(plan: dict, value: str) -> tuple[str, str]:
    """Reason and source of a setting."""
    return next((each["reason"], each["source"]) for each in plan["settings"] if each["value"] == value)


def test_a_vision_encoder_is_kept_whole_as_the_recipe_says(serve, ids):
    server, plan = serve("zai-org/GLM-4.5V", model_config={
        "model_type": "glm4v_moe", "vision_config": {"num_heads": 12},
        "text_config": {"model_type": "glm4v_moe_text", "num_hidden_layers": 46, "num_attention_heads": 96, "num_key_value_heads": 8,
                        "head_dim": 128, "hidden_size": 4096, "vocab_size": 151552},
    })  # fmt: skip
    assert (
        server["options"]["mm-encoder-tp-mode"] == "data" and server["options"]["tensor-parallel-size"] == 8
    )
    assert ids(plan) == [] and "allowed-local-media-path" not in server["options"]
    why, source = reason(plan, "mm-encoder-tp-mode=data")
    assert "recipe of zai-org/GLM-4.5V" in why and "GLM-4.5V" in source
    assert len(said(plan, "vllm.remote_code")) == 1 and "trust-remote-code" not in server["options"]
    for decided in (True, False):
        assert (
            said(serve("zai-org/GLM-4.5V", options={"trust-remote-code": decided})[1], "vllm.remote_code")
            == []
        )


def test_a_model_that_does_not_run_on_a_gpu_is_refused(serve, ids):
    server, plan = serve("deepseek-ai/DeepSeek-V4-Pro")
    assert "vllm.recipe" in ids(plan) and "MI300X" in said(plan, "vllm.recipe")[0]
    assert "vllm.recipe" not in ids(serve("deepseek-ai/DeepSeek-V4-Pro", recipe="none")[1])
    assert "vllm.recipe" not in ids(serve("deepseek-ai/DeepSeek-V4-Pro", "mi355x-8")[1])


def test_width_backend_and_environment_of_a_recipe(serve):
    server, plan = serve("MiniMaxAI/MiniMax-M2")
    assert server["options"]["tensor-parallel-size"] == 2
    assert server["options"]["attention-backend"] == "ROCM_AITER_FA"
    assert server["environment"]["VLLM_ROCM_SHUFFLE_KV_CACHE_LAYOUT"] == "1"
    server, _plan = serve("MiniMaxAI/MiniMax-M2", options={"data-parallel-size": 4})
    assert server["options"]["tensor-parallel-size"] == 2, "what is left beside the replicas"
    server, _plan = serve("MiniMaxAI/MiniMax-M3")
    assert server["options"]["block-size"] == 128


def test_the_inventory_beats_the_recipe_and_the_recipe_the_profile(serve):
    asked = {"tensor-parallel-size": 4, "attention-backend": "TRITON_ATTN"}
    server, plan = serve(
        "MiniMaxAI/MiniMax-M2", options=asked, environment={"VLLM_ROCM_SHUFFLE_KV_CACHE_LAYOUT": "0"}
    )
    assert asked.items() <= server["options"].items()
    assert server["environment"]["VLLM_ROCM_SHUFFLE_KV_CACHE_LAYOUT"] == "0"
    assert reason(plan, "attention-backend=TRITON_ATTN")[0] == "asked for"
    # The profile of MI300X switches AITER on, this recipe off.
    assert serve("Qwen/Qwen3-8B")[0]["environment"]["VLLM_ROCM_USE_AITER"] == "1"
    assert serve("XiaomiMiMo/MiMo-V2-Flash")[0]["environment"]["VLLM_ROCM_USE_AITER"] == "0"
    assert serve("XiaomiMiMo/MiMo-V2-Flash", recipe="none")[0]["environment"]["VLLM_ROCM_USE_AITER"] == "1"


def test_what_was_tried_on_instinct_is_not_set_on_a_radeon(serve):
    server, plan = serve("openai/gpt-oss-120b", "rx9070xt")
    assert (
        "attention-backend" not in server["options"] and server["environment"]["VLLM_ROCM_USE_AITER"] == "0"
    )
    assert any(
        each["setting"] == "chat recipe" and "attention-backend" in each["value"] for each in plan["settings"]
    )


@pytest.mark.parametrize(
    ("model", "tool", "reasoning"),
    [
        ("zai-org/GLM-4.7-Flash", "glm47", "glm47"),
        ("MiniMaxAI/MiniMax-M2", "minimax_m2", "minimax_m2"),
        ("Qwen/Qwen3-8B", "hermes", "qwen3"),
        ("somebody/Qwen3-8B-finetune", None, None),
    ],
)
def test_parsers_where_tools_are_wanted(serve, ids, model, tool, reasoning):
    server, plan = serve(model, gpus=[0, 1], options=TOOLS)
    assert server["options"].get("tool-call-parser") == tool
    assert server["options"].get("reasoning-parser") == reasoning
    assert ("vllm.refused" in ids(plan)) == (tool is None)
    server, plan = serve(model, gpus=[0, 1])
    assert "tool-call-parser" not in server["options"] and "reasoning-parser" not in server["options"]
    if tool:
        assert "enable-auto-tool-choice" in reason(plan, f"not tool-call-parser={tool}")[0]


@pytest.mark.parametrize(
    ("model", "parser", "option", "file"),
    [
        (
            "deepseek-ai/DeepSeek-R1",
            "deepseek_v3",
            "chat-template",
            "examples/tool_chat_template_deepseekr1.jinja",
        ),
        (
            "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
            "qwen3_coder",
            "reasoning-parser-plugin",
            "nano_v3_reasoning_parser.py",
        ),
    ],
)
def test_a_file_where_the_author_of_a_recipe_worked_is_told_and_not_set(serve, model, parser, option, file):
    server, plan = serve(model, options=TOOLS)
    assert server["options"]["tool-call-parser"] == parser and option not in server["options"]
    assert "Put it on the host and give its path" in reason(plan, f"not {option}={file}")[0]


def test_a_parser_that_is_asked_for_stays(serve):
    server, _plan = serve("Qwen/Qwen3-8B", options={**TOOLS, "tool-call-parser": "qwen3_coder"})
    assert server["options"]["tool-call-parser"] == "qwen3_coder"


def folder(path: str, base: list[str]):
    def change(_gpus, rocm):
        rocm["paths"][path] = {
            "exists": True,
            "directory": True,
            "model": True,
            "model_type": "minimax_m2",
            "base": base,
        }

    return change


@pytest.mark.parametrize(
    ("path", "base", "width"),
    [
        # A folder that is named after its model is the model.
        ("/srv/models/MiniMaxAI/MiniMax-M2", [], 2),
        # Another checkpoint of it needs what its architecture needs, and a width of its own.
        ("/srv/models/mine", ["MiniMaxAI/MiniMax-M2"], 8),
        ("/srv/models/mine", ["somebody/else", "minimaxai/minimax-m2"], 8),
    ],
)
def test_a_folder_finds_the_recipe_of_its_model(serve, path, base, width):
    server, plan = serve(path, change=folder(path, base))
    assert server["options"]["attention-backend"] == "ROCM_AITER_FA"
    assert server["options"]["tensor-parallel-size"] == width


def test_a_recipe_by_name(serve, ids):
    server, _plan = serve("/srv/models/mine", recipe="MiniMaxAI/MiniMax-M3")
    assert server["options"]["block-size"] == 128
    plan = serve("/srv/models/mine", recipe="MiniMaxAI/MiniMax-M33")[1]
    assert ids(plan) == ["vllm.recipe"] and "MiniMax-M33" in said(plan, "vllm.recipe")[0]


def test_a_recipe_that_the_inventory_adds(serve):
    own = {
        "min": None,
        "context_length": None,
        "hardware": [],
        "environment": {},
        "options": {"block-size": 64},
    }
    recipes = {"own/model": {**own, "source": "our wiki", "date": "2026-11-28"}}
    server, plan = serve("own/model", catalog={"vllm": {"recipes": recipes}})
    assert server["options"]["block-size"] == 64 and reason(plan, "block-size=64") == (
        "recipe of own/model",
        "our wiki",
    )


def test_a_release_that_is_too_old_for_a_model(make_plan, ids):
    plan = make_plan(
        "mi300x-8", serve_instances=[{"name": "chat", "model": "MiniMaxAI/MiniMax-M3"}], vllm_version="0.23.0"
    )
    assert "vllm.recipe" in ids(plan) and "0.24.0 or newer" in said(plan, "vllm.recipe")[0]


@pytest.mark.parametrize(
    ("host", "change", "options", "backend"),
    [
        ("mi300x-8", {}, {}, "ROCM_AITER_FA"),
        ("mi355x-8", {}, {}, "ROCM_AITER_FA"),
        ("rx9070xt", {}, {}, None),
        ("mi300x-8", {"head_dim": 80}, {}, None),
        ("mi300x-8", {}, {"attention-backend": "TRITON_ATTN"}, "TRITON_ATTN"),
        ("mi300x-8", {}, {"block-size": 64}, None),
        ("mi300x-8", {}, {"runner": "pooling"}, None),
        ("mi300x-8", {"kv_lora_rank": 512, "model_type": "deepseek_v3"}, {}, None),
        ("mi300x-8", {"architectures": ["Qwen3ForSequenceClassification"]}, {}, None),
        ("mi300x-8", {"is_encoder_decoder": True}, {}, None),
    ],
)
def test_the_backend_that_amd_recommends_is_asked_for(serve, host, change, options, backend):
    server, _plan = serve("own/model", host, model_config={**QWEN3, **change}, gpus=[0], options=options)
    assert server["options"].get("attention-backend") == backend


def test_a_backend_needs_aiter(serve):
    off = {"VLLM_ROCM_USE_AITER": "0"}
    server, _plan = serve("own/model", model_config=QWEN3, gpus=[0], environment=off)
    assert "attention-backend" not in server["options"]
