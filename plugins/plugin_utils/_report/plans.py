# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of many hosts: what hosts of one kind have in common stands once, a host shows what is its own."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Record, Setting


class Common(t.NamedTuple):
    """The settings that all hosts of a kind share."""

    anchor: str
    title: str
    hosts: list[str]
    settings: list[Setting]


class Share(t.NamedTuple):
    """What one host shows of its plan: a link to the common part, and its own settings."""

    common: Common | None
    settings: list[Setting]


NOTHING = Share(None, [])


def shared(records: list[Record]) -> tuple[list[Common], dict[str, Share]]:
    kinds: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record["settings"]:
            kinds.setdefault((record["profile"], record["gpus"]), []).append(record)
    common: list[Common] = []
    shares: dict[str, Share] = {}
    for (profile, gpus), same in kinds.items():
        if len(same) == 1:
            shares[same[0]["host"]] = Share(None, same[0]["settings"])
            continue
        everywhere = set.intersection(*({_key(each) for each in record["settings"]} for record in same))
        part = Common(
            anchor=f"p{len(common)}",
            title=same[0]["title"] or gpus or profile or "no GPU",
            hosts=[record["host"] for record in same],
            settings=[each for each in same[0]["settings"] if _key(each) in everywhere],
        )
        common.append(part)
        for record in same:
            own = [each for each in record["settings"] if _key(each) not in everywhere]
            shares[record["host"]] = Share(part, own)
    return common, shares


def _key(setting: Setting) -> tuple[str, ...]:
    return tuple(str(setting.get(name) or "") for name in ("role", "setting", "value", "reason", "source"))
