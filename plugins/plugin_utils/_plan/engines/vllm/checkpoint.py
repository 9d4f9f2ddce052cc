# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a model: what the inventory says of it, else what lies on the host, else what the catalog
has of its name."""

from __future__ import annotations

import typing as t

from .....module_utils import _model, _model_card
from ... import model
from ...facts import Shape
from ..protocol import Instance
from . import defaults
from .builds import VllmBuild

Vllm = Instance[VllmBuild]


def by_name(instance: Vllm) -> dict[str, t.Any]:
    """The catalog's entry of a model that is not on the host yet: ``config`` and the ``checkpoint`` of that
    name."""
    name, facts = instance.server.model, model.on_host(instance.host, instance.path)
    if name.startswith("/") or facts.get("model"):
        return {}
    for entry in instance.host.catalog.vllm["models"].values():
        for checkpoint in entry["checkpoints"]:
            if checkpoint["model"].lower() == name.lower():
                return {"config": entry["config"], "checkpoint": checkpoint}
    return {}


def _told(instance: Vllm) -> dict[str, t.Any]:
    """The config.json, or a part of it, that somebody else than the host tells."""
    given = instance.server.model_config
    if given:
        return given
    found = by_name(instance)
    quantized = found["checkpoint"].get("quantization_config") if found else None
    return {**found.get("config", {}), **({"quantization_config": quantized} if quantized else {})}


def shape(instance: Vllm) -> Shape | None:
    """Layers, heads and the like, as ``module_utils/_model.py`` reads them from a config.json."""
    given = _told(instance)
    found = (
        t.cast("Shape | None", _model.shape(given))
        if given
        else model.on_host(instance.host, instance.path).get("shape")
    )
    return defaults.of_release(instance.host.catalog, instance.build.version, found)


def quantization(instance: Vllm) -> str | None:
    """What the weights are quantized with."""
    given = _told(instance)
    facts = model.on_host(instance.host, instance.path)
    return _model.quantization(given) if given else facts.get("quantization")


def fp8_scales(instance: Vllm) -> str | None:
    """How the scales of FP8 weights are laid out."""
    given = _told(instance)
    facts = model.on_host(instance.host, instance.path)
    return _model.fp8_scales(given) if given else facts.get("fp8_scales")


def architecture(instance: Vllm) -> str | None:
    """The class that serves it."""
    given = _told(instance)
    facts = model.on_host(instance.host, instance.path)
    return _model_card.architecture(given) if given.get("architectures") else facts.get("architecture")


def model_type(instance: Vllm) -> str | None:
    """The type that config.json names, which for a model that also sees is not the language model's."""
    given = _told(instance).get("model_type")
    return given if isinstance(given, str) else model.on_host(instance.host, instance.path).get("model_type")


def pools(instance: Vllm) -> bool:
    """Whether files beside its config.json say that it makes vectors."""
    return bool(model.on_host(instance.host, instance.path).get("pools"))


def labels(instance: Vllm) -> int | None:
    """How many labels a classifier has; ``None`` where config.json does not say it."""
    return (shape(instance) or {}).get("labels")


def bases(instance: Vllm) -> list[str]:
    """The names of models that it is, or comes from."""
    return model.on_host(instance.host, instance.path).get("base") or []
