# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Partition modes of Instinct GPUs: what they are, what a wanted mode takes, and how it is carried out.

The driver takes a compute mode at once, if nobody has the GPU open. A memory mode is only a request: it is
for all GPUs that are linked (a hive), and the driver carries it out when it is loaded again. The compute mode
does not survive that. So memory goes first, then the driver, then compute, both up and back.
"""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.gpus import (
    COMPUTE,
    DEVICES,
    MEMORY,
    Gpu,
    PartitionError,
    choose,
    read,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.services import (
    KFD_DEVICE,
    Services,
    devices_of,
    refuse_holders,
    unit_name,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.wanted import Plan, plan
from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.work import (
    DEVICES_TIMEOUT,
    INTERVAL,
    Run,
    Work,
    Write,
    below_root,
    refused_write,
    require_modprobe,
    write_mode,
)

__all__ = [
    "COMPUTE",
    "DEVICES",
    "DEVICES_TIMEOUT",
    "INTERVAL",
    "KFD_DEVICE",
    "MEMORY",
    "Gpu",
    "PartitionError",
    "Plan",
    "Run",
    "Services",
    "Work",
    "Write",
    "below_root",
    "choose",
    "devices_of",
    "plan",
    "read",
    "refuse_holders",
    "refused_write",
    "require_modprobe",
    "shown",
    "unit_name",
    "write_mode",
]


def shown(states: t.Iterable[dict[str, t.Any]]) -> str:
    """The modes as text, for the diff."""
    return "".join(
        f"{state['address']} {state['compute']} {state['memory']} devices={state['devices']}\n"
        for state in states
    )
