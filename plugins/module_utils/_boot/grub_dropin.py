# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our drop-in in /etc/default/grub.d."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import read_text
from .base import Host
from .grub_files import Grub, dropin_files, grub_argument, try_text

DROPIN_MARK = "# Written by amdgpu.fleet.kernel_args"
DROPIN_HEAD = """\
# Written by amdgpu.fleet.kernel_args; edits of this file are lost. \
Your own arguments belong in /etc/default/grub.
# add: {add}
# remove: {remove}
"""

# Stands where the drop-in goes until grub.cfg is generated without it: a run that is killed leaves a sign.
DROPIN_EMPTY = (
    "# Written by amdgpu.fleet.kernel_args: what stood here is taken back, grub.cfg has to be generated.\n"
)

DROPIN_FILTER = r"""
# Prints the arguments in $1 without those that are removed, or set below, and then $2.
# A quoted value stays in one piece, what follows -- is init's.
amdgpu_fleet_keep() (
  set -f
  kept= token= plain= quoted=0 init=0
  for word in $1; do
    token="${{token:+$token }}$word"
    plain="${{plain:+$plain }}"
    while [ "$word" != "${{word#*\"}}" ]; do
      plain="$plain${{word%%\"*}}"
      word="${{word#*\"}}"
      quoted=$((1 - quoted))
    done
    plain="$plain$word"
    [ "$quoted" = 0 ] || continue
    if [ "$init" = 0 ]; then
      case "$plain" in
        --) init=1 token="${{2:+$2 }}--" ;;{patterns}
      esac
    fi
    kept="$kept${{token:+${{kept:+ }}$token}}"
    token= plain=
  done
  kept="$kept${{token:+${{kept:+ }}$token}}"
  [ "$init" = 1 ] || kept="$kept${{2:+${{kept:+ }}$2}}"
  printf '%s' "$kept"
)
GRUB_CMDLINE_LINUX="$(amdgpu_fleet_keep "${{GRUB_CMDLINE_LINUX-}}" "")"
GRUB_CMDLINE_LINUX_DEFAULT="$(amdgpu_fleet_keep "${{GRUB_CMDLINE_LINUX_DEFAULT-}}" "{add}")"
"""

DROPIN_PLAIN = r"""
GRUB_CMDLINE_LINUX_DEFAULT="${{GRUB_CMDLINE_LINUX_DEFAULT-}} {add}"
"""


def shell_pattern(argument: str) -> str:
    """A case pattern for an argument written without its quotes: a dash and an underscore in the name are
    one."""
    name, value = cmdline.parse(argument)
    text = "".join(
        "[-_]" if char == "_" else char if char.isalnum() or char in ".,:/+@%" else "\\" + char
        for char in name
    )
    if value is None:
        return f"{text}|{text}=*"
    return f"{text}=" + "".join(
        char if char.isalnum() or char in "._,:/+@%=-" else "\\" + char for char in value
    )


def render_dropin(add: Sequence[str], gone: Sequence[str], whole: bool = False) -> str:
    """The drop-in. Where something has to go (or whole is set) it filters, so that later edits by hand are
    covered."""
    text = DROPIN_HEAD.format(add=cmdline.join(add), remove=cmdline.join(gone))
    added = cmdline.join(grub_argument(entry) for entry in add).replace('"', '\\"')
    patterns = [shell_pattern(entry) for entry in gone]
    patterns += [
        shell_pattern(name)
        for name in dict.fromkeys(cmdline.parse(entry).name for entry in add)
        if not cmdline.repeatable(name)
    ]
    if patterns or whole:
        lines = "".join(f"\n        {pattern}) token= ;;" for pattern in patterns)
        return text + DROPIN_FILTER.format(patterns=lines, add=added)
    return text + DROPIN_PLAIN.format(add=added)


def parse_dropin(text: str | None) -> tuple[list[str], list[str]]:
    """What our drop-in adds and removes, from its two lines of comment."""
    result = []
    for key in ("add", "remove"):
        found = re.search(rf"^# {key}:([^\n]*)$", text or "", re.MULTILINE)
        result.append(cmdline.split(found.group(1)) if found else [])
    return result[0], result[1]


def next_dropin(host: Host, place: str, text: str | None, asked: Wanted) -> tuple[str | None, Grub]:
    """The drop-in that brings what was asked for, and what the defaults come to with it."""
    add, gone = parse_dropin(text)
    names = {
        cmdline.parse(entry).name
        for entry in asked.present
        if not cmdline.repeatable(cmdline.parse(entry).name)
    }
    add = [entry for entry in add if cmdline.parse(entry).name not in names or entry in asked.present]
    add = [entry for entry in add if not any(cmdline.matches(entry, pattern) for pattern in asked.absent)]
    gone = [entry for entry in gone if not any(cmdline.matches(wish, entry) for wish in asked.present)]

    def draft(whole: bool = False) -> str | None:
        return render_dropin(add, gone, whole) if add or gone else None

    seen = try_text(host, place, draft() or "").arguments
    add += cmdline.missing(seen, asked)
    gone += [
        pattern
        for pattern in asked.absent
        if any(cmdline.matches(entry, pattern) for entry in cmdline.for_kernel(seen))
    ]
    first = try_text(host, place, draft() or "")
    if cmdline.satisfied(first.arguments, asked) or not (add or gone):
        return draft(), first
    return draft(True), try_text(host, place, draft(True) or "")


def our_others(host: Host, place: str) -> tuple[str, ...]:
    """Drop-ins that we wrote under another name than place."""
    others = sorted(
        other for other in dropin_files(host.root) if other != place and not os.path.islink(other)
    )
    return tuple(other for other in others if (read_text(other) or "").startswith(DROPIN_MARK))
