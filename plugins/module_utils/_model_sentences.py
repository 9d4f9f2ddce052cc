# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of Sentence Transformers, and of the tokenizer, say of a model beside its config.json: that
it makes vectors, and how long a text may be (vLLM's transformers_utils/config.py and config/model.py)."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._model_layers import number
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

MODULES, TOKENIZER = "modules.json", "tokenizer_config.json"
POOLING = ("sentence_transformers.models.Pooling", ".modules.pooling.Pooling")
KINDS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
# A tokenizer is asked for a limit where positions are counted from the beginning of a table alone.
ABSOLUTE = "absolute"
LIMIT = 4 << 20


def pools(tree: Tree, path: str) -> bool:
    """Whether a folder says that what its model makes is pooled: a server embeds then, whatever the class."""
    found = _read(tree, path, MODULES)
    types = (
        [entry.get("type") for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    )
    return any(isinstance(kind, str) and kind.endswith(POOLING) for kind in types)


def longest(tree: Tree, path: str, configuration: dict[str, t.Any]) -> int | None:
    """The longest text in tokens, where a file beside config.json says it, which then counts."""
    for kind in KINDS:
        found = _read(tree, path, f"sentence_{kind}_config.json")
        if isinstance(found, dict) and found:
            return number(found, "max_seq_length")
    if configuration.get("position_embedding_type") == ABSOLUTE:
        found = _read(tree, path, TOKENIZER)
        return number(found, "model_max_length") if isinstance(found, dict) else None
    return None


def bounded(shape: dict[str, t.Any] | None, limit: int | None) -> dict[str, t.Any] | None:
    """A shape whose context is what such a file says."""
    if not shape or not limit:
        return shape
    return {
        **{name: value for name, value in shape.items() if name not in ("reach", "stretched")},
        "context": limit,
    }


def _read(tree: Tree, path: str, name: str) -> t.Any:
    if not tree.exists(path, name):
        return None
    data = tree.raw(path, name, limit=LIMIT)
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        tree.problem(f"{path}/{name}", "is not JSON")
        return None
