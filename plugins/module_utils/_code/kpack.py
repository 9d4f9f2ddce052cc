# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of kernels (``.kpack``), into which ROCm 7.11 and later put the device code of its libraries, one
archive for each architecture, in folders whose name begins with a dot.

Source of the formats: ROCm/rocm-systems, shared/kpack.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from . import msgpack, targets
from .blob import Blob, Damaged, exactly, numbers

MAGIC = b"KPAK"
# What a library of which the code was taken out has instead.
REFERENCE = ".rocm_kpack_ref"
LONGEST_CONTENTS, LONGEST_REFERENCE = 256 << 20, 1 << 20
PLACE_OF_GFX = "@GFXARCH@"


@dataclasses.dataclass(frozen=True)
class Archive:
    """The targets that each library has code for here, and those that the archive says it is for."""

    libraries: dict[str, set[str]]
    declared: list[str]

    @property
    def targets(self) -> set[str]:
        return {target for found in self.libraries.values() for target in found}


@dataclasses.dataclass(frozen=True)
class Reference:
    """Which entry of which archives has the code of a library."""

    name: str
    paths: list[str]


def archive(blob: Blob) -> Archive:
    _magic, version, place = numbers(blob, 0, "<4sIQ", "the header")
    if version != 1:
        raise Damaged(f"is an archive of kernels of version {version}, which is not known here")
    if not 16 <= place < blob.size or blob.size - place > LONGEST_CONTENTS:
        raise Damaged(f"is cut off: its table of contents is at {place}, and it has {blob.size} bytes")
    contents = msgpack.unpack(exactly(blob, place, blob.size - place, "the table of contents"))
    listed = contents.get("toc") if isinstance(contents, dict) else None
    if not isinstance(listed, dict):
        raise Damaged("is an archive of kernels without a table of contents")
    libraries: dict[str, set[str]] = {}
    for name, entries in listed.items():
        named = entries if isinstance(entries, dict) else {}
        found = {target for key in named if (target := targets.normal(str(key)))}
        libraries.setdefault(name.rpartition("#")[0] or name, set()).update(found)
    declared = contents.get("gfx_arches")
    texts = [str(text) for text in declared] if isinstance(declared, list) else []
    return Archive(libraries, [target for text in texts if (target := targets.normal(text))])


def reference(data: bytes) -> Reference:
    found = msgpack.unpack(data)
    name, paths = (
        (found.get("kernel_name"), found.get("kpack_search_paths")) if isinstance(found, dict) else (0, 0)
    )
    if not isinstance(name, str) or not isinstance(paths, list) or not paths:
        raise Damaged("does not say in which archive of kernels its code is")
    return Reference(name, [str(path) for path in paths[:32]])


def of_library(
    wanted: Reference, library: str, archives: t.Mapping[str, Archive | None]
) -> tuple[set[str], list[str]]:
    """The targets that the archives beside a library have for it, and those archives. An archive that could
    not be read is ``None``."""
    found: set[str] = set()
    beside = []
    for path in wanted.paths:
        # Relative to the library, whatever is above it.
        full = os.path.normpath(os.path.join(os.path.dirname(library), path))
        pattern = re.compile("[^/]*".join(re.escape(part) for part in full.split(PLACE_OF_GFX, 1)))
        for name, each in archives.items():
            if name not in beside and pattern.fullmatch(name):
                beside.append(name)
                found |= each.libraries.get(wanted.name, set()) if each else set()
    return found, beside
