# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release of vLLM does with the memory of a GPU where nobody says otherwise."""

from __future__ import annotations

import typing as t

from ...catalog import Catalog, version_key
from ...facts import Shape
from ...memory import GIB

SHARE = 0.92
# Since then prefix caching is on for layers with a state too, which keeps one page more of each sequence.
CACHES_PREFIXES = "0.26.0"


def share(catalog: Catalog, release: str) -> float:
    """The part of the memory that it takes; that of today for a release that the catalog does not have."""
    known = catalog.vllm["versions"].get(release, {}).get("defaults", {})
    return float(known.get("gpu_memory_utilization", SHARE))


def batch(catalog: Catalog, release: str, usable_bytes: int) -> dict[str, t.Any]:
    """``tokens`` and ``sequences`` of a batch on a device of this size."""
    tiers = catalog.vllm["memory"]["batch"]
    known = [tier for tier in tiers if version_key(release) >= version_key(tier.get("first", "0"))]
    return t.cast(
        "dict[str, t.Any]", next((tier for tier in known if usable_bytes >= tier["gib"] * GIB), known[-1])
    )


def widens(catalog: Catalog, release: str, gfx: str, quantization: str | None) -> bool:
    """Whether it emulates the format of the weights, and keeps them in 16 bits."""
    rule = catalog.vllm["memory"]["widened"]
    first = version_key(rule["first"]) <= version_key(release)
    return bool(first and quantization in rule["methods"] and gfx not in rule["not_gfx"])


def of_release(catalog: Catalog, release: str, shape: Shape | None) -> Shape | None:
    """A shape with the context that a release makes of it: older ones take that of YaRN's factor."""
    stretched = (shape or {}).get("stretched")
    rule = catalog.vllm["memory"]["yarn"]
    if not shape or not stretched or version_key(release) > version_key(rule["last"]):
        return shape
    return t.cast(Shape, {**shape, "context": stretched})


def caches_states(release: str) -> bool:
    """Whether it keeps states of prefixes."""
    return version_key(release) >= version_key(CACHES_PREFIXES)
