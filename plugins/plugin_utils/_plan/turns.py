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


class Starts(t.Protocol):
    """What is known of a server: its name and unit, where it answers, and the GPUs that it computes on."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def gpus(self) -> list[int]: ...


def take_turns(
    host: Host, servers: t.Sequence[Starts], held: t.Callable[[str], set[tuple[int, int]]]
) -> list[Turn]:
    """The turn of each server, in their order. ``held``: the devices of one, by its name."""
    devices = {each.name: held(each.name) if each.gpus else set() for each in servers}

    def near(mine: Starts, others: t.Sequence[Starts]) -> list[Neighbour]:
        return [Neighbour(each.unit, each.url) for each in others if devices[mine.name] & devices[each.name]]

    turns = []
    for at, mine in enumerate(servers):
        turn = Turn(before=near(mine, servers[:at]), beside=near(mine, servers[at + 1 :]))
        if turn.before:
            value = "after " + ", ".join(each.unit for each in turn.before)
            host.note("serve", f"{mine.name} start", value, REASON, SOURCE)
        turns.append(turn)
    return turns
