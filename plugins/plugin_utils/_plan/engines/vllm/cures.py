# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with a model on a GPU in some releases, and what the catalog sets against it."""

from __future__ import annotations

import typing as t

from ...catalog import version_key
from . import checkpoint
from .checkpoint import Vllm


def of_instance(instance: Vllm) -> list[dict[str, t.Any]]:
    """The cures that an instance needs."""
    return [cure for cure in instance.host.catalog.vllm["cures"] if _needs(instance, cure)]


def _needs(instance: Vllm, cure: t.Mapping[str, t.Any]) -> bool:
    release, shape = version_key(instance.build.version), checkpoint.shape(instance) or {}
    if not instance.build.rocm or instance.gfx not in cure["gfx"]:
        return False
    if release < version_key(cure.get("first", "0")):
        return False
    if "below" in cure and release >= version_key(cure["below"]):
        return False
    kinds = {checkpoint.model_type(instance), shape.get("type")}
    if "model_types" in cure and not kinds & set(cure["model_types"]):
        return False
    if "quantization" in cure and checkpoint.quantization(instance) not in cure["quantization"]:
        return False
    return not cure.get("experts") or bool(shape.get("experts"))
