# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GGUF file, or a folder with one, is as a model: its parts, and the numbers that memory is computed
from (llama.cpp's src/llama-hparams.cpp and src/llama-kv-cache*.cpp of 0.5.0)."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._gguf import (
    HEADER_LIMIT,
    TENSORS_LIMIT,
    GgufError,
    Header,
    read,
    shown,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

DRAFT = re.compile(r"(^|[-_.])(draft|mtp|eagle3?|dflash|dspark)[-_.]")
SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
FILES_LIMIT, FOLDERS_LIMIT = 512, 64
LAYERS_LIMIT = 2048
LARGEST = 10**9
# Files of this type or architecture are no model alone.
PARTS = ("mmproj", "adapter", "imatrix", "vocab")
# Every n-th layer sees all, where the file has a window and no pattern.
PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4}


def of_path(tree: Tree, path: str) -> dict[str, t.Any] | None:
    """What is known of a path that is a GGUF file or a folder with one; ``None`` for any other."""
    folder, _slash, name = path.rpartition("/")
    if os.path.isdir(tree.path(path)):
        folder = path
        names = _names(tree, path)
        models, projectors, drafts = sort_names(names)
        if not names:
            return None
        if len(models) != 1:
            what = f"{len(models)} models lie in it" if models else "no model lies in it"
            some = f" ({', '.join((models or names)[:4])})"
            return _known(problem=f"{what}{some}: name the file itself")
        name = models[0]
    elif path.endswith(".gguf") and tree.exists(path):
        projectors, drafts = [], []
    else:
        return None
    known = _model(tree, folder, name)
    if projectors and not known["problem"]:
        beside = _model(tree, folder, projectors[0])
        known["projector"], known["projector_bytes"] = beside["file"], beside["weights_bytes"]
        if not beside["weights_bytes"]:
            known["problem"] = f"has {projectors[0]} beside it, which {beside['problem']}"
    if drafts:
        known["draft"] = f"{folder}/{drafts[0]}"
    return known


def _known(**values: t.Any) -> dict[str, t.Any]:
    empty: dict[str, t.Any] = {
        "file": None,
        "files": 0,
        "architecture": None,
        "quantization": None,
        "chat_template": False,
        "context": 0,
        "layers": 0,
        "heads": 0,
        "experts": 0,
        "vocabulary": 0,
        "total_bytes": 0,
        "weights_bytes": 0,
        "embedding_bytes": 0,
        "key_width": 0,
        "value_width": 0,
        "window": 0,
        "window_key_width": 0,
        "window_value_width": 0,
        "state_bytes": 0,
        "projector": None,
        "projector_bytes": 0,
        "draft": None,
        "problem": None,
    }
    return {**empty, **values}


def _names(tree: Tree, path: str) -> list[str]:
    """The GGUF files of a folder; of the folders in it where it has no model itself, as a Hub keeps the parts
    of a large one."""
    listed = tree.names(path)
    names = [each for each in listed if each.endswith(".gguf")]
    if not sort_names(names)[0]:
        inner = [each for each in listed if os.path.isdir(tree.path(path, each)) and each != ".cache"]
        names += [
            f"{each}/{name}"
            for each in inner[:FOLDERS_LIMIT]
            for name in tree.names(path, each)
            if name.endswith(".gguf")
        ]
    return sorted(names)[:FILES_LIMIT]


def sort_names(names: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Models (the first file of each), projectors and drafts, by what files are called."""
    bare = {name: name.rpartition("/")[2].lower() for name in names}
    projectors = [name for name in names if "mmproj" in bare[name]]
    drafts = [name for name in names if DRAFT.search(bare[name]) and name not in projectors]
    models: dict[str, str] = {}
    for name in names:
        if name not in projectors and name not in drafts and "imatrix" not in bare[name]:
            match = SPLIT.fullmatch(name)
            models.setdefault(f"{match.group(1)}*{match.group(3)}" if match else name, name)
    if not models and len(drafts) == 1:
        models, drafts = {drafts[0]: drafts[0]}, []
    return list(models.values()), projectors, drafts


def _model(tree: Tree, folder: str, name: str) -> dict[str, t.Any]:
    known = _known(file=f"{folder}/{name}", files=1)
    try:
        match = SPLIT.fullmatch(name)
        number = int(match.group(3)) if match else 1
        names = [name]
        if match:
            if match.group(2) != "00001" or not 0 < number <= FILES_LIMIT:
                raise GgufError(f"is a part of {number}: name the first one")
            names = [f"{match.group(1)}-{at:05}-of-{match.group(3)}.gguf" for at in range(1, number + 1)]
            absent = [each for each in names if not tree.exists(folder, each)]
            if absent:
                raise GgufError(f"lacks {absent[0]}{f' and {len(absent) - 1} more' if absent[1:] else ''}")
        headers = _headers(tree, folder, names)
        known["files"] = number
        _check_parts(names, headers)
        part = _part(headers[0])
        if part:
            known["weights_bytes"] = sum(tensor.size for tensor in headers[0].tensors)
            raise GgufError(f"is no model but {part}: name the model")
        known.update(_numbers(headers))
    except GgufError as error:
        known["problem"] = str(error)
    return known


def _headers(tree: Tree, folder: str, names: list[str]) -> list[Header]:
    """Of all parts together no more is read and kept than of one file."""
    headers: list[Header] = []
    for name in names:
        headers.append(read(tree.path(folder, name)))
        length, tensors = sum(each.length for each in headers), sum(len(each.tensors) for each in headers)
        if length > HEADER_LIMIT or tensors > TENSORS_LIMIT:
            raise GgufError(f"has headers of {length >> 20} MiB with {tensors} tensors in its parts")
    return headers


def _part(header: Header) -> str:
    """What a file is that is no model alone; empty of a model."""
    kind = header.values.get("general.type")
    if kind in PARTS or header.values.get("general.architecture") == "clip":
        return shown(kind) if isinstance(kind, str) else "a projector"
    return ""


def _check_parts(names: list[str], headers: list[Header]) -> None:
    parts = headers[0].values.get("split.count", 1)
    if parts not in (0, 1) and parts != len(headers):
        raise GgufError(f"is one of {parts} parts, and its name says {len(headers)}")
    short = next((name for name, header in zip(names, headers) if header.cut_off), None)
    if short:
        raise GgufError(f"is cut off: {short} ends before its weights do")


def _numbers(headers: list[Header]) -> dict[str, t.Any]:
    values = headers[0].values
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not re.fullmatch(r"[\w.-]{1,64}", architecture):
        raise GgufError("does not say what architecture its model has")
    tensors = [tensor for header in headers for tensor in header.tensors]
    layers = _whole(values, f"{architecture}.block_count")
    if not 0 < layers <= LAYERS_LIMIT or not tensors:
        raise GgufError("does not say how many layers its model has, or has no weights")
    sizes = {tensor.name: tensor.size for tensor in tensors}
    embedding = sizes.get("token_embd.weight", 0)
    total = sum(tensor.size for tensor in tensors)
    by_kind: dict[str, int] = {}
    for tensor in tensors:
        by_kind[tensor.kind] = by_kind.get(tensor.kind, 0) + tensor.size
    heads = _per_layer(values, f"{architecture}.attention.head_count", layers, 0)
    return {
        "architecture": architecture,
        # Most of its bytes: files mix types.
        "quantization": max(by_kind, key=lambda kind: by_kind[kind]),
        "chat_template": bool(values.get("tokenizer.chat_template")),
        "context": _whole(values, f"{architecture}.context_length"),
        "layers": layers,
        "heads": max(heads),
        "experts": _whole(values, f"{architecture}.expert_count"),
        "vocabulary": _whole(values, f"{architecture}.vocab_size"),
        "total_bytes": total,
        # What a GPU with all layers is given. The embedding stays on the host, unless it is the output too.
        "weights_bytes": total - (embedding if "output.weight" in sizes else 0),
        "embedding_bytes": embedding,
        **_cache(values, architecture, layers, heads),
        **_states(values, architecture, layers, _stateful(tensors)),
    }


def _stateful(tensors: t.Iterable[t.Any]) -> set[int]:
    """The layers that have states of a recurrent model."""
    found = (re.match(r"blk\.(\d{1,4})\.ssm_", tensor.name) for tensor in tensors)
    return {int(match.group(1)) for match in found if match}


def _cache(values: dict[str, t.Any], prefix: str, layers: int, heads: list[int]) -> dict[str, int]:
    """Elements of keys and values that a token takes in all layers together: in those that see all, and in
    those with a window."""
    kept = _per_layer(values, f"{prefix}.attention.head_count_kv", layers, None) or heads
    hidden = _whole(values, f"{prefix}.embedding_length")
    head = hidden // max(heads) if max(heads) else 0
    key = _whole(values, f"{prefix}.attention.key_length") or head
    value = _whole(values, f"{prefix}.attention.value_length") or head
    window = _whole(values, f"{prefix}.attention.sliding_window")
    narrow = _sliding(values, prefix, layers) if window else [False] * layers
    interval = _whole(values, f"{prefix}.full_attention_interval")
    shared = _whole(values, f"{prefix}.attention.shared_kv_layers")
    # Multi-head latent attention keeps one compressed key and no value.
    latent = bool(values.get(f"{prefix}.attention.key_length_mla"))
    widths = {"key_width": 0, "value_width": 0, "window_key_width": 0, "window_value_width": 0}
    for at in range(max(layers - shared, 0)):
        if not interval or (at + 1) % interval == 0:
            part, suffix = ("window_", "_swa") if narrow[at] else ("", "")
            wide = _whole(values, f"{prefix}.attention.key_length{suffix}") or key
            deep = _whole(values, f"{prefix}.attention.value_length{suffix}") or value
            widths[f"{part}key_width"] += kept[at] * wide
            widths[f"{part}value_width"] += 0 if latent else kept[at] * deep
    return {**widths, "window": window if any(narrow) else 0}


def _sliding(values: dict[str, t.Any], prefix: str, layers: int) -> list[bool]:
    pattern = values.get(f"{prefix}.attention.sliding_window_pattern")
    if isinstance(pattern, list) and len(pattern) >= layers:
        return [bool(entry) for entry in pattern[:layers]]
    every = pattern if isinstance(pattern, int) and not isinstance(pattern, bool) else PATTERNS.get(prefix, 0)
    # Of a window whose layers nobody names nothing is saved.
    return [every > 0 and at % every < every - 1 for at in range(layers)]


def _states(values: dict[str, t.Any], prefix: str, layers: int, with_state: set[int]) -> dict[str, int]:
    """What a sequence takes in the layers that keep a state in place of every token."""
    conv, inner, state, groups = (
        _whole(values, f"{prefix}.ssm.{name}")
        for name in ("conv_kernel", "inner_size", "state_size", "group_count")
    )
    row = max(conv - 1, 0) * (inner + 2 * groups * state) + state * inner
    return {"state_bytes": 4 * row * len({at for at in with_state if at < layers})}


def _per_layer(values: dict[str, t.Any], name: str, layers: int, default: t.Any) -> t.Any:
    """A number of each layer: one for all of them, or a list."""
    value = values.get(name)
    if isinstance(value, list):
        if len(value) < layers or not all(isinstance(each, int) and 0 <= each <= LARGEST for each in value):
            raise GgufError(f"has no number for each layer in {name}")
        return value[:layers]
    if value is None:
        return None if default is None else [default] * layers
    return [_whole(values, name)] * layers


def _whole(values: dict[str, t.Any], name: str) -> int:
    value = values.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise GgufError(f"has no number that could be in {name}")
    return value
