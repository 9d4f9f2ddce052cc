# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of a host as far as partitions matter: the modes they are in, and those that they offer."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _kfd
from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect, pci_gpus
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

COMPUTE = ("SPX", "DPX", "TPX", "QPX", "CPX")
MEMORY = ("NPS1", "NPS2", "NPS4", "NPS8")
DEVICES = {"SPX": 1, "DPX": 2, "TPX": 3, "QPX": 4}


class PartitionError(Exception):
    """A mode that cannot be set; the text is whole sentences."""


class Gpu(t.NamedTuple):
    """One physical GPU as far as partitions matter. ``folder`` is below the root."""

    number: int
    address: str
    product: str
    folder: str
    compute: str | None
    memory: str | None
    computes: tuple[str, ...]
    memories: tuple[str, ...]
    virtual: bool
    xccs: int | None
    hive: int
    devices: int
    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.address} ({self.product})"

    @property
    def offers(self) -> bool:
        """Whether the driver offers any choice. It does on no Radeon, no APU for clients and no MI200."""
        return not self.virtual and bool(self.computes)

    def expected(self, compute: str | None) -> int | None:
        """KFD devices in a compute mode; ``None`` where that is not known."""
        return self.xccs if compute == "CPX" else DEVICES.get(compute or "")

    def state(self) -> dict[str, t.Any]:
        return {
            "address": self.address,
            "compute": self.compute,
            "memory": self.memory,
            "devices": self.devices,
        }


def read(tree: Tree) -> list[Gpu]:
    """Every AMD GPU of the host, in PCI order."""
    folders = {device.address: device.folder for device in pci_gpus(tree)}
    hives = {node.number: node.properties.get("hive_id", 0) for node in _kfd.gpu_nodes(tree)[0]}
    gpus = []
    for gpu in detect(tree, full=True)["gpus"]:
        address = gpu["pci_address"] or ""
        folder = folders.get(address, "")
        # Newer drivers list in available_compute_partition only what fits the present memory mode, and all of
        # it here.
        all_modes = tree.text(folder, "compute_partition_config/supported_xcp_configs") if folder else None
        own = (
            [f"/dev/dri/{name}" for name in tree.names(folder, "drm") if name.startswith(("card", "renderD"))]
            if folder
            else []
        )
        gpus.append(
            Gpu(
                number=gpu["index"],
                address=address,
                product=gpu["product"] or gpu["pci_id"] or "unknown GPU",
                folder=folder,
                compute=gpu["compute_partition"] if gpu["compute_partition"] in COMPUTE else None,
                memory=gpu["memory_partition"] if gpu["memory_partition"] in MEMORY else None,
                computes=_modes(
                    [*gpu["available_compute_partitions"], *(all_modes or "").replace(",", " ").split()],
                    COMPUTE,
                )
                if gpu["available_compute_partitions"]
                else (),
                memories=_modes(gpu["available_memory_partitions"], MEMORY),
                virtual=gpu["virtual_function"],
                xccs=gpu["xcc_count"],
                hive=max((hives.get(number, 0) for number in gpu["kfd_nodes"]), default=0),
                devices=gpu["partitions"],
                nodes=tuple(sorted({*own, *(f"/dev/dri/{name}" for name in gpu["render_nodes"])})),
            )
        )
    return gpus


def _modes(found: t.Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The known modes of a list, each once, in the order in which they divide more and more."""
    names = {name.upper() for name in found}
    return tuple(name for name in known if name in names)


def choose(gpus: list[Gpu], wanted: t.Sequence[str]) -> list[Gpu]:
    """The GPUs that are meant: by index or PCI address, or all that offer partitions."""
    if not wanted:
        chosen = [gpu for gpu in gpus if gpu.offers]
        if not chosen:
            raise PartitionError(_nothing(gpus))
        return chosen
    chosen = []
    for name in wanted:
        found = [
            gpu for gpu in gpus if name in (str(gpu.number), gpu.address) or f"0000:{name}" == gpu.address
        ]
        if not found:
            known = ", ".join(f"{gpu.number} ({gpu.address})" for gpu in gpus) or "none"
            raise PartitionError(f"gpus: there is no GPU {name} on this host. There are: {known}.")
        if found[0] not in chosen:
            chosen.append(found[0])
    refused = [gpu for gpu in chosen if not gpu.offers]
    if refused:
        raise PartitionError(_nothing(refused))
    return sorted(chosen, key=lambda gpu: gpu.number)


def _nothing(gpus: list[Gpu]) -> str:
    if not gpus:
        return "There is no AMD GPU on this host, so there is nothing to partition."
    reasons = {
        f"{gpu.name} is a virtual function, whose host decides about partitions"
        if gpu.virtual
        else f"{gpu.name} offers no partition modes (no available_compute_partition)"
        for gpu in gpus
    }
    text = "; ".join(sorted(reasons))
    return (
        f"{text}. Only MI300 and later Instinct GPUs have them, with the amdgpu driver loaded; leave "
        f"other hosts without a mode."
    )
