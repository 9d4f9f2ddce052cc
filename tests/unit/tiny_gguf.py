# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes tiny GGUF files: a header like a real one, and as many zeros as its weights have bytes (in a hole)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf_model
from ansible_collections.amdgpu.fleet.plugins.module_utils._gguf import BLOCKS
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

NUMBERS = {name: number for number, (name, _elements, _size) in BLOCKS.items()}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(given: object) -> bytes:
    """A value with its type in front."""
    if isinstance(given, bool):
        return struct.pack("<I?", 7, given)
    if isinstance(given, int):
        return struct.pack("<II", 4, given)
    if isinstance(given, float):
        return struct.pack("<If", 6, given)
    if isinstance(given, str):
        return struct.pack("<I", 8) + text(given)
    assert isinstance(given, list)
    if given and isinstance(given[0], str):
        return struct.pack("<IIQ", 9, 8, len(given)) + b"".join(map(text, given))
    form, kind = ("?", 7) if given and isinstance(given[0], bool) else ("I", 4)
    return struct.pack(f"<IIQ{len(given)}{form}", 9, kind, len(given), *given)


def header(values: dict, tensors: dict[str, tuple[str, list[int]]]) -> tuple[bytes, int]:
    """The header, and where the last tensor ends."""
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    data += b"".join(text(name) + value(given) for name, given in values.items())
    offset = 0
    for name, (kind, sides) in tensors.items():
        data += text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, NUMBERS[kind], offset)
        total = 1
        for side in sides:
            total *= side
        _name, elements, size = BLOCKS[NUMBERS[kind]]
        offset += -(-total // elements * size // 32) * 32
    return data, offset


def write(path: Path, values: dict, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    data, length = header(values, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(-(-len(data) // 32) * 32 + length)
    return path


def llama(architecture: str = "llama", layers: int = 30, **values: object) -> dict:
    """Metadata of SmolLM2-135M-Instruct, or of another model of its size."""
    known = {
        "block_count": layers,
        "context_length": 8192,
        "embedding_length": 576,
        "attention.head_count": 9,
        "attention.head_count_kv": 3,
        "vocab_size": 49152,
        **values,
    }
    return {
        "general.architecture": architecture,
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.ggml.tokens": ["a", "b"],
        **{f"{architecture}.{name}": given for name, given in known.items()},
    }


def layers_of(count: int, kind: str = "Q4_1") -> dict[str, tuple[str, list[int]]]:
    """An embedding that is the output too, and one tensor a layer."""
    layers = {f"blk.{at}.attn_q.weight": (kind, [576, 576]) for at in range(count)}
    return {"token_embd.weight": ("Q8_0", [576, 49152]), **layers}


def facts(root: Path, path: str, layers: int) -> dict[str, Any] | None:
    """The facts of a tiny Llama of so many layers, written below a root."""
    write(root / path[1:], llama(), layers_of(layers))
    return _gguf_model.of_path(Tree(str(root)), path)
