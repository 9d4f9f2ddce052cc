# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which model classes a release has, what each is for, and what its source says of the cache it keeps."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .source import Source, literal

REGISTRY = "model_executor/models/registry.py"
# The tables of the registry; a class of two tables is what the first says.
TABLES = {
    "_TEXT_GENERATION_MODELS": "generate",
    "_MULTIMODAL_MODELS": "generate",
    "_LATE_INTERACTION_MODELS": "score",
    "_SEQUENCE_CLASSIFICATION_MODELS": "classify",
    "_CROSS_ENCODER_MODELS": "score",
    "_REWARD_MODELS": "reward",
    "_TOKEN_CLASSIFICATION_MODELS": "token",
    "_EMBEDDING_MODELS": "embed",
    "_SPECULATIVE_DECODING_MODELS": "draft",
    "_TRANSFORMERS_SUPPORTED_MODELS": "transformers",
    "_TRANSFORMERS_BACKEND_MODELS": "transformers",
}
# What the source of a class shows: layers with a state; caches laid out in a way of its own; windows that
# the class itself gives to layers; layers that look at an encoder. ``foreign`` besides: no code for AMD's GPUs.
SIGNS = {
    "state": re.compile(r"\b(IsHybrid|HasInnerState|IsAttentionFree)\b"),
    "own": re.compile(r"\bdef get_kv_cache_spec\b"),
    "windows": re.compile(r"\bper_layer_sliding_window\b"),
    "cross": re.compile(r"\bCrossAttention\("),
}
ONLY_TRANSCRIBES = re.compile(r"supports_transcription_only\s*(:[^=]+)?=\s*True")
# Parts of a folder for other vendors, and ours.
FOREIGN, OURS = ("nvidia", "cpu", "xpu", "tpu"), "amd"
# Classes that left vLLM, with the last release that had each.
GONE = "_PREVIOUSLY_SUPPORTED_MODELS"


def architectures(source: Source) -> dict[str, dict[str, Any]]:
    """Every class that the registry names: ``kind``, and ``cache`` where that is no plain one."""
    found: dict[str, dict[str, Any]] = {}
    for table, kind in TABLES.items():
        node = source.value(REGISTRY, table)
        for name, module in _entries(node):
            if name in found:
                continue
            path = _path(source.package, module)
            text = "\n".join(_texts(path))
            signs = [sign for sign, pattern in SIGNS.items() if pattern.search(text)]
            if (path / FOREIGN[0]).is_dir() and not (path / OURS).is_dir():
                signs.append("foreign")
            taken = "transcribe" if ONLY_TRANSCRIBES.search(text) and kind == "generate" else kind
            found[name] = {"kind": taken, **({"cache": signs} if signs else {})}
    return found


def gone(source: Source) -> dict[str, str]:
    """Classes that a release says it had, and the release that had them last."""
    node = source.value(REGISTRY, GONE)
    if not isinstance(node, ast.Dict):
        return {}
    pairs = [(literal(key)[1], literal(value)[1]) for key, value in zip(node.keys, node.values)]
    return {str(name): str(last) for name, last in pairs}


def _entries(node: ast.expr | None) -> Iterator[tuple[str, str]]:
    """Names of classes with the module that each is in."""
    if not isinstance(node, ast.Dict):
        return
    for key, value in zip(node.keys, node.values):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
            first = value.elts[0]
            if isinstance(first, ast.Constant):
                yield str(key.value), str(first.value)


def _path(package: Path, module: str) -> Path:
    """The file, without its ending, or the folder of a class."""
    if module.startswith("vllm."):
        return package / module.removeprefix("vllm.").replace(".", "/")
    return package / "model_executor/models" / module.replace(".", "/")


def _texts(path: Path) -> Iterator[str]:
    """The sources of a class: its file, or all of its folder that concern every vendor or AMD."""
    if path.with_suffix(".py").is_file():
        yield path.with_suffix(".py").read_text(encoding="utf-8")
    for file in sorted(path.rglob("*.py")) if path.is_dir() else ():
        if not set(FOREIGN) & set(file.relative_to(path).parts):
            yield file.read_text(encoding="utf-8")
