# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed under a name that can change, what a client can have fetched, and the bill of materials."""

from __future__ import annotations

import pytest
from plans import hub, said

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import deployed, run
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.record import of_host

LOCAL = {"name": "a", "model": "/srv/models/m"}
DIGEST = "sha256:" + "1" * 64
NOW = run.Run("1", "2026-11-28T00:00:00Z", "", "", "", False, [])


def podman(digests: dict | None = None):
    def change(_gpus: dict, rocm: dict) -> None:
        facts = {"version": "5.4.2", "quadlet": "5.4", "init": True, "images": list(digests or {})}
        rocm["podman"] = {**rocm["podman"], **facts, "image_digests": digests or {}}

    return change


def test_an_image_by_its_tag_alone_is_told(make_plan):
    (sentence,) = said(make_plan("mi300x-8", podman(), serve_instances=[LOCAL]), "serve.unpinned")
    assert "docker.io/vllm/vllm-openai-rocm:v" in sentence and "Set vllm_image_digest" in sentence
    image = "registry.example/vllm:1"
    plan = make_plan("mi300x-8", podman({image: [DIGEST]}), serve_instances=[LOCAL], vllm_image=image)
    assert DIGEST in said(plan, "serve.unpinned")[0]


@pytest.mark.parametrize(
    "wants",
    [
        {"vllm_image": "registry.example/vllm:1", "vllm_image_digest": DIGEST},
        {"vllm_image": "localhost/vllm:1"},
        {"serve_kind": "venv", "vllm_packages": [f"vllm @ https://x.example/vllm.whl#sha256={'0' * 64}"]},
    ],
)
def test_what_cannot_change_is_not(make_plan, wants):
    assert said(make_plan("mi300x-8", podman(), serve_instances=[LOCAL], **wants), "serve.unpinned") == []


def test_wheels_without_a_hash_and_models_by_branch_are_told(make_plan):
    (sentence,) = said(make_plan("mi300x-8", serve_instances=[LOCAL], serve_kind="venv"), "serve.unpinned")
    assert "vllm==" in sentence and "wheels by hash" in sentence
    entry = {"name": "a", "model": "Qwen/Qwen3-8B"}

    def found(revision: str) -> list[str]:
        sources = [{"model": "Qwen/Qwen3-8B", "revision": revision}]
        nothing = {"exists": False, "directory": False, "model": False}

        def change(_gpus: dict, rocm: dict) -> None:
            rocm["paths"] = dict.fromkeys(
                ("Qwen/Qwen3-8B", "/var/lib/amdgpu-fleet/models/Qwen/Qwen3-8B"), nothing
            )

        plan = make_plan(
            "mi300x-8", change, serve_instances=[entry], model_sources=sources, serve_kind="venv"
        )
        return [text for text in said(plan, "serve.unpinned") if "Qwen" in text]

    assert "a commit of 40 digits" in found("main")[0] and found("b" * 40) == []


SEES = {
    "num_hidden_layers": 2, "num_attention_heads": 8, "hidden_size": 64, "architectures": ["LlavaForConditionalGeneration"],
    "vision_config": {"num_attention_heads": 8},
}  # fmt: skip
BLIND = {key: value for key, value in SEES.items() if key != "vision_config"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "no allowed-media-domains"),
        ({"options": {"allowed-media-domains": ["a.example"]}}, "redirects"),
        ({"options": {"allowed-media-domains": ["a.example"]}, "environment": {"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0"}}, ""),
        ({"host": "127.0.0.1"}, ""),
        ({"host": "127.0.0.1", "options": {"allowed-local-media-path": "/"}}, "allowed-local-media-path"),
        ({"host": "127.0.0.1", "options": {"allowed-local-media-path": "/srv/media"}}, ""),
    ],
)  # fmt: skip
def test_what_a_client_can_have_fetched(make_plan, more, words):
    entry = {**hub("/srv/models/m", SEES), "host": "0.0.0.0", "environment": {}, **more}
    found = said(make_plan("mi300x-8", serve_instances=[entry], serve_kind="venv"), "vllm.media")
    assert (words in found[0]) if words else found == []
    blind = {**entry, "model_config": BLIND, "options": {}}
    assert said(make_plan("mi300x-8", serve_instances=[blind], serve_kind="venv"), "vllm.media") == []


def test_the_bill_of_materials(make_plan, read_facts):
    image = "registry.example/vllm:1"
    plan = make_plan("mi300x-8", podman({image: [DIGEST]}), serve_instances=[LOCAL], vllm_image=image)
    facts = read_facts("mi300x-8")
    system = {**facts["amd_host"], "podman": {"image_digests": {image: [DIGEST]}}}
    variables = {"plan_host": plan, "ansible_facts": {**facts, "amd_host": system}}
    parts = of_host("mi300x-8", variables, NOW)["deployed"]
    assert {
        "kind": "image",
        "name": image,
        "version": plan["serve"]["instances"][0]["version"],
        "digest": DIGEST,
        "place": "",
    } in parts
    packages = {part["name"]: part["version"] for part in parts if part["kind"] == "package"}
    assert packages and packages == system["packages"]


def test_wheels_are_kept_from_the_run_that_installed_them(make_plan):
    plan = make_plan("mi300x-8", serve_instances=[LOCAL], serve_kind="venv")
    named = deployed.components(plan, {}, None, [])
    assert [part["name"] for part in named] == ["vllm"]
    frozen = ["vllm==0.33.0", "torch==2.13.0", "local @ file:///srv/x.whl"]
    after = deployed.components(plan, {}, frozen, [])
    assert {(part["name"], part["version"]) for part in after} == {
        ("vllm", "0.33.0"), ("torch", "2.13.0"), ("local @ file:///srv/x.whl", ""),
    }  # fmt: skip
    assert deployed.components(plan, {}, None, after) == after
    other = [{**part, "place": "/opt/vllm/other"} for part in after]
    assert deployed.components(plan, {}, None, other) == named


def test_findings_are_of_the_catalog():
    known = Catalog().known_issues
    assert known["serve.unpinned"]["severity"] == "ok" and known["vllm.media"]["severity"] == "warn"
