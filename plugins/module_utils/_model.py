# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells about a model folder: whether it is one, how many bytes its weights are, and the shape of
the model (see _model_shape). Weights are never read, only their sizes.
"""

from __future__ import annotations

import json
import os
import re
import struct
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf_model as gguf
from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_card as card
from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_links as links
from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_sentences as sentences
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_layers import word as _word
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_record import checked_by
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_shape import (
    CONTEXT,
    HEAD_DIM,
    KV_HEADS,
    UNCOUNTED,
    fp8_scales,
    quantization,
    shape,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

__all__ = ["CONTEXT", "HEAD_DIM", "KV_HEADS", "UNCOUNTED", "fp8_scales", "quantization", "shape"]

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# The index of a model of a trillion parameters has about 15 MB.
INDEX_LIMIT = 64 << 20
SHARD = re.compile(r"-\d+-of-(\d+)\.")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".tensors", ".gguf")
END_OF_TENSOR = re.compile(rb'"data_offsets":\s*\[\s*\d+\s*,\s*(\d{1,18})\s*\]')
# Files beside the weights, and a second copy of them in another format (vLLM loads neither).
NOT_WEIGHTS = re.compile(r"(adapter_|consolidated|training_args|optimizer|scheduler|scaler|rng_state)")


def paths(tree: Tree, wanted: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """For each model path asked for: whether it is there, whether it is a model, its weights and its
    shape."""
    return {path: _model(tree, path) for path in wanted}


def _model(tree: Tree, path: str) -> dict[str, t.Any]:
    configuration = card.configuration(tree, path)
    numbers = sentences.bounded(shape(configuration), sentences.longest(tree, path, configuration))
    elsewhere, barred = links.beside(tree, path)
    if configuration and numbers is None:
        tree.problem(f"{path}/config.json", "does not say how many layers and heads the model has")
    return {
        "exists": tree.exists(path),
        "directory": os.path.isdir(tree.path(path)),
        "model": card.is_model(tree, path),
        "model_type": _word(configuration.get("model_type")),
        "architecture": card.architecture(configuration),
        "pools": sentences.pools(tree, path),
        "base": card.bases(tree, path, configuration),
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
        "gguf": gguf.of_path(tree, path),
    }


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
    if not card.is_model(tree, path):
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
            return bool(end > size)
    except (OSError, ValueError, struct.error):
        return True
