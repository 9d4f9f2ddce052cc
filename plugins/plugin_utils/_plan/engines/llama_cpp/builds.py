# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of llama.cpp serves: its release, its back end, its image or its program on the host."""

from __future__ import annotations

import dataclasses
import re

from ... import mirror
from ...catalog import Catalog
from ...host import Host
from ...wants import INVENTORY, Wants
from .. import images
from ..protocol import Build, Image
from . import backend, packages

NUMBER = re.compile(r"(?:^|[-.:])b([0-9]{3,6})(?![0-9])")
ACCELERATORS = {"hip": "rocm", "vulkan": "vulkan", "cpu": "cpu"}


@dataclasses.dataclass(frozen=True)
class LlamaBuild(Build):
    """One release of llama.cpp with one back end."""

    # vulkan, hip or cpu.
    backend: str
    # The number of the build, which orders all releases.
    number: int
    image_source: str
    image_digest: str
    # In the image, and on the host.
    entrypoint: str
    program: str


def number_of(host: Host) -> tuple[str, int, str] | None:
    """Release, number of the build, and why; ``None``, with a finding, where nobody knows the number of a
    release."""
    wants, catalog = host.wants, host.catalog
    bare = _is_bare(host)
    tagged = None if bare else NUMBER.search(images.tag(wants.llama_cpp_image))
    installed = packages.installed_release(host) if bare and not wants.llama_cpp_program else ""
    if tagged:
        installed = f"b{tagged.group(1)}"
    default = catalog.llama_cpp["default_release"]
    if wants.llama_cpp_version:
        release, reason = wants.llama_cpp_version, "asked for"
    elif installed:
        release, reason = installed, "the tag of the image says so" if tagged else "its package is installed"
    else:
        release, reason = default, "taken to be it; llama_cpp_version says what it is"
    named = re.fullmatch(r"b([0-9]{3,6})", release)
    number = int(named.group(1)) if named else catalog.llama_cpp["releases"].get(release, {}).get("build")
    if number:
        return release, number, reason
    known = ", ".join(catalog.llama_cpp["releases"])
    seen = wants.llama_cpp_version or packages.seen(host)
    host.findings.add("llama.release", seen, f"{known}, or a build such as b11669", known=known)
    return None


def _is_bare(host: Host) -> bool:
    """Whether it is a program of the host that serves, as far as that is known before Podman is planned."""
    asked = (host.wants.llama_cpp_build, host.wants.serve_kind)
    return asked[0] in ("packages", "program") or asked[1] == "venv" or not host.system["podman"]["version"]


def image_of(wants: Wants, catalog: Catalog, name: str) -> tuple[str, str]:
    """The image of a back end and its digest; empty where there is none."""
    known = catalog.llama_cpp["images"][name]
    source = wants.llama_cpp_image or mirror.image(wants, known["image"])
    return source, wants.llama_cpp_image_digest or (not wants.llama_cpp_image and known["digest"]) or ""


def build_for(host: Host) -> LlamaBuild | None:
    """The build that the wants lead to, with the back end that this host is best served by."""
    wants, catalog = host.wants, host.catalog
    packages.check_wants(wants)
    release = number_of(host)
    if release is None:
        return None
    version, number, reason = release
    choice = backend.choose(host, number)
    source, digest = image_of(wants, catalog, choice.name)
    if wants.llama_cpp_build in ("packages", "program"):
        source, digest = "", ""
    own = catalog.llama_cpp["image_program"]
    upstream = images.TAG.sub("", source).endswith(own["repository"])
    return LlamaBuild(
        engine="llama_cpp",
        accelerator=ACCELERATORS[choice.name],
        version=version,
        variant=choice.name,
        reason=reason,
        source=INVENTORY if wants.llama_cpp_version else catalog.llama_cpp["source"],
        image=images.pinned(source, digest),
        backend=choice.name,
        number=number,
        image_source=source,
        image_digest=digest,
        entrypoint=own["program"] if upstream else "llama-server",
        program=program(wants, catalog),
    )


def program(wants: Wants, catalog: Catalog) -> str:
    """Where it lies without a container."""
    return wants.llama_cpp_program or str(catalog.llama_cpp["packages"]["program"])


def image(host: Host, build: LlamaBuild) -> Image:
    """The image that is pulled or loaded."""
    return images.pulled(
        host,
        build.image,
        build.image_source,
        build.image_digest,
        archive=host.wants.llama_cpp_image_archive,
        gib=0,
        variables="llama_cpp_image, llama_cpp_image_digest, llama_cpp_image_archive or plan_mirror",
    )


def candidates(wants: Wants, catalog: Catalog) -> list[str]:
    """Every image that the wants can lead to."""
    named = [image_of(wants, catalog, name) for name in catalog.llama_cpp["images"]]
    return sorted({images.pinned(source, digest) for source, digest in named if source})


def images_for(catalog: Catalog, gfx: str) -> list[str]:
    """Images that are known to have code for an architecture; the one for ROCm before the one that needs
    none."""
    known = catalog.llama_cpp["images"]
    return [str(known[name]["image"]) for name in ("hip", "vulkan") if known[name]["gfx"] == "all"
            or gfx in known[name]["gfx"]]  # fmt: skip


def runs_bare(host: Host, build: LlamaBuild) -> bool:
    """Whether the host has the program."""
    return bool(host.system["programs"].get(build.program))


def check_host(host: Host, build: LlamaBuild, kind: str) -> None:
    """The program where there is no container, and an image that stays what it is where there is one."""
    if kind == "venv":
        _check_bare(host, build)
        return
    moving = build.image and not build.image_digest
    if moving and not NUMBER.search(images.tag(build.image_source)) and not host.wants.llama_cpp_image:
        host.findings.add("llama.moving_tag", build.image_source, "an image that is pinned")


def _check_bare(host: Host, build: LlamaBuild) -> None:
    asked = host.wants.llama_cpp_build
    if asked == "image":
        seen = "serve_kind venv" if host.wants.serve_kind == "venv" else "Podman not installed"
        host.findings.add("serve.podman", seen, "Podman, for llama_cpp_build image")
    elif packages.wanted(host):
        if not packages.offered(host):
            packages.refuse(host)
        backend.check_packages(host, build.backend)
    elif not runs_bare(host, build):
        named = " ".join(packages.names(host, build.backend))
        host.findings.add("llama.program", f"no {build.program}", "llama-server", packages=named)
