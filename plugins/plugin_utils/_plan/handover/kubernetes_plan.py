# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the section ``kubernetes`` of a plan."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class HostSettings:
    """What the cluster sets on the host, where its own system does (OpenShift)."""

    arguments: list[str]
    sysctl: dict[str, str]
    # Modules that must not load: their driver is the operator's.
    blacklist: list[str]


@dataclasses.dataclass(frozen=True)
class KubernetesPlan:
    """What the role kubernetes and a drain need of a host, beside its servers in ``serve.handed_over``."""

    node: str
    namespace: str
    labels: dict[str, str]
    taint: bool
    # What the node must show before work comes back: the resource, and how many of it.
    resources: dict[str, int]
    # Index of a GPU -> the resource that it is a part of.
    resource_of: dict[int, str]
    settings: HostSettings | None
    # A file of kargs.d for the image of a host whose system is one; else empty.
    image_arguments: str
    # Packages that the plan had and that nobody installs here.
    left_out: list[str]
