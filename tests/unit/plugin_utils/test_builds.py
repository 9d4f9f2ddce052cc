# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of vLLM a plan takes, and what it asks of the host."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import builds

CHAT = {"name": "chat", "model": "/srv/models/m"}
PODMAN = {"version": "5.4.2", "quadlet": "5.4", "init": True, "images": [], "image_digests": {}}
AMD = "docker.io/rocm/vllm:rocm10.1.0_ubuntu24.04_py3.14-pytorch_2.13.0_vllm-0.29.0"


def on(**changes):
    """Facts of a running host: those of a tree say nothing of machine and glibc."""

    def change(_gpus, rocm):
        rocm["os"] |= {"machine": "x86_64", "glibc": "2.41", **changes.get("os", {})}
        rocm["podman"] = {**rocm["podman"], **changes.get("podman", {})}
        rocm["programs"] = changes.get("programs", {"python3.12": "/usr/bin/python3.12", "python3.11": None})

    return change


def seen(plan, identifier="vllm.wheels"):
    return [
        f"{finding['seen']} / {finding['expected']}"
        for finding in plan["findings"]
        if finding["id"] == identifier
    ]


@pytest.mark.parametrize(
    ("image", "wants", "version", "variant"),
    [
        ("docker.io/vllm/vllm-openai-rocm:v0.31.0", {}, "0.31.0", "rocm723"),
        ("10.0.0.1:5000/vllm/vllm-openai-rocm:v0.33.0-rocm72", {}, "0.33.0", "rocm72"),
        ("docker.io/vllm/vllm-openai-rocm:v0.31.0", {"vllm_version": "0.32.0"}, "0.32.0", "rocm723"),
        ("localhost/own:2026-11", {}, "0.33.0", "rocm100"),
        (AMD, {}, "0.29.0", "rocm10.1.0"),
        (AMD.replace("docker.io", "mirror.example.net:5000"), {}, "0.29.0", "rocm10.1.0"),
    ],
)
def test_an_image_is_held_to_the_release_that_it_has(make_plan, image, wants, version, variant):
    plan = make_plan("mi300x-8", on(podman=PODMAN), serve_instances=[CHAT], vllm_image=image, **wants)
    assert (
        plan["serve"]["installs"][0]["version"],
        plan["serve"]["installs"][0]["variant"],
        plan["serve"]["installs"][0]["container"]["name"],
    ) == (
        version,
        variant,
        image,
    )


def test_an_own_image_of_no_known_release_says_so(make_plan):
    plan = make_plan(
        "mi300x-8", on(podman=PODMAN), serve_instances=[CHAT], vllm_image="localhost/own:2026-11"
    )
    reason = next(
        entry["reason"]
        for entry in plan["settings"]
        if entry["setting"] == "version" and entry["role"] == "serve"
    )
    assert "vllm_version says what it is" in reason


@pytest.mark.parametrize(("image", "value"), [("", None), (AMD, "LL128,Simple")])
def test_a_setting_for_a_release_of_rocm_follows_the_image(make_plan, image, value):
    plan = make_plan("mi355x-8", on(podman=PODMAN), serve_instances=[CHAT], vllm_image=image)
    assert plan["serve"]["instances"][0]["environment"].get("NCCL_PROTO") == value


def test_wheels_find_the_gpus_through_a_folder_of_their_own(make_plan):
    plan = make_plan("mi300x-8", on(), serve_kind="venv", serve_instances=[CHAT])
    path = plan["serve"]["instances"][0]["environment"]["PYTHONPATH"]
    assert path == "/opt/vllm/0.33.0-rocm100/lib/python3.12/site-packages/_rocm_sdk_core/share/amd_smi"
    assert (
        "PYTHONPATH"
        not in make_plan("mi300x-8", on(podman=PODMAN), serve_instances=[CHAT])["serve"]["instances"][0][
            "environment"
        ]
    )


@pytest.mark.parametrize(
    ("changes", "wants", "word"),
    [
        ({}, {}, None),
        ({"os": {"glibc": "2.34"}}, {}, "glibc 2.34 / glibc 2.35"),
        ({"os": {"glibc": "2.34"}, "podman": PODMAN}, {"serve_kind": "auto"}, None),
        ({"os": {"machine": "aarch64"}}, {}, "aarch64 / x86_64"),
        ({"os": {"machine": "aarch64"}, "podman": PODMAN}, {"serve_kind": "auto"}, "aarch64 / x86_64"),
        (
            {},
            {"vllm_version": "0.32.0"},
            "0.32.0 (rocm723) in a virtual environment / ROCm 7.2 in /opt/rocm, libopenmpi3t64",
        ),
        ({}, {"vllm_python": "python3.11"}, "vllm_python python3.11 / Python 3.12"),
        ({}, {"vllm_python": "/usr/bin/python3.13"}, "vllm_python /usr/bin/python3.13 / Python 3.12"),
        (
            {"programs": {"/opt/python/bin/python3.12": None}},
            {"vllm_python": "/opt/python/bin/python3.12"},
            "is not there / Python 3.12",
        ),
        (
            {"programs": {"python3.12": None}},
            {},
            "python3.12 is not there, and Debian GNU/Linux 12 (bookworm) has no package of it",
        ),
        (
            {"programs": {"python3.12": None}},
            {"vllm_packages": ["vllm==0.33.0+own"]},
            "python3.12 is not there",
        ),
    ],
)
def test_what_the_wheels_ask_of_a_host(make_plan, ids, changes, wants, word):
    plan = make_plan("mi300x-8", on(**changes), **{"serve_kind": "venv", "serve_instances": [CHAT], **wants})
    assert ("vllm.wheels" in ids(plan)) is bool(word), plan["findings"]
    assert word is None or any(word in line for line in seen(plan)), seen(plan)


def test_an_environment_that_was_checked_is_not_questioned(make_plan, ids):
    def installed(gpus, rocm):
        on(programs={}, os={"glibc": "2.31"})(gpus, rocm)
        rocm["environments"]["/opt/vllm/0.33.0-rocm100"] = {
            "python": "3.12",
            "vllm": "0.33.0",
            "torch": "2.13.0",
            "checked": True,
        }

    assert "vllm.wheels" not in ids(
        make_plan("mi300x-8", installed, serve_kind="venv", serve_instances=[CHAT])
    )


def bare(host_programs):
    def change(gpus, rocm):
        on(programs=host_programs)(gpus, rocm)
        rocm["podman"] = {
            "version": None,
            "init": False,
            "quadlet": None,
            "images": [],
            "image_digests": {},
            "open_store": None,
        }

    return change


@pytest.mark.parametrize(
    ("host", "wants", "kind", "installs"),
    [
        ("strix-halo-128", {}, "quadlet", True),
        ("mi300x-8", {}, "podman", True),
        ("mi300x-8", {"serve_kind": "podman"}, "podman", True),
        ("strix-halo-128", {"serve_kind": "venv"}, "venv", False),
        ("mi300x-8", {"serve_kind": "quadlet"}, "quadlet", False),
    ],
)
def test_a_bare_host_gets_podman_where_no_wheels_run(make_plan, ids, host, wants, kind, installs):
    plan = make_plan(host, bare({"python3.12": None}), serve_instances=[CHAT], **wants)
    assert (plan["serve"]["installs"][0]["kind"], "podman" in plan["serve"]["podman"]["packages"]) == (
        kind,
        installs,
    )
    assert plan["serve"]["podman"]["open_store"] == ("/var/lib/containers/storage" if installs else None)
    fails = {"venv": ["vllm.wheels"], "quadlet": [] if installs else ["serve.quadlet"], "podman": []}[kind]
    assert [found for found in ids(plan) if found.startswith(("serve.", "vllm."))] == fails


def test_wheels_that_run_are_taken_before_podman_is_installed(make_plan):
    plan = make_plan("mi300x-8", bare({"python3.12": "/usr/local/bin/python3.12"}), serve_instances=[CHAT])
    assert (plan["serve"]["installs"][0]["kind"], plan["serve"]["podman"]["packages"]) == ("venv", [])


@pytest.mark.parametrize(
    ("image", "gfx", "lacks"),
    [
        ("docker.io/rocm/vllm:rocm10.0.0_ubuntu24.04_py3.14_pytorch_2.12.0_vllm_0.27.0", "gfx1201", True),
        ("docker.io/rocm/vllm:rocm10.0.0_ubuntu24.04_py3.14_pytorch_2.12.0_vllm_0.27.0", "gfx942", False),
        ("docker.io/rocm/vllm:rocm7.14.1_cdna_ubuntu24.04_py3.14_pytorch_2.11_vllm_0.23.0", "gfx1100", True),
        ("docker.io/rocm/vllm:rocm7.14.1_rdna_ubuntu24.04_py3.14_pytorch_2.11_vllm_0.23.0", "gfx1100", False),
        ("docker.io/vllm/vllm-openai-rocm:v0.33.0", "gfx1201", False),
    ],
)
def test_an_image_of_amd_without_code_for_the_gpu(image, gfx, lacks):
    assert builds.lacks(image, Catalog(), gfx) is lacks


def test_a_gpu_without_code_in_the_image_is_refused_with_those_that_have_some(make_plan):
    image = "docker.io/rocm/vllm:rocm7.14.1_rdna_ubuntu24.04_py3.14_pytorch_2.11_vllm_0.23.0"
    plan = make_plan("mi300x-8", serve_instances=[CHAT], vllm_image=image)
    found = [finding for finding in plan["findings"] if finding["id"] == "vllm.prebuilt"]
    assert len(found) == 1
    assert "gfx1100" in found[0]["why"] and "gfx942" not in found[0]["why"]
