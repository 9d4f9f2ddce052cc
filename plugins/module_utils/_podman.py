# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman as it is on a host: its release, what it can do, which images it stores."""

from __future__ import annotations

import json
import re
import stat
import typing as t

from ._account import additional_stores, image_store, storage_setting
from ._tree import Tree

QUADLET_GENERATORS = (
    "usr/lib/systemd/system-generators/podman-system-generator",
    "usr/libexec/podman/quadlet",
)
CONTAINER_INITS = ("usr/bin/catatonit", "usr/libexec/podman/catatonit", "usr/libexec/catatonit/catatonit")
IMAGE_STORE = "var/lib/containers/storage"


def podman(
    tree: Tree, installed: dict[str, str], images: t.Sequence[str], user: dict[str, t.Any] | None = None
) -> dict[str, t.Any]:
    """``version``, whether it has an ``init`` for containers, which ``images`` it stores (for root or the
    ``user``), the release whose keys its ``quadlet`` knows (``None`` where units are not generated), and
    ``open_store``."""
    match = re.match(r"(?:\d+:)?((\d+\.\d+)\.\d+)", installed.get("podman", ""))
    stored = (
        {name: digests for name, digests in _stored_images(tree, user).items() if name in images}
        if images
        else {}
    )
    generates = any(tree.exists(path) for path in QUADLET_GENERATORS)
    return {
        "version": match.group(1) if match else None,
        "init": any(tree.exists(path) for path in CONTAINER_INITS),
        "quadlet": match.group(2) if match and generates else None,
        "images": sorted(stored),
        "image_digests": stored,
        "open_store": _open_store(tree),
    }


def _open_store(tree: Tree) -> str | None:
    """Root's store where others may look into it: its database keeps the environment of every container."""
    path = storage_setting(tree.text("etc/containers/storage.conf"), "graphroot") or f"/{IMAGE_STORE}"
    try:
        return path if tree.about(path).st_mode & stat.S_IRWXO else None
    except (OSError, ValueError):
        return None


def _stored_images(tree: Tree, user: dict[str, t.Any] | None) -> dict[str, list[str]]:
    """Names of images, with every digest that one has: of its manifests and of its configuration, which is
    its id."""
    if user:
        own = image_store(tree, user)
        stores = [own] if own else []
    else:
        stores = [IMAGE_STORE, *additional_stores(tree.text("etc/containers/storage.conf"))]
    names: dict[str, list[str]] = {}
    for store in stores:
        data = tree.raw(store, "overlay-images/images.json", limit=16 << 20)
        try:
            entries = json.loads(data) if data else []
            for entry in entries:
                parts = entry.get("big-data-digests") or {}
                digests = {
                    entry.get("digest"),
                    f"sha256:{entry.get('id')}",
                    *(parts[key] for key in parts if key.startswith("manifest")),
                }
                for name in entry.get("names") or []:
                    names.setdefault(name, sorted(digest for digest in digests if digest))
        except (ValueError, AttributeError, TypeError, RecursionError):
            tree.problem(f"/{store.strip('/')}/overlay-images/images.json", "is not a list of images")
    return names
