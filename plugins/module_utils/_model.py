# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells about a model folder: whether it is one, how many bytes its weights are, and the shape of
the model.

The shape is the few numbers of ``config.json`` from which memory is computed, named alike whatever the model
calls them. Weights are never read, only their sizes.
"""

from __future__ import annotations

import json
import os
import re
import struct
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_links as links
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_record import checked_by
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# The index of a model of a trillion parameters has about 15 MB.
INDEX_LIMIT = 64 << 20
SHARD = re.compile(r"-\d+-of-(\d+)\.")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".tensors", ".gguf")
END_OF_TENSOR = re.compile(rb'"data_offsets":\s*\[\s*\d+\s*,\s*(\d{1,18})\s*\]')
# Files beside the weights, and a second copy of them in another format (vLLM loads neither).
NOT_WEIGHTS = re.compile(r"(adapter_|consolidated|training_args|optimizer|scheduler|scaler|rng_state)")

# Names of one number, the first that is there counts (vLLM's
# transformers_utils/model_arch_config_convertor.py).
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads")
KV_HEADS = (
    "n_head_kv",
    "num_kv_heads",
    "num_key_value_heads",
    "multi_query_group_num",
    "num_attention_groups",
)
HIDDEN = ("hidden_size", "n_embd", "d_model")
HEAD_DIM = ("head_dim", "hidden_size_per_head", "kv_channels")
CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
# What transformers fills in where config.json names a window and not which layers have it: every n-th layer
# sees all.
PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}
# These keep their context already scaled, or are an own limit (vLLM's config/model.py).
ROPE_WITHOUT_FACTOR = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
# Caches that are not keys and values of every token, or not of every layer in one way: nothing is computed
# where these stand.
UNCOUNTED = (
    "compress_ratios", "index_topk", "hybrid_override_pattern", "attn_layer_period", "attn_type_list",
    "block_configs", "layers_block_type",
    "num_kv_shared_layers", "per_layer_config", "global_head_dim", "num_global_key_value_heads", "ssm_cfg",
    "state_size", "mamba_d_state",
    "linear_attn_config", "is_encoder_decoder",
)  # fmt: skip
LAYER_TYPES = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "full",  # vLLM keeps all their tokens unless told otherwise
    "linear_attention": "state",
    "mamba": "state",
}
LARGEST = 10**9


def paths(tree: Tree, wanted: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """For each model path asked for: whether it is there, whether it is a model, its weights and its
    shape."""
    return {path: _model(tree, path) for path in wanted}


def _model(tree: Tree, path: str) -> dict[str, t.Any]:
    configuration = _configuration(tree, path)
    numbers = shape(configuration)
    elsewhere, barred = links.beside(tree, path)
    if configuration and numbers is None:
        tree.problem(f"{path}/config.json", "does not say how many layers and heads the model has")
    return {
        "exists": tree.exists(path),
        "directory": os.path.isdir(tree.path(path)),
        "model": tree.exists(path, "config.json"),
        "model_type": _word(configuration.get("model_type")),
        "quantization": quantization(configuration),
        "fp8_scales": fp8_scales(configuration),
        "weights_bytes": _weights_bytes(tree, path),
        "missing": missing(tree, path),
        "checked_by": checked_by(tree, path),
        "place": links.place(tree, path),
        "elsewhere": elsewhere,
        "barred": barred,
        "astray": links.astray(tree, path),
        "shape": numbers,
    }


def _configuration(tree: Tree, path: str) -> dict[str, t.Any]:
    data = tree.raw(path, "config.json")
    try:
        configuration = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        configuration = None
    if not isinstance(configuration, dict) or not isinstance(
        configuration.get("quantization_config") or {}, dict
    ):
        tree.problem(f"{path}/config.json", "is not the configuration of a model")
        return {}
    return configuration


def quantization(configuration: dict[str, t.Any]) -> str | None:
    """How the weights are quantized, as ``quantization_config`` names it."""
    return _word(_quantization(configuration).get("quant_method"))


def fp8_scales(configuration: dict[str, t.Any]) -> str | None:
    """What shares a scale in weights of 8 bits: ``tensor``, ``channel`` or ``block``; ``None`` where they are
    not FP8."""
    settings = _quantization(configuration)
    if settings.get("quant_method") == "fp8":
        return "block" if settings.get("weight_block_size") else "tensor"
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict) and weights.get("num_bits") == 8 and weights.get("type") == "float":
            return weights["strategy"] if weights.get("strategy") in ("tensor", "channel", "block") else None
    return None


def _quantization(configuration: dict[str, t.Any]) -> dict[str, t.Any]:
    for part in (configuration, _text_part(configuration)):
        for key in ("quantization_config", "compression_config"):
            if isinstance(part.get(key), dict):
                return part[key]
    return {}


def shape(configuration: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """The numbers that memory is computed from, ``None`` where ``config.json`` has no layers or no heads.

    ``attention`` counts layers: ``full`` keep every token, ``sliding`` the last ``window``, ``state`` a fixed
    amount a sequence. ``uncounted`` names what makes the cache another one than these numbers say.
    """
    text = _text_part(configuration)
    layers, heads, hidden = _number(text, *LAYERS), _number(text, *HEADS), _number(text, *HIDDEN)
    if not layers or not heads:
        return None
    kind = _word(text.get("model_type")) or _word(configuration.get("model_type"))
    window, attention = _attention(text, kind, layers)
    numbers = {
        "type": kind,
        "layers": layers,
        "heads": heads,
        "kv_heads": _kv_heads(text, heads),
        "head_dim": _number(text, *HEAD_DIM) or (hidden // heads if hidden else None),
        "hidden": hidden,
        "vocabulary": _number(text, "vocab_size") or _number(configuration, "vocab_size"),
        "context": _context(text, kind),
        "dtype": _dtype(text) or _dtype(configuration),
        "kv_dtype": _kv_dtype(configuration),
        "kv_lora_rank": _number(text, "kv_lora_rank"),
        "rope_head_dim": _number(text, "qk_rope_head_dim"),
        "window": window,
        "attention": attention,
        "uncounted": next((key for key in UNCOUNTED if text.get(key) or configuration.get(key)), None),
    }
    return {name: value for name, value in numbers.items() if value is not None}


def _kv_heads(text: dict[str, t.Any], heads: int) -> int:
    if text.get("multi_query") is True and not text.get("new_decoder_architecture"):
        return 1
    return min(_number(text, *KV_HEADS) or heads, heads)


def _text_part(configuration: dict[str, t.Any]) -> dict[str, t.Any]:
    """The language model of one that also sees or hears."""
    for key in ("text_config", "llm_config", "language_config"):
        part = configuration.get(key)
        if isinstance(part, dict) and any(name in part for name in LAYERS):
            return part
    thinker = configuration.get("thinker_config")
    return _text_part(thinker) if isinstance(thinker, dict) else configuration


def _attention(text: dict[str, t.Any], kind: str | None, layers: int) -> tuple[int | None, dict[str, int]]:
    """The window, and how many layers there are of each kind."""
    window = _number(text, "sliding_window")
    if text.get("use_sliding_window") is False:
        window = None
    types = text.get("layer_types")
    counts = {"full": 0, "sliding": 0, "state": 0}
    pattern = _number(text, "sliding_window_pattern", "_sliding_window_pattern") or PATTERNS.get(kind or "")
    interval, from_layer = _number(text, "full_attention_interval"), text.get("max_window_layers")
    if isinstance(types, list) and len(types) == layers:
        for name in types:
            counts[LAYER_TYPES.get(name, "full") if isinstance(name, str) else "full"] += 1
    elif interval:
        counts.update(full=layers // interval, state=layers - layers // interval)
    elif window and pattern:
        counts.update(full=layers // pattern, sliding=layers - layers // pattern)
    elif window and text.get("use_sliding_window") is True and isinstance(from_layer, int):
        counts["full"] = min(max(from_layer, 0), layers)
        counts["sliding"] = layers - counts["full"]
    else:
        counts["sliding" if window else "full"] = layers
    if not window:
        counts["full"], counts["sliding"] = counts["full"] + counts["sliding"], 0
    return (window if counts["sliding"] else None), {name: count for name, count in counts.items() if count}


def _context(text: dict[str, t.Any], kind: str | None) -> int | None:
    """The longest context, as vLLM derives it from ``config.json``."""
    limits = [value for value in (_number(text, name) for name in CONTEXT) if value]
    if not limits:
        return None
    limit = _number(text, "model_max_length") or min(limits)
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, dict) or "gemma3" in (kind or ""):
        return limit
    name = rope.get("rope_type") or rope.get("type")
    if name == "longrope":
        return (
            _number(text, "original_max_position_embeddings")
            or _number(rope, "original_max_position_embeddings")
            or limit
        )
    factor = rope.get("factor")
    if (
        name in ROPE_WITHOUT_FACTOR
        or isinstance(factor, bool)
        or not isinstance(factor, (int, float))
        or not 0 < factor < 1 << 20
    ):
        return limit
    return max(min(int(limit * factor), LARGEST), 1)


def _kv_dtype(configuration: dict[str, t.Any]) -> str | None:
    """``fp8`` where the checkpoint itself asks for such a cache (vLLM: compressed-tensors and ModelOpt,
    nothing else)."""
    settings = _quantization(configuration)
    method = str(settings.get("quant_method"))
    scheme = settings.get("kv_cache_scheme")
    if (
        isinstance(scheme, dict)
        and scheme.get("num_bits") == 8
        and method.replace("_", "-") == "compressed-tensors"
    ):
        return "fp8"
    asked = str(scheme or settings.get("kv_cache_quant_algo")).lower()
    eight_bits = "fp8" in asked or (isinstance(scheme, dict) and scheme.get("num_bits") == 8)
    return "fp8" if method.startswith("modelopt") and eight_bits else None


def _dtype(part: dict[str, t.Any]) -> str | None:
    word = _word(part.get("dtype")) or _word(part.get("torch_dtype"))
    return word.replace("torch.", "") if word else None


def _word(value: t.Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 64 else None


def _number(part: dict[str, t.Any], *names: str) -> int | None:
    for name in names:
        value = part.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST:
            return value
    return None


def _weights_bytes(tree: Tree, path: str) -> int | None:
    """Bytes of the weight files: safetensors, or bin where there are none; what the index says where files
    are missing."""
    names = tree.names(path) if os.path.isdir(tree.path(path)) else []
    for suffix in (".safetensors", ".bin"):
        files = [name for name in names if name.endswith(suffix)]
        weights = [name for name in files if not NOT_WEIGHTS.match(name)] or [
            name for name in files if name.startswith("consolidated")
        ]
        if not weights:
            continue
        sizes = {name: _size(tree, path, name) for name in weights}
        shards = max((int(match.group(1)) for match in map(SHARD.search, weights) if match), default=0)
        if None in sizes.values() or shards > len(weights):
            indexed = _size_by_index(tree, path)
            if indexed is None:
                tree.problem(path, "has only some of the weight files")
            return indexed
        return sum(size or 0 for size in sizes.values())
    return _size_by_index(tree, path)


def _size(tree: Tree, *parts: str) -> int | None:
    try:
        return os.stat(tree.path(*parts)).st_size
    except (OSError, ValueError):
        return None


def _size_by_index(tree: Tree, path: str) -> int | None:
    for name in INDEXES:
        data = tree.raw(path, name, limit=INDEX_LIMIT)
        if not data:
            continue
        try:
            size = json.loads(data)["metadata"]["total_size"]
        except (ValueError, KeyError, TypeError, RecursionError):
            size = None
        if isinstance(size, (int, float)) and not isinstance(size, bool) and 0 < size < 1 << 50:
            return int(size)
        tree.problem(f"{path}/{name}", "does not say how large the weights are")
    return None


def missing(tree: Tree, path: str) -> str | None:
    """What keeps the weights of a folder from being whole, ``None`` where nothing does; by the index, or by
    the names of the shards."""
    if not tree.exists(path, "config.json"):
        return None
    names = tree.names(path)
    safetensors = any(name.endswith(".safetensors") for name in names)
    for index in INDEXES:
        if index in names and safetensors == index.startswith("model."):
            absent = [name for name in _indexed(tree, path, index) if not _size(tree, path, name)]
            if absent:
                return f"{absent[0]}{f' and {len(absent) - 1} more' if len(absent) > 1 else ''} of {index}"
            break
    else:
        for name in names:
            match = SHARD.search(name)
            if match and name.endswith((".safetensors", ".bin")):
                parts = sum(_same_shards(name, other) for other in names)
                if parts < int(match.group(1)):
                    return f"{int(match.group(1)) - parts} of {match.group(1)} parts like {name}"
    short = next(
        (name for name in names if name.endswith(".safetensors") and _cut_off(tree, path, name)), None
    )
    if short:
        return f"the end of {short}"
    return None if any(name.endswith(WEIGHTS) for name in names) else "the weights"


def _same_shards(name: str, other: str) -> bool:
    return SHARD.sub("", name) == SHARD.sub("", other) and SHARD.search(other) is not None


def _indexed(tree: Tree, path: str, index: str) -> list[str]:
    try:
        found = json.loads(tree.raw(path, index, limit=INDEX_LIMIT) or b"")["weight_map"]
        return sorted({str(name) for name in found.values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        tree.problem(f"{path}/{index}", "is not the index of weight files")
        return []


def _cut_off(tree: Tree, path: str, name: str) -> bool:
    """Whether a safetensors file is shorter than its header says. The header names tensors in the order in
    which they lie."""
    try:
        with open(tree.path(path, name), "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            end = 8 + length
            size = os.fstat(file.fileno()).st_size
            if end <= size:
                file.seek(max(8, end - 4096))
                end += max(map(int, END_OF_TENSOR.findall(file.read(min(length, 4096)))), default=0)
            return end > size
    except (OSError, ValueError, struct.error):
        return True
