# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links out of a model's folder: which other folders a server is given for them, and which it never is.

Whoever owns the folder may put links into it. A server that got whatever they lead to would hand its owner
the keys of others, for it may run as root."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

# How many links of a chain are followed, and into how many folders a unit may look.
LINKS, FOLDERS = 8, 8
# Folders of the system and of root, and those where containers and this collection keep other things
# than models.
SYSTEM = re.compile(
    r"/((bin|boot|dev|etc|lib|lib64|proc|root|run|sbin|sys|usr)|var/(lib/(containers|docker|containerd|private"
    r"|amdgpu-fleet|kubelet)|run|log|spool|cache/private))?(/|$)"
)
STORE = re.compile(r".*/\.local/share/containers(/|$)")
HIDDEN = re.compile(r".*/\.(ssh|aws|gnupg|kube|docker|azure|netrc)(/|$)")
HOME = re.compile(r"/home/[^/]+(/|$)")
# A snapshot of the Hub's cache lies beside its blobs.
SNAPSHOT = re.compile(r"(/.+)/snapshots/[^/]+")


def place(tree: Tree, path: str) -> str:
    """Where a folder is that may be reached over links: relative links in it count from there."""
    return tree.host_path(os.path.realpath(tree.path(path)))


def private(path: str) -> str | None:
    """The part of a path that is nobody's to hand on; None where it has none."""
    for form in (SYSTEM, STORE, HIDDEN, HOME):
        match = form.match(path)
        if match:
            return match.group().rstrip("/") or "/"
    return None


def astray(tree: Tree, path: str) -> str | None:
    """Where a path leads that somebody other than root led there, if it is private and not what was asked
    for."""
    target = place(tree, path)
    area = private(target)
    if area is None or os.path.normpath(path) == target or private(os.path.normpath(path)) == area:
        return None
    return target if any(owner != 0 for owner in _owners(tree, path)) else None


def _owners(tree: Tree, path: str) -> t.Iterator[int]:
    """Who owns the links on a path, chains of them included."""
    left, at = [name for name in path.split("/") if name], "/"
    for _hop in range(LINKS * 4):
        if not left:
            return
        name = left.pop(0)
        step = os.path.normpath(os.path.join(at, name))
        try:
            seen = os.lstat(tree.path(step))
            target = os.readlink(tree.path(step)) if stat.S_ISLNK(seen.st_mode) else None
        except OSError:
            return
        if target is None:
            at = step
            continue
        yield seen.st_uid
        left = [part for part in target.split("/") if part] + left
        at = "/" if target.startswith("/") else at
    yield -1  # longer than anybody means it


def beside(tree: Tree, path: str) -> tuple[list[str], list[str]]:
    """Folders outside of a model's in which its files lie, and those that no server is given.

    The cache of the Hub has links to ``../../blobs``; a server that sees the model's folder and these finds
    what the links name.
    """
    folder = place(tree, path)
    home = SNAPSHOT.fullmatch(folder)
    own = home.group(1) if home else folder
    hops = {hop for hop in _hops(tree, folder) if hop != folder and not hop.startswith(f"{folder}/")}
    barred = {hop for hop in hops if not _inside(tree, hop, own)}
    allowed = sorted(hops - barred)
    if barred or len(allowed) > FOLDERS:
        tree.problem(
            path,
            f"has links into {', '.join(sorted(barred)) or f'{len(allowed)} folders'}, which no server is "
            f"given",
        )
    return allowed[:FOLDERS], sorted(barred)


def _inside(tree: Tree, hop: str, own: str) -> bool:
    """Whether a folder is of the model's own tree, by its real path: a folder of the tree may be a link."""
    real = place(tree, hop)
    return (
        real.startswith(f"{own}/")
        and os.path.isdir(tree.path(hop))
        and not SYSTEM.match(real)
        and not STORE.match(real)
        and not HIDDEN.match(real)
    )


def _hops(tree: Tree, folder: str) -> t.Iterator[str]:
    for base, folders, names in os.walk(tree.path(folder)) if tree.exists(folder, "config.json") else ():
        if base != tree.path(folder):
            folders.clear()  # weights lie at the top, and one below it at most
        for name in names:
            targets = list(_targets(tree, f"{tree.host_path(base)}/{name}"))
            if targets and os.path.isfile(tree.path(targets[-1])):
                yield from map(os.path.dirname, targets)


def _targets(tree: Tree, at: str) -> t.Iterator[str]:
    """What a link names, and what that names if it is a link too."""
    for _hop in range(LINKS):
        try:
            at = os.path.normpath(os.path.join(os.path.dirname(at), os.readlink(tree.path(at))))
        except OSError:  # no link, or none any more
            return
        yield at
