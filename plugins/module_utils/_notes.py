# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a capture knows of its host and no tree of files can hold: outputs of commands, owners and numbers of
files, room, the machine. It lies beside the captured files, and is read below a root only: never on a running
system."""

from __future__ import annotations

import json
import os
import typing as t

NAME = ".amdgpu-fleet-capture.json"
FORMAT = 1
MAX_BYTES = 32 << 20


class About(t.NamedTuple):
    """What os.stat tells of a file, by the same names."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_ino: int


class Answer(t.NamedTuple):
    """What a command printed, or what was wrong with it."""

    output: str | None
    problem: str | None


class Notes(t.NamedTuple):
    """``live``: the capture was made of a running system, not of a folder. ``unread``: files that it could
    not read, with the number of the error. ``sizes``: of files that are packed in part."""

    live: bool
    machine: str | None
    glibc: str | None
    commands: dict[str, Answer]
    about: dict[str, About]
    unread: dict[str, int]
    room: dict[str, int | None]
    sizes: dict[str, int]


class NotesError(ValueError):
    """The notes cannot be used; the text is the second half of a sentence."""


def to_json(notes: Notes) -> bytes:
    return json.dumps({"format": FORMAT, **notes._asdict()}).encode("utf-8", "backslashreplace")


def of_json(data: bytes) -> Notes:
    try:
        found = json.loads(data.decode("utf-8"))
        if found["format"] != FORMAT:
            raise NotesError(
                f"is of format {str(found['format'])[:20]}, and this collection reads format {FORMAT}"
            )
        return Notes(
            live=found["live"] is True,
            machine=_text(found["machine"]),
            glibc=_text(found["glibc"]),
            commands={_name(key): Answer(*map(_text, value)) for key, value in found["commands"].items()},
            about={_name(key): About(*map(_number, value)) for key, value in found["about"].items()},
            unread={_name(key): _number(value) for key, value in found["unread"].items()},
            room={
                _name(key): None if value is None else _number(value) for key, value in found["room"].items()
            },
            sizes={_name(key): _number(value) for key, value in found["sizes"].items()},
        )
    except NotesError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotesError(f"does not hold the notes of a capture ({type(error).__name__})") from error


def below(root: str) -> Notes | None:
    """The notes of the capture that lies below ``root``; ``None`` where it is no capture."""
    if not root:
        return None
    try:
        with open(os.path.join(root, NAME), "rb") as file:
            return of_json(file.read(MAX_BYTES))
    except (OSError, NotesError):
        return None


def _text(value: t.Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value


def _name(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: t.Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise TypeError
    return value
