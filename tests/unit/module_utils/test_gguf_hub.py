# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a repository are one quantization."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf_hub
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_store import StoreError

MANY = [
    *("Qwen3-8B-Q2_K.gguf", "Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-UD-Q4_K_XL.gguf", "Qwen3-8B-Q8_0.gguf"),
    *(f"BF16/Qwen3-8B-BF16-{at:05}-of-00003.gguf" for at in (1, 2, 3)),
    *("mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"),
    *("imatrix_unsloth.gguf", "mtp-Qwen3-8B-Q8_0.gguf", "README.md", "config.json"),
]


def choose(asked: str, *names: str) -> _gguf_hub.Files:
    return _gguf_hub.choose("a/b", [{"path": name, "size": 1} for name in names], asked)


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("Q4_K_M", ["Qwen3-8B-Q4_K_M.gguf"]),
        ("q4_k_m", ["Qwen3-8B-Q4_K_M.gguf"]),
        # The dynamic one of a publisher, where there is no other of its name.
        ("Q4_K_XL", ["Qwen3-8B-UD-Q4_K_XL.gguf"]),
        ("UD-Q4_K_XL", ["Qwen3-8B-UD-Q4_K_XL.gguf"]),
        ("BF16", [f"BF16/Qwen3-8B-BF16-{at:05}-of-00003.gguf" for at in (1, 2, 3)]),
        ("Qwen3-8B-Q2_K.gguf", ["Qwen3-8B-Q2_K.gguf"]),
        ("mtp-Qwen3-8B-Q8_0.gguf", ["mtp-Qwen3-8B-Q8_0.gguf"]),
        ("", ["Qwen3-8B-Q4_K_M.gguf"]),
    ],
)
def test_a_quantization_is_its_files_and_the_most_exact_projector(asked, model):
    found = choose(asked, *MANY)
    assert found.model == model
    assert found.projector == "mmproj-F16.gguf"
    assert sorted(entry["path"] for entry in found.entries) == sorted([*model, "mmproj-F16.gguf"])


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model_iq2_xxs.gguf", "IQ2_XXS"),
        ("x-f16.gguf", "F16"),
        ("UD-IQ1_S/big-00001-of-00004.gguf", "UD-IQ1_S"),
        ("Qwen2-Q-7B.gguf", ""),
    ],
)
def test_names_of_quantizations(name, quantization):
    assert _gguf_hub.quantization_of(name) == quantization


def test_the_only_model_needs_no_name():
    assert choose("", "model.gguf", "README.md").all == ["model.gguf"]
    assert choose("", "a-Q2_K.gguf", "a-Q8_0.gguf").all == ["a-Q8_0.gguf"]


def test_a_projector_of_another_model_is_left_alone():
    names = ["x/a-Q4_0.gguf", "y/mmproj-F16.gguf", "x/mmproj-Q8_0.gguf", "mmproj-F16.gguf"]
    assert choose("Q4_0", *names).projector == "x/mmproj-Q8_0.gguf"


@pytest.mark.parametrize(
    ("asked", "names", "said"),
    [
        (
            "Q5_K_M",
            MANY,
            "a/b has no Q5_K_M: there is BF16, Q2_K, Q4_K_M, Q8_0, UD-Q4_K_XL. Set model to one",
        ),
        ("", ["a-Q2_K.gguf", "a-Q3_K_S.gguf"], "has more than one model: there is Q2_K, Q3_K_S."),
        ("Q4_0", ["a-Q4_0.gguf", "b-Q4_0.gguf"], "has more than one model of Q4_0: there is a-Q4_0.gguf, b-"),
        ("Q4_0", ["config.json", "model.safetensors"], "no GGUF file of a model. Set model to a repository"),
        ("Q4_0", ["mmproj-F16.gguf"], "no GGUF file of a model"),
        ("Q4_0", ["a-Q4_0-00001-of-00002.gguf"], "lacks a-Q4_0-00002-of-00002.gguf"),
        ("Q4_0", ["a-Q4_0-00002-of-00002.gguf"], "lacks a-Q4_0-00001-of-00002.gguf"),
        ("Q4_0", ["a-Q4_0-00001-of-99999.gguf"], "lacks a-Q4_0-00002-of-99999.gguf"),
        ("Q4_0", ["--local-dir=Q4_0.gguf"], "a/b has a file '--local-dir=Q4_0.gguf'"),
        ("Q4_0", ["../../etc/a-Q4_0.gguf"], "a/b has a file '../../etc/a-Q4_0.gguf'"),
        ("Q4_0", ["/etc/a-Q4_0.gguf"], "a/b has a file '/etc/a-Q4_0.gguf'"),
        ("Q4_0", ["a\nb-Q4_0.gguf"], "a/b has a file"),
    ],
)
def test_what_cannot_be_chosen_is_said_in_one_sentence_with_what_there_is(asked, names, said):
    with pytest.raises(StoreError) as caught:
        choose(asked, *names)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("listing", [None, {"error": 1}, [1], [{"name": "x"}]])
def test_a_hub_that_answers_nonsense(listing):
    with pytest.raises(StoreError, match="not a list of files"):
        _gguf_hub.choose("a/b", listing, "Q4_0")
