# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""limine.conf: its entries, and the one that starts next."""

from __future__ import annotations

import re
from typing import NamedTuple

from .. import _cmdline as cmdline

CMDLINES = ("cmdline", "kernel_cmdline")
PATHS = ("path", "kernel_path", "image_path")
PROTOCOLS = {"efi": "efi", "efi_chainload": "efi", "linux": "linux"}


class Entry(NamedTuple):
    """titles: from the top of the menu. place: its number in the menu as it is shown, from 1."""

    titles: list[str]
    place: int | None
    options: dict[str, str]

    @property
    def title(self) -> str:
        return "/".join(self.titles)

    @property
    def protocol(self) -> str:
        return PROTOCOLS.get(self.options.get("protocol", "").lower(), "")

    @property
    def path(self) -> str:
        return next((self.options[name] for name in PATHS if name in self.options), "")

    @property
    def arguments(self) -> list[str]:
        text = next((self.options[name] for name in CMDLINES if name in self.options), "")
        return cmdline.split(text)

    @property
    def kernel(self) -> bool:
        """A program of the firmware (another system, memtest) is none, nor is a snapshot or a fallback."""
        shown = " ".join(self.titles).lower()
        if "snapshot" in shown or "fallback" in shown:
            return False
        image = "efi/linux" in self.path.lower()
        return self.protocol == "linux" or (self.protocol == "efi" and (bool(self.arguments) or image))

    @staticmethod
    def all(text: str) -> list[Entry]:
        """The entries of kernels."""
        return [entry for entry in _menu(text)[1] if entry.kernel]


def _menu(text: str) -> tuple[dict[str, str], list[Entry]]:
    """The options of the top, and every line of the menu."""
    top: dict[str, str] = {}
    entries: list[Entry] = []
    open_above: list[tuple[str, bool]] = []
    shown = 0
    for line in text.splitlines():
        words = line.strip()
        title = re.match(r"(/+)(\+?)\s*(.*)$", words)
        if title:
            depth = len(title.group(1))
            open_above = open_above[: depth - 1]
            visible = all(expanded for _title, expanded in open_above)
            shown += visible
            titles = [above for above, _expanded in open_above] + [title.group(3)]
            entries.append(Entry(titles, shown if visible else None, {}))
            open_above.append((title.group(3), bool(title.group(2))))
            continue
        option = re.match(r"([A-Za-z_]+)\s*:\s*(.*)$", words)
        if option:
            options = entries[-1].options if entries else top
            options.setdefault(option.group(1).lower(), option.group(2))
    return top, entries


def firmware_program(text: str) -> Entry | None:
    """The entry that starts next, where that is a program of the firmware and no kernel. A menu that
    remembers what was chosen last does not tell."""
    top, entries = _menu(text)
    if top.get("remember_last_entry", "no").lower() == "yes":
        return None
    chosen = _chosen(top, entries)
    return chosen if chosen is not None and chosen.protocol == "efi" and not chosen.kernel else None


def _chosen(top: dict[str, str], entries: list[Entry]) -> Entry | None:
    number = top.get("default_entry", "1")
    return next((entry for entry in entries if number.isdigit() and entry.place == int(number)), None)


def next_entry(text: str) -> Entry | None:
    """The entry of the kernel that starts next; of a folder the first in it."""
    top, entries = _menu(text)
    kernels = [entry for entry in entries if entry.kernel]
    chosen = _chosen(top, entries)
    if chosen is not None:
        depth = len(chosen.titles)
        below = [entry for entry in kernels if entry.titles[:depth] == chosen.titles]
        if below:
            return below[0]
    return kernels[0] if kernels else None
