# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each package manager writes what the plan wants. A further one is a file and a line in ``MANAGERS``."""

from __future__ import annotations

import typing as t

from . import apt, dnf


class PackageManager(t.Protocol):
    """What differs between package managers, seen from a plan. Between sections packages are
    ``name=version``."""

    # The key of a repository of the catalog that has the address.
    repository_key: str
    # The key of the catalog for packages that AMD's own need and do not ask for.
    family: str

    def pin(self, name: str, known: t.Mapping[str, t.Any], key: str = "package_version") -> str:
        """``name=version`` of a release of the catalog."""

    def spell(self, packages: t.Sequence[str]) -> list[str]:
        """Packages as the manager's own command line takes them."""

    def at_least(self, name: str, version: str) -> str:
        """A lower limit as the manager's command line takes it."""

    def kernels(self, installed: t.Mapping[str, str], running: str) -> list[str]:
        """What brings new kernels, to be held: names or exact versions."""


MANAGERS: dict[str, PackageManager] = {"apt": apt.Apt(), "dnf": dnf.Dnf()}


def of(name: str | None) -> PackageManager:
    """The manager of a host. One that no role can use has its packages taken out of the plan afterwards."""
    return MANAGERS.get(name or "", MANAGERS["dnf"])
