# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that share a GPU start one after another, in the order of the inventory.

An engine measures while it starts what memory there is. Two that load at the same time see each other's
memory come and go: vLLM then stops with an assertion, or takes what the other one still needs.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .host import Host

if t.TYPE_CHECKING:
    from .serve import ServerPlan

REASON = "they share a GPU, and each measures the memory while it starts; the order is that of the inventory"
SOURCE = "vLLM: vllm/v1/worker/gpu_worker.py, determine_available_memory"


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A server on the same GPU: its unit, and where it answers (nowhere, if empty)."""

    unit: str
    url: str


@dataclasses.dataclass(frozen=True)
class Turn:
    """Whom a server waits for when it starts; nobody where it has its GPUs alone."""

    # They come first, also where all of them start at once.
    before: list[Neighbour] = dataclasses.field(default_factory=list)
    # They come later, and are waited for only while they load.
    beside: list[Neighbour] = dataclasses.field(default_factory=list)


def take_turns(
    host: Host, instances: t.Sequence[ServerPlan], held: t.Callable[[str], set[tuple[int, int]]]
) -> list[ServerPlan]:
    """The servers, in their order, each with its turn. ``held``: the devices of one, by its name."""
    devices = {each.name: held(each.name) if each.gpus else set() for each in instances}

    def near(mine: ServerPlan, others: t.Sequence[ServerPlan]) -> list[Neighbour]:
        return [Neighbour(each.unit, each.url) for each in others if devices[mine.name] & devices[each.name]]

    found = []
    for at, mine in enumerate(instances):
        turn = Turn(before=near(mine, instances[:at]), beside=near(mine, instances[at + 1 :]))
        if turn.before:
            value = "after " + ", ".join(each.unit for each in turn.before)
            host.note("serve", f"{mine.name} start", value, REASON, SOURCE)
        found.append(dataclasses.replace(mine, turn=turn))
    return found
