# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package repository as a role sets it: from the catalog, the mirror or the inventory."""

from __future__ import annotations

import dataclasses

from . import mirror
from .host import Host
from .wants import INVENTORY, WantsError


@dataclasses.dataclass(frozen=True)
class Repository:
    """What the module package_repository is given."""

    name: str
    uri: str
    suite: str | None
    components: list[str]
    key_url: str
    fingerprint: str


def repository(host: Host, role: str, suite: str | None, **words: str) -> Repository:
    """The repository of the role driver or rocm; ``words`` fill the placeholders of its address."""
    known, wants = host.catalog.releases["repositories"][role], host.wants
    uri, key, fingerprint = (
        (wants.driver_repository_uri, wants.driver_repository_key_url, wants.driver_repository_fingerprint)
        if role == "driver"
        else (wants.rocm_repository_uri, wants.rocm_repository_key_url, wants.rocm_repository_fingerprint)
    )
    try:
        public = known[host.packaging.repository_key]
        filled = (uri or mirror.address(wants, public)).format(**words)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        may = ", ".join(f"{{{name}}}" for name in words)
        raise WantsError(f"{role}_repository_uri: {uri} may hold {may} only.") from error
    reason, source = ("asked for", INVENTORY) if uri else (known["reason"], known["source"])
    host.note(role, "repository", filled, reason, source)
    return Repository(
        name=f"amdgpu-fleet-{role}",
        uri=filled,
        suite=suite,
        components=known["components"],
        key_url=key or mirror.address(wants, known["key_url"]),
        fingerprint=fingerprint or known["fingerprint"],
    )
