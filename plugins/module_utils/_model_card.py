# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model folder says of itself: its configuration, in the format of transformers or of Mistral, and the
models that it comes from."""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

CONFIGURATION, MISTRAL, ADAPTER = "config.json", "params.json", "adapter_config.json"
# Where ModelOpt wrote at first how the weights are quantized.
QUANTIZED = "hf_quant_config.json"
# The beginning of a model card, with the lines that are for programs.
CARD_LIMIT = 8 << 10
NAME = re.compile(r"[\w.-]{1,64}/[\w.-]{1,96}")
BASE = re.compile(r"^base_model:[ \t]*(.*(?:\n[ \t]*-.*)*)", re.MULTILINE)
# What Mistral calls the numbers that others have in config.json.
OF_MISTRAL = {
    "dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim", "hidden_dim": "intermediate_size", "vocab_size": "vocab_size",
    "kv_lora_rank": "kv_lora_rank",
    "qk_rope_head_dim": "qk_rope_head_dim", "qk_nope_head_dim": "qk_nope_head_dim",
    "v_head_dim": "v_head_dim", "q_lora_rank": "q_lora_rank",
}  # fmt: skip
# It keeps keys and values of the sounds too.
REALTIME = {"VoxtralRealtimeGeneration": "voxtral_realtime"}
# vLLM's context where params.json names none.
MISTRAL_CONTEXT = 128000


def is_model(tree: Tree, path: str) -> bool:
    """Whether a folder is a model, or an adapter of one."""
    return any(tree.exists(path, name) for name in (CONFIGURATION, MISTRAL, ADAPTER))


def configuration(tree: Tree, path: str) -> dict[str, t.Any]:
    """The config.json of a folder, or what a params.json means as one."""
    if not tree.exists(path, CONFIGURATION) and tree.exists(path, MISTRAL):
        return of_mistral(_read(tree, path, MISTRAL))
    found = _read(tree, path, CONFIGURATION)
    if found and not found.get("quantization_config") and tree.exists(path, QUANTIZED):
        return {**found, "quantization_config": _read(tree, path, QUANTIZED)}
    return found


def _read(tree: Tree, path: str, name: str) -> dict[str, t.Any]:
    data = tree.raw(path, name)
    try:
        found = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("quantization_config") or {}, dict):
        tree.problem(f"{path}/{name}", "is not the configuration of a model")
        return {}
    return found


def of_mistral(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """As vLLM reads params.json (its transformers_utils/configs/mistral.py)."""
    if not params:
        return {}
    mixture = params.get("moe") if isinstance(params.get("moe"), dict) else {}
    found: dict[str, t.Any] = {name: params[key] for key, name in OF_MISTRAL.items() if key in params}
    # A latent cache is that of DeepSeek V3.
    kind = "deepseek_v3" if params.get("kv_lora_rank") else "mixtral" if mixture else "mistral"
    served = _class_of(params)
    found |= {"model_type": REALTIME.get(served, kind), "architectures": [served], "torch_dtype": "bfloat16"}
    positions = params.get("max_position_embeddings") or MISTRAL_CONTEXT
    length = params.get("max_seq_len") or positions
    numbers = isinstance(length, int) and isinstance(positions, int)
    found["max_position_embeddings"] = min(length, positions) if numbers else length
    window, layers = params.get("sliding_window"), params.get("n_layers")
    if isinstance(window, list) and window and isinstance(layers, int) and 0 < layers <= 1000:
        # One period of windows; none sees everything.
        kinds = ["sliding_attention" if size else "full_attention" for size in window]
        found["layer_types"] = (kinds * layers)[:layers]
        window = next((size for size in window if size), None)
    found["sliding_window"] = window
    vision, quantized, yarn = (params.get(name) for name in ("vision_encoder", "quantization", "yarn"))
    if isinstance(vision, dict):
        found["vision_config"] = vision
    if isinstance(yarn, dict) and yarn:
        found["rope_parameters"] = {**yarn, "rope_type": "yarn"}
    if isinstance(mixture, dict) and mixture:
        found["num_local_experts"] = mixture.get("num_experts")
        found["moe_intermediate_size"] = mixture.get("expert_hidden_dim")
    if isinstance(quantized, dict):
        fp8 = quantized.get("qformat_weight") == "fp8_e4m3" or quantized.get("quant_method") == "fp8"
        found["quantization_config"] = {"quant_method": "fp8"} if fp8 else quantized
    return found


def _class_of(params: dict[str, t.Any]) -> str:
    """The class that vLLM gives a params.json."""
    inside = [params.get(name) for name in ("moe", "multimodal")]
    mixture, senses = (part if isinstance(part, dict) else {} for part in inside)
    hearing = senses.get("whisper_model_args")
    heard = hearing.get("encoder_args") if isinstance(hearing, dict) else None
    if heard:
        causal = isinstance(heard, dict) and heard.get("causal")
        return "VoxtralRealtimeGeneration" if causal else "VoxtralForConditionalGeneration"
    if params.get("vision_encoder") or senses.get("vision_encoder_args"):
        return "PixtralForConditionalGeneration"
    if params.get("model_type") == "mamba":
        return "Mamba2ForCausalLM"
    if mixture.get("num_shared_experts") or (params.get("qk_nope_head_dim") and not mixture):
        return "MistralLarge3ForCausalLM"
    return "MixtralForCausalLM" if mixture else "MistralForCausalLM"


def bases(tree: Tree, path: str, found: t.Mapping[str, t.Any]) -> list[str]:
    """Models that this one is, or comes from: a hint of its config.json, and the lines of its card."""
    names = [found.get("_name_or_path")]
    card = (tree.raw(path, "README.md", limit=1 << 20) or b"")[:CARD_LIMIT].decode("utf-8", "replace")
    head = card.split("\n---", 1)[0] if card.startswith("---") else ""
    match = BASE.search(head)
    names += [part.strip(" \t-'\"") for part in match.group(1).split("\n")] if match else []
    return [name for name in dict.fromkeys(names) if isinstance(name, str) and NAME.fullmatch(name)][:4]


def architecture(found: t.Mapping[str, t.Any]) -> str | None:
    """The class that serves it; what it answers follows from it."""
    names = found.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    return first if isinstance(first, str) and 0 < len(first) <= 64 else None
