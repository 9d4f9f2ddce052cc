# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loader entries, which GRUB of EL and Fedora (BLS) and systemd-boot read, and what later ones are made
from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import below, follow, read_text
from .base import DEFAULTS, KERNEL_CMDLINE, BootError, Host, Kept, Plan, checked, the_record
from .grub_defaults import edit_defaults
from .grub_files import evaluate, grubenv
from .next_boot import ENTRIES, GRUBENV, default_loader_entry, loader_named
from .record import Record
from .shared import files_of_loader, of_this_system
from .steps import write_files, write_record

Files = dict[str, tuple["str | None", "str | None"]]


class Style(NamedTuple):
    """How a loader of entries differs from the others."""

    name: str
    saved: bool  # grubenv holds the default
    defaults: bool  # later entries take GRUB_CMDLINE_LINUX too
    commands: Callable[[Host, Wanted, Sequence[str], Sequence[str]], list[list[str]]]


class Draft(NamedTuple):
    """The entries as they become, and what the one of the next boot gives and will give."""

    places: list[str]
    files: Files
    before: list[str]
    after: list[str]


def entry_files(root: str) -> list[str]:
    return files_of_loader(root, ENTRIES, "*.conf")


def starts_linux(text: str) -> bool:
    """Is a loader entry one of a kernel? A program of the firmware (memtest, a shell, another system) takes
    no kernel arguments."""
    program = re.search(r"^efi[ \t]", text, re.MULTILINE) and any(
        cmdline.parse(entry).name == "root" for entry in options_of(text)
    )
    return bool(program or re.search(r"^(?:linux|uki)[ \t]", text, re.MULTILINE))


def options_of(text: str) -> list[str]:
    return cmdline.split(" ".join(re.findall(r"^options[ \t]+([^\n]*)$", text, re.MULTILINE)))


def expand(arguments: Sequence[str], variables: dict[str, str]) -> list[str]:
    """Loader entries of GRUB may name variables of grubenv: $kernelopts."""
    result: list[str] = []
    for entry in arguments:
        result += (
            cmdline.split(variables.get("kernelopts", ""))
            if entry in ("$kernelopts", "${kernelopts}")
            else [entry]
        )
    return result


def set_options(text: str, arguments: Sequence[str]) -> str:
    """A loader entry with these options on one line, where the first options line stood; without any there is
    no such line."""
    line = "options " + cmdline.join(arguments)
    kept = []
    for old in text.splitlines():
        if re.match(r"options([ \t]|$)", old):
            if arguments and line not in kept:
                kept.append(line)
        else:
            kept.append(old)
    if arguments and line not in kept:
        kept.append(line)
    return "\n".join(kept) + "\n"


def default_file(root: str, saved: bool, files: Sequence[str]) -> str:
    """The loader entry that boots take from now on."""
    named = grubenv(root).get("saved_entry", "") if saved else ""
    return default_loader_entry(files, named or loader_named(root))


def linux_entries(root: str) -> list[str]:
    """The entries of kernels, without those of another system on the same partition."""
    return of_this_system(root, _every_linux(root))


def _every_linux(root: str) -> dict[str, list[str] | None]:
    texts = {place: read_text(place) or "" for place in entry_files(root)}
    return {place: options_of(text) for place, text in texts.items() if starts_linux(text)}


def shares_entries(root: str) -> bool:
    """Are there entries of another system? A tool that edits all of them is not for this host."""
    return len(linux_entries(root)) < len(_every_linux(root))


def entry_lines(root: str) -> list[list[str]]:
    """What each entry gives its kernel; without any, what later ones are made from."""
    variables = grubenv(root)
    found = [expand(options_of(read_text(place) or ""), variables) for place in linux_entries(root)]
    return found or [cmdline.split(read_text(below(root, KERNEL_CMDLINE)) or "")]


def _settle_entries(host: Host, style: Style, record: Record) -> Draft | None:
    """None where there is no entry of a kernel."""
    variables, base = grubenv(host.root), os.path.realpath(host.root)
    places = linux_entries(host.root)
    files: Files = {}
    becomes: dict[str, list[str]] = {}
    lines = ["/" + os.path.relpath(place, base) for place in places]
    for place, line in zip(places, lines):
        text = read_text(place) or ""
        have = expand(options_of(text), variables)
        # An entry that came later was made from /etc/kernel/cmdline.
        becomes[place] = record.settle(line, have, like=KERNEL_CMDLINE)
        files[place] = (text, text if becomes[place] == have else set_options(text, becomes[place]))
    if not places:
        return None
    record.forget_other(lines)
    default = default_file(host.root, style.saved, places)
    before = expand(options_of(files[default][0] or ""), variables)
    return Draft(places, files, before, becomes[default])


def _settle_later(host: Host, record: Record, draft: Draft) -> tuple[Draft, list[str]]:
    """/etc/kernel/cmdline, which the entries of later kernels are made from. Without root= it is not made."""
    place = follow(host.root, KERNEL_CMDLINE)
    text = read_text(place)
    plain = [entry for entry in draft.before if not entry.startswith(("$", "initrd=", "BOOT_IMAGE="))]
    have = plain if text is None else cmdline.split(text)
    changing = any(old != new for old, new in draft.files.values())
    rooted = text is not None or any(cmdline.parse(entry).name == "root" for entry in plain)
    if text is None and not (changing and rooted):
        record.new.pop(KERNEL_CMDLINE, None)
        if not changing:
            return draft, []
        return draft, [
            f"{KERNEL_CMDLINE} was not made: the default loader entry names no root=, which the entry of a "
            f"later kernel needs. A kernel that is installed before the next boot gets the arguments of the "
            f"running one."
        ]
    becomes = record.settle(KERNEL_CMDLINE, have)
    files = {**draft.files, place: (text, text if becomes == have else cmdline.join(becomes) + "\n")}
    return draft._replace(files=files, after=draft.after if draft.places else becomes), []


def _settle_defaults(host: Host, asked: Wanted, record: Record) -> Files:
    place = follow(host.root, DEFAULTS)
    text = read_text(place)
    if text is None:
        return {}
    now = evaluate(host, [place])
    if not host.purge and cmdline.satisfied(now.arguments, asked):
        return {place: (text, text)}
    return {place: (text, edit_defaults(text, now, asked, record, everywhere=True))}


def _without_entries(host: Host) -> Draft:
    text = read_text(follow(host.root, KERNEL_CMDLINE))
    if text is None:
        raise BootError(
            f"There is no loader entry of a kernel below {', '.join(ENTRIES)} and no {KERNEL_CMDLINE} under "
            f"{host.root}; the kernel arguments of this host cannot be read. Mount the EFI system partition, "
            f"or name the boot loader in boot_loader."
        )
    return Draft([], {}, cmdline.split(text), cmdline.split(text))


def plan_entries(host: Host, style: Style, asked: Wanted, tools: bool = True) -> Plan:
    """The entries, and what the entries of later kernels come from: /etc/kernel/cmdline,
    GRUB_CMDLINE_LINUX."""
    record_place, record = the_record(host, asked)
    draft = _settle_entries(host, style, record) or _without_entries(host)
    entries = draft.places
    changing = any(old != new for old, new in draft.files.values())
    draft, warnings = _settle_later(host, record, draft)
    files = {**draft.files, **(_settle_defaults(host, asked, record) if style.defaults else {})}
    commands: list[list[str]] = []
    if tools and changing and host.real:
        commands = style.commands(host, asked, draft.before, draft.after)
    changed = [place for place, (old, new) in files.items() if old != new]
    if not entries and changed:
        warnings.append(
            f"Only {KERNEL_CMDLINE} was changed: there are no loader entries, so the images of the installed "
            f"kernels have to be built again (kernel-install). No reboot is asked for, because it might not "
            f"bring the arguments."
        )
    actions = cmdline.edits(draft.before, draft.after)
    actions += [f"run {cmdline.join(command)}" for command in commands]
    actions += [f"write {place}" for place in changed]
    touched = entries + [follow(host.root, KERNEL_CMDLINE), follow(host.root, DEFAULTS)]
    touched += [below(host.root, path) for path in GRUBENV]
    kept = Kept(record_place, record.meanwhile(), record.text())
    return Plan(
        style.name,
        draft.before,
        draft.after,
        files,
        commands,
        actions,
        warnings,
        touched,
        kept,
        blind=not entries,
    )


def perform_entries(host: Host, style: Style, decided: Plan, asked: Wanted) -> None:
    for command in decided.commands:
        checked(host, command)
    write_files(left_undone(host, decided) if decided.commands else decided)
    write_record(decided, done=True)
    again = plan_entries(host, style, asked, tools=False)
    if again.changed:
        raise BootError(
            f"The loader entries were written but do not show the change ({'; '.join(again.actions)})."
        )


def left_undone(host: Host, decided: Plan) -> Plan:
    """The plan without the loader entries that the distribution's tool made what they should be, in whatever
    words.

    A tool that changes every entry also changes those that were right: each is compared with what is there
    now.
    """
    variables = grubenv(host.root)
    files = {}
    for place, (_old, new) in decided.files.items():
        now = read_text(place)
        seen, wished = options_of(now or ""), options_of(new or "")
        if not wished or sorted(expand(seen, variables)) != sorted(wished):
            files[place] = (now, new)
    return decided._replace(files=files)
