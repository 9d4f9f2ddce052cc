# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ROCm installations: where the three layouts keep their version.

* legacy (up to 7.2.4): ``/opt/rocm-X.Y.Z``, with ``/opt/rocm`` a link to the current one
* TheRock (from 7.14): ``/opt/rocm/core-X.Y``, with ``/opt/rocm/core`` a link made by the full package only
* distribution packages under ``/usr``, and wheels (``_rocm_sdk_core``) in a virtual environment
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}(\.[0-9]{1,9})?")
# Debian and Ubuntu split ROCm into libraries; the HSA runtime is the one that all others need.
DISTRIBUTION_PACKAGES = ("libhsa-runtime64-1", "rocm-runtime", "hsa-rocr")
FIRST_THEROCK = (7, 14)


def version_numbers(version: str) -> list[int]:
    """``10.1`` sorts after ``7.14``."""
    return [int(part) for part in version.split(".")]


def _version_in(tree: Tree, folder: str) -> str | None:
    for name in ("version", "version-rocm"):
        text = tree.text(folder, ".info", name)
        if text:
            match = _VERSION.match(text)
            if match:
                return match.group()
            tree.problem(f"/{folder}/.info/{name}", "does not hold a ROCm version")
    match = _VERSION.search(os.path.basename(folder))
    return match.group() if match else None


def _target(tree: Tree, link: str) -> str | None:
    """Where a link of the host leads, as a path of the host, following at most a few links below the root."""
    path = "/" + link
    for _hop in range(8):
        try:
            target = os.readlink(tree.path(path))
        except (OSError, ValueError):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return path if path != "/" + link and tree.exists(path) else None


def installations(
    tree: Tree, packages: dict[str, str], search_paths: t.Sequence[str] = ()
) -> list[dict[str, t.Any]]:
    """Every installation: ``{version, path, layout, current}``; ``version`` is ``None`` where nothing tells
    it."""
    found: list[dict[str, t.Any]] = []
    current = _target(tree, "opt/rocm")
    if not current and tree.link_name("opt/rocm"):
        tree.problem("/opt/rocm", "is a link that leads nowhere")
    legacy = [f"opt/{name}" for name in tree.names("opt") if name.startswith("rocm-")]
    if not current and tree.exists("opt/rocm/.info"):
        legacy.append("opt/rocm")
    for folder in legacy:
        version = _version_in(tree, folder)
        if version and tree.exists(folder):
            # A link that leads nowhere is a broken default, not a missing one.
            alone = len(legacy) == 1 and not tree.link_name("opt/rocm")
            is_current = current == "/" + folder or folder == "opt/rocm" or alone
            # Arch builds TheRock into /opt/rocm itself.
            layout = "therock" if version_numbers(version)[:2] >= list(FIRST_THEROCK) else "legacy"
            found.append({"version": version, "path": "/" + folder, "layout": layout, "current": is_current})

    linked_core = _target(tree, "opt/rocm/core")
    cores = [f"opt/rocm/{name}" for name in tree.names("opt/rocm") if re.fullmatch(r"core-\d+\.\d+.*", name)]
    if not cores and tree.exists("opt/rocm/core/.info"):
        cores = ["opt/rocm/core"]
    for folder in cores:
        is_current = linked_core == "/" + folder or (linked_core is None and len(cores) == 1)
        found.append(
            {
                "version": _version_in(tree, folder),
                "path": "/" + folder,
                "layout": "therock",
                "current": is_current,
            }
        )

    for name in DISTRIBUTION_PACKAGES:
        # AMD's own legacy packages are called hsa-rocr too.
        if name in packages and not (name == "hsa-rocr" and found):
            match = _VERSION.match(packages[name].rpartition(":")[2])
            found.append(
                {
                    "version": match.group() if match else None,
                    "path": "/usr",
                    "layout": "distribution",
                    "current": not found,
                }
            )
            break
    return found + _wheels(tree, search_paths)


def _wheels(tree: Tree, search_paths: t.Sequence[str]) -> list[dict[str, t.Any]]:
    """Wheels of ROCm in virtual environments."""
    wheels: list[dict[str, t.Any]] = []
    for base in search_paths:
        base = base.strip("/")
        for lib in tree.names(base, "lib"):
            folder = f"{base}/lib/{lib}/site-packages"
            for name in tree.names(folder):
                match = re.fullmatch(
                    r"rocm_sdk_core-([0-9]{1,9}\.[0-9]{1,9}(?:\.[0-9]{1,9})?).*\.dist-info", name
                )
                if match:
                    wheels.append(
                        {
                            "version": match.group(1),
                            "path": f"/{folder}/_rocm_sdk_core",
                            "layout": "wheel",
                            "current": False,
                        }
                    )
    return wheels


def current_version(found: list[dict[str, t.Any]]) -> str | None:
    """The version programs find by default. A TheRock installation hides a legacy one."""
    current = [entry for entry in found if entry["current"] and entry["version"]]
    current.sort(key=lambda entry: version_numbers(entry["version"]))
    return current[-1]["version"] if current else None
