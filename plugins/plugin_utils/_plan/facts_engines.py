# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What engines are installed as, part of the fact ``amd_host``: virtual environments, and what these and
images have code for. The module gpu_code_objects remembers that when an engine is installed."""

from __future__ import annotations

import typing as t


class CodeSet(t.TypedDict):
    targets: list[str]  # What they have code for, as in gfx90a:xnack- or gfx11-generic.
    count: int  # How many libraries have code for these.
    names: list[str]  # The first of them.


class CodeRequired(t.TypedDict):
    path: str  # A library without whose code the engine does not start.
    targets: list[str]  # What it has code for.
    unread: str | None  # Why not all of it is known.


class CodeObjects(t.TypedDict):
    complete: bool  # Whether everything could be read.
    reasons: list[str]  # Why not.
    libraries: int  # How many libraries have code.
    nvidia: int  # How many have code for GPUs of NVIDIA.
    sets: list[CodeSet]  # Libraries by what they have code for; none where there are required ones.
    required: list[CodeRequired]  # Those that the engine does not start without.


class Environment(t.TypedDict):
    python: str | None  # Version of Python.
    vllm: str | None  # Version of vLLM.
    torch: str | None  # Version of torch.
    checked: bool  # Whether it is complete and was checked on this hardware.


class Venvs(t.TypedDict):
    current: str | None  # Environment that serves.
    previous: str | None  # Environment that served before.
    found: list[str]  # Environments that we made.
    uv: list[str]  # Environments of the installer.
