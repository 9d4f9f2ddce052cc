# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was added to the lines of a boot configuration that people edit, and what was taken out of them: the
way back.

A drop-in tells whose an argument is; a loader entry, /etc/kernel/cmdline, /etc/default/grub and rpm-ostree's
arguments do not. So that nothing has to be written between the lines of a person, the record has a file of
its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from .. import _cmdline as cmdline
from .._cmdline import Wanted

RECORD = "/var/lib/amdgpu-fleet/kernel-arguments"


class Change(NamedTuple):
    added: list[str]
    removed: list[str]


class RecordError(Exception):
    """The record is no record; the text is a whole sentence."""


def parse(text: str | None) -> dict[str, Change]:
    """Line -> what was changed in it."""
    try:
        lines = json.loads(text) if text else {}
        return {
            str(line): Change(
                [str(entry) for entry in kept["added"]], [str(entry) for entry in kept["removed"]]
            )
            for line, kept in lines.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordError(
            f"{RECORD} does not say any more which kernel arguments were changed here ({error}); look at the "
            f"arguments of the"
            " host, take out by hand what is not yours, then remove this file."
        ) from error


def _open_again(entry: str, asked: Wanted) -> bool:
    """Is an argument none of what is asked for, nor of a name that is given another value?"""
    settled = {
        cmdline.parse(other).name
        for other in asked.present
        if not cmdline.repeatable(cmdline.parse(other).name)
    }
    return cmdline.parse(entry).name not in settled and not any(
        cmdline.same(entry, other) for other in asked.present
    )


def _returning(change: Change, asked: Wanted) -> list[str]:
    return [
        entry
        for entry in change.removed
        if _open_again(entry, asked) and not any(cmdline.matches(entry, out) for out in asked.absent)
    ]


def undone(arguments: Sequence[str], change: Change, asked: Wanted) -> list[str]:
    """The line without the change, as far as it is not asked for again. What a person wrote meanwhile
    wins."""
    back = _returning(change, asked)
    kernel = cmdline.for_kernel(arguments)
    init = list(arguments[len(kernel) :])
    for entry in (added for added in change.added if _open_again(added, asked)):
        place = next((place for place, other in enumerate(kernel) if cmdline.same(entry, other)), None)
        if place is None:
            continue
        name = cmdline.parse(entry).name
        instead = [
            other for other in back if cmdline.parse(other).name == name and not cmdline.repeatable(name)
        ][:1]
        kernel[place : place + 1] = instead
        back = [other for other in back if other not in instead]
    names = {cmdline.parse(entry).name for entry in kernel}
    back = [
        entry
        for entry in back
        if cmdline.repeatable(cmdline.parse(entry).name) or cmdline.parse(entry).name not in names
    ]
    return cmdline.apply(kernel + init, Wanted(back, []))


def followed(change: Change, before: Sequence[str], after: Sequence[str]) -> Change:
    """The record of a line that goes from before to after. Of a name that may stand once, the newest value
    goes back."""
    new, gone = _without(after, before), _without(before, after)
    added = [entry for entry in change.added if entry in after]
    removed = [entry for entry in change.removed if entry not in after]
    added += [entry for entry in new if entry not in change.removed and entry not in added]
    theirs = [entry for entry in gone if entry not in change.added]
    removed = [entry for entry in removed if entry not in theirs] + list(dict.fromkeys(theirs))
    return Change(added, _newest(removed))


def _newest(removed: Sequence[str]) -> list[str]:
    newest = {cmdline.parse(entry).name: entry for entry in removed}
    return [
        entry
        for entry in removed
        if cmdline.repeatable(cmdline.parse(entry).name) or entry in newest.values()
    ]


def _without(entries: Sequence[str], others: Sequence[str]) -> list[str]:
    left = list(others)
    result = []
    for entry in entries:
        if entry in left:
            left.remove(entry)
        else:
            result.append(entry)
    return result


class Record:
    """The record as it is, and as it will be once the lines that were settled are written."""

    def __init__(self, text: str | None, asked: Wanted, purge: bool) -> None:
        self.old, self.asked, self.purge = parse(text), asked, purge
        self.new = dict(self.old)

    def forget_other(self, entries: Sequence[str]) -> None:
        """Entries of kernels that were removed are forgotten. Not where none is seen: the partition may not
        be mounted."""
        self.new = {
            line: change for line, change in self.new.items() if line in entries or not line.endswith(".conf")
        }

    def start(self, line: str, have: Sequence[str], like: str = "") -> list[str]:
        """What a line holds before anything is asked of it. like = the line it was made from, where it has no
        record yet."""
        return undone(have, self._change(line, like), self.asked) if self.purge else list(have)

    def note(self, line: str, have: Sequence[str], becomes: Sequence[str], like: str = "") -> None:
        old = self._change(line, like)
        added, removed = followed(old, have, becomes)
        # What a purge did not bring back, because a person wrote another value meanwhile, is over.
        over = _returning(old, self.asked) if self.purge else []
        self.new[line] = Change(added, [entry for entry in removed if entry not in over])

    def settle(self, line: str, have: Sequence[str], like: str = "") -> list[str]:
        """What a line becomes."""
        begun = self.start(line, have, like)
        becomes = begun if cmdline.satisfied(begun, self.asked) else cmdline.apply(begun, self.asked)
        self.note(line, have, becomes, like)
        return becomes

    def _change(self, line: str, like: str) -> Change:
        return self.old.get(line) or self.old.get(like) or Change([], [])

    def text(self) -> str | None:
        """The record to keep, None where there is nothing to take back."""
        return _text(self.new)

    def meanwhile(self) -> str | None:
        """The record while lines are written: what was and what will be, so that a run that is killed is
        finished by the next."""
        nothing = Change([], [])
        both = {}
        for line in {**self.old, **self.new}:
            old, new = self.old.get(line, nothing), self.new.get(line, nothing)
            removed = _newest([*_without(old.removed, new.removed), *new.removed])
            both[line] = Change([*old.added, *_without(new.added, old.added)], removed)
        return _text(both)


def _text(lines: dict[str, Change]) -> str | None:
    if not any(change.added or change.removed for change in lines.values()):
        return None
    return json.dumps({line: change._asdict() for line, change in sorted(lines.items())}, indent=1) + "\n"
