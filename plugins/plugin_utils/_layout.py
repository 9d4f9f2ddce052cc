# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kustomize layout on the controller.

    kustomization.yaml       shared and the folder of each host
    shared/                  what the hosts share, out of what each of them needs
    hosts/NAME/              the objects of a host
    hosts/NAME/shared/       what the host needs of the shared objects
    hosts/NAME/node/         what is set on the node itself; no resource of Kustomize

Files of others stay: only what begins with our line is replaced or removed.
"""

from __future__ import annotations

import typing as t
from pathlib import Path, PurePosixPath

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover.kubernetes_yaml import (
    HEADER,
    kustomization,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import folder as folders

KUSTOMIZATION = "kustomization.yaml"


class LayoutError(ValueError):
    """A folder that cannot hold the layout; the message says what to do."""


class Change(t.NamedTuple):
    """What to write and what to remove, by path below the folder; ``before`` has the texts of now."""

    write: dict[str, str]
    remove: list[str]
    before: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.write or self.remove)

    @property
    def diff(self) -> list[dict[str, str]]:
        """For people."""
        return [
            {
                "before_header": path,
                "after_header": path,
                "before": self.before.get(path, ""),
                "after": self.write.get(path, ""),
            }
            for path in sorted([*self.write, *self.remove])
        ]


def of_host(root: Path, folder: str, files: t.Mapping[str, str]) -> Change:
    """The change that makes the folder of a host hold these files; without any, it goes."""
    place = f"hosts/{folder}"
    for path in files:
        parts = PurePosixPath(path).parts
        if parts[:2] != ("hosts", folder) or ".." in parts:
            raise LayoutError(f"{path} does not lie in {place}.")
    return _change(root, place, files)


def of_fleet(root: Path) -> Change:
    """The change that makes the common files fit the hosts whose folders are there."""
    hosts = sorted(path.name for path in (root / "hosts").glob("*") if path.is_dir())
    needed: dict[str, dict[str, str]] = {}
    for host in hosts:
        for path in sorted((root / "hosts" / host / "shared").glob("*.yaml")):
            needed.setdefault(path.name, {})[host] = path.read_text(encoding="utf-8")
    shared = {}
    for name, texts in needed.items():
        first = next(iter(texts))
        other = next((host for host, text in texts.items() if text != texts[first]), None)
        if other:
            raise LayoutError(
                f"{root / 'shared' / name} is not the same for {first} and {other}: compare it in their "
                f"folders below {root / 'hosts'}. Give their nodes pools of their own (kubernetes_pool) or "
                "the same variables."
            )
        shared[f"shared/{name}"] = texts[first]
    with_objects = [f"hosts/{host}" for host in hosts if (root / "hosts" / host / KUSTOMIZATION).exists()]
    files = dict(shared)
    if shared:
        files[f"shared/{KUSTOMIZATION}"] = kustomization(sorted(needed))
    resources = [*(["shared"] if shared else []), *with_objects]
    if resources:
        files[KUSTOMIZATION] = kustomization(resources)
    change = _change(root, "shared", {path: text for path, text in files.items() if path != KUSTOMIZATION})
    top = _change(root, KUSTOMIZATION, {path: text for path, text in files.items() if path == KUSTOMIZATION})
    return Change(
        {**change.write, **top.write}, [*change.remove, *top.remove], {**change.before, **top.before}
    )


def apply(root: Path, change: Change) -> None:
    """Write and remove; an empty folder goes with its last file."""
    for path, text in change.write.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        folders.write(root / path, text)
    for path in change.remove:
        (root / path).unlink(missing_ok=True)
        for parent in (root / path).parents:
            if parent == root or any(parent.iterdir()):
                break
            parent.rmdir()


def _change(root: Path, place: str, files: t.Mapping[str, str]) -> Change:
    top = root / place
    there = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
    texts = {path.relative_to(root).as_posix(): _read(path) for path in there}
    for path in files:
        if path in texts and not texts[path].startswith(HEADER):
            raise LayoutError(
                f"{root / path} was not written by amdgpu.fleet. Move it away, or name another folder with "
                "handover_path."
            )
    write = {path: text for path, text in files.items() if texts.get(path) != text}
    remove = [path for path, text in texts.items() if path not in files and text.startswith(HEADER)]
    before = {path: texts[path] for path in [*write, *remove] if path in texts}
    return Change(write, remove, before)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
