# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data catalog: each file against its schema, the files against each other, and the generated table
against its source."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import (
    FILES,
    Catalog,
    read_part,
    read_schema,
    with_base,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import history

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "roles/plan/files/catalog"
PROFILES = sorted((CATALOG / "profiles").glob("*.yml"))
GPU_PROFILES = [path for path in PROFILES if path.stem != "cpu"]


class UniqueKeys(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys; here the second one is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _value in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{node.start_mark}: {sorted(twice)} more than once"
        return super().construct_mapping(node, deep=deep)


def load(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)


GPUS = load(CATALOG / "gpus.yml")
VLLM_FILES = sorted((CATALOG / "engines/vllm").rglob("*.yml"))
VLLM = read_part("vllm")
PREBUILT = set(VLLM["versions"][VLLM["default_version"]]["prebuilt_gfx"])
LOADED_PROFILES = {path.stem: with_base(load(path)) for path in PROFILES}


def schema(name: str) -> dict:
    return read_schema(name)


def number(version: str) -> tuple[int, ...]:
    """A version to compare by number: 0.9 comes before 0.33, and 7.2 equals 7.2.0."""
    parts = [int(part) for part in version.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def knows(span: tuple[str | None, str | None], version: str) -> bool:
    first, last = span
    return (first is None or number(first) <= number(version)) and (
        last is None or number(version) <= number(last)
    )


def environment_span(name: str) -> tuple[str | None, str | None] | None:
    known = history.variable_span(Catalog(), name)
    return known or ((None, None) if name in VLLM["other_environment"] else None)


def option_span(name: str) -> tuple[str | None, str | None]:
    entry = VLLM["known_options"][name]
    return entry["first"], entry["last"]


def profile_environment(profile: dict) -> Iterator[tuple[str, dict]]:
    for part in ("environment", "environment_bare_metal", "environment_multi_gpu"):
        yield from profile["serving"][part].items()


def validate(document: Any, name: str) -> list[str]:
    errors = jsonschema.Draft202012Validator(schema(name)).iter_errors(document)
    return [
        f"{'/'.join(str(part) for part in error.absolute_path)}: {error.message[:200]}" for error in errors
    ]


# --- schemas


@pytest.mark.parametrize("name", [*FILES, "profile"])
def test_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", FILES)
def test_each_part_as_it_is_shipped_fits_its_schema(name: str) -> None:
    """Else every override of that part is refused."""
    assert validate(read_part(name), name) == []


def test_every_subject_of_vllm_is_read_once() -> None:
    sections = [name for path in VLLM_FILES for name in load(path)]
    assert len(sections) == len(set(sections))
    assert set(sections) - set(VLLM) == {"version_defaults", "variant_defaults"}
    assert set(VLLM) <= set(sections)


def test_a_release_number_stands_once() -> None:
    """In releases.yml a release is named by its key; what depends on it is filled in."""
    text = (CATALOG / "engines/vllm/releases.yml").read_text(encoding="utf-8")
    for version in VLLM["versions"]:
        section = text[text.index(f'\n  "{version}":') + len(version) + 6 :].partition('\n  "')[0]
        assert version not in section.partition("\n\n")[0], version


@pytest.mark.parametrize("name", sorted(LOADED_PROFILES))
def test_profile_schema(name: str) -> None:
    assert validate(LOADED_PROFILES[name], "profile") == []
    assert LOADED_PROFILES[name]["gfx"] == name


def broken(document: dict, path: list, value: Any) -> dict:
    changed = copy.deepcopy(document)
    target = changed
    for part in path[:-1]:
        target = target[part]
    if value is KeyError:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("gpus", ["products", 0, "source"], KeyError),
        ("gpus", ["products", 0, "date"], "October"),
        ("gpus", ["products", 0, "pci_id"], "1002:75A0"),
        ("gpus", ["products", 0, "colour"], "red"),
        ("gpus", ["products", 0, "verified"], True),
        ("gpus", ["architectures", "gfx942", "rocm"], "maybe"),
        ("vllm", ["versions", "0.33.0", "variants", "rocm100", "pin"], "vllm"),
        (
            "vllm",
            ["versions", "0.33.0", "variants", "rocm100", "image"],
            "docker.io/vllm/vllm-openai-rocm:latest",
        ),
        ("vllm", ["environment", "VLLM_ROCM_USE_AITER", "advice"], "sometimes"),
        ("vllm", ["known_options", "dtype", "first"], "new"),
        ("profile", ["serving", "environment", "VLLM_ROCM_USE_AITER", "reason"], KeyError),
        ("profile", ["serving", "environment", "VLLM_ROCM_USE_AITER", "value"], 1),
        ("profile", ["serving", "options", "dtype", "source"], "/home/me/notes.md"),
        ("profile", ["serving", "refuse", 0, "when"], {"above": 1}),
        ("profile", ["host", "kernel", "absent", 0, "argument"], "two words"),
        ("profile", ["host", "module_options", 0, "fraction"], 0.95),
        ("profile", ["host", "firmware", "minimum"], 20260110),
        ("profile", ["memory", "swap"], "10"),
    ],
)
def test_schema_refuses(name: str, path: list, value: Any) -> None:
    document = {"gpus": GPUS, "vllm": VLLM, "profile": LOADED_PROFILES["gfx1151"]}[name]
    assert validate(broken(document, path, value), name)


# --- GPUs


def test_pci_ids_are_unique() -> None:
    ids = [product["pci_id"] for product in GPUS["products"]]
    assert len(ids) == len(set(ids))


def test_products_point_at_what_exists() -> None:
    by_id = {product["pci_id"]: product for product in GPUS["products"]}
    for product in GPUS["products"]:
        architecture = GPUS["architectures"].get(product["gfx"])
        assert architecture, product
        assert architecture["family"] in GPUS["families"], product
        assert product["virtual_function"] == (product["physical_function"] is not None), product
        if product["physical_function"]:
            physical = by_id[product["physical_function"]]
            assert physical["gfx"] == product["gfx"]
            assert not physical["virtual_function"]
            assert physical["apu"] == product["apu"]
        if architecture["apu"]:
            assert product["apu"], product
        if "revisions" in product:
            assert product["product"] in product["revisions"].values(), product


def test_every_architecture_is_used_or_known_without_a_product() -> None:
    used = {product["gfx"] for product in GPUS["products"]}
    assert set(GPUS["architectures"]) - used == {
        "gfx1037", "gfx1154", "gfx1170", "gfx1171", "gfx1172", "gfx1250", "gfx1251"
    }  # fmt: skip


@pytest.mark.parametrize("gfx", sorted(GPUS["architectures"]))
def test_kfd_target_version_decodes_to_the_name(gfx: str) -> None:
    value = GPUS["architectures"][gfx]["kfd_target_version"]
    major, minor, step = value // 10000, value // 100 % 100, value % 100
    assert gfx == f"gfx{major}{minor:x}{step:x}"


@pytest.mark.parametrize(
    ("pci_id", "product", "gfx"),
    [
        ("1002:74a1", "AMD Instinct MI300X", "gfx942"),
        ("1002:74b5", "AMD Instinct MI300X VF", "gfx942"),
        ("1002:740f", "AMD Instinct MI210", "gfx90a"),
        ("1002:15bf", "AMD Radeon 780M (Phoenix)", "gfx1103"),
        ("1002:7550", "AMD Radeon RX 9070 XT", "gfx1201"),
        ("1002:7590", "AMD Radeon RX 9060 XT", "gfx1200"),
        ("1002:13c0", "AMD Radeon Graphics (Granite Ridge)", "gfx1036"),
        ("1002:73bf", "AMD Radeon RX 6900 XT", "gfx1030"),
        ("1002:67df", "AMD Radeon RX 580 Series", "gfx803"),
        ("1002:1586", "AMD Radeon 8060S (Strix Halo)", "gfx1151"),
    ],
)
def test_machines_that_were_seen(pci_id: str, product: str, gfx: str) -> None:
    table = gpu_table()
    assert (table.PRODUCTS[pci_id].product, table.PRODUCTS[pci_id].gfx) == (product, gfx)


def test_partition_modes_belong_to_partitionable_products() -> None:
    gfx_of = {product["product"]: product["gfx"] for product in GPUS["products"]}
    for product, modes in GPUS["partition_modes"].items():
        assert GPUS["architectures"][gfx_of[product]]["partitionable"], product
        assert modes["default"] in [
            {"compute": mode["compute"], "memory": mode["memory"]} for mode in modes["modes"]
        ]
        for mode in modes["modes"]:
            if mode["partitions"] is not None:
                assert int(mode["memory"][3:]) <= mode["partitions"], (product, mode)


# --- the generated table


def gpu_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "_gpu_table", ROOT / "plugins" / "module_utils" / "_gpu_table.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_table_is_current() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "render_gpu_table.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_the_generated_table_holds_the_catalog() -> None:
    table = gpu_table()
    assert len(table.PRODUCTS) == len(GPUS["products"])
    for product in GPUS["products"]:
        assert table.PRODUCTS[product["pci_id"]] == (
            product["product"],
            product["gfx"],
            product["virtual_function"],
            product["apu"],
        )
        for revision, name in product.get("revisions", {}).items():
            assert table.REVISIONS[(product["pci_id"], revision)] == name
    for gfx, architecture in GPUS["architectures"].items():
        assert table.ARCHITECTURES[gfx] == (architecture["family"], architecture["rocm"] == "supported")
        assert table.APUS.get(gfx) == architecture["apu"]
    assert {
        product["pci_id"]: tuple(product["other_boards"])
        for product in GPUS["products"]
        if "other_boards" in product
    } == table.OTHER_BOARDS


# --- vLLM


def test_the_default_version_is_the_newest() -> None:
    assert VLLM["default_version"] in VLLM["versions"]
    assert max(VLLM["versions"], key=number) == VLLM["default_version"]


@pytest.mark.parametrize("version", sorted(VLLM["versions"], key=number))
def test_a_version_is_consistent(version: str) -> None:
    entry = VLLM["versions"][version]
    assert entry["default_variant"] in entry["variants"]
    assert entry["defaults"]["gpu_memory_utilization"] == (0.92 if number(version) >= (0, 20) else 0.9)
    for gfx in entry["prebuilt_gfx"] + entry["source_only_gfx"]:
        assert gfx in GPUS["architectures"], gfx
    assert not set(entry["prebuilt_gfx"]) & set(entry["source_only_gfx"])
    for name, variant in entry["variants"].items():
        assert variant["pin"] == f"vllm=={version}+{name}"
        assert variant["index_url"] == f"https://wheels.vllm.ai/rocm/{version}/{name}"
        assert f":v{version}" in variant["image"]
        assert variant["needs_system_rocm"] == (number(variant["rocm"]) < number("10.0"))
        assert bool(variant["host_packages"]) == variant["needs_system_rocm"]


def test_the_variant_is_not_computed_from_the_rocm_version() -> None:
    names = {
        name
        for entry in VLLM["versions"].values()
        for name, variant in entry["variants"].items()
        if variant["rocm"] == "7.2.3"
    }
    assert names == {"rocm723", "rocm72"}


def test_what_is_written_by_hand_agrees_with_what_is_computed() -> None:
    """Names, releases and types of the hand-written part are those of vLLM's source."""
    oldest = VLLM["releases_read"][0]
    same = {"choice": ("enum",), "text": ("text", "path", "int"), "one": ("int-bool",)}
    for name, entry in VLLM["environment"].items():
        computed = VLLM["known_environment"].get(name)
        if computed is None:
            assert entry["last"] and number(entry["last"]) < number(oldest), name
            continue
        assert entry["last"] == computed["last"], name
        older = entry["first"] is None or number(entry["first"]) <= number(oldest)
        assert older if computed["first"] is None else entry["first"] == computed["first"], name
        if entry["type"] != "removed":
            assert entry["type"] in same.get(computed["type"], (computed["type"],)), name
        if "choices" in entry:
            assert set(map(str, entry["choices"])) == set(
                map(str, computed.get("choices", entry["choices"]))
            ), name
    for name, entry in VLLM["options"].items():
        if name not in VLLM["known_options"]:
            assert entry["last"] and number(entry["last"]) < number(oldest), name


def test_the_history_is_that_of_the_releases_of_the_catalog() -> None:
    """When this fails, run make catalog-refresh."""
    assert VLLM["releases_read"] == sorted(VLLM["versions"], key=number)


@pytest.mark.parametrize(
    ("name", "release", "known"),
    [
        ("max-num-queued-reqs", "0.22.1", False),
        ("max-num-queued-reqs", "0.29.0", True),
        ("max-num-active-seqs", "0.28.0", False),
        ("enable-shm-tensor-arena", "0.31.0", False),
        ("calculate-kv-scales", "0.22.1", True),
        ("calculate-kv-scales", "0.28.0", False),
        ("max-num-partial-prefills", "0.25.1", True),
        ("enable-mamba-fine-grained-prefix-cache", "0.29.0", False),
        ("enable-mamba-fine-grained-prefix-cache", "0.30.0", True),
        ("no-enable-prefix-caching", "0.19.1", True),
        ("disable-prefix-caching", "0.32.0", False),
    ],
)
def test_a_release_knows_an_option(name: str, release: str, known: bool) -> None:
    assert history.option_known(Catalog(), name, release) is known


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("VLLM_USE_RUST_FRONTEND", "true", "0 or 1"),
        ("VLLM_USE_RUST_FRONTEND", "1", None),
        ("VLLM_ROCM_USE_AITER", "True", None),
        ("VLLM_ROCM_USE_AITER_MOE_SITUV2", "A4W4", None),
        ("VLLM_NO_USAGE_STATS", "true", "0 or 1"),
        ("VLLM_PORT", "eight", None),
    ],
)
def test_a_variable_takes_what_its_parser_takes(name: str, value: str, expected: str | None) -> None:
    assert history.variable_refuses(Catalog(), name, value, "0.33.0") == expected


def test_choices_follow_the_release() -> None:
    assert history.option_refuses(Catalog(), "moe-backend", "flydsl", "0.24.0") is None
    assert "triton" in (history.option_refuses(Catalog(), "moe-backend", "flydsl", "0.23.0") or "")
    assert history.option_refuses(Catalog(), "max-num-batched-tokens", "8k", "0.33.0") is None
    assert history.option_refuses(Catalog(), "max-num-seqs", "many", "0.33.0") == "a whole number"
    refused = history.variable_refuses(Catalog(), "VLLM_ROCM_QUICK_REDUCE_QUANTIZATION", "INT3", "0.24.0")
    assert refused == "FP, INT4, INT6, INT8, NONE"


def test_parsers_backends_and_quantization_by_release() -> None:
    catalog = Catalog()
    assert not history.parser_known(catalog, "reasoning", "glm47", "0.23.0")
    assert history.parser_known(catalog, "reasoning", "glm47", "0.24.0")
    assert not history.parser_known(catalog, "tool", "minimax", "0.24.0")
    assert not history.backend_known(catalog, "ROCM_OCTAVE", "0.32.0")
    assert history.quantization_span(catalog, "gguf") == (None, "0.23.0")
    assert history.quantization_span(catalog, "bitsandbytes") == (None, "0.27.1")
    assert history.quantization_span(catalog, "ptpc_fp8") == (None, "0.16.0")


def test_removed_variables_are_not_known() -> None:
    for name, entry in VLLM["environment"].items():
        assert (entry["type"] == "removed") == (entry["last"] is not None), name
        assert entry["type"] != "removed" or "replacement" in entry, name
        if "choices" in entry and entry["default"] is not None:
            assert entry["default"] in entry["choices"], name
        if entry["type"] == "removed":
            assert number(entry["last"]) < number(VLLM["default_version"]), name


def test_a_replacement_exists() -> None:
    for name, entry in VLLM["environment"].items():
        replacement = entry.get("replacement")
        if replacement and replacement.startswith("option "):
            option = re.split(r"[: (]", replacement[len("option ") :])[0]
            assert option in VLLM["known_options"], (name, option)
        elif replacement:
            assert environment_span(replacement.split(":")[0]), (name, replacement)


def test_options_agree_with_the_parser_of_the_default_version() -> None:
    for name, entry in VLLM["options"].items():
        gone = entry["last"] is not None and entry.get("back") is None
        assert gone != history.option_known(Catalog(), name, VLLM["default_version"]), name
        for part in re.split(r" and ", entry["replacement"] or ""):
            assert not part or part in VLLM["known_options"], (name, part)


@pytest.mark.parametrize("version", ["0.32.0", "0.33.0"])
def test_known_names(version: str) -> None:
    assert knows(environment_span("VLLM_ROCM_USE_AITER"), version)
    assert not knows(environment_span("VLLM_ATTENTION_BACKEND"), version)
    assert knows(environment_span("VLLM_ROCM_USE_AITER_FP4_ASM_GEMM"), version) == (version == "0.32.0")
    assert knows(option_span("monokernel"), version) == (version == "0.33.0")
    assert knows(option_span("no-enable-prefix-caching"), version)
    assert knows(option_span("disable-prefix-caching"), version) == (version == "0.33.0")
    assert "swap-space" not in VLLM["known_options"]


@pytest.mark.parametrize("model", sorted(VLLM["recipes"]))
def test_a_recipe_uses_what_the_default_version_knows(model: str) -> None:
    recipe = VLLM["recipes"][model]
    amd = recipe.get("amd", {})
    for name in {**recipe["environment"], **amd.get("environment", {})}:
        span = environment_span(name)
        # Two recipes set variables of libraries that the table does not explain.
        assert span or not name.startswith("VLLM_"), name
        assert span is None or knows(span, VLLM["default_version"]), name
    options = {**recipe["options"], **amd.get("options", {})}
    for name in options:
        assert knows(option_span(name), VLLM["default_version"]), name
    backend = options.get("attention-backend")
    assert backend is None or backend.upper() in VLLM["attention_backends"]["names"]
    assert not set(recipe["hardware"]) & set(recipe.get("unsupported", []))


def test_backends_and_quantization_cover_the_prebuilt_architectures() -> None:
    prebuilt = set(VLLM["versions"][VLLM["default_version"]]["prebuilt_gfx"])
    assert set(VLLM["attention_backends"]["by_gfx"]) == prebuilt
    assert set(VLLM["quantization"]["by_gfx"]) == prebuilt
    assert not set(VLLM["quantization"]["supported"]) & set(VLLM["quantization"]["removed"])
    assert set(VLLM["quantization"]["supported"]) == set(
        history.quantizations(Catalog(), VLLM["default_version"])
    )
    for method, entry in VLLM["quantization"]["removed"].items():
        assert history.quantization_span(Catalog(), method) == (None, entry["last"])


# --- profiles


def test_there_is_a_profile_for_each_prebuilt_architecture() -> None:
    assert set(LOADED_PROFILES) > PREBUILT | {"cpu"}


@pytest.mark.parametrize("version", ["0.32.0", VLLM["default_version"]])
@pytest.mark.parametrize("name", sorted(LOADED_PROFILES))
def test_a_profile_sets_what_vllm_knows(name: str, version: str) -> None:
    profile = LOADED_PROFILES[name]
    for variable, entry in profile_environment(profile):
        span = environment_span(variable)
        assert span, variable
        assert knows(span, version), f"{variable} is not known to vLLM {version}"
        details = VLLM["environment"].get(variable, {})
        assert details.get("type") != "removed", variable
        if "choices" in details:
            assert entry["value"] in [str(choice) for choice in details["choices"]], variable
        if details.get("type") in ("int", "int-bool"):
            assert entry["value"].isdigit(), variable
        if details.get("type") == "bool":
            assert entry["value"] in ("0", "1"), variable
        assert VLLM["other_environment"].get(variable, {}).get("advice") not in (
            "never",
            "leave",
            "secret",
        ), variable
    for option in profile["serving"]["options"]:
        assert knows(option_span(option), version), option


@pytest.mark.parametrize("name", sorted(LOADED_PROFILES))
def test_refusals_name_what_exists(name: str) -> None:
    quantizations = set(VLLM["quantization"]["supported"]) | set(VLLM["quantization"]["removed"])
    for refusal in LOADED_PROFILES[name]["serving"]["refuse"]:
        when = refusal["when"]
        if "environment" in when:
            assert environment_span(when["environment"]), when
        else:
            assert when["option"] in VLLM["known_options"], when
        if when.get("option") == "quantization":
            assert set(when["in"]) <= quantizations, when
        if when.get("option") == "attention-backend":
            assert set(when["in"]) <= set(VLLM["attention_backends"]["names"]), when


@pytest.mark.parametrize("name", sorted(LOADED_PROFILES))
def test_a_profile_does_not_refuse_itself(name: str) -> None:
    serving = LOADED_PROFILES[name]["serving"]
    set_values = {variable: entry["value"] for variable, entry in profile_environment(LOADED_PROFILES[name])}
    for refusal in serving["refuse"]:
        when = refusal["when"]
        if "environment" in when and when["environment"] in set_values:
            assert "equals" in when, when
            assert set_values[when["environment"]] != when["equals"], when
        if "option" in when and when["option"] in serving["options"]:
            assert serving["options"][when["option"]]["value"] not in when.get("in", []), when


def test_bare_metal_equals_the_image_everywhere() -> None:
    values = {
        path.stem: LOADED_PROFILES[path.stem]["serving"]["environment_bare_metal"] for path in GPU_PROFILES
    }
    assert len({json.dumps(value, sort_keys=True) for value in values.values()}) == 1
    image = {
        name
        for name, entry in VLLM["other_environment"].items()
        if entry["advice"] == "set" and "Dockerfile" in entry["source"]
    }
    assert image == set(values["gfx942"])


def test_aiter_follows_the_architecture() -> None:
    for path in GPU_PROFILES:
        value = LOADED_PROFILES[path.stem]["serving"]["environment"]["VLLM_ROCM_USE_AITER"]["value"]
        assert value == ("1" if path.stem in ("gfx942", "gfx950") else "0"), path.stem
        if path.stem in PREBUILT:
            assert VLLM["attention_backends"]["by_gfx"][path.stem]["aiter"] == (value == "1")


def test_the_cpu_profile_has_no_rocm_in_it() -> None:
    names = {name for name, _entry in profile_environment(LOADED_PROFILES["cpu"])}
    assert not [name for name in names if re.search("ROCM|HSA|HIP|NCCL|UCX", name)]


@pytest.mark.parametrize("name", sorted(LOADED_PROFILES))
def test_kernel_arguments_do_not_contradict(name: str) -> None:
    kernel = LOADED_PROFILES[name]["host"]["kernel"]
    present = [entry["argument"] for entry in kernel["present"]]
    assert len(present) == len(set(present))
    names = {argument.split("=")[0] for argument in present}
    for entry in kernel["absent"]:
        assert entry["argument"] not in present
        assert "=" in entry["argument"] or entry["argument"] not in names
    tolerated = {entry["argument"] for entry in kernel["tolerated"]}
    assert not tolerated & set(present)
    for choice in kernel["opt_in"].values():
        assert not set(choice["arguments"]) & set(present)


@pytest.mark.parametrize("name", sorted(LOADED_PROFILES))
def test_conditions_name_products_of_the_architecture(name: str) -> None:
    products = {product["product"] for product in GPUS["products"] if product["gfx"] == name}
    host = LOADED_PROFILES[name]["host"]
    entries = host["kernel"]["present"] + host["module_options"] + list(host["sysctl"].values())
    for entry in entries:
        when = entry.get("when", {})
        assert set(when.get("products", [])) | set(when.get("not_products", [])) <= products, entry
    if name != "cpu":
        assert set(LOADED_PROFILES[name]["memory"]["host_ram_gib"]) <= products


def test_driver_policy_follows_the_kind_of_gpu() -> None:
    for path in GPU_PROFILES:
        apu = GPUS["architectures"][path.stem]["apu"]
        host = LOADED_PROFILES[path.stem]["host"]
        assert host["driver"]["policy"] == ("inbox" if apu else "dkms"), path.stem
        assert LOADED_PROFILES[path.stem]["memory"]["pool"] == ("gtt" if apu else "vram"), path.stem
        for entry in host["module_options"]:
            if entry["formula"] == "gib_of_ram":
                assert entry["fraction"] == LOADED_PROFILES[path.stem]["memory"]["pool_fraction_of_ram"]


def test_strix_halo() -> None:
    profile = LOADED_PROFILES["gfx1151"]
    assert [
        entry["release"] for entry in profile["host"]["minimum_kernel"] if entry["distribution"] == "any"
    ] == ["6.18.4"]
    limit = next(entry for entry in profile["host"]["module_options"] if entry["parameter"] == "pages_limit")
    # 115 GiB of 128: the value AMD's table gives for 90 %.
    assert int(128 * limit["fraction"]) * limit["pages_per_gib"] == 30146560
    refused = profile["host"]["rocm"]["refused"]
    assert not [
        version for version in refused if number(version) >= number(profile["host"]["rocm"]["recommended"])
    ]
    # 7.10 is newer than 7.2: compared as text, or as a fraction, it would pass for older.
    assert number("7.10") > number("7.2")
    assert "7.10" in refused


# --- provenance

FORBIDDEN = re.compile(r"/home/|/tmp/|file://", re.IGNORECASE)


@pytest.mark.parametrize("path", [CATALOG / "gpus.yml", *VLLM_FILES, *PROFILES], ids=lambda path: path.name)
def test_sources_are_public(path: Path) -> None:
    for count, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not FORBIDDEN.search(line), f"{path.name}:{count}: {line.strip()}"
        assert len(line) <= 160, f"{path.name}:{count} is {len(line)} characters long"


def every_source(node: Any) -> Iterator[dict]:
    if isinstance(node, dict):
        if isinstance(node.get("source"), str):
            yield node
        for value in node.values():
            yield from every_source(value)
    elif isinstance(node, list):
        for value in node:
            yield from every_source(value)


@pytest.mark.parametrize("name", ["gpus", "vllm", *sorted(LOADED_PROFILES)])
def test_every_source_has_a_date_and_says_where(name: str) -> None:
    document = {"gpus": GPUS, "vllm": VLLM}.get(name) or LOADED_PROFILES[name]
    sources = list(every_source(document))
    assert sources
    for entry in sources:
        assert "date" in entry, entry
        # A comment sign cuts an unquoted source short.
        assert not entry["source"].rstrip().endswith((",", ";", "(")), entry
