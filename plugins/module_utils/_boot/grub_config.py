# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The grub.cfg that GRUB's tools generate: is it behind, what generates it, does it show what was asked
for?"""

from __future__ import annotations

import os
from typing import NamedTuple

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._tree import Tree
from .._write import below, follow, read_text
from .base import TOOLS, BootError, Host, Kept, Plan, checked, exists
from .grub_dropin import DROPIN_EMPTY
from .grub_files import Grub, evaluate, grubenv, sources
from .next_boot import GRUB_CFG, default_entry, grub_configurations, menu
from .steps import remove_files, write_files, write_record


class Generator(NamedTuple):
    """The command that writes grub.cfg, and that file; None where there is none."""

    command: list[str] | None
    config: str | None


class Settled(NamedTuple):
    """GRUB's defaults as they become: the file that is edited, every file, the arguments, and whether a run
    that was killed left grub.cfg behind."""

    place: str
    files: dict[str, tuple[str | None, str | None]]
    now: Grub
    after: list[str]
    halfway: bool
    kept: Kept | None = None


def generator(host: Host) -> Generator:
    """The command that writes grub.cfg and that file; None where there is no such tool, or no grub.cfg to
    renew."""
    path = next(iter(grub_configurations(Tree(host.root))), None)
    if path is None:
        return Generator(None, None)
    place = follow(host.root, path)
    command = host.tool("update-grub") if path == GRUB_CFG[0] else None
    if command is None:
        tool = host.tool("grub2-mkconfig", "grub-mkconfig")
        command = tool + ["-o", path] if tool else None
    return Generator(command, place)


def generates(root: str) -> bool:
    names = ("update-grub", "grub2-mkconfig", "grub-mkconfig")
    return any(exists(root, f"{folder}/{name}") for folder in TOOLS for name in names)


def carried(host: Host, place: str, default: str) -> list[str] | None:
    """The arguments the default entry of grub.cfg gives the kernel, None where it has no Linux entry."""
    entry = default_entry(read_text(place) or "", default, grubenv(host.root).get("saved_entry", ""))
    return entry.arguments if entry and entry.arguments else None


def newer(place: str, other: str) -> bool:
    """Was a file written after the other?"""
    try:
        return os.stat(place).st_mtime_ns > os.stat(other).st_mtime_ns
    except OSError:
        return False


def lines(root: str) -> list[list[str]]:
    """What every entry of grub.cfg gives its kernel; there is none where the entries are elsewhere."""
    texts = [read_text(below(root, path)) or "" for path in grub_configurations(Tree(root))]
    return [entry.arguments for text in texts for entry in menu(text) if entry.arguments]


def behind(host: Host, settled: Settled, config: str, asked: Wanted) -> list[str] | None:
    """What the default entry of grub.cfg gives, where that is not what the defaults come to: a run was killed
    before grub.cfg was generated, so it was asked for and is not there, or was taken back and is."""
    old, new = settled.files[settled.place]
    seen = carried(host, config, settled.now.default) if settled.halfway or new == old else None
    if seen is None:
        return None
    fits = cmdline.satisfied(seen, asked)
    seen = [
        entry
        for entry in seen
        if cmdline.parse(entry).name not in ("root", "ro", "rw") or entry in settled.after
    ]
    same = sorted(entry for entry in seen if not entry.startswith("$")) == sorted(settled.after)
    return None if fits and (same or not settled.halfway) else seen


def refuse_unsettled(place: str, after: list[str], asked: Wanted, later: str) -> None:
    """Refuse where what was written does not come true. later = the files that are read after place."""
    if cmdline.satisfied(after, asked):
        return
    left = cmdline.missing(after, asked) + cmdline.unwanted(after, asked)
    raise BootError(
        f"{cmdline.join(left)} cannot be settled in {place}: a file that is read later decides"
        f" ({later}), or -- in"
        " GRUB_CMDLINE_LINUX hands everything after it to init; correct that by hand, or give dropin"
        " (of the role kernel: kernel_dropin) a name that sorts after them, such as zz-amdgpu-fleet.cfg."
    )


def plan_config(host: Host, loader: str, asked: Wanted, settled: Settled, tool: Generator) -> Plan:
    """The files that change, and grub.cfg generated again where it has to be."""
    old, new = settled.files[settled.place]
    stale = None
    if tool.command and tool.config and new in (old, None):
        stale = behind(host, settled, tool.config, asked)
    before = settled.now.arguments if stale is None else stale
    actions = cmdline.edits(before, settled.after)
    changed = [file for file, (was, becomes) in settled.files.items() if was != becomes]
    actions += [f"{'remove' if settled.files[file][1] is None else 'write'} {file}" for file in changed]
    warnings = []
    if changed and tool.command is None:
        reason = (
            "there is no grub.cfg"
            if tool.config is None
            else f"{host.root} has no update-grub or grub-mkconfig that could be run"
        )
        warnings.append(f"grub.cfg was not generated: {reason}; the arguments take effect once it is.")
    commands = [tool.command] if tool.command and (changed or stale is not None) else []
    actions += [f"run {cmdline.join(command)}" for command in commands]
    touched = [tool.config, tool.config + ".new"] if tool.config else []
    # A reboot would not bring what only grub.cfg can.
    blind = tool.command is None and not _shown(host, tool.config, settled, asked)
    return Plan(
        loader,
        before,
        settled.after,
        settled.files,
        commands,
        actions,
        warnings,
        touched,
        settled.kept,
        blind=blind,
    )


def _shown(host: Host, config: str | None, settled: Settled, asked: Wanted) -> bool:
    seen = carried(host, config, settled.now.default) if config else None
    return seen is not None and cmdline.satisfied(seen, asked)


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    """Where a drop-in goes, an empty one stands until grub.cfg is generated: a run that is killed leaves a
    sign."""
    files = {
        place: (old, DROPIN_EMPTY if old is not None and new is None else new)
        for place, (old, new) in decided.files.items()
    }
    write_files(decided._replace(files=files) if decided.commands else decided)
    for command in decided.commands:
        checked(host, command)
    remove_files(decided)
    write_record(decided, done=True)
    verify(host, decided, asked)


def verify(host: Host, decided: Plan, asked: Wanted) -> None:
    """grub.cfg was generated: does the entry of the next boot carry the arguments?"""
    if not decided.commands:
        return
    default = evaluate(host, sources(host)).default
    seen = carried(host, decided.touched[0], default)
    if seen is not None and not cmdline.satisfied(seen, asked):
        left = cmdline.missing(seen, asked) + cmdline.unwanted(seen, asked)
        raise BootError(
            f"{cmdline.join(decided.commands[0])} ran, but the default entry of {decided.touched[0]}"
            f" (GRUB_DEFAULT={default}) does not show {cmdline.join(left)}"
            " as asked; an entry written by hand needs its arguments changed by hand."
        )
