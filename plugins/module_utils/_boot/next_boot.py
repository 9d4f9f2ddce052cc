# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next boot starts: the entry that grub.cfg, GRUB's environment block, loader entries and
loader.conf lead to, and the kernel in it."""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from .. import _cmdline
from .._tree import Tree
from .._write import below, read_bytes, read_text

GRUB_CFG = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
GRUBENV = ("/boot/grub2/grubenv", "/boot/grub/grubenv")
LOADER_FOLDERS = ("/boot/loader", "/efi/loader", "/boot/efi/loader")
ENTRIES = tuple(f"{folder}/entries" for folder in LOADER_FOLDERS)
# What systemd-boot and bootctl tell each other. GRUB leaves LoaderInfo too, newer ones alone, with its own
# name in it.
LOADER_VARIABLE = "/sys/firmware/efi/efivars/{}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_KERNEL = re.compile(r"vmlinuz-(\S+)")
_HANDS_OVER = re.compile(r"\s*((?:linux\w*|chainloader|configfile|ntldr|xen_hypervisor|multiboot2?)\s.*)$")


class MenuEntry(t.NamedTuple):
    path: list[str]  # places in the menu, from the top: "0", "1", ...
    titles: list[str]
    ids: list[str]
    arguments: list[str]
    kernels: list[str]  # the release that it starts; none for an entry that starts no Linux
    commands: list[str]  # lines that hand the machine over: linux, chainloader, configfile, ...


def words(line: str) -> list[str]:
    """The words of one line of GRUB's language, without the quotes around them."""
    pieces = re.findall(r"""((?:[^\s"']|"(?:\\.|[^"])*"|'[^']*')+)""", line)
    return [
        re.sub(
            r"""'([^']*)'|"((?:\\.|[^"])*)\"""", lambda match: match.group(1) or match.group(2) or "", piece
        )
        for piece in pieces
    ]


def menu(text: str) -> list[MenuEntry]:
    """Every entry of grub.cfg with the kernel and the arguments of its linux command."""
    entries: list[MenuEntry] = []
    stack: list[tuple[str, str, str, str]] = []  # kind, place, title, id
    counts = [0]
    for line in text.splitlines():
        opened = re.match(r"\s*(menuentry|submenu)\s+(.*)\{\s*$", line)
        if opened:
            parts = words(opened.group(2))
            marks = [place for place, word in enumerate(parts) if word in ("$menuentry_id_option", "--id")]
            name = parts[marks[0] + 1] if marks and marks[0] + 1 < len(parts) else ""
            stack.append((opened.group(1), str(counts[-1]), parts[0] if parts else "", name))
            counts[-1] += 1
            counts.append(0)
            if opened.group(1) == "menuentry":
                entries.append(
                    MenuEntry(
                        [item[1] for item in stack],
                        [item[2] for item in stack],
                        [item[3] for item in stack],
                        [],
                        [],
                        [],
                    )
                )
        elif re.match(r"\s*\}\s*$", line) and stack:
            stack.pop()
            counts.pop()
        elif stack and stack[-1][0] == "menuentry":
            command = re.match(r"\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$", line)
            handed = _HANDS_OVER.match(line)
            if handed and entries:
                entries[-1].commands.append(handed.group(1))
            if command and entries and not entries[-1].arguments:
                entries[-1].arguments.extend(_cmdline.split(command.group(2)))
                entries[-1].kernels.extend(_KERNEL.findall(command.group(1).strip("\"'")))
    return entries


def grub_configurations(tree: Tree) -> list[str]:
    """grub.cfg as GRUB reads it. openEuler and older hosts of EL's kind have it on the EFI system partition.
    Of others the file there leads to the one in /boot."""
    found = [path for path in GRUB_CFG if tree.exists(path)]
    folder = "/boot/efi/EFI"
    on_esp = [f"{folder}/{name}/grub.cfg" for name in tree.names(folder)]
    return found or [path for path in on_esp if any(entry.kernels for entry in menu(tree.text(path) or ""))]


def default_entry(text: str, default: str, saved: str = "") -> MenuEntry | None:
    """The entry GRUB_DEFAULT names (place, title or id, > between levels), else the first."""
    entries = menu(text)
    keys = (saved if default == "saved" else default or "0").split(">")
    for entry in entries:
        levels = list(zip(entry.path, entry.titles, entry.ids))
        if len(levels) >= len(keys) and all(key.strip() in level for key, level in zip(keys, levels)):
            return entry
    return entries[0] if entries else None


def environment_block(text: str | None) -> dict[str, str]:
    """The variables of a grubenv file."""
    return dict(
        line.split("=", 1) for line in (text or "").splitlines() if "=" in line and not line.startswith("#")
    )


def configured_default(text: str | None) -> str:
    """What loader.conf calls the default: an entry, or a pattern of entries."""
    found = re.search(r"^default[ \t]+(\S+)", text or "", re.MULTILINE)
    return found.group(1) if found else ""


def loader_variable(data: bytes | None) -> str:
    """The text of an EFI variable of systemd-boot: four bytes of attributes, then UTF-16."""
    return (data or b"")[4:].decode("utf-16-le", "replace").rstrip("\0")


def named_entry(variable: t.Callable[[str], str], configuration: str | None, once: bool = True) -> str:
    """What systemd-boot takes: the entry of one boot only, else the one set with bootctl, else that of
    loader.conf."""
    named = variable("LoaderEntryOneShot") if once else ""
    named = named or variable("LoaderEntryDefault") or configured_default(configuration)
    return variable("LoaderEntryLastBooted") if named == "@saved" else named


def entry_id(place: str) -> str:
    """What loader.conf and bootctl call an entry: without .conf, and without the tries that are left (+3,
    +2-1)."""
    return re.sub(r"\+\d+(-\d+)?$", "", os.path.basename(place).removesuffix(".conf"))


def version_key(place: str) -> list[tuple[int, object]]:
    """Orders entries by the numbers in their names, as boot loaders do."""
    return [
        (1, int(part)) if part.isdigit() else (0, part)
        for part in re.findall(r"[0-9]{1,18}|[a-zA-Z]+", os.path.basename(place))
    ]


def default_loader_entry(files: t.Sequence[str], named: str) -> str:
    """The loader entry the next boot takes: the saved or configured one, else the newest that is no rescue
    entry."""
    # An entry whose tries are used up (+0-3) failed to boot: the loader takes it last.
    files = [place for place in files if not re.search(r"\+0(-\d+)?\.conf$", place)] or files
    fits = [
        place
        for place in files
        if named and fnmatch.fnmatchcase(entry_id(place), named.removesuffix(".conf"))
    ]
    normal = fits or [place for place in files if "rescue" not in os.path.basename(place)] or list(files)
    return max(normal, key=version_key)


def variable(root: str, name: str) -> str:
    return loader_variable(read_bytes(below(root, LOADER_VARIABLE.format(name))))


def reads_all_folders(root: str) -> bool:
    """Does systemd-boot say that it was here? GRUB reads one folder."""
    return variable(root, "LoaderInfo").startswith("systemd-boot")


def loader_named(root: str) -> str:
    """What systemd-boot is told to take from now on; the empty text where it is left to it."""
    named = ""
    # The EFI system partition before the boot partition, which has entries and no loader.conf.
    for folder in (*LOADER_FOLDERS[1:], LOADER_FOLDERS[0]):
        text = read_text(below(root, f"{folder}/loader.conf"))
        named = named or named_entry(lambda name: variable(root, name), text, once=False)
    return named


def _grub_default(text: str, environment: dict[str, str]) -> str:
    """``next_entry`` (one boot only) beats the default; ``${saved_entry}`` stands for the saved one."""
    if environment.get("next_entry"):
        return environment["next_entry"]
    values = re.findall(r"""^\s*set default=["']?([^"'\n]*)["']?\s*$""", text, re.MULTILINE)
    default = next((value for value in values if "next_entry" not in value), "0")
    return environment.get("saved_entry", "0") if "saved_entry" in default else default


def installed_release(tree: Tree, kernel: str, version: str = "") -> str | None:
    """The release of a kernel file that a loader starts, where its modules are installed.

    What an entry calls its version is often a number of a deployment or the name of a package. Without any
    modules (an image that is not complete) a release is taken for what it looks like.
    """
    name, folder = os.path.basename(kernel), os.path.basename(os.path.dirname(kernel))
    named = [*_KERNEL.findall(name), *([folder] if name in ("linux", "vmlinuz") else []), version]
    modules = tree.names("lib/modules")
    if not modules:
        return next((each for each in named if re.match(r"[0-9]+\.[0-9]", each)), None)
    packages = {tree.word("lib/modules", release, "pkgbase"): release for release in modules}
    return next(
        (
            each if each in modules else packages[each]
            for each in named
            if each in modules or each in packages
        ),
        None,
    )


def _environment(tree: Tree) -> dict[str, str]:
    return next((environment_block(text) for text in (tree.text(path) for path in GRUBENV) if text), {})


def grub_text(tree: Tree) -> str | None:
    return next((text for text in (tree.text(path) for path in grub_configurations(tree)) if text), None)


def grub_default(tree: Tree, text: str) -> str:
    """What grub.cfg and GRUB's environment block call the next entry."""
    return _grub_default(text, _environment(tree))


def grub_release(tree: Tree) -> str | None:
    """Of grub.cfg; where that leads to loader entries, of those."""
    text = grub_text(tree)
    if text is None or "blscfg" in text:
        return entry_release(tree)
    entry = default_entry(text, grub_default(tree, text))
    return installed_release(tree, f"/vmlinuz-{entry.kernels[0]}") if entry and entry.kernels else None


def entry_release(tree: Tree) -> str | None:
    """Of loader entries whose default GRUB keeps in grubenv."""
    environment = _environment(tree)
    return loader_release(tree, environment.get("next_entry") or environment.get("saved_entry", ""))


def loader_release(tree: Tree, named: str = "") -> str | None:
    """Of loader entries."""

    def variable_of(name: str) -> str:
        return loader_variable(tree.raw(LOADER_VARIABLE.format(name)))

    files: list[str] = []
    for folder in LOADER_FOLDERS:
        names = [name for name in tree.names(folder, "entries") if name.endswith(".conf")]
        files += [f"{folder}/entries/{name}" for name in names]
        if files and not variable_of("LoaderInfo").startswith("systemd-boot"):
            break
    if not files:
        return None
    folders = (*LOADER_FOLDERS[1:], LOADER_FOLDERS[0])
    texts = (tree.text(folder, "loader.conf") for folder in folders)
    named = named or named_entry(variable_of, next(filter(None, texts), None))
    text = tree.text(default_loader_entry(files, named)) or ""
    words = dict(re.findall(r"^(version|linux)[ \t]+(\S+)", text, re.MULTILINE))
    return installed_release(tree, words.get("linux", ""), words.get("version", ""))
