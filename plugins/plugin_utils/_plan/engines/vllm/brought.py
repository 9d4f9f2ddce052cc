# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that options name beside the served one: drafters, adapters, tokenizers. The role model brings what
model_sources has, so it need not be there yet; a server itself downloads nothing."""

from __future__ import annotations

import json
import typing as t

from ... import model
from ...wants import Wants
from .checkpoint import Vllm

# Options whose value is a model, and those that hold one under a key.
NAMES = ("tokenizer", "hf-config-path")
INSIDE = {"speculative-config": ("model", "tokenizer"), "lora-modules": ("path",)}


def resolve(instance: Vllm, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options with folders of the host for the names of models that this run brings."""
    found = dict(options)
    for name in NAMES:
        if isinstance(found.get(name), str):
            found[name] = _folder(instance, name, found[name])
    for name, keys in INSIDE.items():
        if found.get(name) is not None:
            found[name] = _inside(instance, name, keys, found[name])
    return found


def _inside(instance: Vllm, option: str, keys: tuple[str, ...], value: t.Any) -> t.Any:
    if isinstance(value, list):
        return [_inside(instance, option, keys, entry) for entry in value]
    if isinstance(value, dict):
        return {
            key: _folder(instance, option, entry) if key in keys and isinstance(entry, str) else entry
            for key, entry in value.items()
        }
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] in ("{", "["):
        try:
            return json.dumps(_inside(instance, option, keys, json.loads(text)))
        except ValueError:
            return value
    # An adapter is NAME=PATH.
    name, sign, place = text.partition("=")
    return f"{name}={_folder(instance, option, place)}" if sign else value


def _folder(instance: Vllm, option: str, value: str) -> str:
    wants = instance.host.wants
    if value.startswith("/") or not model.HUB_NAME.fullmatch(value):
        return value
    for source in model.sources(wants):
        if source.model == value:
            instance.note(
                "model", f"{option}: {source.path}", f"where {value} is brought to", "model_sources"
            )
            return source.path
    instance.host.findings.add(
        "vllm.path",
        f"{value} in {option}, which nothing brings",
        "a folder of the host, or a model of model_sources",
        remedy=f"Add {value} to model_sources: a server downloads nothing by itself",
    )
    return value


def comes(wants: Wants, path: str) -> bool:
    """Whether the run brings what an option names by its path."""
    return any(source.fetched and f"{path}/".startswith(f"{source.path}/") for source in model.sources(wants))
