# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of GPU architectures: what KFD's ``gfx_target_version`` says, and what is known about a name."""

from __future__ import annotations

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpu_table import ARCHITECTURES


def name_of(target_version: int) -> str | None:
    """``90402 -> gfx942``, ``90010 -> gfx90a``: major and minor are decimal, the stepping is one hexadecimal
    digit.

    ``None`` for 0 (a CPU node, or a kernel that does not tell). Source: Linux ``kfd_device.c``, where the
    value is ``major * 10000 + minor * 100 + stepping``.
    """
    if target_version <= 0:
        return None
    major, rest = divmod(target_version, 10000)
    minor, stepping = divmod(rest, 100)
    if minor > 15 or stepping > 15 or major > 99:
        return None
    return f"gfx{major}{minor:x}{stepping:x}"


def family_of(gfx: str | None) -> str | None:
    """``gfx942 -> cdna3``; ``None`` for a name that is not in the catalog."""
    return ARCHITECTURES[gfx][0] if gfx in ARCHITECTURES else None


def supported_by_rocm(gfx: str | None) -> bool:
    """Whether current ROCm releases support the architecture."""
    return bool(gfx in ARCHITECTURES and ARCHITECTURES[gfx][1])
