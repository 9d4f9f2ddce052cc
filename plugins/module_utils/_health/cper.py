# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ring of error records (CPER) that newer drivers keep in debugfs, where root may read it."""

from __future__ import annotations

import struct

MARK = b"CPER"
_HEADER = struct.Struct("<4sHIHIII")
_SEVERITIES = {0: "uncorrected", 1: "fatal", 2: "corrected"}
MAX_RECORDS = 4096


def count(data: bytes) -> dict[str, int]:
    """How many records there are of each severity. A record that is damaged ends the count: what follows it
    cannot be trusted."""
    found = dict.fromkeys(_SEVERITIES.values(), 0)
    # Two pointers and a reserved word come first.
    offset = 12
    for _number in range(MAX_RECORDS):
        if offset + _HEADER.size > len(data):
            break
        mark, _revision, _end, _sections, severity, _valid, length = _HEADER.unpack_from(data, offset)
        if mark != MARK or severity not in _SEVERITIES or not _HEADER.size <= length <= len(data) - offset:
            break
        found[_SEVERITIES[severity]] += 1
        offset += length
    return found
