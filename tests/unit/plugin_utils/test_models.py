# SPDX-License-Identifier: GPL-3.0-or-later
"""Where models, images and packages come from: the plan's section `model`, the mirror, digests."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import model as models
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import normalize
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence

DIRECTORY = "/var/lib/amdgpu-fleet/models"
SHA256 = "ab" * 32
WHOLE = {"exists": True, "directory": True, "model": True, "missing": None, "checked_by": None}
MIRROR = {
    "url": "http://mirror/",
    "registry": "mirror:5000",
    "pip_index": "http://mirror/simple",
    "hub": "http://mirror/hub",
}


def chat(model: str, **more) -> dict:
    return {"name": "chat", "model": model, **more}


@pytest.fixture
def plan_with(make_plan):
    """plan_with({path: facts}, ...) -> the plan of a host on which these paths are as they say, and no
    others."""

    def make(there=None, host="mi300x-8", podman=None, **wants):
        def change(_gpus, rocm):
            rocm["podman"].update(podman or {})
            rocm["paths"] = type("Paths", (dict,), {"setdefault": lambda *_: None})(there or {})

        return make_plan(host, change, **wants)

    return make


def test_a_name_on_the_hub_is_fetched_and_served_from_its_folder(plan_with, ids):
    plan = plan_with(serve_instances=[chat("Qwen/Qwen3-8B")])
    [fetch] = plan["model"]["fetch"]
    assert (fetch["kind"], fetch["path"], plan["model"]["change"]) == (
        "hub",
        f"{DIRECTORY}/Qwen/Qwen3-8B",
        True,
    )
    instance = plan["serve"]["instances"][0]
    assert (instance["model"], instance["served_name"]) == (f"{DIRECTORY}/Qwen/Qwen3-8B", "Qwen3-8B")
    assert ids(plan) == []


def test_a_host_that_has_its_models_has_nothing_to_do(plan_with):
    assert not plan_with({f"{DIRECTORY}/Qwen/Qwen3-8B": WHOLE}, serve_instances=[chat("Qwen/Qwen3-8B")])[
        "model"
    ]["change"]
    part = {**WHOLE, "missing": "the end of model.safetensors"}
    assert plan_with({f"{DIRECTORY}/Qwen/Qwen3-8B": part}, serve_instances=[chat("Qwen/Qwen3-8B")])["model"][
        "change"
    ]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ({"revision": "31c69ef"}, f"{DIRECTORY}/Qwen/Qwen3-8B@31c69ef"),
        ({"archive": "/media/q.tar", "sha256": SHA256}, f"{DIRECTORY}/Qwen/Qwen3-8B@abababababab"),
    ],
)
def test_another_revision_is_another_folder(plan_with, ids, source, path):
    """So that an upgrade fetches it beside the one that serves, and can go back to that."""
    name = "Qwen/Qwen3-8B"
    plan = plan_with(
        {"/media/q.tar": {"exists": True}},
        serve_instances=[chat(name)],
        model_sources=[{"model": name, **source}],
    )
    assert (
        plan["serve"]["instances"][0]["model"] == path
        and plan["serve"]["instances"][0]["served_name"] == "Qwen3-8B"
    )
    assert ids(plan) == []


def test_two_instances_of_one_model_fetch_it_once_and_a_drafter_is_fetched_too(plan_with):
    plan = plan_with(
        serve_instances=[chat("a/b", gpus=[0]), {"name": "two", "model": "a/b", "port": 8001, "gpus": [1]}],
        model_sources=[{"model": "a/draft"}],
    )
    assert [entry["model"] for entry in plan["model"]["fetch"]] == ["a/draft", "a/b"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "/srv/m, which does not exist"),
        ({"exists": True, "model": False}, "/srv/m, which has no config.json"),
        (
            {**WHOLE, "missing": "b.safetensors of the index"},
            "/srv/m, which lacks b.safetensors of the index",
        ),
    ],
)
def test_a_path_that_is_no_whole_model(plan_with, ids, facts, said):
    plan = plan_with({"/srv/m": facts} if facts else {}, serve_instances=[chat("/srv/m")])
    assert (
        ids(plan) == ["serve.model"] and said in sentence(plan["findings"][0]) and not plan["model"]["change"]
    )


def test_weights_that_are_made_up_or_of_another_kind(plan_with, ids):
    facts = {"/srv/m": {**WHOLE, "missing": "the weights"}}
    assert ids(plan_with(facts, serve_instances=[chat("/srv/m", options={"load-format": "dummy"})])) == []
    assert ids(plan_with(facts, serve_instances=[chat("/srv/m", options={"load-format": "auto"})])) == [
        "serve.model"
    ]


def test_an_archive_that_is_not_there(plan_with, ids):
    source = {"model": "tiny", "archive": "/media/t.tar", "sha256": SHA256}
    plan = plan_with(serve_instances=[chat("tiny")], model_sources=[source])
    assert ids(plan) == ["serve.model"] and "/media/t.tar, which does not exist" in sentence(
        plan["findings"][0]
    )
    # Once it was unpacked nobody needs it any more.
    path = f"{DIRECTORY}/tiny@abababababab"
    assert ids(plan_with({path: WHOLE}, serve_instances=[chat("tiny")], model_sources=[source])) == []


def test_a_manifest_is_checked_until_it_was(plan_with):
    wants = {"serve_instances": [chat("/srv/m")], "model_sources": [{"model": "/srv/m", "manifest": "SUMS"}]}
    assert plan_with({"/srv/m": WHOLE}, **wants)["model"]["change"]
    assert not plan_with({"/srv/m": {**WHOLE, "checked_by": "SUMS"}}, **wants)["model"]["change"]


@pytest.mark.parametrize(("form", "weights"), [("auto", True), ("runai_streamer_sharded", False)])
def test_a_manifest_of_weights_in_a_format_of_their_own(plan_with, form, weights):
    source = {"model": "/srv/m", "manifest": "SUMS"}
    plan = plan_with(
        {"/srv/m": WHOLE},
        serve_instances=[chat("/srv/m", options={"load-format": form})],
        model_sources=[source],
    )
    assert [entry["weights"] for entry in plan["model"]["fetch"]] == [weights]


@pytest.mark.parametrize(
    "source",
    [
        {"model": "a/b", "archive": "/a.tar"},
        {"model": "a/b", "archive": "a.tar", "sha256": SHA256},
        {"model": "a/b", "archive": "/a.tar", "sha256": SHA256, "revision": "main"},
        {"model": "a/b", "revision": "refs/../x"},
        {"model": "/srv/m", "revision": "main"},
        {"model": "/srv/m", "archive": "/a.tar", "sha256": SHA256},
    ],
)
def test_a_source_that_does_not_fit(plan_with, ids, source):
    plan = plan_with(model_sources=[source])
    assert ids(plan) == ["inventory.variable"] and "model_sources: " in sentence(plan["findings"][0])


def test_a_model_that_stands_there_twice_and_a_folder_that_cannot_be(plan_with, ids):
    assert ids(plan_with(model_sources=[{"model": "a/b"}, {"model": "a/b"}])) == ["inventory.variable"]
    assert ids(plan_with(model_directory="/srv/my models")) == ["inventory.variable"]


def test_absent_takes_what_was_fetched_and_leaves_paths(plan_with):
    there = {f"{DIRECTORY}/a/b": WHOLE, "/srv/m": WHOLE}
    instances = [chat("a/b", gpus=[0]), {"name": "two", "model": "/srv/m", "port": 8001, "gpus": [1]}]
    plan = plan_with(
        there,
        serve_instances=instances,
        model_sources=[{"model": "c/d"}],
        model_state="absent",
        serve_state="absent",
    )
    assert (
        plan["model"]["remove"] == [f"{DIRECTORY}/a/b"]
        and plan["model"]["change"]
        and plan["model"]["fetch"] == []
    )
    assert not plan_with(there, serve_instances=instances, serve_state="absent")["model"]["change"]


def test_what_the_facts_are_asked_for():
    wants = normalize(
        {
            "serve_instances": [chat("a/b")],
            "model_sources": [{"model": "t", "archive": "/t.tar", "sha256": SHA256}],
            "model_tiktoken_directory": "/srv/encodings/",
        }
    )
    encodings = ["/srv/encodings/cl100k_base.tiktoken", "/srv/encodings/o200k_base.tiktoken"]
    assert models.questions(wants, Catalog()) == [
        *encodings,
        "/t.tar",
        *(f"{DIRECTORY}/{name}{mark}" for name in ("a/b", "t@abababababab") for mark in ("", ".partial")),
    ]


def test_one_switch_leads_everything_to_the_mirror(plan_with, ids):
    plan = plan_with(serve_instances=[chat("a/b")], plan_mirror=MIRROR, serve_kind="venv")
    assert plan["driver"]["repository"]["uri"].startswith("http://mirror/repo.radeon.com/amdgpu/31.50/")
    assert plan["driver"]["repository"]["key_url"] == "http://mirror/repo.radeon.com/rocm/rocm.gpg.key"
    assert plan["rocm"]["repository"]["uri"].startswith(
        "http://mirror/stable.repo.amd.com/rocm/core/packages/"
    )
    pip = "--index-url http://mirror/simple --trusted-host mirror"
    assert (
        plan["serve"]["installs"][0]["venv"]["pip_arguments"]
        == f"{pip} --extra-index-url http://mirror/wheels.vllm.ai/rocm/0.33.0/rocm100"
    )
    contained = plan_with(podman=QUADLET, serve_instances=[chat("a/b")], plan_mirror=MIRROR)
    image = contained["serve"]["installs"][0]["container"]["name"]
    assert image == "mirror:5000/vllm/vllm-openai-rocm:v0.33.0-rocm100"
    assert (plan["model"]["endpoint"], plan["model"]["pip_arguments"]) == ("http://mirror/hub", pip)
    assert ids(plan) == []


def test_variables_of_roles_beat_the_mirror(plan_with):
    own = {
        "driver_repository_uri": "http://own/{directory}",
        "model_hub": "http://hub",
        "vllm_pip_arguments": "--no-index",
    }
    plan = plan_with(serve_instances=[chat("a/b")], plan_mirror=MIRROR, **own)
    assert plan["driver"]["repository"]["uri"] == "http://own/31.50"
    assert (plan["model"]["endpoint"], plan["serve"]["installs"][0]["venv"]["pip_arguments"]) == (
        "http://hub",
        "--no-index",
    )


QUADLET = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": [], "image_digests": {}}


@pytest.mark.parametrize(
    ("missing", "wants", "said"),
    [
        (
            "url",
            {},
            [
                "repo.radeon.com/amdgpu",
                "repo.radeon.com/rocm/rocm.gpg.key",
                "stable.repo.amd.com/rocm/core",
                "packages.gpg",
            ],
        ),
        ("registry", {}, ["docker.io/vllm/vllm-openai-rocm"]),
        ("pip_index", {}, ["huggingface_hub==2.4.0"]),
        ("pip_index", {"serve_kind": "venv"}, ["vllm==0.33.0+rocm100", "huggingface_hub==2.4.0"]),
        ("hub", {}, ["a/b from the public Hub"]),
    ],
)
def test_what_would_still_come_from_outside(plan_with, ids, missing, wants, said):
    plan = plan_with(
        podman=QUADLET, serve_instances=[chat("a/b")], plan_mirror={**MIRROR, missing: ""}, **wants
    )
    assert set(ids(plan)) == {"mirror.outside"}
    assert all(any(word in finding["seen"] for finding in plan["findings"]) for word in said)
    assert len(ids(plan)) == len(said)


def test_an_image_for_a_podman_without_quadlet_comes_from_outside_too(plan_with, ids):
    old = {**QUADLET, "version": "4.3.1", "quadlet": None}
    plan = plan_with(
        {"/srv/m": WHOLE},
        podman=old,
        serve_kind="podman",
        serve_instances=[chat("/srv/m")],
        plan_mirror={"url": "http://mirror"},
    )
    assert "mirror.outside" in ids(plan) and plan["serve"]["installs"][0]["kind"] == "podman"


@pytest.mark.parametrize("name", ["./model", "../checked", "foo/..", ".hidden/model"])
def test_a_name_that_leads_out_of_the_folder_is_no_name(plan_with, ids, name):
    assert ids(plan_with(serve_instances=[chat(name)])) == ["serve.model"]


def test_what_was_not_whole_yet_is_removed_too(plan_with):
    broken_off = {f"{DIRECTORY}/a/b.partial": {"exists": True}}
    plan = plan_with(broken_off, serve_instances=[chat("a/b")], model_state="absent")
    assert plan["model"]["remove"] == [f"{DIRECTORY}/a/b.partial"] and plan["model"]["change"]


def test_what_is_there_is_not_fetched(plan_with, ids):
    there = {f"{DIRECTORY}/a/b": WHOLE}
    image = "docker.io/vllm/vllm-openai-rocm:v0.33.0-rocm100"
    stored = {**QUADLET, "images": [image], "image_digests": {image: []}}
    plan = plan_with(
        there, podman=stored, serve_instances=[chat("a/b")], plan_mirror={"url": "http://mirror"}
    )
    assert ids(plan) == []


GPT = {"/srv/gpt": {**WHOLE, "model_type": "gpt_oss"}}


def test_the_encodings_of_gpt_oss(plan_with, ids):
    staged = {f"/srv/encodings/{name}_base.tiktoken": {"exists": True} for name in ("o200k", "cl100k")}
    wants = {"serve_instances": [chat("/srv/gpt")], "model_tiktoken_directory": "/srv/encodings"}
    plan = plan_with({**GPT, **staged}, **wants)
    instance = plan["serve"]["instances"][0]
    assert instance["environment"]["TIKTOKEN_ENCODINGS_BASE"] == "/srv/encodings"
    assert instance["read_only"] == ["/srv/gpt", "/srv/encodings"] and ids(plan) == []
    plan = plan_with(GPT, **wants)
    assert ids(plan) == ["serve.model"] and "/srv/encodings/o200k_base.tiktoken" in sentence(
        plan["findings"][0]
    )
    plan = plan_with({"/srv/gpt": {**WHOLE, "model_type": "llama"}}, **wants)
    assert "TIKTOKEN_ENCODINGS_BASE" not in plan["serve"]["instances"][0]["environment"] and ids(plan) == []


def test_encodings_would_come_from_outside(plan_with, ids):
    plan = plan_with(GPT, serve_instances=[chat("/srv/gpt")], serve_kind="venv", plan_mirror=MIRROR)
    assert ids(plan) == ["mirror.outside"] and "o200k_base.tiktoken" in sentence(plan["findings"][0])


IMAGE = "registry:5000/vllm:1"
DIGEST = f"sha256:{'cd' * 32}"


@pytest.mark.parametrize(
    ("digests", "wanted", "present"),
    [([DIGEST], DIGEST, True), ([f"sha256:{'ef' * 32}"], DIGEST, False), ([], "", True), ([], DIGEST, False)],
)
def test_an_image_is_there_when_it_is_the_one_that_is_pinned(plan_with, digests, wanted, present):
    name = f"{IMAGE}-cdcdcdcdcdcd" if wanted else IMAGE
    podman = {**QUADLET, "images": [name], "image_digests": {name: digests}}
    plan = plan_with(
        {"/srv/m": WHOLE},
        podman=podman,
        serve_instances=[chat("/srv/m")],
        vllm_image=IMAGE,
        vllm_image_digest=wanted,
    )
    assert plan["serve"]["installs"][0]["container"]["present"] is present
    # The unit starts a name that means no other image, so that the unit of before starts the image of before.
    assert (
        plan["serve"]["installs"][0]["container"]["name"],
        plan["serve"]["installs"][0]["container"]["source"],
    ) == (name, IMAGE)
    assert plan["serve"]["installs"][0]["container"]["pull"] == (
        f"registry:5000/vllm@{DIGEST}" if wanted else IMAGE
    )


def test_the_digest_of_the_catalog_is_of_its_own_image(plan_with):
    wants = {"podman": QUADLET, "serve_instances": [chat("/srv/m")], "vllm_version": "0.31.0"}
    assert plan_with({"/srv/m": WHOLE}, **wants)["serve"]["installs"][0]["container"]["digest"].startswith(
        "sha256:749f6f3f"
    )
    assert (
        plan_with({"/srv/m": WHOLE}, vllm_image="localhost/own:1", **wants)["serve"]["installs"][0][
            "container"
        ]["digest"]
        == ""
    )


def test_the_room_of_an_image_that_is_known(plan_with):
    wants = {"podman": QUADLET, "serve_instances": [chat("/srv/m")], "vllm_version": "0.33.0"}
    assert plan_with({"/srv/m": WHOLE}, **wants)["serve"]["installs"][0]["container"]["gib"] == 30
    assert (
        plan_with({"/srv/m": WHOLE}, vllm_image="localhost/own:1", **wants)["serve"]["installs"][0][
            "container"
        ]["gib"]
        == 0
    )


def test_a_snapshot_of_the_cache_of_the_hub_is_served_with_what_its_links_lead_to(plan_with, ids):
    cache = "/home/ai/.cache/huggingface/hub/models--a--b"
    facts = {**WHOLE, "place": f"{cache}/snapshots/1", "elsewhere": [f"{cache}/blobs"]}
    for path in (f"{cache}/snapshots/1", "/srv/a-link"):
        plan = plan_with({path: facts}, serve_instances=[chat(path)])
        instance = plan["serve"]["instances"][0]
        assert instance["read_only"] == [f"{cache}/snapshots/1", f"{cache}/blobs"] and ids(plan) == []
        assert (instance["model"], instance["served_name"]) == (
            f"{cache}/snapshots/1",
            path.rpartition("/")[2],
        )
    there = {"/srv/m": {**WHOLE, "place": "/srv/m", "elsewhere": ["/srv/with blank"]}}
    assert ids(plan_with(there, serve_instances=[chat("/srv/m")])) == ["serve.model"]


def test_links_out_of_a_model_are_findings(plan_with, ids):
    facts = {**WHOLE, "place": "/home/bob/m", "elsewhere": [], "barred": ["/root/.ssh"], "astray": None}
    plan = plan_with({"/home/bob/m": facts}, serve_instances=[chat("/home/bob/m")])
    assert "serve.model_link" in ids(plan, "warn") and ids(plan) == []
    assert plan["serve"]["instances"][0]["read_only"] == ["/home/bob/m"]
    facts = {**facts, "barred": [], "astray": "/home/alice/.aws", "place": "/home/alice/.aws"}
    plan = plan_with({"/home/bob/m": facts}, serve_instances=[chat("/home/bob/m")])
    assert ids(plan) == ["serve.model_link"]


@pytest.mark.parametrize("path", ["/srv/models/../../root", "/srv/..", "/../etc", "/srv/m/.."])
def test_a_model_path_goes_up_nowhere(plan_with, ids, path):
    assert ids(plan_with({path: WHOLE}, serve_instances=[chat(path)])) != []
