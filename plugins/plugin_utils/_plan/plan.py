# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of one host. Each section knows its own shape; what leaves the planner is plain data."""

from __future__ import annotations

import dataclasses
import typing as t

from .acceptance import AcceptancePlan
from .devices import DevicesPlan
from .driver import DriverPlan
from .findings import Finding
from .firmware import FirmwarePlan
from .handover.kubernetes_plan import KubernetesPlan
from .health import HealthPlan
from .host import Setting
from .kernel import KernelPlan
from .model import ModelPlan
from .partition import PartitionPlan
from .rocm import RocmPlan
from .serve import ServePlan


@dataclasses.dataclass(frozen=True)
class Plan:
    """A section for each role, with nothing left to decide, and the reasons for people to read."""

    host: str
    # The architecture that its profile is for, and what that is called.
    profile: str
    title: str | None
    # The GPUs in a few words.
    gpus: str
    package_manager: str | None
    kernel: KernelPlan
    firmware: FirmwarePlan
    driver: DriverPlan
    rocm: RocmPlan
    devices: DevicesPlan
    partition: PartitionPlan
    model: ModelPlan
    serve: ServePlan
    findings: list[Finding]
    settings: list[Setting]
    # Where the state of the GPUs was read.
    health: HealthPlan | None = None
    # Where a cluster runs the servers of this host.
    kubernetes: KubernetesPlan | None = None
    acceptance: AcceptancePlan | None = None

    def without_packages(self) -> Plan:
        """The same with nothing for a package manager to do."""
        return dataclasses.replace(
            self,
            firmware=dataclasses.replace(self.firmware, install=[]),
            driver=dataclasses.replace(
                self.driver, repository=None, install=[], remove=[], headers=[], build=[], hold=[], unhold=[]
            ),
            rocm=RocmPlan(version=self.rocm.version),
        )


@dataclasses.dataclass(frozen=True)
class NoPlan:
    """A host that is left alone: its inventory does not fit, or it was not reached."""

    host: str
    findings: list[Finding]
    settings: list[Setting] = dataclasses.field(default_factory=list)


def plain(plan: Plan | NoPlan) -> dict[str, t.Any]:
    """The plan as mappings and lists."""
    return dataclasses.asdict(plan)
