# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deployments of ostree: the kernel arguments are rpm-ostree's, each change makes a new deployment."""

from __future__ import annotations

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .base import BootError, Host, Kept, Loader, Plan, checked, exists, the_record
from .entries import entry_lines
from .next_boot import entry_release
from .steps import write_record

NAME = "rpm-ostree"


def detect(root: str) -> bool:
    return exists(root, "/run/ostree-booted")


def plan(host: Host, asked: Wanted) -> Plan:
    tool = host.tool("rpm-ostree") if host.real else None
    if not tool:
        raise BootError(
            "This host boots an ostree deployment, but rpm-ostree cannot be run here; an image based host "
            "(bootc)"
            " gets kernel arguments from"
            " /usr/lib/bootc/kargs.d in its image, and another root than / is not supported."
        )
    record_place, record = the_record(host, asked)
    before = cmdline.split(checked(host, tool + ["kargs"]))
    after = record.settle(NAME, before)
    new = [entry for entry in after if entry not in before]
    old = [entry for entry in before if entry not in after]
    commands = []
    if before != after:
        commands = [
            tool
            + ["kargs"]
            + [f"--delete-if-present={entry}" for entry in old]
            + [f"--append-if-missing={entry}" for entry in new]
        ]
    actions = cmdline.edits(before, after) + [f"run {cmdline.join(command)}" for command in commands]
    return Plan(
        NAME,
        before,
        after,
        {},
        commands,
        actions,
        [],
        [],
        Kept(record_place, record.meanwhile(), record.text()),
    )


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    for command in decided.commands:
        checked(host, command)
    write_record(decided, done=True)
    if not decided.commands:
        return
    seen = cmdline.split(checked(host, [decided.commands[0][0], "kargs"]))
    if not cmdline.satisfied(seen, asked) or cmdline.edits(seen, decided.after):
        raise BootError(
            f"rpm-ostree kargs ran, but the default deployment still lacks the change (it has: "
            f"{cmdline.join(seen)})."
        )


LOADER = Loader(NAME, detect, plan, perform, entry_release, entry_lines)
