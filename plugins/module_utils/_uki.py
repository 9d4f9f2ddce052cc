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

from ._next_boot import LOADER_FOLDERS, version_key
from ._write import below, read_text

FOLDERS = tuple(f"{os.path.dirname(folder)}/EFI/Linux" for folder in LOADER_FOLDERS)
# The first that is there counts.
INSTALL_CONF = ("/etc/kernel", "/run/kernel", "/usr/local/lib/kernel", "/usr/lib/kernel")
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


def images(root: str) -> list[str]:
    """The images of the EFI system partition that a boot loader lists."""
    for folder in FOLDERS:
        found = sorted(glob.glob(os.path.join(glob.escape(below(root, folder)), "*.efi")))
        if found:
            return found
    return []


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


def builders(root: str, tool: Callable[[str], list[str] | None]) -> list[list[str]]:
    """The commands that build the images of all installed kernels from /etc/kernel/cmdline; none where that
    is not certain."""
    texts = (read_text(below(root, f"{folder}/install.conf")) for folder in INSTALL_CONF)
    install = (
        tool("kernel-install")
        if re.search(r"^layout=uki\s*$", next(filter(None, texts), ""), re.MULTILINE)
        else None
    )
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
        there = {name: path for name, path in reversed(files) if os.path.isfile(below(root, path))}
        return [[*install, "add", name, there[name]] for name in kernels if name in there]
    presets = glob.glob(os.path.join(glob.escape(below(root, "/etc/mkinitcpio.d")), "*.preset"))
    if any(re.search(r"^\s*\w+_uki=", read_text(place) or "", re.MULTILINE) for place in presets):
        make = tool("mkinitcpio")
        return [[*make, "-P"]] if make else []
    return []
