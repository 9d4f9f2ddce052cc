# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as they lie in Podman's store, read without Podman: mounting one needs privileges and a driver that
works, and the layers are folders."""

from __future__ import annotations

import json
import os
import re
import typing as t

from .._account import additional_stores, image_store, storage_setting
from .._tree import Tree
from . import places
from .blob import Damaged, NotRead
from .layers import Layers, is_whiteout
from .places import Entry, Say

STORE = "var/lib/containers/storage"
MOST_LAYERS = 500
LIST_LIMIT = 64 << 20
OPAQUE_MARKS = ("trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque")
ID = re.compile(r"[0-9a-f]{64}")


class Stored(t.NamedTuple):
    """An image of the store."""

    # Its id, which is the hash of its configuration: another image has another one.
    id: str
    # The folders of its layers, the top one first.
    layers: list[str]


def find(tree: Tree, name: str, user: dict[str, t.Any] | None) -> Stored:
    """The image of this name or id."""
    stores = _stores(tree, user)
    for store in stores:
        for entry in _listed(tree, f"{store}/overlay-images/images.json"):
            names = entry.get("names") or []
            identifier = str(entry.get("id"))
            if name in (identifier, f"sha256:{identifier}") or (isinstance(names, list) and name in names):
                return Stored(identifier, _layers(tree, stores, entry.get("layer")))
    if tree.denied:
        raise NotRead("cannot be looked for: Podman's store may not be read; become root")
    raise NotRead(f"is not in Podman's store {tree.host_path(tree.path(stores[0]))}; pull it first")


def _stores(tree: Tree, user: dict[str, t.Any] | None) -> list[str]:
    """The store, and those that it reads beside its own."""
    configuration = tree.text("etc/containers/storage.conf") or ""
    if user:
        own = image_store(tree, user)
        if not own:
            raise NotRead("belongs to an account of which no store is known")
        configuration = tree.text(str(user["home"]), ".config/containers/storage.conf") or configuration
    else:
        own = storage_setting(configuration, "graphroot") or STORE
    return [own, *additional_stores(configuration)]


def _listed(tree: Tree, path: str) -> list[dict[str, t.Any]]:
    data = tree.raw(path, limit=LIST_LIMIT)
    try:
        found = json.loads(data) if data else []
    except (ValueError, RecursionError) as error:
        raise Damaged(f"cannot be found: {tree.host_path(tree.path(path))} is no list of images") from error
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _layers(tree: Tree, stores: t.Sequence[str], top: t.Any) -> list[str]:
    """The folders of the layers. One of another store may be below one of the own."""
    known: dict[str, tuple[str, t.Any]] = {}
    for store in stores:
        for entry in _listed(tree, f"{store}/overlay-layers/layers.json"):
            known.setdefault(str(entry.get("id")), (store, entry.get("parent")))
    folders: list[str] = []
    while top:
        # A name from a file leads nowhere else.
        if not ID.fullmatch(str(top)) or str(top) not in known or len(folders) >= MOST_LAYERS:
            raise Damaged(f"has a layer {str(top)[:80]} that Podman's store does not list")
        store, parent = known[str(top)]
        folder = tree.path(store, "overlay", str(top), "diff")
        if not os.path.isdir(folder) or os.path.islink(folder):
            raise NotRead(f"has the layer {str(top)[:12]}, which is not unpacked as a folder")
        folders.append(folder)
        top = parent
    return folders


def files(image: Stored, say: Say) -> t.Iterator[Entry]:
    """What the image shows."""
    layers = Layers()
    for folder in image.layers:
        _note(folder, layers, say)
        yield from places.folder(folder, say, lambda path: is_whiteout(path) or not layers.shows(path))
        layers.done()


def _note(folder: str, layers: Layers, say: Say) -> None:
    """What a layer has, for those below it."""

    def cannot(error: OSError) -> None:
        say(str(error.filename or ""), f"cannot be read ({error.strerror or error})")

    for base, folders, names in os.walk(folder, onerror=cannot):
        inside = os.path.relpath(base, folder)
        inside = "" if inside == "." else inside
        if inside:
            layers.folder(inside)
        if _opaque(base):
            layers.opaque(inside)
        # What was taken away is a device 0/0 or a name: either covers what is below.
        for name in names:
            layers.file(os.path.join(inside, name))
        for name in folders:
            if os.path.islink(f"{base}/{name}"):
                layers.file(os.path.join(inside, name))


def _opaque(folder: str) -> bool:
    for mark in OPAQUE_MARKS:
        try:
            if os.getxattr(folder, mark) == b"y":
                return True
        except OSError:
            continue
    return False
