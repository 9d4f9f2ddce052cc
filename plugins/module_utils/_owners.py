# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which KFD nodes are partitions of one GPU, and which PCI device that GPU is.

The PCI slot decides: a GPU is one device on the bus, whatever number of KFD nodes it shows. An id of the die
is no answer: it was one for the whole GPU, drivers since 6.16.13 and Linux 6.18 give each partition the id
of its own die, and it may differ from what PCI shows even where there is one partition. It is asked only
where two nodes name the identical place, as on kernels before 5.6, which do not tell the PCI domain."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _kfd


class Device(t.Protocol):
    """The properties of a PCI device that decide who owns a node."""

    @property
    def address(self) -> str: ...

    @property
    def unique_id(self) -> str | None: ...


D = t.TypeVar("D", bound=Device)


def slot_of(address: str) -> str:
    """Domain, bus and device: what all functions of one device share."""
    return address.rpartition(".")[0]


def _without_domain(address: str) -> str:
    return address.partition(":")[2]


class Owners(t.Generic[D]):
    """The PCI devices of a host with the KFD nodes of each, and the nodes that belong to none of them."""

    def __init__(self, devices: t.Iterable[D], nodes: t.Iterable[_kfd.Node]) -> None:
        self.devices = {device.address: device for device in devices}
        self.nodes: dict[str, list[_kfd.Node]] = {address: [] for address in self.devices}
        homeless = []
        for node in nodes:
            device = self._owner(node)
            if device:
                self.nodes[device.address].append(node)
            else:
                homeless.append(node)
        self.homeless = grouped(homeless)

    def _owner(self, node: _kfd.Node) -> D | None:
        fitting = self._at(node)
        if len(fitting) > 1:
            # Several functions or domains: the id tells which one, else the first that has the fewest nodes.
            fitting = self._same_id(node, fitting) or sorted(
                fitting, key=lambda device: len(self.nodes[device.address])
            )
        elif not fitting:
            # A place that is not on the bus is a damaged one; the id may still tell.
            fitting = self._same_id(node, list(self.devices.values()))
        return fitting[0] if fitting else None

    def _at(self, node: _kfd.Node) -> list[D]:
        """The devices at the place that a node names. The function may be the number of the partition."""
        address = node.pci_address
        if address is None:
            return []
        known: t.Callable[[str], str] = str if "domain" in node.properties else _without_domain
        exact = [device for device in self.devices.values() if known(device.address) == known(address)]
        return exact or [
            device
            for device in self.devices.values()
            if known(slot_of(device.address)) == known(slot_of(address))
        ]

    @staticmethod
    def _same_id(node: _kfd.Node, devices: list[D]) -> list[D]:
        known = (node.unique_id or "").lstrip("0")
        found = [device for device in devices if known and (device.unique_id or "").lstrip("0") == known]
        return found if len(found) == 1 else []


def grouped(nodes: t.Iterable[_kfd.Node]) -> list[list[_kfd.Node]]:
    """Nodes without a PCI device, by GPU: one slot is one GPU, and as many as it names one place for."""
    groups: dict[tuple[str, int], list[_kfd.Node]] = {}
    places: dict[tuple[str, int | None], list[str]] = {}
    for node in nodes:
        slot = slot_of(node.pci_address) if node.pci_address else f"id {node.unique_id}"
        ids = places.setdefault((slot, node.properties.get("location_id")), [])
        name = node.unique_id or f"node {node.number}"
        if name not in ids:
            ids.append(name)
        groups.setdefault((slot, ids.index(name)), []).append(node)
    return list(groups.values())


def address_of(nodes: list[_kfd.Node]) -> str | None:
    """The PCI address of a GPU by its nodes alone. Where they name several functions, these are
    partitions."""
    addresses = sorted({node.pci_address for node in nodes if node.pci_address})
    if len(addresses) > 1:
        return f"{slot_of(addresses[0])}.0"
    return addresses[0] if addresses else None
