# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can serve. The documentation is in the YAML file beside this one."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import offer

ALL = "all"
ORDER = ("fits", "unknown", "no")


def models_that_fit(
    gpus: t.Mapping[str, t.Any],
    names: str | list[str] = ALL,
    plan: t.Mapping[str, t.Any] | None = None,
    release: str = "",
    catalog: t.Mapping[str, t.Any] | None = None,
) -> list[dict[str, t.Any]]:
    wanted = names.split(",") if isinstance(names, str) else list(names)
    wanted = [str(name).strip() for name in wanted if str(name).strip() not in ("", ALL)]
    try:
        known = Catalog(plain(dict(catalog or {})))
    except CatalogError as error:
        raise AnsibleFilterError(f"models_that_fit: {error}") from error
    chosen = release or known.vllm["default_version"]
    if chosen not in known.vllm["versions"]:
        releases = ", ".join(known.vllm["versions"])
        raise AnsibleFilterError(
            f"models_that_fit: vllm_version {chosen} is not in the catalog. Take one of {releases}."
        )
    pool = ((plan or {}).get("kernel") or {}).get("pool_bytes")
    found = []
    for card in offer.cards(plain(dict(gpus)), known, pool):
        about = {"gpu": card.product, "gfx": card.gfx, "count": card.count, "usable_bytes": card.usable_bytes}
        found += [{**about, **_row(each)} for each in offer.offers(known, card, chosen, wanted)]
    return sorted(found, key=lambda row: ORDER.index(row["verdict"]))


def _row(each: offer.Offer) -> dict[str, t.Any]:
    row = dataclasses.asdict(each)
    return {name: _harmless.line(value) if isinstance(value, str) else value for name, value in row.items()}


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"models_that_fit": models_that_fit}
