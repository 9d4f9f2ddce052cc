# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ring of error records (CPER) that newer drivers keep in debugfs, where root may read it."""

from __future__ import annotations

import datetime
import struct
import typing as t

FILE = "amdgpu_ring_cper"
MARK = b"CPER"
_HEADER = struct.Struct("<4sHIHIII")
_BY_NUMBER = {0: "uncorrected", 1: "fatal", 2: "corrected"}
SEVERITIES = tuple(_BY_NUMBER.values())
MAX_RECORDS = 4096
# The driver's ring, with the three words before it.
MAX_BYTES = (1 << 20) + 12
NO_AFID = (
    "is decoded by AMD's library alone: amd-smi ras --cper --severity all --folder FOLDER, "
    "then amd-smi ras --afid --folder FOLDER"
)


def count(data: bytes) -> dict[str, t.Any]:
    """How many records there are of each severity, and when the latest was made. A record that is damaged
    ends the count: what follows it cannot be trusted."""
    found: dict[str, t.Any] = dict.fromkeys(SEVERITIES, 0)
    latest = None
    # Two pointers and a reserved word come first.
    offset = 12
    for _number in range(MAX_RECORDS):
        if offset + _HEADER.size > len(data):
            break
        mark, _revision, _end, _sections, severity, _valid, length = _HEADER.unpack_from(data, offset)
        if mark != MARK or severity not in _BY_NUMBER or not _HEADER.size <= length <= len(data) - offset:
            break
        found[_BY_NUMBER[severity]] += 1
        latest = _time(data[offset + _HEADER.size : offset + min(length, _HEADER.size + 8)]) or latest
        offset += length
    return {**found, "latest": latest, "afid": None}


def _time(stamp: bytes) -> str | None:
    """Seconds, minutes, hours, a flag, day, month, year and century, one byte each."""
    if len(stamp) < 8:
        return None
    second, minute, hour, _flag, day, month, year, century = stamp
    try:
        when = datetime.datetime(100 * century + year, month, day, hour, minute, second)
    except ValueError:
        return None
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
