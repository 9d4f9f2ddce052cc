# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unified kernel images: which ones a host has, the kernel arguments inside, and the commands that build them
again."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import struct
from collections.abc import Callable, Sequence

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import below, follow, read_text
from .base import KERNEL_CMDLINE, BootError, Host, Kept, Plan, called, checked, first_line, the_record
from .next_boot import LOADER_FOLDERS, entry_id, loader_named, variable, version_key
from .shared import files_of_loader, of_this_system
from .steps import write_files, write_record

FOLDERS = tuple(f"{os.path.dirname(folder)}/EFI/Linux" for folder in LOADER_FOLDERS)
# The first that is there counts.
INSTALL_CONF = ("/etc/kernel", "/run/kernel", "/usr/local/lib/kernel", "/usr/lib/kernel")
CMDLINE_FOLDER = "/etc/cmdline.d"
MOST_SECTIONS = 96
MOST_TEXT = 64 << 10


class ImageError(ValueError):
    """A file that is no unified kernel image; the text is a whole sentence."""


def section(place: str, name: str) -> bytes | None:
    """The content of a section of a PE file, None where it has no such section."""
    try:
        with open(place, "rb") as stream:
            head = stream.read(64)
            (start,) = struct.unpack_from("<I", head, 60) if head.startswith(b"MZ") else (None,)
            stream.seek(start or 0)
            head = stream.read(24)
            if start is None or head[:4] != b"PE\0\0":
                raise ImageError(f"{place} is no PE file, so no kernel arguments can be read from it.")
            count, optional = struct.unpack_from("<H", head, 6)[0], struct.unpack_from("<H", head, 20)[0]
            stream.seek(optional, os.SEEK_CUR)
            table = stream.read(40 * min(count, MOST_SECTIONS))
            for number in range(min(count, MOST_SECTIONS)):
                called, size, _address, raw, offset = struct.unpack_from("<8sIIII", table, 40 * number)
                if called.rstrip(b"\0") == name.encode():
                    stream.seek(offset)
                    return stream.read(min(size, raw, MOST_TEXT))
    except (OSError, struct.error) as error:
        raise ImageError(f"{place} cannot be read as a PE file: {error}.") from error
    return None


def arguments(place: str) -> str:
    """The kernel command line inside an image."""
    return (section(place, ".cmdline") or b"").decode("utf-8", "surrogateescape").strip("\0 \n")


def release(place: str) -> str:
    """The kernel inside an image, where it says so."""
    try:
        return (section(place, ".uname") or b"").decode("ascii", "replace").strip("\0 \n")
    except ImageError:
        return ""


def images(root: str) -> list[str]:
    """The images that a boot loader lists, without those of another system on the same partition."""
    found = files_of_loader(root, FOLDERS, "*.efi")
    return of_this_system(root, {place: _readable(place) for place in found}) if len(found) > 1 else found


def _readable(image: str) -> list[str] | None:
    try:
        return cmdline.split(arguments(image))
    except ImageError:
        return None


def image_id(place: str) -> str:
    """What loader.conf and bootctl call an image: without the tries that are left (+3, +2-1)."""
    return re.sub(r"\+\d+(-\d+)?(?=\.efi$)", "", os.path.basename(place))


def named(places: Sequence[str], name: str) -> list[str]:
    return [place for place in places if name and fnmatch.fnmatchcase(image_id(place), name)]


def default(places: Sequence[str], name: str) -> str:
    """The image the next boot takes: the one that is named, else the newest that is no fallback and has tries
    left."""
    alive = [place for place in places if not re.search(r"\+0(-\d+)?\.efi$", place)] or list(places)
    normal = [place for place in alive if not re.search(r"rescue|fallback", os.path.basename(place))]
    return max(named(alive, name) or normal or alive, key=version_key)


def _presets(root: str) -> bool:
    """Does mkinitcpio build the images?"""
    places = glob.glob(os.path.join(glob.escape(below(root, "/etc/mkinitcpio.d")), "*.preset"))
    return any(re.search(r"^\s*\w+_uki=", read_text(place) or "", re.MULTILINE) for place in places)


def _layout(root: str) -> str:
    """Of install.conf, and of its drop-ins, of which the last one counts."""
    texts = [read_text(below(root, f"{folder}/install.conf")) for folder in INSTALL_CONF]
    dropins: dict[str, str] = {}
    for folder in reversed(INSTALL_CONF):
        pattern = os.path.join(glob.escape(below(root, f"{folder}/install.conf.d")), "*.conf")
        dropins.update({os.path.basename(place): read_text(place) or "" for place in glob.glob(pattern)})
    text = "\n".join([next(filter(None, texts), ""), *(dropins[name] for name in sorted(dropins))])
    found: list[str] = re.findall(r"^layout=(\w+)\s*$", text, re.MULTILINE)
    return found[-1] if found else ""


def builders(root: str, tool: Callable[[str], list[str] | None]) -> list[list[str]]:
    """The commands that build the images of all installed kernels from /etc/kernel/cmdline; none where that
    is not certain."""
    install = tool("kernel-install") if _layout(root) == "uki" else None
    if install:
        kernels = [
            os.path.basename(place)
            for place in sorted(glob.glob(os.path.join(glob.escape(below(root, "/lib/modules")), "*")))
        ]
        files = [
            (name, path)
            for name in kernels
            for path in (f"/lib/modules/{name}/vmlinuz", f"/boot/vmlinuz-{name}")
        ]
        images = {name: path for name, path in reversed(files) if os.path.isfile(below(root, path))}
        return [[*install, "add", name, images[name]] for name in kernels if name in images]
    if _presets(root):
        make = tool("mkinitcpio")
        return [[*make, "-P"]] if make else []
    return []


def default_image(root: str, entries: Sequence[str]) -> str:
    """The unified kernel image of the next boot; the empty text where a loader entry is taken instead."""
    found, name = images(root), loader_named(root)
    if not found:
        return ""
    other = any(
        name and fnmatch.fnmatchcase(entry_id(place), name.removesuffix(".conf")) for place in entries
    )
    # Entries may lie beside the image that started this system; nothing reads them then.
    by_stub = bool(variable(root, "StubInfo")) and not other
    return default(found, name) if not entries or by_stub or named(found, name) else ""


def inside(image: str) -> list[str]:
    try:
        return cmdline.split(arguments(image))
    except ImageError as error:
        raise BootError(str(error)) from error


def _parts(root: str) -> list[str]:
    names = glob.glob(os.path.join(glob.escape(below(root, CMDLINE_FOLDER)), "*.conf"))
    return [f"{CMDLINE_FOLDER}/{name}" for name in sorted(map(os.path.basename, names))]


def plan_images(host: Host, loader: str, asked: Wanted, image: str) -> Plan:
    """Images that hold their arguments: /etc/kernel/cmdline is what they are built from, again where need
    be."""
    record_place, record = the_record(host, asked)
    before = inside(image)
    place = follow(host.root, KERNEL_CMDLINE)
    text = read_text(place)
    have = before if text is None else cmdline.split(text)
    becomes = record.settle(KERNEL_CMDLINE, have)
    # A run that was killed wrote the file, and built nothing.
    halfway = host.purge and record.text() != read_text(record_place) and sorted(before) != sorted(becomes)
    if becomes == have and cmdline.satisfied(before, asked) and not halfway:
        return Plan(
            loader,
            before,
            before,
            {},
            [],
            [],
            [],
            [],
            Kept(record_place, record.meanwhile(), record.text()),
            image=image,
        )
    commands = builders(host.root, host.tool)
    parts = _parts(host.root) if _presets(host.root) and commands else []
    if parts:
        raise BootError(
            f"mkinitcpio puts the line of the images together from {', '.join(parts)}: put"
            f" {cmdline.join(asked.present) or 'nothing'} into a file of {CMDLINE_FOLDER}, take out"
            f" {cmdline.join(asked.absent) or 'nothing'}, then run mkinitcpio -P; nothing was changed."
        )
    if not commands:
        raise BootError(
            f"This host boots unified kernel images ({', '.join(images(host.root))}), which hold their "
            f"kernel arguments, and what"
            f" builds them is not known: put {cmdline.join(becomes)} into {KERNEL_CMDLINE} and build them by "
            f"hand, or let kernel-install"
            " do it (layout=uki in /etc/kernel/install.conf, and systemd-ukify); nothing was changed."
        )
    files: dict[str, tuple[str | None, str | None]] = {}
    files[place] = (text, text if text is not None and becomes == have else cmdline.join(becomes) + "\n")
    actions = cmdline.edits(before, becomes) + [f"write {place}"] * (files[place][0] != files[place][1])
    actions += [f"run {cmdline.join(command)}" for command in commands]
    kept = Kept(record_place, record.meanwhile(), record.text())
    return Plan(loader, before, becomes, files, commands, actions, [], [], kept, image=image)


def build_again(host: Host, decided: Plan) -> list[str]:
    """The images from the files that were put back; what fails, as sentences."""
    for command in decided.commands:
        code, out, err = called(host, command)
        if code != 0:
            return [
                f"{cmdline.join(command)} failed again ({first_line(err, out)}): images may hold the new "
                f"arguments."
            ]
    return []


def perform(host: Host, decided: Plan, asked: Wanted) -> None:
    write_files(decided)
    for command in decided.commands:
        checked(host, command)
    write_record(decided, done=True)
    # It may have another name now: kernel-install counts tries in it.
    image = default_image(host.root, []) or decided.image
    seen = inside(image)
    if not cmdline.satisfied(seen, asked):
        left = cmdline.missing(seen, asked) + cmdline.unwanted(seen, asked)
        raise BootError(f"{image} was to be built again, but does not show {cmdline.join(left)} as asked.")
