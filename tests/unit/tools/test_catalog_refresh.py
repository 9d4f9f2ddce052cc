# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""make catalog-refresh, on two tiny source distributions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from catalog_refresh.__main__ import compute, refresh
from catalog_refresh.cited import files, outdated, problems
from catalog_refresh.recipes import arguments

CONFIG = """
RunnerType = Literal["generate", "pooling"]
RunnerOption = Literal["auto", RunnerType]

class ModelConfig:
    runner: RunnerOption = "auto"
    seed: int = Field(default=0, ge=0)
    hf_overrides: dict[str, Any] | Callable = field(default_factory=dict)
    load: str | Literal["a"] = "a"
    enable_eager: bool = False
    scale: float | None = None
"""
ARGUMENTS = """
class EngineArgs:
    def add_cli_args(parser):
        model_kwargs = get_kwargs(ModelConfig)
        group.add_argument("--runner", **model_kwargs["runner"])
        group.add_argument("--seed", **{**model_kwargs["seed"], "default": None})
        group.add_argument("--hf-overrides", **model_kwargs["hf_overrides"])
        group.add_argument("--load", "-l", **model_kwargs["load"])
        group.add_argument("--enable-eager", **model_kwargs["enable_eager"])
        scale = model_kwargs["scale"]
        group.add_argument("--scale", **scale)
        group.add_argument("--grpc", action="store_true", default=False)
"""
FRONTEND = """
class ExampleFrontendArgs:
    port: int = 8000
    allowed: list[str] = field(default_factory=list)
    keep: ClassVar[int] = 1
frontend_kwargs["allowed"]["type"] = json.loads
"""
ENVIRONMENT = """
environment_variables = {
    "VLLM_INT_BOOL": lambda: bool(int(os.getenv("VLLM_INT_BOOL", "0"))),
    "VLLM_BOOL": lambda: os.getenv("VLLM_BOOL", "False").lower() in ("true", "1"),
    "VLLM_ONE": lambda: os.environ.get("VLLM_ONE", "0") == "1",
    "VLLM_WORD": env_with_choices("VLLM_WORD", "auto", ["auto", "asm"], case_sensitive=False),
    "VLLM_MAYBE": lambda: None if "VLLM_MAYBE" not in os.environ else float(os.environ["VLLM_MAYBE"]),
}
"""
RECIPE = """
meta: {hardware: {h100: verified, mi300x: verified, mi325x: unsupported}, date_updated: 2026-05-11}
model:
  model_id: Example/One
  min_vllm_version: "0.2.0"
  base_args: ["--trust-remote-code", "--seed", "1", "-cc.mode", "3", "-cc.deep.er=true"]
features:
  tool_calling: {args: ["--tool-call-parser", "one", "--enable-auto-tool-choice"]}
  spec_decoding:
    modes:
      mtp: {args: ["--speculative-config", '{"method": "mtp"}']}
      other: {args: ["--speculative-config", "{}"], hardware: {amd: unsupported}}
opt_in_features: [spec_decoding]
variants:
  default: {precision: bf16, vram_minimum_gb: 10}
  small: {precision: nvfp4, model_id: Example/One-NVFP4}
  blackwell: {precision: fp8, supported_hardware: [b200]}
  cdna3: {precision: fp8, model_id: Example/One-CDNA3, supported_hardware: ["arch:sm90", "arch:gfx942", mi355x]}
  cdna4: {precision: mxfp4, model_id: Example/One-CDNA4, supported_hardware: ["arch:gfx950"]}
  fp8: {precision: fp8, model_id: Example/One-FP8, tp: {mi300x: 2, h100: 4}}
hardware_overrides: {amd: {extra_args: ["--seed", "2"], extra_env: {VLLM_BOOL: 1}}, nvidia: {extra_args: ["--x"]}}
strategy_overrides: {single_node_tp: {tp: 4, hardware_overrides: {mi300x: {extra_args: ["--seed", "3"]}}}}
"""


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    def sdist(release: str, contents: dict[str, str]) -> Path:
        root = tmp_path / f"vllm-{release}"
        for name, text in contents.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    rocm = "supported_quantization: list[str] = [{}]\nx = AttentionBackendEnum.TRITON_ATTN\n"
    backends = "class AttentionBackendEnum(Enum):\n    TRITON_ATTN = 1\n    FLASHINFER = 2\n"
    old = {
        "vllm/config/model.py": CONFIG.replace('"pooling"', '"pooling", "draft"'),
        "vllm/engine/arg_utils.py": ARGUMENTS.replace("--scale", "--swap"),
        "vllm/entrypoints/openai/cli_args.py": FRONTEND,
        "vllm/envs.py": ENVIRONMENT.replace("VLLM_ONE", "VLLM_OLD"),
        "vllm/platforms/rocm.py": rocm.format('"gguf", "fp8"'),
        "vllm/v1/attention/backends/registry.py": backends,
        "vllm/tool_parsers/__init__.py": "_TOOL_PARSERS_TO_REGISTER = {'one': (1, 2)}",
        "vllm/reasoning/__init__.py": "_REASONING_PARSERS_TO_REGISTER = {}",
    }
    new = {
        **old,
        "vllm/config/model.py": CONFIG,
        "vllm/engine/arg_utils.py": ARGUMENTS,
        "vllm/envs.py": ENVIRONMENT,
        "vllm/platforms/rocm.py": rocm.format('"fp8"'),
        "vllm/utils/argparse_utils.py": "_inverse_prefixes = {}",
        "vllm/entrypoints/common/cli_args.py": FRONTEND,
        "vllm/v1/attention/backends/registry.py": f"{backends}    ROCM_NEW = 3\n",
        "recipes/models/Example/One.yaml": RECIPE,
    }
    del new["vllm/entrypoints/openai/cli_args.py"]
    return {"0.1.0": sdist("0.1.0", old), "0.2.0": sdist("0.2.0", new)}


def test_options_have_type_choices_default_and_releases(roots: dict[str, Path]) -> None:
    known = compute(roots)["options"]["known_options"]
    always = {"first": None, "last": None}
    assert known["runner"] == {
        **always,
        "type": "choice",
        "choices": {
            "auto": [None, None],
            "draft": [None, "0.1.0"],
            "generate": [None, None],
            "pooling": [None, None],
        },
        "default": "auto",
    }
    assert known["seed"] == {**always, "type": "int", "default": None}
    assert known["load"] == {**always, "type": "text", "default": "a"}
    assert known["hf-overrides"] == {**always, "type": "json_or_word"}
    assert known["scale"] == {"first": "0.2.0", "last": None, "type": "float", "default": None}
    assert known["swap"]["last"] == "0.1.0"
    assert known["grpc"] == {**always, "type": "switch", "default": False}
    # The file of the server's options moved between the two.
    assert known["port"] == {**always, "type": "int", "default": 8000}
    assert known["allowed"] == {**always, "type": "json"}
    assert "keep" not in known


def test_negations_follow_the_release(roots: dict[str, Path]) -> None:
    known = compute(roots)["options"]["known_options"]
    negation = {"last": None, "type": "negation", "of": "enable-eager"}
    assert known["no-enable-eager"] == {"first": None, **negation}
    assert known["disable-eager"] == {"first": "0.2.0", **negation}
    assert "no-grpc" not in known


def test_variables_have_the_type_that_their_parser_takes(roots: dict[str, Path]) -> None:
    known = compute(roots)["environment"]["known_environment"]
    types = {name: entry["type"] for name, entry in known.items()}
    assert types == {
        "VLLM_INT_BOOL": "int-bool",
        "VLLM_BOOL": "bool",
        "VLLM_ONE": "one",
        "VLLM_OLD": "one",
        "VLLM_WORD": "choice",
        "VLLM_MAYBE": "float",
    }
    assert known["VLLM_WORD"]["any_case"] is True
    assert (known["VLLM_ONE"]["first"], known["VLLM_OLD"]["last"]) == ("0.2.0", "0.1.0")


def test_tables_by_release(roots: dict[str, Path]) -> None:
    sections = compute(roots)
    assert sections["quantization"]["quantization_history"]["gguf"] == {"first": None, "last": "0.1.0"}
    assert sections["attention"]["attention_history"] == {
        "FLASHINFER": {"first": None, "last": None},
        "ROCM_NEW": {"first": "0.2.0", "last": None, "rocm": True},
        "TRITON_ATTN": {"first": None, "last": None, "rocm": True},
    }
    assert sections["parsers"]["parsers"] == {"reasoning": {}, "tool": {"one": {"first": None, "last": None}}}


def test_a_recipe_is_taken_as_far_as_it_concerns_amd(roots: dict[str, Path]) -> None:
    recipe = compute(roots)["recipes"]["recipes"]["Example/One"]
    assert recipe["hardware"] == ["mi300x"]
    assert recipe["unsupported"] == ["mi325x"]
    assert recipe["trust_remote_code"] is True
    assert recipe["options"] == {"seed": 1, "compilation-config": {"mode": 3, "deep": {"er": True}}}
    assert recipe["amd"] == {"options": {"seed": 2}, "environment": {"VLLM_BOOL": "1"}}
    assert recipe["single_node"] == {"cards": {"mi300x": {"options": {"seed": 3}}}}
    assert recipe["tensor_parallel"] == 4
    assert recipe["tool_call_parser"] == "one"
    assert list(recipe["speculative"]) == ["mtp"]
    assert recipe["variants"] == {
        "default": {"precision": "bf16", "memory_gb": 10},
        # A whole architecture stands for its cards.
        "cdna3": {
            "precision": "fp8",
            "model": "Example/One-CDNA3",
            "hardware": ["mi300x", "mi325x", "mi355x"],
        },
        "cdna4": {"precision": "mxfp4", "model": "Example/One-CDNA4", "hardware": ["mi350x", "mi355x"]},
        "fp8": {"precision": "fp8", "model": "Example/One-FP8", "tensor_parallel": {"mi300x": 2}},
    }
    assert (recipe["source"], recipe["date"]) == (
        "vLLM 0.2.0 sdist recipes/models/Example/One.yaml",
        "2026-05-11",
    )


def test_of_an_option_given_twice_the_last_counts() -> None:
    assert arguments(["-tp", "8", "--tensor_parallel_size=2", "--flag"]) == {
        "tensor-parallel-size": 2,
        "flag": True,
    }


def test_files_are_written_once_and_checked_without_writing(roots: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "generated"
    assert len(refresh(roots, folder, check=True)) == 7
    assert not folder.exists()
    refresh(roots, folder, check=False)
    assert refresh(roots, folder, check=True) == []
    text = (folder / "options.yml").read_text(encoding="utf-8")
    assert "Generated by `make catalog-refresh`" in text
    assert yaml.safe_load(text)["releases_read"] == ["0.1.0", "0.2.0"]
    (folder / "options.yml").write_text(text.replace("8000", "8001"), encoding="utf-8")
    assert refresh(roots, folder, check=True) == ["options.yml"]


def test_a_source_is_held_to_contain_its_value(roots: dict[str, Path], tmp_path: Path) -> None:
    def entry(name: str, source: str) -> dict:
        return {name: {"meaning": "A word.", "source": source, "date": "2026-11-02"}}

    right = entry("VLLM_BOOL", "vLLM 0.2.0 sdist vllm/envs.py")
    assert problems(right, tmp_path) == []
    missing = entry("VLLM_BOOL", "vLLM 0.2.0 sdist vllm/nothing.py, vllm/envs.py")
    assert "vllm/nothing.py is not in the release" in problems(missing, tmp_path)[0]
    elsewhere = entry("VLLM_OLD", "vLLM 0.2.0 sdist vllm/envs.py")
    assert "VLLM_OLD is in none of the files" in problems(elsewhere, tmp_path)[0]


def test_an_entry_older_than_its_source_is_named() -> None:
    document = {
        "x": {"source": "vLLM 0.1.0 sdist vllm/envs.py, docker"},
        "y": {"source": "vLLM 0.2.0 sdist a.py"},
    }
    assert outdated(document, "0.2.0") == ["x (0.1.0)"]
    assert files("vLLM 0.1.0 sdist vllm/envs.py, docker; other#1") == [
        ("0.1.0", "vllm/envs.py"),
        ("0.1.0", "docker"),
    ]
