# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines that can serve a model."""

from __future__ import annotations

from ..wants import Server
from . import llama_cpp, vllm
from .protocol import Engine

ENGINES: dict[str, Engine] = {"vllm": vllm.Vllm(), "llama_cpp": llama_cpp.LlamaCpp()}


def of(server: Server) -> Engine:
    """The engine of a server."""
    return ENGINES[server.engine]


def possible(server: Server) -> list[Engine]:
    """The engines that it can come to, before anything is known of its host."""
    return list(ENGINES.values()) if server.engine == "auto" else [of(server)]
