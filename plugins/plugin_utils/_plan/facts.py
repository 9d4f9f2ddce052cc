# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules say of a host, typed. The planner reads nothing else of it."""

from __future__ import annotations

import typing as t

Gpu = t.Dict[str, t.Any]
AmdGpus = t.Dict[str, t.Any]
AmdRocm = t.Dict[str, t.Any]
AmdHost = t.Dict[str, t.Any]
Podman = t.Dict[str, t.Any]
User = t.Dict[str, t.Any]
PathFacts = t.Dict[str, t.Any]


class Facts(t.NamedTuple):
    """The three facts of one host."""

    gpus: AmdGpus
    rocm: AmdRocm
    system: AmdHost
