# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered on the host between runs: which tests passed for what, their figures, and their past."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t

from .. import _write

FOLDER = "/var/lib/amdgpu-fleet/acceptance"
LARGEST = 4 << 20
SCHEMA = 1
RECORD = "record.json"


def empty() -> dict[str, t.Any]:
    return {"schema": SCHEMA, "tests": {}, "past": {}, "running": None}


def folder(root: str = "/") -> str:
    return os.path.join(root, FOLDER.lstrip("/"))


def read(place: str) -> dict[str, t.Any] | None:
    """A JSON document of ours; null where there is none, or none that is whole."""
    try:
        with open(place, "rb") as file:
            return document(file.read(LARGEST + 1))
    except OSError:
        return None


def document(data: bytes) -> dict[str, t.Any] | None:
    try:
        found = json.loads(data) if len(data) <= LARGEST else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else None


def load(at: str) -> dict[str, t.Any]:
    found = read(os.path.join(at, "state.json")) or empty()
    for name in ("tests", "past"):
        if not isinstance(found.get(name), dict):
            found[name] = {}
    return found


def save(at: str, name: str, value: t.Mapping[str, t.Any]) -> None:
    """For root alone: logs and figures of a host are nobody else's business."""
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    _write.write(os.path.join(at, name), text.encode(), mode=0o600)


def make(at: str) -> None:
    _write.make_parents(os.path.join(at, "state.json"))
    os.chmod(at, 0o700)
    os.makedirs(os.path.join(at, "logs"), mode=0o700, exist_ok=True)


@contextlib.contextmanager
def alone(at: str, patience: float) -> t.Iterator[bool]:
    """One test at a time on a host. Whether the lock was free; a run that was given up by its controller
    may still be at work, and then its result is waited for."""
    handle = os.open(os.path.join(at, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        limit = time.monotonic() + patience
        free = True
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                free = False
                if time.monotonic() > limit:
                    raise
                time.sleep(0.5)
        yield free
    finally:
        os.close(handle)
