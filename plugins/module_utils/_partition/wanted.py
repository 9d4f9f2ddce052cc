# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a wanted mode takes. Nothing is touched here."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.gpus import Gpu, PartitionError, choose


class Plan(t.NamedTuple):
    """What has to be done. ``compute`` is what each GPU is in afterwards, as far as this changes it or a
    reload would."""

    gpus: list[Gpu]
    memory: str | None
    hive: list[Gpu]
    compute: dict[str, str]

    @property
    def changed(self) -> bool:
        return bool(self.hive or self.compute)

    @property
    def reload(self) -> bool:
        """Whether the driver has to be loaded again."""
        return bool(self.hive)

    def after(self) -> list[dict[str, t.Any]]:
        changed = {gpu.address for gpu in self.hive}
        states = []
        for gpu in self.gpus:
            compute = self.compute.get(gpu.address, gpu.compute)
            expected = gpu.expected(compute) if compute != gpu.compute else None
            memory = self.memory if gpu.address in changed else gpu.memory
            states.append(
                {
                    "address": gpu.address,
                    "compute": compute,
                    "memory": memory,
                    "devices": gpu.devices if expected is None or not gpu.devices else expected,
                }
            )
        return states

    def actions(self) -> list[str]:
        lines = [f"ask {gpu.address} for memory mode {self.memory}" for gpu in self.hive]
        if self.reload:
            lines.append("load the driver amdgpu again")
        by_address = {gpu.address: gpu for gpu in self.gpus}
        for address, mode in self.compute.items():
            lines.append(
                f"set {address} to {mode}"
                if by_address[address].compute != mode
                else f"set {address} to {mode} again"
            )
        return lines


def plan(gpus: list[Gpu], compute: str | None, memory: str | None, wanted: t.Sequence[str] = ()) -> Plan:
    """What a wanted mode takes. Refuses what cannot be, before anything is touched."""
    chosen = choose(gpus, wanted)
    hive = [gpu for gpu in chosen if memory and gpu.memory != memory]
    for gpu in chosen:
        _refuse(gpu, compute, memory)
    if hive:
        _whole_hive(gpus, chosen, memory)
    modes: dict[str, str] = {}
    for gpu in gpus:
        mode = compute if compute and gpu in chosen else gpu.compute
        # A reload takes the mode from every GPU of the host, also from those that this is not about.
        if gpu.offers and mode and (mode != gpu.compute or hive):
            modes[gpu.address] = mode
    return Plan(
        gpus=[gpu for gpu in gpus if gpu.offers], memory=memory if hive else None, hive=hive, compute=modes
    )


def _refuse(gpu: Gpu, compute: str | None, memory: str | None) -> None:
    if gpu.compute is None or (memory and gpu.memories and gpu.memory is None):
        what = "compute" if gpu.compute is None else "memory"
        raise PartitionError(
            f"The {what} mode of {gpu.name} cannot be read (current_{what}_partition in /{gpu.folder}). The "
            f"GPU may be in a reset, or the"
            " driver did not come up: look at dmesg."
        )
    if compute and compute not in gpu.computes:
        # The list of some drivers depends on the memory mode, but one device is what every GPU can be.
        waits = memory is not None and memory != gpu.memory
        if not (waits and compute == "SPX"):
            hint = f" in {gpu.memory}. Set memory alone first if {memory} is needed for it" if waits else ""
            raise PartitionError(
                f"{gpu.name} does not offer {compute}; it offers {', '.join(gpu.computes)}{hint}."
            )
    if memory and memory not in gpu.memories and memory != gpu.memory:
        offers = (
            f"it offers {', '.join(gpu.memories)}"
            if gpu.memories
            else "it offers no memory modes (no available_memory_partition)"
        )
        raise PartitionError(f"{gpu.name} does not offer {memory}; {offers}.")
    mode, banks = compute or gpu.compute, memory or gpu.memory
    devices = gpu.expected(mode)
    if mode and banks and devices is not None and int(banks[3:]) > devices and (compute or memory):
        raise PartitionError(
            f"{banks} with {mode} is not possible on {gpu.name}: there would be more memory partitions "
            f"({banks[3:]}) than"
            f" compute partitions ({devices}). Give compute and memory together, for example SPX with NPS1 "
            f"or CPX with {banks}."
        )


def _whole_hive(gpus: list[Gpu], chosen: list[Gpu], memory: str | None) -> None:
    hives = {gpu.hive for gpu in chosen if gpu.hive}
    left = [gpu for gpu in gpus if gpu.hive in hives and gpu.offers and gpu not in chosen]
    if left:
        raise PartitionError(
            f"The memory mode is one for all GPUs that are linked by XGMI, and "
            f"{', '.join(gpu.address for gpu in left)} would be left"
            f" out of {memory}. Leave gpus empty, or name all of them."
        )
