# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GRUB that reads no drop-ins: one line of /etc/default/grub is edited."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import follow, read_text
from .base import DEFAULTS, BootError, Host, Kept, Plan, the_record
from .grub_config import Generator, Settled, newer, plan_config, refuse_unsettled
from .grub_files import Grub, evaluate, grub_argument, later_files, sources, try_text
from .record import Record


def edit_defaults(text: str, now: Grub, asked: Wanted, record: Record, everywhere: bool = False) -> str:
    """/etc/default/grub with what was asked for, every other line kept. everywhere: new ones for rescue
    entries too."""
    lines = [f"{DEFAULTS} GRUB_CMDLINE_LINUX", f"{DEFAULTS} GRUB_CMDLINE_LINUX_DEFAULT"]
    always = cmdline.apply(record.start(lines[0], now.always), Wanted([], asked.absent))
    normal = cmdline.apply(record.start(lines[1], now.normal), Wanted([], asked.absent))
    for entry in cmdline.missing(always + normal, asked):
        name = cmdline.parse(entry).name
        single = not cmdline.repeatable(name)
        in_normal, in_always = (
            single and any(cmdline.parse(other).name == name for other in line) for line in (normal, always)
        )
        if in_normal or not (in_always or everywhere):
            normal = cmdline.apply(normal, Wanted([entry], []))
            always = [other for other in always if not single or cmdline.parse(other).name != name]
        else:
            always = cmdline.apply(always, Wanted([entry], []))
    record.note(lines[0], now.always, always)
    record.note(lines[1], now.normal, normal)
    text = text if always == now.always else assign(text, "GRUB_CMDLINE_LINUX", always)
    return text if normal == now.normal else assign(text, "GRUB_CMDLINE_LINUX_DEFAULT", normal)


def assign(text: str, name: str, arguments: Sequence[str]) -> str:
    """The text with the last assignment of a variable replaced, or one added at the end."""
    value = cmdline.join(grub_argument(entry) for entry in arguments)
    line = f"{name}='{value}'" if '"' in value else f'{name}="{value}"'
    found = list(
        re.finditer(
            rf"^[ \t]*(?:export[ \t]+)?{name}=(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'#]*)[ \t]*(#[^\n]*)?$",
            text,
            re.MULTILINE,
        )
    )
    if not found:
        if re.search(rf"\b{name}\+?=", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)):
            raise BootError(
                f"{name} is set in {DEFAULTS} in a way that cannot be edited safely; write it as one line "
                f'{name}="...".'
            )
        return text + ("" if not text or text.endswith("\n") else "\n") + line + "\n"
    last = found[-1]
    if re.search(r"[$`\\]", last.group(1)):
        raise BootError(
            f"{name} in {DEFAULTS} is computed by the shell ({last.group(1)}) and cannot be edited safely; "
            f"write it"
            " as one line of plain text."
        )
    return text[: last.start()] + line + (f"  {last.group(2)}" if last.group(2) else "") + text[last.end() :]


def plan_defaults(host: Host, loader: str, asked: Wanted, tool: Generator) -> Plan:
    place = follow(host.root, DEFAULTS)
    text = read_text(place)
    now = evaluate(host, sources(host))
    record_place, record = the_record(host, asked)
    wanted, after = text, now.arguments
    if not cmdline.satisfied(after, asked) or host.purge:
        edited = edit_defaults(text or "", now, asked, record)
        if edited != (text or ""):
            wanted, after = edited, try_text(host, place, edited).arguments
        refuse_unsettled(place, after, asked, later_files(host, place))
    interrupted = host.purge and wanted is not None and newer(place, tool.config or place)
    halfway = interrupted and record.text() != read_text(record_place)
    kept = Kept(record_place, record.meanwhile(), record.text())
    settled = Settled(place, {place: (text, wanted)}, now, after, halfway, kept)
    return plan_config(host, loader, asked, settled, tool)
