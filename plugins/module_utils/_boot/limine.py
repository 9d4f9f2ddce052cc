# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limine with limine-entry-tool (CachyOS, Omarchy): its settings are ours to write, limine.conf never.

limine.conf is generated, and with ENABLE_ENROLL_LIMINE_CONFIG a change by hand stops the next boot.
"""

from __future__ import annotations

import glob
import os
import re
from typing import NamedTuple

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._tree import Tree
from .._write import below, read_bytes, read_text
from . import tool_built, uki
from .base import TOOLS, BootError, Host, Kept, Loader, Plan, exists, the_record
from .limine_conf import Entry, next_entry
from .limine_settings import Settings, settle
from .next_boot import installed_release

NAME = "limine"
TOOL = "limine-entry-tool"
DEFAULTS = "/etc/default/limine"
BUILDERS = ("limine-mkinitcpio", "limine-dracut", "limine-update")
MOUNTS = ("/boot", "/efi", "/boot/efi")
# Beside the running executable first; a stray file hides those that stand later.
PLACES = tuple(
    f"{mount}/{folder}limine.conf"
    for folder in ("EFI/limine/", "EFI/BOOT/", "boot/limine/", "limine/", "boot/", "")
    for mount in MOUNTS
)


def detect(root: str) -> bool:
    return bool(configurations(root)) or tools(root) or old_configuration(root)


def tools(root: str) -> bool:
    """Do the tools own limine.conf?"""
    return any(exists(root, f"{folder}/{name}") for folder in TOOLS for name in (TOOL, *BUILDERS))


def configurations(root: str) -> list[str]:
    """Beside the executable, whatever its folder is called; limine.cfg is the format before 8."""
    known = [path for path in PLACES if exists(root, path)]
    folders = [glob.escape(below(root, f"{mount}/EFI")) for mount in MOUNTS]
    found = [place for folder in folders for place in sorted(glob.glob(f"{folder}/*/limine.conf"))]
    base = os.path.realpath(root)
    others = ["/" + os.path.relpath(place, base) for place in found]
    return [*known, *(path for path in others if path not in known)]


def old_configuration(root: str) -> bool:
    """The format before Limine 8, which nothing here reads."""
    return any(exists(root, path.replace(".conf", ".cfg")) for path in PLACES)


def configuration(root: str) -> tuple[str, str] | None:
    """Path and text of limine.conf; two that differ are refused, because one hides the other."""
    found = configurations(root)
    texts = {read_bytes(below(root, path)) for path in found}
    if len(texts) > 1:
        raise BootError(
            f"There are several limine.conf that differ ({', '.join(found)}), and which of them Limine "
            f"reads is"
            f" not certain; remove those that are left over, then run again."
        )
    return (found[0], read_text(below(root, found[0])) or "") if found else None


def lines(root: str) -> list[list[str]]:
    found = configuration(root)
    entries = Entry.all(found[1]) if found else []
    settings = Settings.read(root)
    return [settings.effective(key) for key in settings.kernels()] + [
        _arguments(root, each) for each in entries
    ]


def _arguments(root: str, entry: Entry) -> list[str]:
    """What an entry gives the kernel: its own line, else the one inside the image that it starts."""
    if entry.arguments or entry.protocol == "linux":
        return entry.arguments
    path = re.sub(r"#[0-9a-f]+$", "", re.sub(r"^[a-z]+\([^)]*\):", "", entry.path))
    for mount in MOUNTS:
        if path.endswith(".efi") and exists(root, mount + path):
            return uki.inside(below(root, mount + path))
    return []


class Boots(NamedTuple):
    path: str
    arguments: list[str]


def _next(root: str) -> Boots:
    found = configuration(root)
    entry = next_entry(found[1]) if found else None
    if found is None or entry is None:
        raise BootError(
            f"There is no limine.conf with an entry of a kernel below {', '.join(MOUNTS)}; mount the EFI"
            f" system partition, then run again."
        )
    return Boots(found[0], _arguments(root, entry))


def plan(host: Host, asked: Wanted) -> Plan:
    refuse_plain(host.root, asked)
    command = next((tool for tool in map(host.tool, BUILDERS) if tool), None)
    if command is None:
        raise BootError(
            f"This host has {TOOL}, but none of {', '.join(BUILDERS)}, which build the entries; install"
            f" limine-mkinitcpio-hook."
        )
    boots = _next(host.root)
    record_place, record = the_record(host, asked)
    settled = settle(host, asked, record)
    before, after = settled.before, settled.after
    changed = [place for place, (old, new) in settled.files.items() if old != new]
    behind = not changed and not cmdline.satisfied(boots.arguments, asked)
    if behind:
        before = boots.arguments
    commands = [command] if changed or behind or tool_built.waits(host.root) else []
    actions = cmdline.edits(before, after) if changed or behind else []
    actions += [f"{'remove' if settled.files[place][1] is None else 'write'} {place}" for place in changed]
    actions += [f"run {cmdline.join(each)}" for each in commands]
    kept = Kept(record_place, record.meanwhile(), record.text())
    return Plan(NAME, before, after, settled.files, commands, actions, [], [], kept, rebuilt=True)


def refuse_plain(root: str, asked: Wanted) -> None:
    if tools(root):
        return
    found = configuration(root)
    entry = next_entry(found[1]) if found else None
    where = f"the entry {entry.title!r} of {found[0]}" if found and entry else "the entry of limine.conf"
    have = entry.arguments if entry else []
    words = [f"add {each}" for each in cmdline.missing(have, asked)]
    words += [f"remove {each}" for each in cmdline.unwanted(have, asked)]
    raise BootError(
        f"Limine starts this host and there is no {TOOL}, so its configuration is written by hand: in "
        f"cmdline:"
        f" of {where}, {', '.join(words) or 'nothing has to change'}; nothing was changed."
    )


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    """The tools end without an error where an image was not built: the entry is what counts."""

    def verify() -> None:
        boots = _next(host.root)
        if not cmdline.satisfied(boots.arguments, asked):
            left = cmdline.missing(boots.arguments, asked) + cmdline.unwanted(boots.arguments, asked)
            raise BootError(
                f"{cmdline.join(decided.commands[0])} ran, but the next entry of {boots.path} does not show"
                f" {cmdline.join(left)} as asked; look at what it says when it is run by hand."
            )

    tool_built.perform(host, decided, verify if decided.commands else lambda: None)


def release(tree: Tree) -> str | None:
    root = tree.root or "/"
    found = next((tree.text(path) for path in PLACES if tree.exists(path)), None)
    entry = next_entry(found) if found else None
    if entry is None:
        return None
    for title in reversed(entry.titles):
        if title in tree.names("lib/modules"):
            return title
    return installed_release(tree, re.sub(r"#[0-9a-f]+$", "", entry.path)) if root else None


LOADER = Loader(NAME, detect, plan, perform, release, lines)
