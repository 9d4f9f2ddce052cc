# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All facts of a host, from one execution."""

from __future__ import annotations

import typing as t

from . import _gpus, _health, _host_facts, _rocm_facts
from ._reader import Reader
from ._tree import Tree


def facts(reader: Reader, questions: dict[str, t.Any]) -> dict[str, t.Any]:
    """``amd_gpus``, ``amd_host`` and ``amd_rocm``, and ``amd_health`` where it is asked for; each has a list
    of problems of its own."""
    found = {
        "amd_gpus": _gpus.detect(Tree(reader.root)),
        "amd_host": _host_facts.facts(reader, questions),
        "amd_rocm": _rocm_facts.facts(reader, Tree(reader.root), questions["search_paths"]),
    }
    if questions["health"]:
        found["amd_health"] = _health.facts(Tree(reader.root), found["amd_gpus"]["gpus"], reader.dmesg)
    return found
