# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed of an engine on a host, or pulled where a cluster runs it."""

from __future__ import annotations

import dataclasses

from . import engines
from .engines import pins
from .engines.protocol import Build, CodeCheck, Engine, Image, Links, Packages, Venv
from .host import Host
from .podman import QUADLET, PodmanPlan
from .wants import INVENTORY


@dataclasses.dataclass(frozen=True)
class Install:
    """What is installed or pulled of one engine: an image, a virtual environment, or packages."""

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
    packages: Packages | None = None


def pulled(host: Host, install: Install) -> str:
    """The image that the nodes of a cluster pull: by digest where there is one."""
    image = install.container
    if image is None:
        return ""
    if image.archive:
        host.findings.add("kubernetes.archive", image.archive, f"an image of {install.title} in a registry")
    if image.clear:
        host.findings.add("mirror.registry_clear", image.pull, "an image that comes by TLS")
    return image.pull


def install(host: Host, podman: PodmanPlan, engine: Engine, build: Build) -> Install:
    """What is to be installed of an engine, of the kind that the host can run."""
    kind = _kind(host, podman, build)
    engine.check_host(host, build, kind)
    if kind != "venv" and not build.image:
        seen, expected = f"serve_kind {kind}", f"an image of {engine.title} for {build.accelerator}"
        host.findings.add("serve.image", seen, expected)
    release = f"{build.version} ({build.variant})"
    host.note("serve", "version", release, build.reason, build.source)
    image = engine.image(host, build) if kind != "venv" else None
    venv = engine.venv(host, build) if kind == "venv" else None
    packages = engine.packages(host, build) if kind == "venv" else None
    if image:
        pins.check_image(host, engine.name, image)
    if venv:
        pins.check_venv(host, engine.name, venv)
    return Install(
        engine=engine.name,
        title=engine.title,
        accelerator=build.accelerator,
        version=build.version,
        variant=build.variant,
        kind=kind,
        # A program of the host is there, or a finding says that it is not.
        present=all(part.present for part in (venv, image, packages) if part),
        container=image,
        venv=venv,
        links=engine.links(host, build) if venv else Links(),
        packages=packages,
    )


def _kind(host: Host, podman: PodmanPlan, build: Build) -> str:
    want, rootless_user = host.wants.serve_kind, host.wants.serve_user
    if want == "quadlet" and not podman.quadlet:
        seen = f"Podman {podman.version or 'not installed'}"
        host.findings.add("serve.quadlet", seen, f"Podman {QUADLET} or later")
    if (want == "podman" or (want == "auto" and rootless_user)) and not podman.version:
        host.findings.add("serve.podman", "Podman not installed", "Podman")
    source: str | None = None
    if want != "auto":
        kind, reason, source = want, "asked for", INVENTORY
    elif rootless_user:
        kind = "podman"
        reason = "a service of the system can run Podman as another user; units of Quadlet there are root's"
    elif podman.quadlet and build.image:
        kind, source = "quadlet", "podman-systemd.unit(5)"
        reason = f"Podman {podman.version} generates units"
    elif podman.version and build.image:
        kind = "podman"
        reason = f"Podman {podman.version} generates no units: a service around podman run"
    else:
        kind = "venv"
        no_image = f"there is no image of {engines.ENGINES[build.engine].title} for {build.accelerator}"
        reason = "there is no Podman here" if build.image else no_image
    host.note("serve", "kind", kind, reason, source)
    return kind
