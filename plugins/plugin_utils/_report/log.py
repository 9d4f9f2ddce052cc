# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line for each run of a host, as JSON: ``history/NAME.jsonl`` beside the records. Old lines go, so that
the file stays small."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Record, state

KEPT_LINES = 500
# Bytes; what is larger is no file of ours, and is begun anew.
LARGEST = 4 << 20


def of(record: Record) -> dict[str, t.Any]:
    """What one run said about the host, short enough for one line."""
    seen = record["seen"]
    return {
        "at": record["at"],
        "run": record["run"],
        "command": record["command"],
        "state": state(record),
        "findings": sorted({f"{each['severity']} {each['id']}" for each in record["findings"]}),
        "failure": record["failure"],
        "verdicts": {each["pci"]: each["verdict"] for each in record["gpu_list"] if each["verdict"]},
        "boot_id": seen["boot_id"],
        "versions": seen["versions"],
        "counters": seen["counters"],
        "drift": seen["drift"],
        "changes": record["changes"],
    }


def text(path: Path, record: Record) -> str:
    """The whole file with this run as its last line; a run that writes twice has one line."""
    kept = [line for line in _lines(path) if _run(line) not in (None, record["run"])]
    line = json.dumps(of(record), sort_keys=True, ensure_ascii=False, default=str)
    return "\n".join([*kept[-(KEPT_LINES - 1) :], line]) + "\n"


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LARGEST:
            return []
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _run(line: str) -> str | None:
    """Which run wrote the line; None for one that is damaged."""
    try:
        known = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return str(known.get("run")) if isinstance(known, dict) else None
