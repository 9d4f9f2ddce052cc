# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines that can serve a model."""

from __future__ import annotations

from ..wants import Server
from . import vllm
from .protocol import Engine

ENGINES: dict[str, Engine] = {"vllm": vllm.Vllm()}


def of(server: Server) -> Engine:
    """The engine of a server."""
    return ENGINES[server.engine]
