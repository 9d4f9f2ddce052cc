# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""openSUSE with sdbootutil (systemd-boot or GRUB2-BLS): a drop-in of ours, which the tool builds entries
from.

What has to go stands in /etc/kernel/cmdline, which is edited. Entries are the tool's, it predicts their sums.
"""

from __future__ import annotations

import glob
import os

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import below, follow, read_text
from . import tool_built
from .base import KERNEL_CMDLINE, TOOLS, BootError, Host, Kept, Loader, Plan, exists, the_record
from .entries import default_file, linux_entries, options_of
from .next_boot import loader_release

NAME = "sdbootutil"
FOLDER = "/etc/kernel/cmdline.d"
DROPIN = f"{FOLDER}/60-amdgpu-fleet.conf"
HEAD = "# Written by amdgpu.fleet.kernel_args; edits of this file are lost.\n"


def detect(root: str) -> bool:
    if not any(exists(root, f"{folder}/sdbootutil") for folder in TOOLS):
        return False
    configured = any(
        exists(root, path) for path in ("/etc/default/sdbootutil", "/usr/etc/default/sdbootutil")
    )
    return configured or bool(linux_entries(root))


def words(text: str | None) -> list[str]:
    plain = [line for line in (text or "").splitlines() if not line.lstrip().startswith("#")]
    return cmdline.split(" ".join(plain))


def lines(root: str) -> list[list[str]]:
    return [options_of(read_text(place) or "") for place in linux_entries(root)]


def plan(host: Host, asked: Wanted) -> Plan:
    tool = host.tool("sdbootutil")
    if not tool:
        raise BootError("sdbootutil owns the loader entries of this host, but it cannot be run here.")
    place, drop = follow(host.root, KERNEL_CMDLINE), below(host.root, DROPIN)
    text, drop_text = read_text(place), read_text(drop)
    record_place, record = the_record(host, asked)
    have, ours = words(text), words(drop_text)
    others = _others(host.root)
    before = [*have, *others, *ours]
    begun = record.start(KERNEL_CMDLINE, have)
    names = {cmdline.parse(entry).name for entry in begun}
    instead = [
        entry
        for entry in asked.present
        if cmdline.parse(entry).name in names and not cmdline.repeatable(cmdline.parse(entry).name)
    ]
    becomes = cmdline.apply(begun, Wanted(instead, asked.absent))
    record.note(KERNEL_CMDLINE, have, becomes)
    kept = [] if host.purge else cmdline.apply(ours, Wanted([], asked.absent))
    kept = cmdline.apply(kept, Wanted(cmdline.missing([*becomes, *others, *kept], asked), []))
    after = [*becomes, *others, *kept]
    if not cmdline.satisfied(after, asked):
        left = cmdline.missing(after, asked) + cmdline.unwanted(after, asked)
        raise BootError(
            f"{cmdline.join(left)} cannot be settled in {DROPIN}: another file of {FOLDER} decides; correct"
            f" that file by hand, then run again."
        )
    files = {
        place: (text, text if becomes == have else cmdline.join(becomes) + "\n"),
        drop: (
            drop_text,
            drop_text if kept == ours and kept else HEAD + cmdline.join(kept) + "\n" if kept else None,
        ),
    }
    changed = [path for path, (old, new) in files.items() if old != new]
    seen = _next(host.root)
    behind = not changed and seen is not None and not cmdline.satisfied(seen, asked)
    before = seen if behind and seen is not None else before
    commands = [[*tool, "update-all-entries"]] if changed or behind or tool_built.waits(host.root) else []
    actions = cmdline.edits(before, after) if changed or behind else []
    actions += [f"{'remove' if files[path][1] is None else 'write'} {path}" for path in changed]
    actions += [f"run {cmdline.join(each)}" for each in commands]
    return Plan(
        NAME,
        before,
        after,
        files,
        commands,
        actions,
        [],
        [],
        Kept(record_place, record.meanwhile(), record.text()),
        rebuilt=True,
    )


def _others(root: str) -> list[str]:
    places = sorted(glob.glob(os.path.join(glob.escape(below(root, FOLDER)), "*")))
    return [entry for place in places if place != below(root, DROPIN) for entry in words(read_text(place))]


def _next(root: str) -> list[str] | None:
    entries = linux_entries(root)
    return options_of(read_text(default_file(root, False, entries)) or "") if entries else None


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    def verify() -> None:
        seen = _next(host.root)
        if decided.commands and (seen is None or not cmdline.satisfied(seen, asked)):
            left = cmdline.missing(seen or [], asked) + cmdline.unwanted(seen or [], asked)
            raise BootError(
                f"sdbootutil update-all-entries ran, but the next entry does not show {cmdline.join(left)} as"
                f" asked."
            )

    tool_built.perform(host, decided, verify)


LOADER = Loader(NAME, detect, plan, perform, loader_release, lines)
