# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of limine-entry-tool: KERNEL_CMDLINE of several files, of which the later one wins.

A plain = in a later file replaces what earlier ones appended. So what is added goes into a drop-in of ours
where every later line appends, and else into the line that replaces.
"""

from __future__ import annotations

import glob
import os
import re
from typing import NamedTuple

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import below, follow, read_text
from .base import BootError, Host
from .record import Record

PACKAGED = "/usr/share/limine-entry-tool.d"
FOLDER = "/etc/limine-entry-tool.d"
DROPIN = f"{FOLDER}/60-amdgpu-fleet.conf"
DEFAULTS = "/etc/default/limine"
HEAD = "# Written by amdgpu.fleet.kernel_args; edits of this file are lost.\n"
_LINE = re.compile(
    r"""^[ \t]*KERNEL_CMDLINE\[["']?([^\]"']+)["']?\](\+?)="""
    r"""("[^"\n]*"|'[^'\n]*'|[^\s"'#]*)[ \t]*(#[^\n]*)?$""",
    re.MULTILINE,
)
Files = dict[str, tuple["str | None", "str | None"]]


class Assignment(NamedTuple):
    path: str
    start: int  # of the value, with its quotes
    end: int
    key: str
    appends: bool
    tokens: list[str]


class Settings(NamedTuple):
    """Every assignment, in the order in which it is read."""

    texts: dict[str, str]
    assignments: list[Assignment]

    @staticmethod
    def read(root: str) -> Settings:
        texts = {path: read_text(follow(root, path)) or "" for path in _paths(root)}
        found = []
        for path, text in texts.items():
            for match in _LINE.finditer(text):
                tokens = cmdline.split(match.group(3).strip("\"'"))
                place = match.span(3)
                found.append(
                    Assignment(path, place[0], place[1], match.group(1), bool(match.group(2)), tokens)
                )
            plain = re.sub(r"^[ \t]*#.*$", "", text, flags=re.MULTILINE)
            if len(re.findall(r"KERNEL_CMDLINE\[", plain)) != len(_LINE.findall(plain)):
                raise BootError(
                    f"{path} sets KERNEL_CMDLINE in a way that cannot be read safely; write each as one line"
                    f' KERNEL_CMDLINE[default]+=" ...".'
                )
        return Settings(texts, found)

    def kernels(self) -> list[str]:
        """default, and those of single kernels that replace it."""
        own = [each.key for each in self.assignments if not each.appends and each.key != "fallback"]
        return list(dict.fromkeys(["default", *own]))

    def effective(self, key: str) -> list[str]:
        tokens: list[str] = []
        for each in self.assignments:
            if each.key == key:
                tokens = [*tokens, *each.tokens] if each.appends else list(each.tokens)
        return tokens


def _paths(root: str) -> list[str]:
    """In the order in which the tool reads them."""
    base = os.path.realpath(root)

    def inside(folder: str) -> list[str]:
        found = sorted(glob.glob(os.path.join(glob.escape(below(root, folder)), "*.conf")))
        return ["/" + os.path.relpath(place, base) for place in found]

    return [*inside(PACKAGED), "/etc/limine-entry-tool.conf", *inside(FOLDER), DEFAULTS]


class Settled(NamedTuple):
    before: list[str]
    after: list[str]
    files: Files


class Work(NamedTuple):
    """What is settled; becomes gets the tokens of every assignment, by file."""

    host: Host
    settings: Settings
    asked: Wanted
    record: Record
    becomes: dict[str, list[list[str]]]


def settle(host: Host, asked: Wanted, record: Record) -> Settled:
    """The files that bring what was asked for."""
    settings = Settings.read(host.root)
    if not any(each.key == "default" for each in settings.assignments):
        raise BootError(
            f"KERNEL_CMDLINE[default] is set in none of {PACKAGED}, {FOLDER} and {DEFAULTS}, so what is"
            f" added would be the whole line; write the line of /proc/cmdline into {DEFAULTS} as"
            f' KERNEL_CMDLINE[default]="...", then run again.'
        )
    ours: dict[str, list[str]] = {}
    becomes: dict[str, list[list[str]]] = {}
    for key in settings.kernels():
        ours[key] = _settle_key(Work(host, settings, asked, record, becomes), key)
    files = _rendered(host, settings, becomes)
    # Blanks on both sides: the shell puts the parts together as they are.
    mine = [f'KERNEL_CMDLINE[{key}]+=" {cmdline.join(added)} "\n' for key, added in ours.items() if added]
    place = below(host.root, DROPIN)
    files[place] = (read_text(place), HEAD + "".join(mine) if mine else None)
    written = _as_written(settings, becomes, ours)
    after = written.effective("default")
    for key in settings.kernels():
        if not cmdline.satisfied(written.effective(key), asked):
            left = cmdline.missing(written.effective(key), asked)
            raise BootError(
                f"{cmdline.join(left)} cannot be settled in {FOLDER}: a file that is read later decides; "
                f"write"
                f" it into KERNEL_CMDLINE[{key}] of {DEFAULTS} by hand."
            )
    return Settled(settings.effective("default"), after, files)


def _as_written(
    settings: Settings, becomes: dict[str, list[list[str]]], ours: dict[str, list[str]]
) -> Settings:
    """The settings as they will be read."""
    found: list[Assignment] = []
    numbers: dict[str, int] = {}
    for each in settings.assignments:
        number = numbers[each.path] = numbers.get(each.path, -1) + 1
        tokens = becomes[each.path][number] if each.path in becomes else each.tokens
        if each.path != DROPIN:
            found.append(each._replace(tokens=tokens))
    mine = [Assignment(DROPIN, 0, 0, key, True, added) for key, added in ours.items() if added]
    place = next((number for number, each in enumerate(found) if _after_dropin(each.path)), len(found))
    return Settings(settings.texts, [*found[:place], *mine, *found[place:]])


def _after_dropin(path: str) -> bool:
    return path == DEFAULTS or (path.startswith(FOLDER) and path > DROPIN)


def _settle_key(work: Work, key: str) -> list[str]:
    """What our drop-in adds for a key; becomes gets the tokens of every assignment of other files."""
    host, settings, asked, record, becomes = work
    mine = [each for each in settings.assignments if each.key == key and each.path != DROPIN]
    kept = [
        entry
        for each in settings.assignments
        if each.path == DROPIN and each.key == key
        for entry in each.tokens
    ]
    wanted: dict[str, list[str]] = {}
    for path in dict.fromkeys(each.path for each in mine):
        have = [entry for each in mine if each.path == path for entry in each.tokens]
        wanted[path] = _settle_file(path, key, have, asked, record)
    replacing = [each for each in mine if not each.appends and _after_dropin(each.path)]
    seen = [entry for path in wanted for entry in wanted[path]]
    ours = [] if host.purge else [entry for entry in kept if _stays(entry, asked)]
    lacking = cmdline.missing([*seen, *ours], asked)
    if replacing and (lacking or ours):
        path = replacing[-1].path
        line = f"{path} KERNEL_CMDLINE[{key}]"
        have = [entry for each in mine if each.path == path for entry in each.tokens]
        wanted[path] = cmdline.apply(wanted[path], Wanted(cmdline.missing(wanted[path], asked), []))
        record.note(line, have, wanted[path])
        ours, lacking = [], []
    for path, tokens in wanted.items():
        _distribute(settings, path, key, tokens, becomes)
    return [*ours, *lacking]


def _stays(entry: str, asked: Wanted) -> bool:
    names = {cmdline.parse(other).name for other in asked.present}
    name = cmdline.parse(entry).name
    replaced = name in names and not cmdline.repeatable(name) and entry not in asked.present
    return not replaced and not any(cmdline.matches(entry, pattern) for pattern in asked.absent)


def _settle_file(path: str, key: str, have: list[str], asked: Wanted, record: Record) -> list[str]:
    """The tokens of one file: what must go goes, what has another value gets the wanted one in its place."""
    line = f"{path} KERNEL_CMDLINE[{key}]"
    begun = record.start(line, have)
    names = {cmdline.parse(entry).name for entry in begun}
    instead = [
        entry
        for entry in asked.present
        if cmdline.parse(entry).name in names and not cmdline.repeatable(cmdline.parse(entry).name)
    ]
    tokens = cmdline.apply(begun, Wanted(instead, asked.absent))
    if tokens != have and path.startswith(PACKAGED):
        raise BootError(
            f"{path} sets {cmdline.join(entry for entry in have if entry not in tokens)}, and the file "
            f"belongs"
            f" to a package; set KERNEL_CMDLINE[{key}] in {DEFAULTS} to the whole line, then run again."
        )
    record.note(line, have, tokens)
    return tokens


def _distribute(
    settings: Settings, path: str, key: str, tokens: list[str], becomes: dict[str, list[list[str]]]
) -> None:
    """The tokens of a file onto its assignments: what stood in one stays in it, what is new goes to the last
    that has the name, else to the last."""
    mine = [each for each in settings.assignments if each.path == path]
    parts = becomes.setdefault(path, [list(each.tokens) for each in mine])
    numbers = [number for number, each in enumerate(mine) if each.key == key]
    left = {number: list(mine[number].tokens) for number in numbers}
    for number in numbers:
        parts[number] = []
    for token in tokens:
        home = next((number for number in numbers if token in left[number]), None)
        if home is None:
            name = cmdline.parse(token).name
            home = next(
                (n for n in numbers if any(cmdline.parse(old).name == name for old in left[n])), numbers[-1]
            )
        else:
            left[home].remove(token)
        parts[home].append(token)


def _rendered(host: Host, settings: Settings, becomes: dict[str, list[list[str]]]) -> Files:
    files: Files = {}
    for path, parts in becomes.items():
        text = new = settings.texts[path]
        mine = [each for each in settings.assignments if each.path == path]
        for each, tokens in reversed(list(zip(mine, parts))):
            if tokens != each.tokens:
                new = (
                    new[: each.start]
                    + _quoted(path, text[each.start : each.end], each, tokens)
                    + new[each.end :]
                )
        if new != text:
            files[follow(host.root, path)] = (text, new)
    return files


def _quoted(path: str, old: str, each: Assignment, tokens: list[str]) -> str:
    value = cmdline.join(tokens)
    if re.search(r"[$`\\]", old + value) or ("'" in value and '"' in value):
        raise BootError(
            f"KERNEL_CMDLINE[{each.key}] in {path} is computed by the shell ({old[:200]}) and cannot be "
            f"edited"
            f" safely; write it as one line of plain text."
        )
    quote = "'" if '"' in value else '"'
    plain = old.strip("\"'")
    blank = " " * (each.appends and bool(value) and (plain[:1].isspace() or not plain))
    return f"{quote}{blank}{value}{quote}"
