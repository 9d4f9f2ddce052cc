# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPUs, partitions, CPUs and memory nodes a server gets, and who else has them."""

from __future__ import annotations

import dataclasses
import typing as t

from .facts import Gpu
from .host import Host
from .wants import INVENTORY, Server


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of one server: its GPUs, and the partitions of each (a GPU in SPX has number 0 alone)."""

    gpus: list[Gpu]
    # Index of the GPU -> numbers of its partitions.
    partitions: dict[int, list[int]]

    @property
    def number(self) -> int:
        return sum(len(partitions) for partitions in self.partitions.values())


NO_DEVICES = Devices([], {})


@dataclasses.dataclass(frozen=True)
class Numa:
    """A memory node of the host, and its CPUs as the kernel writes them."""

    node: int
    cpus: str


def devices_of(gpu: Gpu, planned: t.Mapping[int, int]) -> int:
    """What an engine sees of a GPU: partitions are devices of their own, in the mode that the plan sets."""
    return planned.get(gpu["index"]) or max(gpu["partitions"] or 0, 1)


class Claim(t.NamedTuple):
    """A server on a device, and the share of its memory that it asks for."""

    name: str
    share: float | None


def _together(claims: t.Sequence[Claim]) -> bool:
    return all(claim.share for claim in claims) and sum(claim.share or 0.0 for claim in claims) <= 1.0 + 1e-9


class Assignment:
    """Hands out the devices of a host, and says where two servers ask for the same one."""

    def __init__(self, host: Host, planned: t.Mapping[int, int]) -> None:
        self.host = host
        self.planned = planned
        self._used: dict[tuple[int, int], list[Claim]] = {}

    def choose(
        self, server: Server, share: float | None = None, gpus: t.Sequence[Gpu] | None = None
    ) -> Devices:
        """The devices of one server: those that it names, or all; equal servers get equal parts of them.

        ``share`` of their memory is what it asks for; without one it takes what is there. ``gpus``: those
        that its engine can compute on, where these are others than ROCm supports."""
        by_index = {gpu["index"]: gpu for gpu in (self.host.gpus if gpus is None else gpus)}
        self._check_indexes(server, by_index)
        pairs = []
        for index in dict.fromkeys(server.gpus or by_index):
            count = devices_of(by_index[index], self.planned) if index in by_index else 0
            absent = [number for number in server.partitions if not 0 <= number < count]
            if absent and count:
                seen = f"partition {', '.join(map(str, absent))} of GPU {index}"
                expected = f"0 to {count - 1}" if count > 1 else "0, the whole GPU"
                self.host.findings.add("serve.partitions", seen, expected, instance=server.name)
            numbers = dict.fromkeys(server.partitions or range(count))
            pairs += [(index, number) for number in numbers if 0 <= number < count]
        pairs = self._share(server, pairs)
        self._check_overlap(Claim(server.name, share), pairs, by_index)
        for pair in pairs:
            self._used.setdefault(pair, []).append(Claim(server.name, share))
        gpus = [by_index[index] for index in dict.fromkeys(index for index, _number in pairs)]
        return Devices(
            gpus,
            {gpu["index"]: [number for index, number in pairs if index == gpu["index"]] for gpu in gpus},
        )

    def held(self, name: str) -> set[tuple[int, int]]:
        """The devices of a server that got its own: index of the GPU, number of the partition."""
        return {pair for pair, claims in self._used.items() if name in [claim.name for claim in claims]}

    def _check_indexes(self, server: Server, by_index: t.Mapping[int, Gpu]) -> None:
        missing = [index for index in server.gpus if index not in by_index]
        if not missing:
            return
        listed = {gpu["index"] for gpu in self.host.gpu_facts["gpus"]}
        unsupported = set(missing) <= listed
        why = "ROCm does not support this GPU" if unsupported else "the host has no GPU of this index"
        usable = ", ".join(str(index) for index in by_index) or "nothing (the host has no supported GPU)"
        seen = f"GPU {', '.join(str(index) for index in missing)}"
        self.host.findings.add("serve.gpus", seen, usable, why=why, instance=server.name, known=usable)

    def _share(self, server: Server, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        at, count = server.share
        each, rest = divmod(len(pairs), count)
        if not pairs or not (rest or not each):
            return pairs[at * each : (at + 1) * each]
        if at == 0:
            seen, name = f"{len(pairs)} devices for {count} servers", server.name.removesuffix("-0")
            self.host.findings.add("serve.count", seen, "as many for each", instance=name)
        return []

    def _check_overlap(
        self, mine: Claim, pairs: list[tuple[int, int]], by_index: t.Mapping[int, Gpu]
    ) -> None:
        """One finding for a GPU and server, however many of its partitions are claimed twice. Servers that
        ask for shares of the memory go together as long as the shares do."""
        said: dict[tuple[int, str], list[int]] = {}
        for index, number in pairs:
            claims = self._used.get((index, number), [])
            if claims and not _together([*claims, mine]):
                said.setdefault((index, claims[-1].name), []).append(number)
        for (index, other), twice in said.items():
            part = f"partition {', '.join(map(str, twice))} of GPU {index}"
            what = f"GPU {index}" if len(twice) == devices_of(by_index[index], self.planned) else part
            claims = [*self._used[index, twice[0]], mine]
            seen, expected = f"{what} for {other} and {mine.name}", "one instance a GPU or partition"
            if all(claim.share for claim in claims):
                shares = " + ".join(f"{claim.share:g}" for claim in claims)
                names = ", ".join(claim.name for claim in claims[:-1])
                seen = f"{shares} of the memory of {what} for {names} and {mine.name}"
                expected = "shares of at most 1 together"
            self.host.findings.add("serve.overlap", seen, expected)

    def render_nodes(self, devices: Devices) -> list[str]:
        """Names below /dev/dri. Before the mode is set a GPU shows other nodes; the plan is made again
        then."""
        nodes: list[str] = []
        for gpu in devices.gpus:
            shown = gpu["render_nodes"]
            apart = len(shown) == devices_of(gpu, self.planned)
            nodes += [shown[number] for number in devices.partitions[gpu["index"]]] if apart else shown
        return nodes


def numa(host: Host, server: Server, gpus: t.Sequence[Gpu]) -> Numa | None:
    """The node whose CPUs and memory a server uses; ``None`` where the kernel shall choose."""
    cpus_of, asked = host.system["numa_nodes"], server.numa
    if asked == "none":
        return None
    if asked != "auto":
        if asked not in cpus_of:
            seen, expected = f"node {asked} for {server.name}", ", ".join(cpus_of) or "none that has CPUs"
            expected = f"a node of the host: {expected}"
            host.findings.add("serve.numa", seen, expected, instance=server.name)
            return None
        host.note(
            "serve", f"{server.name} numa", f"node {asked}: CPUs {cpus_of[asked]}", "asked for", INVENTORY
        )
        return Numa(int(asked), cpus_of[asked])
    nodes = {str(gpu["numa_node"]) for gpu in gpus}
    if len(cpus_of) < 2 or len(nodes) != 1 or not nodes <= set(cpus_of):
        return None
    node = nodes.pop()
    reason = (
        "its GPUs are attached to this node; CPUs and memory of another one are reached through the link "
        "between the sockets"
    )
    source = "numa_node of the GPUs in sysfs"
    host.note("serve", f"{server.name} numa", f"node {node}: CPUs {cpus_of[node]}", reason, source)
    return Numa(int(node), cpus_of[node])
