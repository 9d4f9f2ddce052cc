# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role writes, read by vLLM itself: its argument parser and its table of variables, in the image of
the test bed.

Every profile, as unit and as container, with one GPU and with several, goes through in one start of the
image.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, version_key
from testbed.descriptions import complete
from testbed.engine import IMAGE, VLLM
from testbed.machine import LABEL, BedError, podman
from testbed.tree import write_tree

REPOSITORY = Path(__file__).resolve().parents[2]
ROLE = REPOSITORY / "roles/serve"
SCRIPT = Path(__file__).with_name("parse_with_vllm.py")
CATALOG = Catalog()
PRODUCTS = {
    "gfx90a": "mi250",
    "gfx942": "mi300x",
    "gfx950": "mi355x",
    "gfx1100": "rx7900xtx",
    "gfx1101": "rx7900xtx",  # there is no description of one: the architecture is changed in the facts
    "gfx1150": "strix-point",
    "gfx1151": "strix-halo",
    "gfx1200": "rx9060xt",
    "gfx1201": "r9700",
    "cpu": None,
}
# What vLLM has code for; the other profiles are there for the host alone.
PROFILES = sorted(["cpu", *CATALOG.vllm["versions"][CATALOG.vllm["default_version"]]["prebuilt_gfx"]])
KINDS = ("venv", "quadlet")
VERSIONS = {"image": VLLM, "default": ""}
SERVED = "Qwen3-8B"

# What an operator may ask for, and what it must become.
ASKED = {
    "enable_prefix_caching": False,
    "gpu-memory-utilization": 0.5,
    "max-model-len": 4096,
    "max-num-seqs": 8,
    "enforce-eager": True,
    "dtype": None,
    "attention-backend": "ROCM_AITER_FA",
    "limit-mm-per-prompt": {"image": 2, "video": 0},
    "cudagraph-capture-sizes": [1, 2, 4],
    "allowed-origins": '["https://a.example", "https://b.example"]',  # vLLM wants JSON here, a list would be refused
    "allowed-methods": ["GET", "POST"],  # the same as a list
    "compilation-config": {"cudagraph_mode": "FULL_DECODE_ONLY"},
    "speculative-config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4},
    "hf-overrides": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1000000}},
    "override-generation-config": '{"temperature": 0.2}',
}
REFUSED = {
    "unknown option": ({"max-modle-len": 4096}, "max-modle-len"),
    "removed option": ({"swap-space": 4}, "swap-space"),
    "value of another type": ({"max-num-seqs": "many"}, "max-num-seqs"),
    "null": ("max-model-len: null\n", "None"),
    "broken JSON": ({"speculative-config": '{"method": '}, "speculative-config"),
    "a word for JSON": ({"limit-mm-per-prompt": "image=2"}, "limit-mm-per-prompt"),
}
# A recipe for a later release may hold keys, inside its options, that this parser cannot know.
RECIPES = {
    model: {
        part: {**recipe[part], **recipe.get("amd", {}).get(part, {})} for part in ("options", "environment")
    }
    for model, recipe in CATALOG.vllm["recipes"].items()
    if version_key(recipe["min"] or "0") <= version_key(VLLM)
}
UNKNOWN_VARIABLES = {"VLLM_ROCM_USE_ATIER": "1", "VLLM_ATTENTION_BACKEND": "TRITON_ATTN", "VLLM_USE_V1": "1"}


def several(profile: str) -> list[int]:
    """The numbers of GPUs to look at: an integrated GPU is alone, and a CPU has none."""
    if profile == "cpu":
        return [0]
    return [1] if CATALOG.gpus["architectures"][profile]["apu"] else [1, 2]


CASES = {
    f"{profile}-{kind}-{count}-{version}": (profile, kind, count, VERSIONS[version])
    for profile in PROFILES
    for kind in KINDS
    for count in several(profile)
    for version in VERSIONS
}


def read_facts(profile: str, count: int, root: Path) -> dict[str, dict]:
    """Facts of an emulated host, by the module itself."""
    gpus = [{"product": PRODUCTS[profile], "count": count}] if count else []
    kernel = {"release": "7.2.12+deb13-amd64"}
    host = {
        "description": profile,
        "os": "debian13",
        "kernel": kernel,
        "memory_gib": 128,
        "driver": {"source": "inbox"},
        "gpus": gpus,
    }
    host["nics"] = [{"name": "eno1", "address": "192.0.2.11/24"}]
    write_tree(complete(host), root)
    done = subprocess.run(
        [sys.executable, "-m", "ansible_collections.amdgpu.fleet.plugins.modules.host_facts"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"root": str(root), "_ansible_remote_tmp": str(root), "network": True}}),
        env={"PYTHONPATH": str(REPOSITORY / ".collections"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    facts: dict[str, dict] = json.loads(done.stdout)["ansible_facts"]
    if profile == "gfx1101":
        for gpu in facts["amd_gpus"]["gpus"]:
            gpu["gfx"] = "gfx1101"
    facts["amd_host"]["podman"] = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": []}
    facts["amd_host"]["programs"] = {"python3.11": "/usr/bin/python3.11", "python3.12": "/usr/bin/python3.12"}
    return facts


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """One plan for each case, and those of what an operator asks for."""
    known: dict[tuple[str, int], dict[str, dict]] = {}

    def make(profile: str, kind: str, count: int, version: str, **instance: object) -> dict:
        if (profile, count) not in known:
            known[profile, count] = read_facts(profile, count, tmp_path_factory.mktemp(profile))
        wanted = {"name": "chat", "model": f"Qwen/{SERVED}", "gpus": list(range(count)), **instance}
        wants = {
            "serve_instances": [wanted],
            "serve_kind": kind,
            "vllm_version": version,
            "vllm_image": IMAGE if profile == "cpu" else "",
        }
        others = {rank: {"name": f"other-{rank}", "address": f"192.0.2.{rank + 20}"} for rank in (0, 1)}
        mine = {"name": profile, "address": "192.0.2.11"}
        wants["__inventory_nodes"] = {"first": [mine, others[1]], "second": [others[0], mine]}
        plan = planner.plan(known[profile, count], wants, profile)
        assert plan["profile"] == profile
        return plan

    made = {name: make(*case) for name, case in CASES.items()}
    for kind in KINDS:
        made[f"asked {kind}"] = make("gfx942", kind, 1, VLLM, options=ASKED)
        made[f"variables {kind}"] = make("gfx942", kind, 1, VLLM, environment=UNKNOWN_VARIABLES)
        for group in ("first", "second"):
            made[f"{group} {kind}"] = make("gfx942", kind, 2, VLLM, nodes=group, host="192.0.2.11")
        for name, (options, _word) in REFUSED.items():
            if isinstance(options, dict):
                made[f"{name} {kind}"] = make("gfx942", kind, 1, VLLM, options=options)
    for model, recipe in RECIPES.items():
        made[f"recipe {model}"] = make(
            "gfx942", "venv", 1, "", options=recipe["options"], environment=recipe["environment"]
        )
    return made


def render(plan: dict) -> dict[str, str]:
    """The files of a plan as the role renders them: their content by the suffix of their name."""
    # As once the role `model` has fetched what the plan names.
    fetched = {**plan["model"], "fetch": []}
    variables = {
        "plan_host": {"serve": plan["serve"], "model": fetched},
        "role_path": str(ROLE),
        "ansible_search_path": [str(ROLE)],
    }
    variables["ansible_check_mode"] = False
    for part in ("defaults", "vars"):
        values = yaml.safe_load((ROLE / part / "main.yml").read_text(encoding="utf-8"))
        variables |= {
            name: trust_as_template(value) if isinstance(value, str) else value
            for name, value in values.items()
        }
    expression = trust_as_template("{{ lookup('ansible.builtin.template', 'files.yml.j2') | from_yaml }}")
    files = Templar(loader=DataLoader(), variables=variables).template(expression)
    # What ends the hosts of a model together is no business of vLLM.
    present = [file for file in files if file.get("state") != "absent" and "lifeline" not in file["path"]]
    return {str(file["path"]).rpartition(".")[2]: str(file["content"]) for file in present}


def command_line(unit: str) -> list[str]:
    """What follows `vllm serve`."""
    line = re.search(r"^Exec(?:Start)?=(?:.* )?serve (.+)$", unit, re.M)
    assert line, unit
    words = shlex.split(line.group(1))
    assert words[-2] == "--config", words
    return [*words[:-1], "CONFIG"]


def environment_of(files: dict[str, str], unit: str) -> dict[str, str]:
    """The variables of the environment file and those in the unit."""
    words = [line for line in files["env"].splitlines() if line and line[0] != "#"]
    words += [word for line in re.findall(r"^Environment=(.*)$", unit, re.M) for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words)


def destination(option: str) -> str:
    """Where the parser keeps an option."""
    return option.removeprefix("no-").partition(".")[0].replace("-", "_")


def span(name: str, *tables: str) -> tuple[str | None, str | None]:
    """The first and the last release that know a name, as the catalog has it."""
    for table in tables:
        entry = CATALOG.vllm[table].get(name)
        if entry is not None:
            return (entry["first"], entry["last"]) if isinstance(entry, dict) else (entry[0], entry[1])
    raise AssertionError(f"{name} is in none of {', '.join(tables)} of the catalog of vLLM")


def newer(name: str, *tables: str) -> bool:
    """Whether the catalog says that a name came after the release in the image."""
    first = span(name, *tables)[0]
    return first is not None and version_key(str(first)) > version_key(VLLM)


def newer_option(name: str) -> bool:
    return newer(name.partition(".")[0], "known_options")


def newer_variable(name: str) -> bool:
    return name.startswith("VLLM_") and newer(name, "environment", "known_environment")


@pytest.fixture(scope="module")
def answer(plans: dict[str, dict]) -> dict:
    """What vLLM said to all cases."""
    cases = {}
    for name, plan in plans.items():
        files = render(plan)
        unit = files.get("service") or files["container"]
        config = yaml.safe_load(files["yaml"])
        # Only where the plan is for a newer release than that of the image: what the catalog says came later
        # is left out.
        later = [
            option
            for option in config
            if plan["serve"]["installs"][0]["version"] != VLLM and newer_option(option)
        ]
        text = (
            yaml.safe_dump({key: value for key, value in config.items() if key not in later})
            if later
            else files["yaml"]
        )
        cases[name] = {
            "arguments": command_line(unit),
            "config": text,
            "environment": environment_of(files, unit),
            "show": [
                *{destination(option) for option in config if option not in later},
                "model_tag",
                "dtype",
            ],
        }
    for name, (options, _word) in REFUSED.items():
        if isinstance(options, str):
            cases[name] = {
                "arguments": ["m", "--config", "CONFIG"],
                "config": options,
                "environment": {},
                "show": [],
            }
    dropped = {"arguments": ["m", "--config", "CONFIG"], "environment": {}, "show": ["async_scheduling"]}
    cases["false"] = {**dropped, "config": "async-scheduling: false\n"}
    cases["no"] = {**dropped, "config": "no-async-scheduling: true\n"}
    try:
        there = podman("images", "--quiet", IMAGE).strip()
    except (BedError, OSError) as error:
        pytest.fail(
            f"Podman does not run here ({error}). Remedy: as root, molecule/shared/bed prepare --engine",
            pytrace=False,
        )
    if not there:
        pytest.fail(
            f"The image {IMAGE} is missing. Remedy: molecule/shared/bed prepare --engine", pytrace=False
        )
    # Privileged for the same reason as in testbed.engine; without a network, because nothing may be fetched.
    output = podman(
        "run", "--rm", "--interactive", f"--label={LABEL}=build", "--privileged", "--network=none", "--pids-limit=0",
        "--ulimit=nofile=20000:20000", "--ulimit=nproc=30000:30000", f"--volume={SCRIPT}:/parse_with_vllm.py:ro",
        "--entrypoint=python3", IMAGE, "/parse_with_vllm.py", stdin=json.dumps(cases),
    )  # fmt: skip
    return json.loads(output)


def same(seen: object, wanted: object) -> bool:
    """Whether an option arrived. A single name becomes a list; of a structure, what was given must be in
    it."""
    if isinstance(wanted, dict) and isinstance(seen, dict):
        return all(same(seen.get(key), value) for key, value in wanted.items())
    if isinstance(seen, list) and not isinstance(wanted, list):
        seen = seen[0] if len(seen) == 1 else seen
    if isinstance(seen, str) and isinstance(wanted, str):
        return wanted.lower() in seen.lower()  # the name of a member of an enumeration is inside its text
    return seen == wanted and type(seen) is type(wanted)


def test_the_image_has_the_release_this_is_about(answer: dict) -> None:
    assert answer["version"] == f"{VLLM}+cpu"
    assert sorted(PRODUCTS) == PROFILES, "a profile without an emulated host"


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_accepted_by_vllm(plans: dict, answer: dict, name: str) -> None:
    profile, kind, count, version = CASES[name]
    vllm, result = plans[name]["serve"], answer["cases"][name]
    failed = [finding for finding in plans[name]["findings"] if finding["severity"] == "fail"]
    # The wheels of vLLM 0.32 need the old ROCm on the host.
    assert ("vllm.wheels" in [finding["id"] for finding in failed]) is (
        kind == "venv" and profile != "cpu" and version == VLLM
    )
    refused = [
        finding["seen"]
        for finding in failed
        if finding["id"].startswith("vllm.") and finding["id"] != "vllm.wheels"
    ]
    assert refused == []
    # Where two of these dead-lock with RCCL's protocol LL, it is not used.
    protocol = "Simple" if profile[:6] == "gfx120" and count == 2 else None
    assert vllm["instances"][0]["environment"].get("NCCL_PROTO") == protocol or profile == "gfx950"
    assert vllm["instances"][0]["kind"] == kind and len(vllm["instances"][0]["gpus"]) == count
    assert vllm["instances"][0]["version"] == (
        version or (VLLM if profile == "cpu" else CATALOG.vllm["default_version"])
    )

    instance = vllm["instances"][0]
    assert result["exit"] == 0, result["error"]
    options = {
        option: value
        for option, value in instance["options"].items()
        if vllm["instances"][0]["version"] == VLLM or not newer_option(option)
    }
    assert len(options) >= 3 and ("tensor-parallel-size" in options) == (count > 1)
    for option, value in options.items():
        wanted = False if option.startswith("no-") else value
        assert same(result["options"][destination(option)], wanted), (option, wanted, result["options"])
    assert result["options"]["model_tag"] == f"/var/lib/amdgpu-fleet/models/Qwen/{SERVED}"
    assert result["options"]["served_model_name"] == [SERVED]

    environment = instance["environment"]
    later = (
        [variable for variable in environment if newer_variable(variable)]
        if vllm["instances"][0]["version"] != VLLM
        else []
    )
    assert result["unknown"] == later
    assert {variable for variable in environment if variable.startswith("VLLM_")} - set(later) <= set(
        result["variables"]
    )
    assert not [name for name, value in result["variables"].items() if str(value).startswith("refused")], (
        result["variables"]
    )
    if profile != "cpu":
        assert result["variables"]["VLLM_ROCM_USE_AITER"] is (profile in ("gfx942", "gfx950"))
    assert result["variables"]["VLLM_NO_USAGE_STATS"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_operator_asks_for_arrives(plans: dict, answer: dict, kind: str) -> None:
    result = answer["cases"][f"asked {kind}"]
    assert result["exit"] == 0, result["error"]
    seen = result["options"]
    assert seen["enable_prefix_caching"] is False and seen["enforce_eager"] is True
    assert (
        seen["gpu_memory_utilization"] == 0.5 and seen["max_model_len"] == 4096 and seen["max_num_seqs"] == 8
    )
    assert seen["dtype"] == "auto", "a null takes the option away"
    assert seen["limit_mm_per_prompt"] == {"image": 2, "video": 0}
    assert seen["allowed_origins"] == ["https://a.example", "https://b.example"]
    assert seen["cudagraph_capture_sizes"] == [1, 2, 4]
    assert seen["allowed_methods"] == ["GET", "POST"] and seen["override_generation_config"] == {
        "temperature": 0.2
    }
    assert (
        seen["speculative_config"] == ASKED["speculative-config"]
        and seen["hf_overrides"] == ASKED["hf-overrides"]
    )
    assert "FULL_DECODE_ONLY" in str(seen["compilation_config"]) and "ROCM_AITER_FA" in str(
        seen["attention_backend"]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", ["first", "second"])
def test_a_model_on_two_hosts_is_accepted_by_vllm(plans: dict, answer: dict, group: str, kind: str) -> None:
    name, rank = f"{group} {kind}", int(group == "second")
    assert {finding["id"] for finding in plans[name]["findings"] if finding["id"].startswith("vllm.")} <= {
        "vllm.wheels"
    }
    result = answer["cases"][name]
    assert result["exit"] == 0, result["error"]
    seen = result["options"]
    assert (seen["nnodes"], seen["node_rank"], seen["headless"] if rank else False) == (2, rank, bool(rank))
    assert (
        seen["tensor_parallel_size"],
        seen["pipeline_parallel_size"],
        seen["distributed_executor_backend"],
    ) == (2, 2, "mp")
    assert seen["master_addr"] == ("192.0.2.20" if rank else "192.0.2.11") and seen["master_port"] == 29501
    assert result["variables"]["VLLM_HOST_IP"] == "192.0.2.11" and result["unknown"] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_option_ends_vllm_with_2(answer: dict, name: str, kind: str) -> None:
    """The exit code on which the units do not start again."""
    options, word = REFUSED[name]
    result = answer["cases"][name if isinstance(options, str) else f"{name} {kind}"]
    assert result["exit"] == 2 and word in result["error"], result


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_variable_is_reported(plans: dict, answer: dict, kind: str) -> None:
    name = f"variables {kind}"
    assert sorted(answer["cases"][name]["unknown"]) == sorted(UNKNOWN_VARIABLES)
    found = [
        finding["seen"].split()[0]
        for finding in plans[name]["findings"]
        if finding["id"] == "vllm.environment"
    ]
    assert sorted(found) == sorted(UNKNOWN_VARIABLES), "the planner refuses the same names"


def test_why_a_false_is_written_as_no(answer: dict) -> None:
    """When this fails, vLLM takes a false, and the planner may write what the operator wrote."""
    assert answer["cases"]["false"]["exit"] == answer["cases"]["no"]["exit"] == 0
    assert answer["cases"]["false"]["options"]["async_scheduling"] is not False
    assert answer["cases"]["no"]["options"]["async_scheduling"] is False


def test_the_catalog_knows_the_names_of_the_parser(answer: dict) -> None:
    def names(*tables: str) -> set[str]:
        found = set()
        for name in (name for table in tables for name in CATALOG.vllm[table]):
            first, last = span(name, *tables)
            if not newer(name, *tables) and (last is None or version_key(str(last)) >= version_key(VLLM)):
                found.add(name)
        return found

    assert names("known_options") == set(answer["options"])
    variables = {name for name in answer["variables"] if name.startswith("VLLM_")}
    known = {name for name in names("environment", "known_environment") if name.startswith("VLLM_")}
    assert known == variables


def test_the_catalog_knows_which_options_are_json(answer: dict) -> None:
    for kind in ("json", "json_or_word"):
        known = {name for name in CATALOG.vllm["config_file"][kind] if not newer_option(name)}
        assert known == set(answer[kind]), kind


@pytest.mark.parametrize("model", RECIPES)
def test_a_recipe_is_accepted_by_vllm(answer: dict, model: str) -> None:
    recipe, result = RECIPES[model], answer["cases"][f"recipe {model}"]
    assert result["exit"] == 0, result["error"]
    assert result["unknown"] == [name for name in recipe["environment"] if newer_variable(name)]
    assert not [name for name, value in result["variables"].items() if str(value).startswith("refused")], (
        result["variables"]
    )
