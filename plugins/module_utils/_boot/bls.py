# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GRUB with loader entries (BLS), as EL and Fedora have it: grubby, and what it leaves undone is edited."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import below, read_text
from .base import TOOLS, Host, Loader, Plan, exists
from .entries import Style, entry_files, entry_lines, perform_entries, plan_entries, shares_entries
from .next_boot import GRUB_CFG, entry_release, menu


def detect(root: str) -> bool:
    grub2 = exists(root, "/boot/grub2") or any(exists(root, f"{folder}/grubby") for folder in TOOLS)
    return grub2 and bool(entry_files(root)) and not _menu_of_its_own(root)


def _menu_of_its_own(root: str) -> bool:
    """A grub.cfg that starts kernels itself reads no entries (GRUB_ENABLE_BLSCFG=false)."""
    texts = [read_text(below(root, path)) or "" for path in GRUB_CFG]
    return not any("blscfg" in text for text in texts) and any(
        entry.arguments for text in texts for entry in menu(text)
    )


def commands(host: Host, asked: Wanted, before: Sequence[str], after: Sequence[str]) -> list[list[str]]:
    new = [entry for entry in after if entry not in before] or cmdline.missing(before, asked)
    old = [entry for entry in before if entry not in after]
    # grubby edits the entries of other systems too.
    tool = None if shares_entries(host.root) else host.tool("grubby")
    command = (tool or []) + ["--update-kernel=ALL"]
    command += [f"--remove-args={cmdline.join(old)}"] if old else []
    command += [f"--args={cmdline.join(new)}"] if new else []
    return [command] if tool and (old or new) else []


STYLE = Style("bls", saved=True, defaults=True, commands=commands)


def plan(host: Host, asked: Wanted) -> Plan:
    return plan_entries(host, STYLE, asked)


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    perform_entries(host, STYLE, decided, asked)


LOADER = Loader(STYLE.name, detect, plan, perform, entry_release, entry_lines)
