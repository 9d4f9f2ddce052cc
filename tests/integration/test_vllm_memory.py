# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache size of the plan against the one that vLLM itself logs, in the image of the test bed.

Facts are read by the module, the plan is made from them, and vLLM starts with the options and variables of
that plan. The models are the tiny Llama of the test bed, and folders that hold a config.json only (vLLM then
makes up the weights).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from testbed.engine import IMAGE, MODELS
from testbed.machine import LABEL, BedError, podman
from testbed.tree import load_host, write_tree

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("memory_of_vllm.py")
TINY = MODELS / "tiny-llama"
REMEDY = "Remedy: as root, molecule/shared/bed prepare --engine"
TOLERANCE = 0.10
REFUSED = "a context that does not fit"
# The models without weights have no tokenizer either.
MADE_UP = {"load-format": "dummy", "skip-tokenizer-init": True}

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16",
    "vocab_size": 512, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 12, "num_attention_heads": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 32768, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
MLA = {
    **LLAMA, "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_key_value_heads": 8, "num_hidden_layers": 4,
    "kv_lora_rank": 512, "q_lora_rank": 64, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 4,
    "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 4,
    "max_position_embeddings": 4096, "rope_theta": 10000.0,
}  # fmt: skip


def windowed(every: int, layers: int, **more: object) -> dict:
    """Layers of which each ``every``-th sees all tokens, and the others a window."""
    types = [
        "full_attention" if every and index % every == every - 1 else "sliding_attention"
        for index in range(layers)
    ]
    return {**LLAMA, "num_hidden_layers": layers, "layer_types": types, "sliding_window": 128, **more}


def shared(kind: str, name: str, layers: int, **more: object) -> dict:
    """Gemma's layers: every fifth or sixth sees all tokens, and the last ones keep nothing of their own."""
    every = 5 if kind == "gemma3n_text" else 6
    types = ["full_attention" if at % every == every - 1 else "sliding_attention" for at in range(layers)]
    return {
        **LLAMA, "architectures": [name], "model_type": kind, "num_hidden_layers": layers, "head_dim": 64,
        "layer_types": types, "sliding_window": 128, "hidden_activation": "gelu_pytorch_tanh", "vocab_size_per_layer_input": 512,
        "hidden_size_per_layer_input": 64, "tie_word_embeddings": True, **more,
    }  # fmt: skip


GEMMA4 = shared(
    "gemma4_text", "Gemma4ForCausalLM", 12, global_head_dim=128, num_global_key_value_heads=1, attention_k_eq_v=True,
    num_key_value_heads=4, num_kv_shared_layers=0,
)  # fmt: skip
MINICPM3 = {
    **LLAMA, "architectures": ["MiniCPM3ForCausalLM"], "model_type": "minicpm3", "num_key_value_heads": 8, "num_hidden_layers": 4,
    "kv_lora_rank": 64, "q_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "v_head_dim": 32, "scale_emb": 1,
    "dim_model_base": 256, "scale_depth": 1.4, "max_position_embeddings": 4096, "rope_theta": 10000.0,
}  # fmt: skip
GRANITE = {
    **LLAMA, "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "num_hidden_layers": 4,
    "layer_types": ["attention"] * 4, "num_local_experts": 0, "shared_intermediate_size": 256, "mamba_d_state": 16,
    "mamba_n_heads": 8, "mamba_d_head": 64, "mamba_expand": 2, "position_embedding_type": "rope",
}  # fmt: skip


# Name: the config.json (None is the tiny model itself), the options and the variables of the instance.
CASES: dict[str, tuple[dict | None, dict, dict]] = {
    "tiny": (None, {"max-model-len": 256}, {}),
    "tiny in float32, its own context, 2 GiB": (None, {"dtype": "float32"}, {"VLLM_CPU_KVCACHE_SPACE": "2"}),
    "grouped queries": (LLAMA, {"block-size": 32, "max-model-len": "4k"}, {}),
    "grouped queries, a cache of 8 bits": (LLAMA, {"kv-cache-dtype": "fp8", "max-model-len": 1024}, {}),
    "window in five of six layers": (windowed(6, 12), {"max-model-len": 8192}, {}),
    "window in seven of thirteen layers": (windowed(2, 13), {"max-model-len": 8192}, {}),
    "window everywhere": (windowed(0, 4), {"max-model-len": 8192}, {}),
    "window, cache manager off": (
        windowed(6, 12),
        {"max-model-len": 8192, "disable-hybrid-kv-cache-manager": True},
        {},
    ),
    "latent vectors": (MLA, {"max-model-len": 1024}, {}),
    "wider heads where all is seen": (GEMMA4, {"max-model-len": 8192}, {}),
    "keys and values of a latent vector": (MINICPM3, {"max-model-len": 1024}, {}),
    "a hybrid without states": (GRANITE, {"max-model-len": 4096}, {}),
    REFUSED: (LLAMA, {"kv-cache-memory-bytes": "16M"}, {"VLLM_CPU_KVCACHE_SPACE": None}),
}


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The instance of each case, as the plan has it."""
    if not (TINY / "config.json").exists():
        pytest.fail(f"The tiny model is missing. {REMEDY}", pytrace=False)
    root = tmp_path_factory.mktemp("host")
    write_tree(load_host("no-gpu"), root)
    folders = {name: f"/srv/models/{number}" for number, name in enumerate(CASES)}
    for name, (configuration, _options, _environment) in CASES.items():
        folder = root / folders[name].lstrip("/")
        if configuration is None:
            shutil.copytree(TINY, folder)
        else:
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
    asked = {"root": str(root), "_ansible_remote_tmp": str(root), "paths": list(folders.values())}
    done = subprocess.run(
        [sys.executable, "-m", "ansible_collections.amdgpu.fleet.plugins.modules.host_facts"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": asked}),
        env={"PYTHONPATH": str(REPOSITORY / ".collections"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    facts = json.loads(done.stdout)["ansible_facts"]
    made = {}
    for name, (configuration, options, environment) in CASES.items():
        wanted = {"name": "chat", "model": folders[name], "options": options, "environment": environment}
        if configuration:
            wanted |= {"weights_gib": 0.001, "options": {**options, **MADE_UP}}
        plan = planner.plan(facts, {"serve_instances": [wanted]}, "no-gpu")
        assert not [finding for finding in plan["findings"] if finding["severity"] == "fail"]
        made[name] = plan["serve"]["instances"][0]
    made["root"] = {"path": str(root)}
    return made


@pytest.fixture(scope="module")
def reported(instances: dict[str, dict]) -> dict[str, dict]:
    """What vLLM logged in each case."""
    cases = {}
    for name in CASES:
        instance = instances[name]
        cases[name] = {
            "arguments": [instance["model"], "--config", "CONFIG"],
            "config": yaml.safe_dump(instance["options"]),
            "environment": {**instance["environment"], "HF_HUB_OFFLINE": "1"},
        }
    try:
        there = podman("images", "--quiet", IMAGE).strip()
    except (BedError, OSError) as error:
        pytest.fail(f"Podman does not run here ({error}). {REMEDY}", pytrace=False)
    if not there:
        pytest.fail(f"The image {IMAGE} is missing. {REMEDY}", pytrace=False)
    output = podman(
        "run", "--rm", "--interactive", f"--label={LABEL}=build", "--privileged", "--network=none", "--pids-limit=0",
        "--ulimit=nofile=20000:20000", "--ulimit=nproc=30000:30000", f"--volume={SCRIPT}:/memory_of_vllm.py:ro",
        f"--volume={instances['root']['path']}/srv/models:/srv/models:ro",
        "--entrypoint=python3", IMAGE, "/memory_of_vllm.py", stdin=json.dumps(cases),
    )  # fmt: skip
    return json.loads(output)


@pytest.mark.parametrize("name", [name for name in CASES if name != REFUSED])
def test_the_cache_is_as_large_as_vllm_says(instances: dict, reported: dict, name: str) -> None:
    memory, seen = instances[name]["memory"], reported[name]
    assert seen["tokens"], seen["log"]
    assert memory["verdict"] == "fits", memory
    assert abs(memory["cache_tokens"] - seen["tokens"]) <= TOLERANCE * seen["tokens"], (
        memory,
        seen["tokens"],
    )


def test_vllm_refuses_the_context_of_which_the_plan_warns(instances: dict, reported: dict) -> None:
    memory, seen = instances[REFUSED]["memory"], reported[REFUSED]
    assert memory["verdict"] == "context" and seen["tokens"] is None, seen["log"]
    assert (
        seen["longest"] and abs(memory["largest_context"] - seen["longest"]) <= TOLERANCE * seen["longest"]
    ), (memory, seen)


def test_the_cases_are_different(reported: dict) -> None:
    """Otherwise one figure could be right for all of them."""
    assert len({seen["tokens"] for seen in reported.values()}) >= 7, reported
