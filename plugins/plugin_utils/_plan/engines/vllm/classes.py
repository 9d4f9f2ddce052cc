# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The class that serves a model: whether a release has it, what it is for, and what its source says of the
cache (the catalog's ``architectures``, from vLLM's source distributions)."""

from __future__ import annotations

import typing as t

from ...catalog import Catalog
from ...facts import Shape
from . import checkpoint
from .checkpoint import Vllm
from .states import mapping

# vLLM puts one of these endings for another, and adapts the class (its config/model.py).
ENDINGS = (
    "ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel", "ForTextEncoding",
    "EmbeddingModel",
    "ForSequenceClassification", "ForTokenClassification", "ForAudioClassification", "ForImageClassification",
    "ForVideoClassification", "ClassificationModel", "ForRewardModeling", "RewardModel", "Model",
)  # fmt: skip
# Families of latent vectors: their file holds the index of a newer one too.
LATENT = ("deepseek_v2", "deepseek_v3", "kimi_k2", "deepseek_vl_v2")


class Found(t.NamedTuple):
    """``name`` is the class that vLLM takes; ``same`` where config.json names it so."""

    name: str
    same: bool
    kind: str
    signs: tuple[str, ...]
    first: str | None
    last: str | None


def find(catalog: Catalog, architecture: str | None) -> Found | None:
    """What any release knows of a class; ``None`` where none has it."""
    known = catalog.vllm["architectures"]
    for name in _names(architecture or ""):
        entry = known.get(name)
        if entry:
            same = name == architecture
            return Found(
                name, same, entry["kind"], tuple(entry.get("cache", ())), entry["first"], entry["last"]
            )
    return None


def _names(architecture: str) -> t.Iterator[str]:
    yield architecture
    ending = next((ending for ending in ENDINGS if architecture.endswith(ending)), None)
    if ending:
        for other in ENDINGS:
            yield architecture[: -len(ending)] + other


def kind(catalog: Catalog, architecture: str | None) -> str | None:
    """What a class is for, where the catalog has it by this very name: another ending is another task."""
    found = find(catalog, architecture)
    return found.kind if found and found.same and found.kind != "transformers" else None


def kind_of(instance: Vllm, options: t.Mapping[str, t.Any]) -> str | None:
    """What an instance is for: a model of Sentence Transformers embeds, whatever its class does by itself."""
    name = of_instance(instance, options)
    chosen = {str(options.get(option, "auto")) for option in ("runner", "convert")}
    if checkpoint.pools(instance) and chosen <= {"auto", "none"}:
        known = kind(instance.host.catalog, name)
        return known if known and known != "generate" else "embed"
    return kind(instance.host.catalog, name)


def of_instance(instance: Vllm, options: t.Mapping[str, t.Any]) -> str | None:
    """The class that an instance asks for; hf-overrides may name another."""
    names = mapping(options.get("hf-overrides")).get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    return checkpoint.architecture(instance)


def counted(instance: Vllm, options: t.Mapping[str, t.Any], shape: Shape | None) -> Shape | None:
    """The shape, marked as not countable where the class keeps something that the numbers do not tell."""
    return marked(instance.host.catalog, of_instance(instance, options), shape)


def marked(catalog: Catalog, name: str | None, shape: Shape | None) -> Shape | None:
    """The same for the class of a model that no instance serves."""
    if not shape or not name or shape.get("encoder") or shape.get("uncounted"):
        return shape
    found = find(catalog, name)
    why = _uncounted(found, shape) if found else f"the class {name}, which no release has"
    return t.cast(Shape, {**shape, "uncounted": why}) if why else shape


def _uncounted(found: Found, shape: Shape) -> str | None:
    told = shape.get("attention", {})
    if "state" in found.signs and not shape.get("state") and shape.get("type") != "granitemoehybrid":
        return f"the states of {found.name}"
    latent = shape.get("type") in LATENT
    if "own" in found.signs and not (latent or shape.get("index") or shape.get("state")):
        return f"the own cache of {found.name}"
    if "cross" in found.signs and not shape.get("cross"):
        return f"the cross attention of {found.name}"
    return None if told else f"the layers of {found.name}"
