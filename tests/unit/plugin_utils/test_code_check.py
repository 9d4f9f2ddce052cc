# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines without code for the GPUs of a host are refused; where nobody knows, the plan says so."""

from __future__ import annotations

import pytest
from plans import hub, said

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import engines
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog

TINY = {"model_type": "qwen3", "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 256, "max_position_embeddings": 4096}  # fmt: skip
OWN = "registry.example.net/vllm:0.33.0"


def code(*targets: str, complete: bool = True, required: bool = True) -> dict:
    return {
        "complete": complete,
        "reasons": [] if complete else ["opt/x.so: is compressed with zstd"],
        "libraries": 1,
        "nvidia": 0,
        "sets": [{"targets": list(targets), "count": 1, "names": ["opt/vllm/_rocm_C.abi3.so"]}],
        "required": [{"path": "opt/vllm/_rocm_C.abi3.so", "targets": list(targets), "unread": None}]
        if required
        else [],
    }


@pytest.fixture
def plan_with(make_plan):
    def plan_with(host: str, known: dict | None, present: bool = True, **wants):
        def change(_gpus, rocm):
            rocm["podman"] = {**rocm["podman"], "version": "5.4.2", "quadlet": "5.4",
                              "images": [OWN] if present else [], "image_digests": {OWN: []} if present else {}}  # fmt: skip
            if known:
                rocm["code_objects"] = {OWN: known}

        return make_plan(host, change, vllm_image=OWN, serve_instances=[hub("tiny", TINY)], **wants)

    return plan_with


def reasons(plan: dict) -> list[str]:
    return [each["reason"] for each in plan["settings"] if each["setting"].startswith("vLLM code for")]


def test_an_image_without_the_code_is_refused_before_anything_is_touched(plan_with):
    (sentence,) = said(plan_with("strix-halo-128", code("gfx942", "gfx1201")), "serve.code_objects")
    assert (
        f"seen {OWN} without code for gfx1151: opt/vllm/_rocm_C.abi3.so has code for gfx942, gfx1201"
        in sentence
    )
    assert "Take docker.io/vllm/vllm-openai-rocm:v0.33.0-rocm100" in sentence
    assert sentence.endswith("correct vllm_image, vllm_image_digest, vllm_image_archive or plan_mirror.")


@pytest.mark.parametrize(
    ("target", "how"), [("gfx1151", "gfx1151 (exact)"), ("gfx11-generic", "gfx11-generic (generic)")]
)
def test_an_image_with_the_code_says_how(plan_with, target, how):
    plan = plan_with("strix-halo-128", code("gfx942", target))
    assert said(plan, "serve.code_objects") == []
    assert reasons(plan) == [f"{OWN} has code for it: {how}"]


@pytest.mark.parametrize(
    ("present", "known", "reason"),
    [
        (False, None, "it is looked at when it was fetched, before it serves"),
        (False, code("gfx942"), "it is looked at when it was fetched"),
        (True, None, f"not known whether {OWN} has code for it: it is looked at before it serves"),
        (True, code("gfx942", complete=False, required=False), "is compressed with zstd"),
    ],
)
def test_where_nobody_knows_nothing_is_refused(plan_with, present, known, reason):
    plan = plan_with("strix-halo-128", known, present)
    assert said(plan, "serve.code_objects") == []
    assert len(reasons(plan)) == 1
    assert reason in reasons(plan)[0]


def test_code_for_another_setting_of_xnack_is_refused(plan_with):
    (sentence,) = said(plan_with("mi300x-8", code("gfx942:xnack+")), "serve.code_objects")
    assert "has code for gfx942:xnack+" in sentence
    plan = plan_with("mi300x-8", code("gfx942:xnack+"), vllm_environment={"HSA_XNACK": "1"})
    assert said(plan, "serve.code_objects") == []


def test_an_inventory_can_accept_it(plan_with):
    plan = plan_with("strix-halo-128", code("gfx942"), plan_accept=["serve.code_objects"])
    assert [each["severity"] for each in plan["findings"] if each["id"] == "serve.code_objects"] == ["warn"]
    assert plan["serve"]["installs"][0]["code"]["refuse"] is False


def test_what_is_installed_is_told_what_it_must_have(plan_with):
    (install,) = plan_with("mi300x-8", None, present=False)["serve"]["installs"]
    assert install["code"]["gfx"] == ["gfx942"]
    assert "*/vllm/_rocm_C.*so" in install["code"]["required"]
    assert (install["code"]["refuse"], install["code"]["user"]) == (True, "")


@pytest.mark.parametrize("known", [None, code("gfx942")])
def test_what_is_there_is_looked_at_once(plan_with, known):
    (install,) = plan_with("mi300x-8", known)["serve"]["installs"]
    assert install["code"]["known"] is (known is not None)


def test_an_inventory_says_which_libraries_are_needed(plan_with):
    catalog = {"vllm": {"libraries": {"paths": ["*/mine/_C.so"]}}}
    (install,) = plan_with("mi300x-8", None, plan_catalog=catalog)["serve"]["installs"]
    assert install["code"]["required"] == ["*/mine/_C.so"]


def test_nobody_asks_a_build_for_the_cpu(plan_with):
    plan = plan_with("mi300x-8", code("gfx90a"), serve_accelerator="cpu")
    assert said(plan, "serve.code_objects") == []
    assert plan["serve"]["installs"][0]["code"] is None


@pytest.mark.parametrize(
    ("engine", "gfx", "images"),
    [
        ("vllm", "gfx942", ["docker.io/vllm/vllm-openai-rocm:v0.33.0-rocm100"]),
        ("vllm", "gfx1103", []),
        (
            "llama_cpp",
            "gfx1103",
            ["ghcr.io/ggml-org/llama.cpp:server-rocm", "ghcr.io/ggml-org/llama.cpp:server-vulkan"],
        ),
        ("llama_cpp", "gfx906", ["ghcr.io/ggml-org/llama.cpp:server-vulkan"]),
    ],
)
def test_images_that_have_the_code(engine, gfx, images):
    found = engines.ENGINES[engine].images_for(Catalog(), gfx)
    assert found[: len(images)] == images
    assert images or not any("vllm-openai" in each for each in found)
