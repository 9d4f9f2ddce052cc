# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel log says about GPUs that are not well, folded to a few lines."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

LOGS = ("var/log/dmesg", "var/log/kern.log")
MAX_LINES = 8
MAX_LENGTH = 160
# A line must speak of a GPU or of what carries it, and of trouble. The catalog says what each kind of line
# means.
# Since 7.0 the driver's lines have no second "amdgpu:", and modules that are refused are named by their
# reason.
_SUBJECT = re.compile(
    r"amdgpu|amdkfd|kfd|amdttm|amdkcl|\bttm\b|\[drm|pci(eport)?\b|\bBAR ?\d|\bMES\b|hardware error|AMD-Vi"
    r"|Loading of .{1,60} is rejected|Lockdown: modprobe",
    re.I,
)
_TROUBLE = re.compile(
    r"atomic ops is not supported|error|fail|fault|hang|hung|timeout|timed out"
    r"|reset begin|reset succeeded|reset\(\d+\) succeeded|invalid|unrecoverable|no space|can't assign"
    r"|oversubscribed|rejects atomics|uncorrectable|Illegal register|No more SDMA|ring buffer is full"
    # System management firmware, and a device that left the bus.
    r"|SMU: (No response|I'm not done|I'm very busy|unknown command|valid command, bad|bus error)"
    r"|device lost from bus|VRAM is lost|is reset\b|TRN_MSG_ACK|unsuccessful"
    # Memory that is worn out.
    r"|records:\s?\d+ exceed|reaches threshold|will not be initialized"
    # Modules and their parameters.
    r"|unknown parameter|is rejected|is restricted|version magic|Unknown symbol|disagrees about version"
    r"|Capping GTT|Problem resizing BAR"
    # What went wrong after all, in words of their own.
    r"|reset end with ret = -|firmware .{1,60} too (large|small)|poison consumption is issued"
    r"|device inaccessible",
    re.I,
)
_STAMP = re.compile(r"^(<\d+>)?(\[[\s\d.]+\]\s*|\w{3}\s+\d+ [\d:]+ \S+ kernel: (\[[\s\d.]+\]\s*)?)?")


def text(tree: Tree, dmesg: t.Callable[[], str | None]) -> str | None:
    """The log. Without a real host (``root`` is a folder) it is read from ``/var/log``; ``None`` where it
    cannot be."""
    if tree.bare:
        return "\n".join(filter(None, (tree.text(path) for path in LOGS))) or None
    return dmesg()


def relevant(log: str) -> list[str]:
    """The lines that speak of a GPU or of what carries it."""
    return [line for line in log.splitlines() if _SUBJECT.search(_STAMP.sub("", line)[:MAX_LENGTH])]


def trouble(tree: Tree, dmesg: t.Callable[[], str | None]) -> list[dict[str, t.Any]]:
    """``{line, count}``: the eight latest kinds of lines; lines that differ in numbers and devices only are
    one kind."""
    log = text(tree, dmesg)
    found: dict[str, dict[str, t.Any]] = {}
    for line in (log or "").splitlines():
        line = _STAMP.sub("", line).strip()[:MAX_LENGTH]
        if _SUBJECT.search(line) and _TROUBLE.search(line):
            kind = re.sub(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]|0x[0-9a-f]+|\d+", "#", line)
            entry = found.pop(kind, {"line": line, "count": 0})
            found[kind] = {**entry, "count": entry["count"] + 1}
    # The latest: what a host says at boot must not push out what happened since.
    return list(found.values())[-MAX_LINES:]
