# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules say of a host, typed. The planner reads nothing else of it."""

from __future__ import annotations

import typing as t

from .facts_gpu import AmdGpus, Gpu
from .facts_health import AmdHealth
from .facts_host import (
    AmdHost,
    AmdRocm,
    Interface,
    Network,
    Podman,
    Port,
    RdmaPort,
    User,
)
from .facts_model import Gguf, ModelPath, Shape

__all__ = [
    "AmdGpus", "AmdHealth", "AmdHost", "AmdRocm", "Facts", "Gguf", "Gpu", "Interface", "ModelPath", "Network",
    "Podman", "Port", "RdmaPort", "Shape", "User",
]  # fmt: skip


class Facts(t.NamedTuple):
    """The facts of one host."""

    gpus: AmdGpus
    rocm: AmdRocm
    system: AmdHost
    # Where somebody asked for it.
    health: AmdHealth | None = None


def of(facts: t.Mapping[str, t.Any]) -> Facts:
    """The facts as Ansible keeps them."""
    return Facts(facts["amd_gpus"], facts["amd_rocm"], facts["amd_host"], facts.get("amd_health"))
