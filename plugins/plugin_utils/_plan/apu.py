# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of an APU: what ROCm allocates from, the carve-out of the BIOS or system memory.

Source of the ranges: amdgpu_ttm_init and get_local_mem_info of Linux 6.12.117, 7.2.13 and 7.3.4.
"""

from __future__ import annotations

import typing as t

from .catalog import version_key
from .facts import Gpu
from .host import Host
from .memory import GIB

# From here on KFD allocates from system memory on an APU.
SYSTEM_MEMORY_FROM = [6, 10]
# From here on a carve-out that is at least as large as the limit of system memory is used instead.
CARVE_OUT_FROM = [6, 15]
# A carve-out of this size or less is what a BIOS must keep for the display.
SMALL = 4 * GIB


class Pool(t.NamedTuple):
    kind: str  # carve_out or system
    size: int


def pool(release: str, carved: int, limit: int, memory: int) -> Pool:
    """The pool that a kernel uses; ``limit`` is ttm.pages_limit in bytes, ``memory`` is MemTotal."""
    numbers = version_key(release)[:2]
    system = min(limit, memory)
    if numbers < SYSTEM_MEMORY_FROM or (numbers >= CARVE_OUT_FROM and carved >= system):
        return Pool("carve_out", carved)
    return Pool("system", system)


def carved_out(gpu: Gpu) -> bool:
    """Whether KFD offers the carve-out now."""
    carved, usable = gpu["vram_bytes"] or 0, gpu["usable_bytes"] or 0
    return bool(gpu["apu"]) and carved > SMALL and abs(usable - carved) < carved // 50


def keeps_carve_out(host: Host, limit: int) -> bool:
    """Whether a limit of the system memory would change nothing, because the carve-out is the pool and stays
    it; says so, and what would help."""
    release = host.system["kernel"]["default_release"] or host.system["kernel"]["release"] or ""
    memory = host.system["memory_bytes"] or 0
    for gpu in host.gpus:
        carved = gpu["vram_bytes"] or 0
        if not (carved_out(gpu) and memory and pool(release, carved, limit, memory).kind == "carve_out"):
            continue
        host.findings.add(
            "memory.carve_out",
            f"a carve-out of {carved / GIB:.0f} GiB is the pool, and {memory / GIB:.0f} GiB are left to the "
            f"system",
            "a carve-out of 0.5 GiB",
            total=f"{(carved + memory) / GIB:.0f}",
        )
        return True
    return False
