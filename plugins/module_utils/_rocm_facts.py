# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fact ``amd_rocm``: installations, what is left of legacy ones, driver, firmware."""

from __future__ import annotations

import typing as t

from . import _driver, _driver_owners, _packages, _processes, _rocm
from ._reader import Reader
from ._tree import Tree


def facts(reader: Reader, tree: Tree, search_paths: t.Sequence[str]) -> dict[str, t.Any]:
    """The fact; ``tree`` keeps the problems that belong to it."""
    installations = _rocm.installations(tree, reader.packages, search_paths)
    legacy = [entry for entry in installations if entry["layout"] == "legacy"]
    releases = {entry["version"] for entry in legacy}
    users = _processes.users_of(tree, [entry["path"] for entry in legacy])
    return {
        "installations": installations,
        "version": _rocm.current_version(installations),
        "legacy": {
            "packages": _packages.legacy_rocm(tree, reader.manager, reader.rpm, releases),
            "used_by": sorted({user.units[-1] if user.units else user.process for user in users}),
        },
        "driver": _driver_facts(reader, tree),
        "firmware": _driver.firmware(tree, reader.packages, reader.rpm_time),
        "problems": tree.problems,
    }


def _driver_facts(reader: Reader, tree: Tree) -> dict[str, t.Any]:
    boot = _driver.Boot(reader.release, reader.default_release, reader.arguments, reader.secure_boot)
    driver = _driver.driver(tree, boot, reader.modinfo)
    # The module that runs need not be one of the files: KMM loads it from the image of a container.
    packaged = driver["next_module"] == "dkms" or any(
        build["state"] == "installed" for build in driver["dkms"]
    )
    return {**driver, "owners": _driver_owners.owners(tree, reader.packages, packaged)}
