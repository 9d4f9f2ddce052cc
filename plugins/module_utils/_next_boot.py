# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kernel the next boot starts: what grub.cfg, GRUB's environment block, BLS entries and loader.conf say."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._sysfs import Tree

GRUB_FOLDERS = ("boot/grub", "boot/grub2")
BLS_FOLDERS = ("boot/loader/entries", "boot/efi/loader/entries", "efi/loader/entries")
LOADER_CONFIGURATIONS = ("boot/loader/loader.conf", "boot/efi/loader/loader.conf", "efi/loader/loader.conf")
_ENTRY = re.compile(r"""^\s*(menuentry|submenu)\s+(?:'([^']*)'|"([^"]*)")(.*)$""")
_ID = re.compile(r"""(?:\$menuentry_id_option|--id)[ =]+(?:'([^']*)'|"([^"]*)"|(\S+))""")
_KERNEL = re.compile(r"^\s*linux\w*\s+\S*?vmlinuz-(\S+)")


class Entry:
    """A menu entry of grub.cfg; a submenu has entries of its own."""

    def __init__(self, title: str, identifier: str | None) -> None:
        self.title = title
        self.identifier = identifier
        self.release: str | None = None
        self.entries: list[Entry] = []

    def first_release(self) -> str | None:
        """Its kernel, or that of the first entry below it."""
        return self.release or next((entry.first_release() for entry in self.entries), None)


def parse_grub(text: str) -> list[Entry]:
    """The entries of a grub.cfg. Braces of shell functions are counted, so that only a menu's own brace closes it."""
    top = Entry("", None)
    open_menus: list[tuple[Entry, int]] = [(top, -1)]
    depth = 0
    for line in text.splitlines():
        match = _ENTRY.match(line)
        if match:
            identifier = _ID.search(match.group(4))
            entry = Entry(match.group(2) or match.group(3) or "", next(filter(None, identifier.groups()), None) if identifier else None)
            open_menus[-1][0].entries.append(entry)
            open_menus.append((entry, depth))
        kernel = _KERNEL.match(line)
        if kernel and open_menus[-1][0].release is None:
            open_menus[-1][0].release = kernel.group(1)
        stripped = line.rstrip()
        depth += stripped.endswith("{") - (stripped.strip() == "}")
        while len(open_menus) > 1 and depth <= open_menus[-1][1]:
            open_menus.pop()
    return top.entries


def choose(entries: t.Sequence[Entry], wanted: str) -> Entry | None:
    """The entry that GRUB takes for ``0``, ``1>2``, a title, an id, or a path of these; the first where nothing fits."""
    found: Entry | None = None
    for part in wanted.split(">"):
        level = found.entries if found else entries
        if part.isdigit() and int(part) < len(level):
            found = level[int(part)]
        else:
            found = next((entry for entry in level if part and part in (entry.title, entry.identifier)), None)
        if found is None:
            break
    return found or next(iter(entries), None)


def _grub_default(text: str, environment: dict[str, str]) -> str:
    """``next_entry`` (one boot only) beats the default; ``${saved_entry}`` stands for the saved one."""
    if environment.get("next_entry"):
        return environment["next_entry"]
    values = re.findall(r"""^\s*set default=["']?([^"'\n]*)["']?\s*$""", text, re.M)
    default = next((value for value in values if "next_entry" not in value), "0")
    if "saved_entry" in default:
        return environment.get("saved_entry", "0")
    return default


def _bls_entries(tree: Tree, folder: str) -> list[tuple[str, str]]:
    """``(name of the entry, kernel release)``, in the order in which boot loaders list them: the newest version first."""
    found = []
    for name in tree.names(folder):
        if name.endswith(".conf"):
            fields = dict(re.findall(r"^(\S+)[ \t]+(.*\S)", tree.text(folder, name) or "", re.M))
            kernel = re.search(r"vmlinuz-(\S+)", fields.get("linux", ""))
            release = fields.get("version") or (kernel.group(1) if kernel else None)
            if release:
                found.append((name[: -len(".conf")], release))
    return sorted(found, key=lambda entry: ("rescue" not in entry[0], _version(entry[1])), reverse=True)


def _version(release: str) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|[a-z]+", release)]


def default_release(tree: Tree) -> str | None:
    """The kernel that the next boot starts, or ``None`` where no boot configuration tells."""
    for folder in GRUB_FOLDERS:
        data = tree.raw(folder, "grub.cfg")
        if not data:
            continue
        text = data.decode("utf-8", "replace")
        environment = tree.pairs(folder, "grubenv") if tree.exists(folder, "grubenv") else {}
        if "blscfg" in text:
            entries = [entry for path in BLS_FOLDERS for entry in _bls_entries(tree, path)]
            wanted = environment.get("next_entry") or environment.get("saved_entry")
            if entries:
                return next((release for name, release in entries if name == wanted), entries[0][1])
        chosen = choose(parse_grub(text), _grub_default(text, environment))
        return chosen.first_release() if chosen else None
    for folder, path in zip(BLS_FOLDERS, LOADER_CONFIGURATIONS):
        entries = _bls_entries(tree, folder)
        if entries:
            pattern = dict(re.findall(r"^(\w+)[ \t]+(.*\S)", tree.text(path) or "", re.M)).get("default", "")
            fits = (release for name, release in entries if fnmatch.fnmatchcase(f"{name}.conf", pattern) or name == pattern)
            return next(fits, entries[0][1])
    return None
