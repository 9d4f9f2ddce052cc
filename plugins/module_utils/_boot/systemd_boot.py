# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemd-boot: loader entries, or unified kernel images (uki.py), which it lists beside them."""

from __future__ import annotations

from .._cmdline import Wanted
from .._tree import Tree
from .._write import WriteError
from . import kernelstub, uki
from .base import Host, Loader, Plan, exists
from .entries import Style, entry_files, entry_lines, linux_entries, perform_entries, plan_entries
from .next_boot import LOADER_FOLDERS, installed_release, loader_release

STYLE = Style("systemd-boot", saved=False, defaults=False, commands=kernelstub.commands)


def detect(root: str) -> bool:
    return bool(entry_files(root)) or any(
        exists(root, path)
        for path in (kernelstub.CONFIGURATION, *(f"{folder}/loader.conf" for folder in LOADER_FOLDERS))
    )


def plan(host: Host, asked: Wanted) -> Plan:
    image = uki.default_image(host.root, linux_entries(host.root))
    if image:
        return uki.plan_images(host, STYLE.name, asked, image)
    return plan_entries(host, STYLE, asked)


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    if decided.image:
        uki.perform(host, decided, asked)
    else:
        perform_entries(host, STYLE, decided, asked)


def lines(root: str) -> list[list[str]]:
    """Of the entries and of the images, of which an empty line tells nothing."""
    found = uki.images(root)
    return [*(entry_lines(root) if linux_entries(root) or not found else []), *map(uki.inside, found)]


def release(tree: Tree) -> str | None:
    """Of the image that starts next, which names its kernel, else of the entry."""
    root = tree.root or "/"
    try:
        image = uki.default_image(root, linux_entries(root))
    except WriteError:  # the facts name what cannot be read
        image = ""
    name = uki.release(image) if image else ""
    return installed_release(tree, f"/vmlinuz-{name}") if name else loader_release(tree)


LOADER = Loader(STYLE.name, detect, plan, perform, release, lines)
