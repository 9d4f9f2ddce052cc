# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Proxmox: proxmox-boot-tool owns the EFI system partitions, which are not mounted.

With systemd-boot the arguments are the first line of /etc/kernel/cmdline, with GRUB they are GRUB's defaults.
/boot/grub/grub.cfg is not read at boot.
"""

from __future__ import annotations

import re

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._tree import Tree
from .._write import below, follow, read_text
from . import firmware, grub, running, tool_built
from .base import KERNEL_CMDLINE, BootError, Host, Kept, Loader, Plan, exists, the_record
from .grub_config import Generator
from .next_boot import version_key

NAME = "proxmox"
PARTITIONS = "/etc/kernel/proxmox-boot-uuids"
PINS = ("/etc/kernel/next-boot-pin", "/etc/kernel/proxmox-boot-pin")


def detect(root: str) -> bool:
    return exists(root, PARTITIONS)


def with_grub(root: str) -> bool:
    """Which of the two loaders started this machine: the partitions that would tell are not mounted."""
    started = firmware.started(root)
    if started.family in ("grub", "systemd-boot"):
        return started.family == "grub"
    if not exists(root, "/sys/firmware/efi"):
        return True
    line = running.line(root)
    if any(entry.startswith(("BOOT_IMAGE=", "initrd=")) for entry in line):
        return any(entry.startswith("BOOT_IMAGE=") for entry in line)
    raise BootError(
        f"{PARTITIONS} says that proxmox-boot-tool manages this host, and neither the EFI variables nor"
        f" /proc/cmdline tell whether GRUB or systemd-boot started it; run proxmox-boot-tool status, and "
        f"write"
        f" the arguments into {KERNEL_CMDLINE} (systemd-boot) or /etc/default/grub (GRUB) by hand."
    )


def lines(root: str) -> list[list[str]]:
    text = read_text(below(root, KERNEL_CMDLINE))
    return [] if with_grub(root) or text is None else [first_line(text)]


def first_line(text: str) -> list[str]:
    return cmdline.split((text.splitlines() or [""])[0])


def _refresh(host: Host) -> list[str]:
    tool = host.tool("proxmox-boot-tool")
    if not tool:
        raise BootError(
            f"{PARTITIONS} says that proxmox-boot-tool manages this host, but there is no proxmox-boot-tool;"
            f" install proxmox-kernel-helper."
        )
    return [*tool, "refresh"]


def plan(host: Host, asked: Wanted) -> Plan:
    command = _refresh(host)
    decided = _plan_grub(host, asked, command) if with_grub(host.root) else _plan_line(host, asked, command)
    unseen = (
        "The EFI system partitions are not mounted, so what they hold was not looked at: proxmox-boot-tool"
        " refresh has to end without an error."
    )
    return decided._replace(
        warnings=[*decided.warnings, *([unseen] if decided.commands else [])], rebuilt=True
    )


def _plan_grub(host: Host, asked: Wanted, command: list[str]) -> Plan:
    decided = grub.plan_dropin(host, NAME, asked, Generator(command, None))
    return _again(decided, command) if tool_built.waits(host.root) and not decided.commands else decided


def _again(decided: Plan, command: list[str]) -> Plan:
    return decided._replace(commands=[command], actions=[*decided.actions, f"run {cmdline.join(command)}"])


def _plan_line(host: Host, asked: Wanted, command: list[str]) -> Plan:
    place = follow(host.root, KERNEL_CMDLINE)
    record_place, record = the_record(host, asked)
    text = read_text(place)
    # Without the file, refresh takes the running line in the same way.
    have = _of_running(host.root) if text is None else first_line(text)
    if not any(cmdline.parse(entry).name == "root" for entry in have):
        raise BootError(
            f"The first line of {KERNEL_CMDLINE} names no root=, so proxmox-boot-tool refresh would refuse "
            f"it;"
            f" write the line of /proc/cmdline there, without initrd=, then run again."
        )
    after = record.settle(KERNEL_CMDLINE, have)
    files = {place: (text, text if after == have else _with_first(text or "", after))}
    actions = cmdline.edits(have, after) + [f"write {place}"] * (after != have)
    kept = Kept(record_place, record.meanwhile(), record.text())
    decided = Plan(NAME, have, after, files, [], actions, [], [], kept)
    return _again(decided, command) if after != have or tool_built.waits(host.root) else decided


def _of_running(root: str) -> list[str]:
    return [entry for entry in running.line(root) if not entry.startswith(("initrd=", "BOOT_IMAGE="))]


def _with_first(text: str, arguments: list[str]) -> str:
    return "\n".join([cmdline.join(arguments), *text.splitlines()[1:]]) + "\n"


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    """The partitions are the tool's; what is looked at is the line that it read."""

    def verify() -> None:
        text = read_text(follow(host.root, KERNEL_CMDLINE))
        seen = decided.after if with_grub(host.root) or text is None else first_line(text)
        if not cmdline.satisfied(seen, asked):
            raise BootError(
                f"{cmdline.join(decided.commands[0])} ran, but {KERNEL_CMDLINE} does not show what was asked."
            )

    tool_built.perform(host, decided, verify)


def release(tree: Tree) -> str | None:
    """The kernel that is pinned, else the newest of Proxmox's."""
    modules = tree.names("lib/modules")
    pinned = [tree.word(path) or "" for path in PINS]
    kernels = [name for name in modules if re.search(r"-pve$", name)]
    newest = max(kernels, key=version_key, default=None)
    return next((name for name in pinned if name in modules), newest)


LOADER = Loader(NAME, detect, plan, perform, release, lines)
