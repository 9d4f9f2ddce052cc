# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed of an engine on a host, or pulled where a cluster runs it."""

from __future__ import annotations

import dataclasses

from .engines.protocol import CodeCheck, Image, Links, Venv
from .host import Host


@dataclasses.dataclass(frozen=True)
class Install:
    """What is installed or pulled of one engine: an image or a virtual environment."""

    engine: str
    title: str
    accelerator: str
    version: str
    variant: str
    # quadlet, podman or venv.
    kind: str
    # Whether it is installed already.
    present: bool
    container: Image | None
    venv: Venv | None
    links: Links
    # What code for GPUs it must have; None where nobody can know.
    code: CodeCheck | None = None


def pulled(host: Host, install: Install) -> str:
    """The image that the nodes of a cluster pull: by digest where there is one."""
    image = install.container
    if image is None:
        return ""
    if image.archive:
        host.findings.add("kubernetes.archive", image.archive, f"an image of {install.title} in a registry")
    return image.pull
