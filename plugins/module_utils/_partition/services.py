# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has the GPUs open, and the units that may be stopped for a change."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import pci_gpus
from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.gpus import PartitionError
from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.wanted import Plan
from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.work import Run
from ansible_collections.amdgpu.fleet.plugins.module_utils._processes import Holder
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

KFD_DEVICE = "/dev/kfd"


def devices_of(plan: Plan, tree: Tree) -> set[str]:
    """The device nodes that nobody may have open: those of the GPUs that change, or of all GPUs where the
    driver goes."""
    nodes = {KFD_DEVICE}
    for gpu in plan.gpus:
        if plan.reload or gpu.address in plan.compute:
            # A display on the card itself does not keep the compute mode from changing; an unloaded driver it
            # does.
            nodes.update(node for node in gpu.nodes if plan.reload or "/renderD" in node)
    if plan.reload:
        for device in pci_gpus(tree):
            if device.driver == "amdgpu":
                nodes.update(
                    f"/dev/dri/{name}"
                    for name in tree.names(device.folder, "drm")
                    if name.startswith(("card", "renderD"))
                )
        # amdgpu_xcp_0 is amdgpu_xcp.0 with newer drivers.
        for name in tree.names("sys/devices/platform"):
            if name.startswith("amdgpu_xcp"):
                nodes.update(f"/dev/dri/{node}" for node in tree.names("sys/devices/platform", name, "drm"))
    return nodes


def unit_name(name: str) -> str:
    """A unit as systemd lists it; ``docker`` is ``docker.service``."""
    return name if "." in name else f"{name}.service"


def refuse_holders(found: t.Iterable[Holder], told: t.Sequence[str], after: str = "") -> None:
    """Name those that nobody said may be stopped."""
    strangers = [holder for holder in found if not set(holder.units) & set(told)]
    if strangers:
        units = sorted({holder.units[-1] for holder in strangers if holder.units})
        remedy = f"add {', '.join(units)} to stop_services" if units else "end it"
        raise PartitionError(
            f"The GPUs are in use{after}: {'; '.join(str(holder) for holder in strangers)}. Nothing was "
            f"changed."
            f" Stop what uses them, or {remedy}."
        )


class Services:
    """The units that may be stopped for a change, and are started again whatever becomes of it."""

    def __init__(self, run: Run, names: t.Sequence[str]) -> None:
        self.run = run
        self.names = [unit_name(name) for name in names]
        self.stopped: list[str] = []

    def stop(self) -> None:
        for name in self.names:
            if self.run(["systemctl", "is-active", "--quiet", name])[0] != 0:
                continue
            # Counted as stopped before it is: a stop that fails half-way is made good by the start.
            self.stopped.append(name)
            rc, out, err = self.run(["systemctl", "stop", name])
            if rc != 0:
                said = (err or out).strip() or f"systemctl ended with {rc}"
                raise PartitionError(f"{name} could not be stopped: {said}. Nothing was changed.")

    def start(self) -> list[str]:
        """Returns what did not start, as sentences."""
        problems = []
        for name in reversed(self.stopped):
            rc, out, err = self.run(["systemctl", "start", name])
            if rc != 0:
                said = (err or out).strip() or f"systemctl ended with {rc}"
                problems.append(
                    f"{name} was stopped for the change and did not start again: {said}. Look at journalctl "
                    f"-u {name}."
                )
        return problems
