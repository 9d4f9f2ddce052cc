# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recipes that a release of vLLM ships, as far as they concern AMD GPUs.

Variants for other vendors are left out, and so are strategies over several nodes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CARDS = ("mi300x", "mi325x", "mi350x", "mi355x")
AMD = ("amd", *CARDS)
# A whole architecture stands for its cards.
ARCHITECTURES = {"arch:gfx942": ("mi300x", "mi325x"), "arch:gfx950": ("mi350x", "mi355x")}
# NVFP4 has no kernels on AMD GPUs.
FOREIGN = ("nvfp4",)
SHORT = {
    "-tp": "tensor-parallel-size",
    "-dp": "data-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-ep": "enable-expert-parallel",
    "-cc": "compilation-config",
    "-ac": "attention-config",
    "-sc": "speculative-config",
    "-asc": "api-server-count",
    "-dcp": "decode-context-parallel-size",
    "-q": "quantization",
}
OWN = ("tool_calling", "reasoning", "spec_decoding")


def recipes(root: Path, release: str) -> dict[str, dict[str, Any]]:
    """The recipes below ``recipes/models``, by the name of the model on the Hub."""
    found = {}
    for path in sorted((root / "recipes/models").glob("*/*.yaml")):
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        entry = _recipe(recipe)
        entry["source"] = f"vLLM {release} sdist {path.relative_to(root)}"
        meta = recipe["meta"]
        entry["date"] = str(meta.get("date_updated") or meta.get("date_added"))[:10]
        found[recipe["model"]["model_id"]] = entry
    return found


def arguments(words: list[Any] | None) -> dict[str, Any]:
    """Options by name; of one that is given twice the last counts."""
    options: dict[str, Any] = {}
    name = None
    for word in _words(words):
        if word.startswith("--") or (word.startswith("-") and word.split(".")[0].split("=")[0] in SHORT):
            name, given, value = word.partition("=")
            name = _name(name)
            options.pop(name, None)
            options[name] = _value(value) if given else True
        elif name and options[name] is True:
            options[name] = _value(word)
        elif name:
            options[name] = f"{options[name]} {word}"
    return _nested(options)


def _words(words: list[Any] | None) -> list[str]:
    """Some recipes write an option and its value as one word."""
    split = (
        str(word).split(maxsplit=1) if str(word).startswith("-") else [str(word)] for word in words or []
    )
    return [word for part in split for word in part]


def _width(asked: Any) -> Any:
    """A number, or the numbers by card as far as they concern AMD GPUs."""
    if isinstance(asked, dict):
        return {card: number for card, number in asked.items() if card in (*AMD, "default")} or None
    return asked


def _nested(options: dict[str, Any]) -> dict[str, Any]:
    """``{"a": {"b": 1}}`` for the option ``--a.b 1``, as vLLM reads it."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        top, *below = name.split(".")
        for part in reversed(below):
            value = {part: value}
        found[top] = merged(found.get(top), value) if below else value
    return found


def merged(base: Any, over: Any) -> Any:
    """``over`` on ``base``, mapping by mapping."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}


def _name(word: str) -> str:
    top, dot, rest = word.partition(".")
    top = SHORT.get(top) or top.lstrip("-").replace("_", "-")
    return f"{top}{dot}{rest}"


def _value(word: str) -> Any:
    if word[:1] in ("{", "["):
        return json.loads(word)
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(word.lower(), word)


def _settings(block: dict[str, Any] | None) -> dict[str, Any]:
    """Options and variables of a block of a recipe, which calls them by several names."""
    block = block or {}
    found = {
        "options": arguments(block.get("extra_args") or block.get("args")),
        "environment": {
            name: str(value) for name, value in (block.get("extra_env") or block.get("env") or {}).items()
        },
    }
    return {name: value for name, value in found.items() if value}


def _overrides(block: dict[str, Any]) -> dict[str, Any]:
    """What differs on AMD GPUs, and on single cards."""
    overrides = block.get("hardware_overrides") or {}
    cards = {card: _settings(overrides[card]) for card in CARDS if card in overrides}
    found = {
        "amd": _settings(overrides.get("amd")),
        "cards": {card: own for card, own in cards.items() if own},
    }
    return {name: value for name, value in found.items() if value}


def _recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    model, hardware = recipe["model"], recipe["meta"].get("hardware") or {}
    base = arguments(model.get("base_args"))
    strategy = (recipe.get("strategy_overrides") or {}).get("single_node_tp") or {}
    least = str(model.get("min_vllm_version") or "")
    entry: dict[str, Any] = {
        "min": least if least[:1].isdigit() else None,
        "context_length": model.get("context_length"),
        "hardware": [card for card in CARDS if hardware.get(card) == "verified"],
        "unsupported": [card for card in CARDS if hardware.get(card) == "unsupported"],
        "nightly": least == "nightly",
        "architecture": model.get("architecture"),
        "options": base,
        "environment": {name: str(value) for name, value in (model.get("base_env") or {}).items()},
        **_overrides(recipe),
        "single_node": {**_settings(strategy), **_overrides(strategy)},
        "tensor_parallel": _width(strategy.get("tp")),
        **_features(recipe),
        "variants": _variants(recipe),
    }
    for block in (entry, entry.get("amd", {})):
        if block.get("options", {}).pop("trust-remote-code", None):
            entry["trust_remote_code"] = True
    always = ("min", "context_length", "hardware", "options", "environment")
    return {name: value for name, value in entry.items() if value or name in always}


def _features(recipe: dict[str, Any]) -> dict[str, Any]:
    features, opt_in = recipe.get("features") or {}, recipe.get("opt_in_features") or []
    found: dict[str, Any] = {}
    for name, option in (("tool_calling", "tool-call-parser"), ("reasoning", "reasoning-parser")):
        block = features.get(name) or {}
        found[option.replace("-", "_")] = _feature(block).get("options", {}).get(option)
        extra = {
            k: v
            for k, v in _feature(block).get("options", {}).items()
            if k not in (option, "enable-auto-tool-choice")
        }
        if extra:
            found.setdefault("with_parsers", {}).update(extra)
    spec = features.get("spec_decoding")
    if spec:
        modes = spec.get("modes") or {"default": spec}
        found["speculative"] = {
            mode: _feature(block) for mode, block in modes.items() if _feature(block) and _for_amd(block)
        }
    found["features"] = {
        name: {**_feature(block), **({"opt_in": True} if name in opt_in else {})}
        for name, block in features.items()
        if name not in OWN and _feature(block) and _for_amd(block)
    }
    return found


def _feature(block: dict[str, Any]) -> dict[str, Any]:
    """A feature as AMD GPUs get it: what is written for them stands instead of the rest."""
    overrides = block.get("hardware_overrides") or {}
    found = _settings(overrides["amd"]) if "amd" in overrides else _settings(block)
    cards = {card: _settings(overrides[card]) for card in CARDS if card in overrides}
    limits = {"variants": block["variants"]} if block.get("variants") else {}
    return {**found, **({"cards": cards} if cards else {}), **limits} if found or cards else {}


def _for_amd(block: dict[str, Any]) -> bool:
    hardware = block.get("hardware") or {}
    return any(hardware.get(name) != "unsupported" for name in CARDS) and hardware.get("amd") != "unsupported"


def _cards(listed: list[str] | None) -> set[str] | None:
    """The hardware that a variant names, with the cards of whole architectures."""
    if listed is None:
        return None
    return {card for name in listed for card in (name, *ARCHITECTURES.get(name, ()))}


def _variants(recipe: dict[str, Any]) -> dict[str, Any]:
    variants = {}
    for name, block in (recipe.get("variants") or {}).items():
        supported = _cards(block.get("supported_hardware"))
        foreign = supported is not None and not supported & set(AMD)
        if foreign or str(block.get("precision")) in FOREIGN:
            continue
        variant = {
            "precision": block.get("precision"),
            "memory_gb": block.get("vram_minimum_gb"),
            "model": block.get("model_id"),
            "min": str(block["min_vllm_version"]) if block.get("min_vllm_version") else None,
            "hardware": [card for card in CARDS if card in supported]
            if supported and "amd" not in supported
            else None,
            "tensor_parallel": _width(block.get("tp")),
            **_settings(block),
            **_overrides(block),
        }
        if variant.get("options", {}).pop("trust-remote-code", None):
            variant["trust_remote_code"] = True
        variants[name] = {key: value for key, value in variant.items() if value}
    return variants
