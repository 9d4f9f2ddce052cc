# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All code of one place: each library with its targets, and what could not be read."""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from .._tree import Tree
from . import archives, bundles, elf, kpack, places, storage, targets
from .blob import Blob, Damaged, NotRead
from .places import BROKEN, HEAD, UNABLE, Entry, Limits

FATBIN, REGISTERED, OFFLOADING, NVIDIA = ".hip_fatbin", ".hipFatBinSegment", ".llvm.offloading", ".nv_fatbin"
WANTED = (FATBIN, REGISTERED, OFFLOADING, NVIDIA, kpack.REFERENCE)
# One entry for each bundle that a library registers when it is loaded.
REGISTERED_BYTES = 24
MOST_PROBLEMS = 40
# Caches of Triton: a folder for each kernel.
HASH = re.compile(r"[A-Z2-7]{40,}=*|[0-9a-f]{32,}")
AOTRITON = re.compile(r"(?P<folder>(?:.*/)?aotriton\.images)/amd-(?P<gfx>gfx[0-9a-fx_]+)/.+\.aks2")


@dataclasses.dataclass
class Library:
    """What has code: a shared library, the code objects of one folder, or an archive of kernels."""

    path: str
    # library, kernels, kpack or aotriton.
    kind: str
    targets: set[str] = dataclasses.field(default_factory=set)
    # What says so: the code itself, an archive of kernels, or names of files.
    source: str = "code"
    bundles: int = 0
    compressed: int = 0
    files: int = 1
    # Why it is not all known.
    unread: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Found:
    """What a place has."""

    # What the place is: file, wheel, folder or image.
    kind: str = ""
    # What is another one where the place was changed.
    identity: str = ""
    libraries: list[Library] = dataclasses.field(default_factory=list)
    problems: list[dict[str, str]] = dataclasses.field(default_factory=list)
    files: int = 0
    # Libraries for GPUs of NVIDIA.
    nvidia: int = 0
    left_out: int = 0

    def say(self, path: str, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append({"path": places.printable(path), "problem": places.printable(problem)})
        else:
            self.left_out += 1

    @property
    def complete(self) -> bool:
        return not self.problems and not any(each.unread for each in self.libraries)


class Scan:
    """Looks at files, one after the other."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.found = Found()
        self._groups: dict[tuple[str, str], Library] = {}
        self._archives: dict[str, kpack.Archive | None] = {}
        self._references: list[tuple[Library, kpack.Reference]] = []

    def take(self, entries: t.Iterable[Entry]) -> None:
        for entry in entries:
            if self.found.files >= self._limits.files:
                self.found.say(entry.path, f"is beyond the {self._limits.files} files that are read")
                return
            self.found.files += 1
            try:
                if not self._by_name(entry.path):
                    with entry.open() as blob:
                        self._look(entry.path, blob)
            except (Damaged, NotRead) as error:
                self.found.say(entry.path, str(error))
            except (*BROKEN, *UNABLE) as error:
                self.found.say(entry.path, f"cannot be read ({error})")

    def done(self, whole: bool) -> Found:
        """``whole``: everything that belongs together was among the files."""
        for library, reference in self._references:
            library.targets, beside = kpack.of_library(reference, library.path, self._archives)
            unreadable = [name for name in beside if self._archives[name] is None]
            known = [archive for name in beside if (archive := self._archives[name])]
            if known and not any(reference.name in archive.libraries for archive in known):
                library.unread.append(f"has its code in {beside[0]}, which has none of that name")
            if unreadable:
                library.unread.append(f"has its code in {unreadable[0]}, which cannot be read")
            if not beside:
                where = f"has its code in {places.printable(reference.paths[0])}"
                if whole:
                    library.problems.append(f"{where}, and there is no such archive of kernels")
                else:
                    library.unread.append(f"{where}, which was not among what was read")
        self.found.libraries += self._groups.values()
        for library in self.found.libraries:
            for problem in library.problems:
                self.found.say(library.path, problem)
        self.found.libraries.sort(key=lambda library: library.path)
        return self.found

    def _look(self, path: str, blob: Blob) -> None:
        head = blob.read(0, HEAD)
        if head.startswith(elf.MAGIC):
            self._elf(path, blob)
        elif bundles.is_one(head):
            self._kernels(path, bundles.read(blob, 0, blob.size))
        elif head.startswith(kpack.MAGIC):
            self._archives[path] = None
            archive = self._archives[path] = kpack.archive(blob)
            library = Library(path, "kpack", archive.targets)
            self.found.libraries.append(library)
            if not archive.targets and archive.declared:
                library.problems.append(f"says that it is for {archive.declared[0]}, and holds no kernel")

    def _by_name(self, path: str) -> bool:
        """Kernels of AOTriton are compressed in a way of its own: their folder says what they are for."""
        match = AOTRITON.fullmatch(path)
        if match:
            group = self._group(match["folder"], "aotriton")
            group.source = "names"
            group.targets.add(match["gfx"])
        return match is not None

    def _group(self, folder: str, kind: str) -> Library:
        group = self._groups.get((folder, kind))
        if group is None:
            group = self._groups[folder, kind] = Library(folder, kind, files=0)
        group.files += 1
        return group

    def _kernels(self, path: str, fat: bundles.Fat | str) -> None:
        """Code objects that lie as files: those of one folder are one entry."""
        folder = os.path.dirname(path)
        if HASH.fullmatch(os.path.basename(folder)):
            folder = os.path.dirname(folder)
        group = self._group(folder or ".", "kernels")
        if isinstance(fat, str):
            group.targets.add(fat)
            return
        group.bundles += fat.bundles
        group.compressed += fat.compressed
        group.targets |= fat.targets
        for problem in fat.problems:
            self.found.say(path, problem)
        named = targets.in_name(os.path.basename(path))
        if fat.unread and named and not fat.targets and not fat.problems:
            group.source = "names"
            group.targets.update(named)
        elif fat.unread:
            group.unread = sorted({*group.unread, *fat.unread})

    def _elf(self, path: str, blob: Blob) -> None:
        header = elf.header(blob)
        if header is None:
            return
        if header.machine == elf.EM_AMDGPU:
            target = elf.target(blob)
            if target is None:
                self.found.say(path, "is code for AMD GPUs that no HSA runtime loads")
            else:
                _whole(blob, header)
                self._kernels(path, target)
            return
        sections = {section.name: section for section in elf.sections(blob, header, WANTED)}
        if NVIDIA in sections:
            self.found.nvidia += 1
        if kpack.REFERENCE in sections:
            self._split(path, blob, sections[kpack.REFERENCE])
        elif FATBIN in sections:
            self._library(path, blob, sections)
        elif OFFLOADING in sections:
            library = Library(path, "library", unread=["has code that was not linked yet (.llvm.offloading)"])
            self.found.libraries.append(library)

    def _library(self, path: str, blob: Blob, sections: dict[str, elf.Section]) -> None:
        place = sections[FATBIN]
        fat = bundles.read(blob, place.offset, place.offset + place.size)
        library = Library(path, "library", fat.targets, bundles=fat.bundles, compressed=fat.compressed)
        library.unread, library.problems = fat.reasons(), fat.problems
        registered = sections[REGISTERED].size // REGISTERED_BYTES if REGISTERED in sections else fat.bundles
        if fat.bundles < registered and not library.problems:
            library.problems.append(f"has {fat.bundles} bundles of code, and registers {registered}")
        self.found.libraries.append(library)

    def _split(self, path: str, blob: Blob, section: elf.Section) -> None:
        library = Library(path, "library", source="kpack")
        self.found.libraries.append(library)
        data = blob.read(section.offset, min(section.size, kpack.LONGEST_REFERENCE))
        self._references.append((library, kpack.reference(data)))


def _whole(blob: Blob, header: elf.Header) -> None:
    """A code object that is cut off ends before its table of sections."""
    table, length, count, _names = header.table
    if table and table + length * count > blob.size:
        raise Damaged(f"is cut off: its table of sections ends beyond its {blob.size} bytes")


def path(full: str, limits: Limits) -> Found:
    """What a file or folder of this machine has."""
    scan = Scan(limits)
    try:
        kind, whole = _take_path(scan, full, limits)
        scan.found.kind = kind
    except (Damaged, NotRead) as error:
        scan.found.say("", str(error))
        return scan.done(False)
    except (*BROKEN, *UNABLE) as error:
        scan.found.say("", f"cannot be read ({error})")
        return scan.done(False)
    return scan.done(whole)


def _take_path(scan: Scan, full: str, limits: Limits) -> tuple[str, bool]:
    say = scan.found.say
    if os.path.isdir(full):
        if archives.is_layout(full):
            scan.take(archives.files(archives.Folder(full), say, limits))
            return "image", True
        scan.take(places.folder(full, say))
        return "folder", True
    with open(full, "rb") as file:
        magic = file.read(4)
    if magic == places.ZIP:
        scan.take(places.wheel(full, say, limits))
        return "wheel", False
    if archives.is_tar(full):
        scan.take(archives.files(archives.Archive(full, limits), say, limits))
        return "image", True
    if magic.startswith((archives.GZIP, archives.ZSTD)):
        raise NotRead("is compressed as a whole; unpack it first")
    scan.take(places.one_file(full, os.path.basename(full)))
    return "file", False


def identity(tree: Tree, name: str, user: dict[str, t.Any] | None) -> str:
    """The id of an image in Podman's store; empty where it is not there."""
    try:
        return storage.find(tree, name, user).id
    except (Damaged, NotRead, *BROKEN):
        return ""


def image(tree: Tree, name: str, user: dict[str, t.Any] | None, limits: Limits) -> Found:
    """What an image in Podman's store has."""
    scan = Scan(limits)
    scan.found.kind = "image"
    try:
        stored = storage.find(tree, name, user)
        scan.found.identity = stored.id
        scan.take(storage.files(stored, scan.found.say))
    except (Damaged, NotRead) as error:
        scan.found.say("", str(error))
        return scan.done(False)
    except (*BROKEN, *UNABLE) as error:
        scan.found.say("", f"cannot be read ({error})")
        return scan.done(False)
    return scan.done(True)
