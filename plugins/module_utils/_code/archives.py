# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as files: a layout of OCI in a folder, or an archive of ``podman save`` or ``docker save``."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import tarfile
import typing as t

from . import blob, places, unzstd
from .blob import Blob, Damaged, NotRead
from .layers import Layers, is_whiteout
from .places import BROKEN, HEAD, Entry, Limits, Say, interesting, outside, spooled

MOST_JSON, MOST_LAYERS, DEEPEST = 16 << 20, 500, 4
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64,128})")
# Long names are a member of their own. No name has a megabyte.
_NAMES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES)
LONGEST_NAMES = 1 << 20
# A compressed layer is unpacked to its end. The largest images have some 100 GB.
MOST_BYTES = 1 << 40
PLATFORM = {"os": "linux", "architecture": "amd64"}


class Member(tarfile.TarInfo):
    """A member whose header is right. ``tarfile`` takes one that is not for the end, in silence."""

    @classmethod
    def frombuf(cls, buf: t.Any, encoding: str, errors: str) -> Member:
        if not buf:
            raise Damaged("is cut off: it has no end")
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == 512 and not buf.strip(b"\0"):
                raise
            raise Damaged(f"is damaged or cut off ({error})") from error
        if found.type in _NAMES and found.type != tarfile.GNUTYPE_SPARSE and found.size > LONGEST_NAMES:
            raise Damaged(f"has a name of {found.size} bytes")
        return found


class Store(t.Protocol):
    """Where the parts of an image are."""

    def has(self, name: str) -> bool: ...

    def file(self, name: str) -> t.ContextManager[t.IO[bytes]]:
        """A part, open at its beginning; ``fileno()`` reads the same."""


class Folder:
    """A layout of OCI in a folder."""

    def __init__(self, path: str) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        return not outside(name) and os.path.isfile(f"{self._path}/{name}")

    @contextlib.contextmanager
    def file(self, name: str) -> t.Iterator[t.IO[bytes]]:
        if outside(name):
            raise Damaged(f"names {places.printable(name)}, which is outside of it")
        with os.fdopen(blob.opened(f"{self._path}/{name}"), "rb", buffering=0) as file:
            yield t.cast("t.IO[bytes]", file)


class Archive:
    """A tar that holds the parts, as they are or in a layout of OCI."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._members: dict[str, tarfile.TarInfo] = {}
        with os.fdopen(blob.opened(path), "rb") as file, _tar(file, "r:") as archive:
            for count, member in enumerate(archive):
                if count >= limits.files:
                    raise NotRead(f"has more than the {limits.files} files that are read")
                name = posixpath.normpath(member.name)
                if member.issym() or member.islnk():
                    # docker save names a layer that several images share once, and links to it.
                    target = (
                        member.linkname if member.islnk() else f"{posixpath.dirname(name)}/{member.linkname}"
                    )
                    linked = self._members.get(posixpath.normpath(target))
                    if linked:
                        self._members[name] = linked
                elif member.isreg():
                    self._members[name] = member

    def has(self, name: str) -> bool:
        return posixpath.normpath(name) in self._members

    @contextlib.contextmanager
    def file(self, name: str) -> t.Iterator[t.IO[bytes]]:
        member = self._members.get(posixpath.normpath(name))
        if member is None:
            raise Damaged(f"names {places.printable(name)}, which is not in it")
        with os.fdopen(blob.opened(self._path), "rb", buffering=0) as file:
            file.seek(member.offset_data)
            yield t.cast("t.IO[bytes]", Part(file, member.size))


class Part:
    """A part of a file, read from where it stands."""

    def __init__(self, file: t.Any, size: int) -> None:
        self._file, self._left = file, size

    def fileno(self) -> int:
        return int(self._file.fileno())

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data: bytes = self._file.read(wanted) if wanted else b""
        self._left -= len(data)
        return data

    def readable(self) -> bool:
        return True


def _tar(file: t.IO[bytes], mode: str) -> tarfile.TarFile:
    try:
        opened: tarfile.TarFile = tarfile.open(fileobj=file, mode=mode, tarinfo=Member)  # type: ignore[call-overload] # noqa: SIM115
        return opened
    except tarfile.TarError as error:
        raise Damaged(f"is no tar that can be read ({error})") from error


def is_tar(path: str) -> bool:
    with os.fdopen(blob.opened(path), "rb") as file:
        head = file.read(512)
    return head[257:262] == b"ustar"


def is_layout(path: str) -> bool:
    return os.path.isfile(f"{path}/oci-layout") and os.path.isfile(f"{path}/index.json")


def files(store: Store, say: Say, limits: Limits) -> t.Iterator[Entry]:
    """What the image shows: the top layer first, and of those below it what it leaves to be seen."""
    layers = Layers()
    for name in reversed(_layers(store)):
        with store.file(name) as file, _unpacked(store, name, file) as stream, _tar(stream, "r|") as archive:
            yield from _members(archive, layers, say, limits)
        layers.done()


def _members(archive: tarfile.TarFile, layers: Layers, say: Say, limits: Limits) -> t.Iterator[Entry]:
    size = 0
    for count, member in enumerate(archive):
        # Else it keeps all of them.
        archive.members = []  # type: ignore[attr-defined]
        size += member.size
        if count >= limits.files or size > MOST_BYTES:
            raise NotRead(f"has a layer of more than {limits.files} files or {MOST_BYTES} bytes")
        name = posixpath.normpath(member.name)
        if name.startswith(("/", "../")) or name == "..":
            say(member.name, "is named outside of its layer, and was not read")
        elif member.isdir():
            layers.folder("" if name == "." else name)
        else:
            layers.file(name)
            if (
                member.isreg()
                and layers.shows(name)
                and not is_whiteout(name)
                and not name.endswith(places.TEXTS)
            ):
                yield Entry(name, lambda member=member: _extracted(archive, member, limits))  # type: ignore[misc]


@contextlib.contextmanager
def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo, limits: Limits) -> t.Iterator[Blob]:
    file = archive.extractfile(member)
    head = file.read(HEAD) if file else b""
    if file and interesting(head):
        with spooled(head, file, limits.file_bytes) as copy:
            yield copy
    else:
        yield blob.Bytes(head)


@contextlib.contextmanager
def _unpacked(store: Store, name: str, file: t.IO[bytes]) -> t.Iterator[t.IO[bytes]]:
    """The tar of a layer, however it is compressed."""
    with store.file(name) as again:
        magic = again.read(4)
    if magic.startswith(GZIP):
        import gzip

        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            yield t.cast("t.IO[bytes]", stream)
    elif magic == ZSTD:
        found = unzstd.stream(file)
        try:
            yield found.file
        finally:
            found.close()
    else:
        yield file


def _layers(store: Store) -> list[str]:
    """The parts that are layers, the lowest first."""
    found: t.Any
    if store.has("index.json"):
        found = _of_index(store, _json(store, "index.json"), 0)
    elif store.has("manifest.json"):
        images = _json(store, "manifest.json")
        if not isinstance(images, list) or len(images) != 1:
            raise NotRead(
                f"holds {len(images) if isinstance(images, list) else 'no list of'} images, not one"
            )
        found = images[0].get("Layers") if isinstance(images[0], dict) else None
    else:
        raise NotRead("is no image: it has neither index.json nor manifest.json")
    if not isinstance(found, list) or len(found) > MOST_LAYERS or not all(isinstance(x, str) for x in found):
        raise Damaged("does not say which layers its image has")
    return [str(name) for name in found]


def _of_index(store: Store, index: t.Any, depth: int) -> list[str]:
    manifests = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(manifests, list) or depth > DEEPEST:
        raise Damaged("does not say which image it holds")
    ours = [entry for entry in manifests if isinstance(entry, dict) and _for_hosts(entry.get("platform"))]
    names = sorted({_blob(entry.get("digest")) for entry in ours})
    if len(names) != 1:
        raise NotRead(f"holds {len(names)} images for amd64, not one")
    manifest = _json(store, names[0])
    if isinstance(manifest, dict) and "manifests" in manifest:
        return _of_index(store, manifest, depth + 1)
    layers = manifest.get("layers") if isinstance(manifest, dict) else None
    if not isinstance(layers, list):
        raise Damaged("does not say which layers its image has")
    return [_blob(layer.get("digest") if isinstance(layer, dict) else None) for layer in layers]


def _for_hosts(platform: t.Any) -> bool:
    return not isinstance(platform, dict) or all(platform.get(key) == PLATFORM[key] for key in PLATFORM)


def _blob(digest: t.Any) -> str:
    match = DIGEST.fullmatch(str(digest))
    if not match:
        raise Damaged(f"names a part {str(digest)[:80]!r}, which is no digest")
    return f"blobs/{match.group(1)}/{match.group(2)}"


def _json(store: Store, name: str) -> t.Any:
    try:
        with store.file(name) as file:
            data = file.read(MOST_JSON)
        return json.loads(data)
    except (*BROKEN, RecursionError) as error:
        raise Damaged(f"has a {name} that is not JSON") from error
