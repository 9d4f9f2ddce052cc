# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of Kubernetes out of a plan. The documentation is in the YAML file beside this one."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.plugins.loader import module_loader

from ansible_collections.amdgpu.fleet.plugins.filter.plan import FACTS
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plain import plain
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import kubernetes_objects as made
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.plan import NoPlan


def kubernetes_objects(facts: t.Mapping[str, t.Any], wants: dict[str, t.Any], host: str) -> dict[str, t.Any]:
    seen, plan = planner.whole(plain({name: facts.get(name, {}) for name in FACTS}), plain(wants), host)
    if isinstance(plan, NoPlan) or seen is None:
        reasons = " ".join(sentence(dataclasses.asdict(finding)) for finding in plan.findings)
        raise AnsibleFilterError(f"amdgpu.fleet.kubernetes_objects: there is no plan for {host}. {reasons}")
    if plan.kubernetes is None:
        raise AnsibleFilterError(
            f"amdgpu.fleet.kubernetes_objects: {host} is not handed over. Set serve_kind to kubernetes for it "
            "in the inventory."
        )
    return dataclasses.asdict(made.objects(seen, plan))


def modules_missing(names: t.Sequence[str]) -> list[str]:
    return [name for name in names if not module_loader.find_plugin_with_context(name).resolved]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"kubernetes_objects": kubernetes_objects, "modules_missing": modules_missing}
