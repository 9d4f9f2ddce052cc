# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package repository as a role sets it: from the catalog, the mirror or the inventory."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import mirror
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY, WantsError

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host


def repository(host: Host, role: str, suite: str | None, **words: str) -> dict[str, t.Any]:
    known = host.catalog.releases["repositories"][role]
    wants = host.wants
    given = wants[f"{role}_repository_uri"]
    try:
        public = known["uri" if host.package_manager == "apt" else "rpm_uri"]
        uri = (given or mirror.address(wants, public)).format(**words)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise WantsError(
            f"{role}_repository_uri: {given} may hold {', '.join(f'{{{name}}}' for name in words)} only."
        ) from error
    host.note(
        role,
        "repository",
        uri,
        "asked for" if given else known["reason"],
        INVENTORY if given else known["source"],
    )
    return {
        "name": f"amdgpu-fleet-{role}",
        "uri": uri,
        "suite": suite,
        "components": known["components"],
        "key_url": wants[f"{role}_repository_key_url"] or mirror.address(wants, known["key_url"]),
        "fingerprint": wants[f"{role}_repository_fingerprint"] or known["fingerprint"],
    }
