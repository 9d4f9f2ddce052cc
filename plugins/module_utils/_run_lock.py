# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time on a host: a file below /run that names who changes it, and since when.

It lies in memory, so a reboot ends it. A run that was killed leaves it: after ``AGES`` seconds without a
word of its holder it counts for nothing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

PLACE = "run/amdgpu-fleet/run.lock"
# Seconds; the longest step between two words of a run (a driver build, a model) is shorter.
AGES = 2 * 3600


class LockError(Exception):
    """Another run changes the host, or the lock cannot be written; the text is a whole sentence."""

    def __init__(self, text: str, run: str = "") -> None:
        super().__init__(text)
        # The one that holds the lock.
        self.run = run


class Holder(NamedTuple):
    """Who holds the lock. ``run`` is the same for all steps of a run."""

    run: str
    who: str
    since: float
    seen: float


def take(root: str, run: str, who: str, now: Optional[float] = None, write: bool = True) -> Holder:
    """Take the lock, or say a word as its holder. ``write=False`` only looks, as check mode does."""
    now = time.time() if now is None else now
    with _open(root, write) as file:
        held = _read(file, now)
        if held and held.run != run:
            raise LockError(
                f"{held.who} changes this host since {_clock(held.since)} (last sign {_clock(held.seen)}). "
                f"Wait for that run to end. If it was killed, remove /{PLACE} on the host; it counts for "
                f"nothing {AGES // 3600} h after the last sign.",
                held.run,
            )
        holder = Holder(run, who, held.since if held else now, now)
        if write and file is not None:
            _write(file, holder)
        return holder


def release(root: str, run: str, write: bool = True) -> bool:
    """Give the lock back. Whether it was this run's."""
    with _open(root, write) as file:
        held = _read(file, time.time())
        if held is None or held.run != run:
            return False
        if write and file is not None:
            # Emptied and not removed: somebody may wait for this very file.
            file.seek(0)
            file.truncate()
        return True


@contextlib.contextmanager
def _open(root: str, write: bool) -> Iterator[Any]:
    """The file, held against other processes for the moment of a look."""
    place = os.path.join(root, PLACE)
    try:
        if not write:
            with (
                contextlib.suppress(FileNotFoundError),
                open(place, encoding="utf-8", errors="replace") as file,
            ):
                yield file
                return
            yield None
            return
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LockError(
            f"{place} cannot be used as the lock of this host ({reason}). Run with become."
        ) from error


def _read(file: Any, now: float) -> Optional[Holder]:
    """Who holds it; nobody where the file says nothing that can be read, or something too old."""
    if file is None:
        return None
    try:
        known = json.loads(file.read(4096))
        held = Holder(str(known["run"]), str(known["who"])[:200], float(known["since"]), float(known["seen"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    # A time that is still to come is that of a clock which was set back.
    return held if -60 <= now - held.seen < AGES else None


def _write(file: Any, holder: Holder) -> None:
    file.seek(0)
    file.truncate()
    json.dump(holder._asdict(), file)
    file.flush()


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
