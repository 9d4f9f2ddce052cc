# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers that a host shall have. The documentation is in the YAML file beside this one."""

from __future__ import annotations

import typing as t


def wanted_servers(plan: t.Mapping[str, t.Any], secrets: str = "/etc/vllm") -> list[dict[str, t.Any]]:
    serve: t.Mapping[str, t.Any] = plan.get("serve") or {}
    if serve.get("state") != "present":
        return []
    return [
        {
            "name": each["name"],
            "unit": each["unit"],
            # A worker computes for the first host of its group, and is asked nothing itself.
            "url": "" if each["worker"] else each["url"],
            "model": "" if each["worker"] else each["served_name"],
            "version": (each.get("launch") or {}).get("told_version", ""),
            "completes": each["completes"],
            "question": (each.get("launch") or {}).get("probe", "completion"),
            "api_key_file": each.get("secret_file") or f"{secrets}/{each['name']}.secret",
        }
        for each in serve.get("instances") or []
    ]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wanted_servers": wanted_servers}
