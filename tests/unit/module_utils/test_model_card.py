# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model folder says of itself: Mistral's format, adapters, base models, the class that serves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model, _model_card
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

FOLDER = "/srv/model"
LLAMA = {"model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}
PARAMS = {
    "dim": 5120, "n_layers": 40, "head_dim": 128, "hidden_dim": 32768, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 131072,
    "max_seq_len": 131072,
}  # fmt: skip


@pytest.fixture
def read(tmp_path: Path):
    def make(files: dict[str, int | str]) -> dict:
        folder = tmp_path / FOLDER.lstrip("/")
        folder.mkdir(parents=True)
        for name, content in files.items():
            data = bytes(content) if isinstance(content, int) else content.encode()
            (folder / name).write_bytes(data)
        return _model.paths(Tree(str(tmp_path)), [FOLDER])[FOLDER]

    return make


def test_a_folder_in_the_format_of_mistral(read):
    found = read(
        {
            "params.json": json.dumps(PARAMS),
            "tekken.json": "{}",
            "consolidated-00001-of-00001.safetensors": 16,
        }
    )
    assert found["model"] and found["weights_bytes"] == 16
    shape = found["shape"]
    assert (shape["layers"], shape["heads"], shape["kv_heads"], shape["head_dim"]) == (40, 32, 8, 128)
    # vLLM takes the smaller one of max_seq_len (131072) and max_position_embeddings, which is 128000 where nothing names it.
    assert (shape["context"], shape["vocabulary"], shape["attention"]) == (128000, 131072, {"full": 40})
    assert found["model_type"] == "mistral"


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"max_seq_len": None}, "context", 128000),
        ({"max_position_embeddings": 131072}, "context", 131072),
        ({"max_seq_len": 32768}, "context", 32768),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, "type", "deepseek_v3"),
        ({"moe": {"num_experts": 8, "expert_hidden_dim": 14336}}, "experts", 8),
        ({"sliding_window": [4096, None]}, "attention", {"full": 20, "sliding": 20}),
        ({"sliding_window": [4096, None, None, None]}, "window", 4096),
        ({"sliding_window": 4096}, "attention", {"sliding": 40}),
        ({"vision_encoder": {"num_attention_heads": 16}}, "vision_heads", 16),
        ({"quantization": {"qformat_weight": "fp8_e4m3"}}, "type", "mistral"),
        ({"n_layers": "40"}, None, None),
        ({"sliding_window": ["x"], "moe": 7, "quantization": 3}, "layers", 40),
    ],
)
def test_numbers_of_params_json(change, name, value):
    shape = _model.shape(_model_card.of_mistral({**PARAMS, **change}))
    assert (shape or {}).get(name) == value


def test_config_json_comes_first(read):
    found = read(
        {"config.json": json.dumps(LLAMA), "params.json": json.dumps(PARAMS), "model.safetensors": 16}
    )
    assert found["model_type"] == "llama" and found["shape"]["layers"] == 32


def test_an_adapter_is_whole_with_its_own_configuration(read):
    found = read({"adapter_config.json": '{"r": 16}', "adapter_model.bin": 16})
    assert found["model"] and found["missing"] is None and found["shape"] is None


@pytest.mark.parametrize(
    ("card", "hint", "bases"),
    [
        ("---\nbase_model: Qwen/Qwen3-8B\nlicense: mit\n---\ntext", None, ["Qwen/Qwen3-8B"]),
        (
            "---\nbase_model:\n- Qwen/Qwen3-8B\n- own/other\n---\n",
            "own/first",
            ["own/first", "Qwen/Qwen3-8B", "own/other"],
        ),
        ("---\nlicense: mit\n---\nbase_model: Qwen/Qwen3-8B\n", None, []),
        ("no lines for programs\nbase_model: Qwen/Qwen3-8B", None, []),
        ("---\nbase_model: '../../etc/passwd'\n---\n", "/srv/checkpoints/last", []),
        ('---\nbase_model: "Qwen/Qwen3-8B"\n---\n', 7, ["Qwen/Qwen3-8B"]),
    ],
)
def test_the_models_that_one_comes_from(read, card, hint, bases):
    assert (
        read({"config.json": json.dumps({**LLAMA, "_name_or_path": hint}), "README.md": card})["base"]
        == bases
    )


@pytest.mark.parametrize(
    ("architectures", "found"),
    [
        (["LlamaForCausalLM", "x"], "LlamaForCausalLM"),
        ([], None),
        ("LlamaForCausalLM", None),
        ([7], None),
        (["x" * 65], None),
    ],
)
def test_the_class_that_serves_it(read, architectures, found):
    assert (
        read({"config.json": json.dumps({**LLAMA, "architectures": architectures})})["architecture"] == found
    )
