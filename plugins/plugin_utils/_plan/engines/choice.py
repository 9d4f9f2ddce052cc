# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine serves a model, where the inventory leaves it open, and whether the one that it names can."""

from __future__ import annotations

import dataclasses
import typing as t

from .. import model
from ..host import Host
from ..wants import INVENTORY, Server
from . import ENGINES

GGUF, SAFETENSORS = "gguf", "safetensors"


def settled(host: Host) -> Host:
    """The host with an engine for every server."""
    servers = [_settled(host, server) for server in host.wants.serve_instances]
    return dataclasses.replace(host, wants=dataclasses.replace(host.wants, serve_instances=servers))


def _settled(host: Host, server: Server) -> Server:
    kind = _format(host, server)
    if server.engine != "auto":
        engine = ENGINES[server.engine]
        # One that is told to load weights in a way of its own may know better.
        if kind and kind != engine.format and not engine.loads_unindexed(host.wants, server):
            titles = [each.title for each in ENGINES.values() if each.format == kind]
            _refuse(host, server, f"a model in {kind} for {engine.title}",
                    f"Set engine of {server.name} to auto, which takes {' or '.join(titles)}, or take the "
                    f"model in {engine.format}")  # fmt: skip
        return server
    able = [engine for engine in ENGINES.values() if engine.has_code(host)]
    fitting = [engine for engine in able if kind in (None, engine.format)]
    if not fitting:
        other = " or ".join(f"{engine.format} ({engine.title})" for engine in able)
        seen = f"{server.model} in {kind} on {_gfx(host)}"
        _refuse(host, server, seen, f"Take the model of {server.name} in {other}")
        return dataclasses.replace(server, engine=next(e.name for e in ENGINES.values() if e.format == kind))
    chosen = fitting[0]
    lacking = [engine.title for engine in ENGINES.values() if engine not in able]
    reason = f"the model is in {kind}" if kind else "the first one that has code for the GPU"
    reason += f"; {' and '.join(lacking)} has no code for {_gfx(host)}" if lacking else ""
    host.note("serve", f"{server.name} engine", chosen.name, reason, INVENTORY)
    return dataclasses.replace(server, engine=chosen.name)


def _gfx(host: Host) -> str:
    found: t.Any = host.gpus or host.gpu_facts["gpus"]
    return str(found[0]["gfx"]) if found else "the CPU"


def _format(host: Host, server: Server) -> str | None:
    """What the files are, or what the name of a model says that is still to be fetched; None is anything."""
    path = model.path_of(host.wants, server.model)
    facts = model.on_host(host, path)
    if model.is_gguf(facts):
        return GGUF
    if facts.get("model"):
        return SAFETENSORS
    return GGUF if model.says_gguf(server.model) else None


def _refuse(host: Host, server: Server, seen: str, remedy: str) -> None:
    host.findings.add("serve.engine", seen, "an engine that loads it", instance=server.name, remedy=remedy)
