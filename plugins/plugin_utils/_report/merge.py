# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet out of the records of its hosts: this run's, and the stored ones of hosts that were not asked."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.record import unasked
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import (
    Record,
    Run,
    count,
    empty,
    no_acceptance,
    nothing_seen,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.words import natural

LOST = "the host could not be reached any more; the line UNREACHABLE of this run names the task"
NEVER = "no report: the host could not be reached"


def merge(
    asked: t.Sequence[str], gone: t.Collection[str], stored: dict[str, Record], run: Run
) -> list[Record]:
    """The hosts of this run in its order, then the others by name."""
    hosts = [_asked(host, host in gone, stored.get(host), run) for host in asked]
    return hosts + [_not_asked(stored[host]) for host in sorted(set(stored) - set(asked), key=natural)]


def _asked(host: str, gone: bool, record: Record | None, run: Run) -> Record:
    if record and record["run"] == run.id:
        if gone and not record["failure"] and not count(record, "fail"):
            return {**record, "asked": True, "failure": LOST}
        return {**record, "asked": True}
    # This run has no record of it: its turn is still to come, or it was lost on the way.
    if record is None:
        known = empty(host)
        return {**known, "asked": True, "waiting": not gone, "failure": NEVER if gone else ""}
    return {
        **record,
        "asked": True,
        "waiting": not gone,
        "failure": LOST if gone else "",
        "known_at": record["known_at"] or record["at"],
        "findings": [],
        "mended": [],
        "applied": [],
        "reboot": [],
        "changes": [],
        "endpoints": [unasked(each) for each in record["endpoints"]],
    }


def _not_asked(record: Record) -> Record:
    return {
        **record,
        "asked": False,
        "waiting": False,
        "changes": [],
        "known_at": record["known_at"] or record["at"],
    }


def removed(record: Record, inventory: t.Sequence[str], hosts: t.Collection[str]) -> bool:
    """Whether the host was taken out of the inventory that it came from.

    Hosts of another inventory stay: several may share a report.
    """
    return record["host"] not in hosts and record["inventory"] == list(inventory)


def read(folder: Path) -> dict[str, Record]:
    """The stored records. A file that is damaged is left out: the next run of its host writes it anew."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        record = read_one(path)
        if record is not None:
            found[record["host"]] = record
    return found


def read_one(path: Path) -> Record | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(known, dict) or not isinstance(known.get("host"), str):
        return None
    base = t.cast("dict[str, t.Any]", empty(known["host"]))
    fitting = {
        key: known[key] for key, value in base.items() if key in known and isinstance(known[key], type(value))
    }
    # Of another version of this collection there is nothing to compare with, and the rest counts.
    old = {name: nothing_seen() for name in ("seen", "last") if not _comparable(fitting.get(name))}
    record = t.cast("Record", {**base, **fitting, **old})
    return record if _whole(record) else None


def _comparable(stored: t.Any) -> bool:
    return isinstance(stored, dict) and all(
        isinstance(stored.get(key), type(value)) for key, value in nothing_seen().items()
    )


def _whole(record: Record) -> bool:
    """An older version of this collection may have written other entries: they would stop the page."""
    needed = {
        "findings": {"id", "severity", "title", "seen", "expected", "why", "remedy"},
        "endpoints": {"name", "url", "target", "unit", "model", "answered", "reason", "engine"},
        "settings": {"role", "setting", "value", "reason"},
        "gpu_list": {"index", "name", "partitions", "verdict"},
        "history": {"at", "state", "fail", "warn"},
        "deployed": {"kind", "name", "version", "digest", "place"},
        "changes": {"kind", "what", "before", "now", "why", "severity"},
    }
    entries = t.cast("dict[str, list[t.Any]]", record)
    return no_acceptance().keys() <= record["acceptance"].keys() and all(
        isinstance(each, dict) and keys <= each.keys()
        for name, keys in needed.items()
        for each in entries[name]
    )
