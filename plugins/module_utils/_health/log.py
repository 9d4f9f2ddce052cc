# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of the kernel log that tell of hardware, by kind and GPU. Messages of RAS are of level info or
notice, so no line is left out for its level."""

from __future__ import annotations

import re
import typing as t

MAX_LENGTH = 160
MAX_ENTRIES = 40
_ADDRESS = re.compile(r"\b([0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b")
_STAMP = re.compile(r"^(<\d+>)?(\[[\s\d.]+\]\s*|\w{3}\s+\d+ [\d:]+ \S+ kernel: (\[[\s\d.]+\]\s*)?)?")
# The first that fits counts. A number of errors is never 0: the driver reports sums of 0 as well.
KINDS = {
    "service": re.compile(r"Service Action Guide"),
    "bad_pages": re.compile(r"records:\s?\d+ exceeds? threshold|reaches threshold value", re.I),
    "bad_pages_near": re.compile(r"records:\s?\d+ exceeds 90"),
    "uncorrectable": re.compile(r"\b[1-9]\d* (?:new )?uncorrectable hardware errors"),
    "deferred": re.compile(r"\b[1-9]\d* (?:new )?deferred hardware errors"),
    "correctable": re.compile(r"\b[1-9]\d* (?:new )?correctable hardware errors"),
    "poison": re.compile(r"Poison is created|poison is consumed", re.I),
    "reset_failed": re.compile(r"GPU reset(?:\(\d+\))? failed|Mode2 reset failed|GPU reset end with ret = -"),
    "vram_lost": re.compile(r"VRAM is lost due to GPU reset"),
    "power_firmware": re.compile(r"SMU: (?:No response|I'm not done)"),
    "hang": re.compile(r"GPU hang|MES.* failed to respond|Failed to evict process queues"),
    "ring": re.compile(r"ring \S+ timeout"),
    "reset_begun": re.compile(r"GPU reset begin"),
    "lost": re.compile(r"device lost from bus|Card not present|GPU has fallen off"),
    "reset": re.compile(r"GPU reset(?:\(\d+\))? succeeded"),
    "heat": re.compile(r"HW CTF|GPU is throttled|over temperature|thermal shutdown", re.I),
    "link_down": re.compile(r"Link Down"),
    "contained": re.compile(r"DPC: containment event|EDR: EDR event received"),
}
# What ends a reset that has begun.
_RESET_ENDS = re.compile(r"GPU reset(?:\(\d+\))? (?:succeeded|failed)|GPU reset end|device lost from bus")
# Lines about PCIe name the port, and no driver.
_SUBJECT = re.compile(r"amdgpu|\[drm|pcieport|pciehp|EDR:")


def hardware(log: str, addresses: t.Collection[str]) -> list[dict[str, t.Any]]:
    """``{kind, gpu, count, line}``: the latest line of each kind for each GPU; ``gpu`` is null where the line
    names none of them."""
    found: dict[tuple[str, str | None], dict[str, t.Any]] = {}
    for raw in log.splitlines():
        line = _STAMP.sub("", raw).strip()[:MAX_LENGTH]
        if not _SUBJECT.search(line):
            continue
        gpu = next((address for address in _ADDRESS.findall(line) if address in addresses), None)
        if _RESET_ENDS.search(line):
            # Only one that never ended is told.
            found.pop(("reset_begun", gpu), None)
        kind = next((name for name, pattern in KINDS.items() if pattern.search(line)), None)
        if kind is None:
            continue
        count = found[kind, gpu]["count"] + 1 if (kind, gpu) in found else 1
        found[kind, gpu] = {"kind": kind, "gpu": gpu, "count": count, "line": line}
    return list(found.values())[-MAX_ENTRIES:]
