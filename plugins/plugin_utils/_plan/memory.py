# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of a host: what AMD asks of it, and the pool that the kernel lets the GPU of an APU use."""

from __future__ import annotations

from .catalog import version_key
from .facts import Gpu
from .host import Host

GIB = 1 << 30
# AMD gives the memory of a host for its platforms of several GPUs, not for a machine with one or two of them.
PLATFORM_GPUS = 4
# MemTotal leaves out what the firmware and the kernel keep.
KEPT_BY_THE_SYSTEM = 0.03


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def host_memory(host: Host) -> None:
    """What AMD asks of a platform's host memory."""
    memory_bytes, rules = host.system["memory_bytes"], host.profile.get("memory", {}).get("host_ram_gib", {})
    physical = [gpu for gpu in host.gpus if not gpu["virtual_function"]]
    products = sorted({str(gpu["product"]) for gpu in physical if gpu["product"] in rules})
    if not memory_bytes or not products or len(physical) < PLATFORM_GPUS:
        return
    minimum = max(rules[product]["minimum"] for product in products)
    recommended = max(rules[product]["recommended"] for product in products)
    if memory_bytes < minimum * GIB * (1 - KEPT_BY_THE_SYSTEM):
        host.findings.add(
            "host.memory",
            f"{memory_bytes // GIB} GiB",
            f"at least {minimum} GiB, {recommended} GiB recommended",
            product=", ".join(products),
            recommended=recommended,
        )


def memory_pool(host: Host, wanted_gib: int) -> None:
    """The pool of an APU is a setting of the kernel, and can be far from what is wanted in both
    directions."""
    memory = host.system["memory_bytes"] or 0
    for gpu in host.gpus:
        pool = gpu["usable_bytes"] or 0
        if not (gpu["apu"] and memory and pool and gpu["partitions"]):
            continue
        if pool < 0.9 * wanted_gib * GIB:
            seen = f"{pool / GIB:.1f} of {memory / GIB:.0f} GiB"
            host.findings.add(
                "memory.pool", seen, f"{wanted_gib} GiB", why=_why_small(host, gpu, pool, memory)
            )
        elif (limit := gpu["gtt_bytes"] or 0) > memory:
            seen = f"{limit / GIB:.0f} GiB of a memory of {memory / GIB:.0f} GiB"
            host.findings.add("memory.pool_too_large", seen, f"{wanted_gib} GiB")


def _why_small(host: Host, gpu: Gpu, pool: int, memory: int) -> str:
    release, carved = host.system["kernel"]["release"] or "", gpu["vram_bytes"] or 0
    floor = host.profile.get("memory", {}).get("full_pool_from_kernel")
    if floor and release and version_key(release)[:3] < version_key(floor):
        return f"kernels before {floor} show ROCm a fraction of the memory"
    if carved > 4 * GIB:
        return (
            f"the BIOS sets {carved / GIB:.0f} GiB aside for the GPU; 0.5 GiB is enough, the pool "
            f"takes the rest"
        )
    if abs(pool - memory / 2) < memory / 16:
        return "the kernel lets the GPU use half of the memory unless it is told otherwise"
    return "a limit is set on the kernel command line or in /etc/modprobe.d"
