# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp as the distribution packages it: which packages, in which release, and where they come from.

The packages of the back ends are plug-ins. Without one the server computes on the CPU, with no more than a
warning, so they are named.
"""

from __future__ import annotations

import re
import typing as t

from ... import distributions
from ...host import Host
from ...repository import Repository
from ...wants import INVENTORY, Wants, WantsError
from ..protocol import Packages

NAME = "amdgpu-fleet-serve"
BACKENDS = ("vulkan", "hip", "cpu")
# Debian writes 1:0.7.0+dfsg-2, and before there were releases 8064+dfsg-1.
VERSION = re.compile(r"(?:\d+:)?(\d+\.\d+\.\d+|\d{3,6})(?![\d.])")


def installed_release(host: Host) -> str:
    """The release of the package that is installed, in the words of ``llama_cpp_version``; else empty."""
    found = VERSION.match(host.system["packages"].get(_of_release(host)[0], ""))
    if not found:
        return ""
    return found.group(1) if "." in found.group(1) else f"b{found.group(1)}"


def seen(host: Host) -> str:
    """The package that is installed, for a sentence."""
    name = _of_release(host)[0]
    return f"{name} {host.system['packages'].get(name, '')}".strip()


def wanted(host: Host) -> bool:
    """Whether they are what serves, where there is no container. A program that somebody put there is his."""
    wants, build = host.wants, host.wants.llama_cpp_build
    if build in ("packages", "program") or wants.llama_cpp_program:
        return build == "packages"
    somebodys = host.system["programs"].get(_known(host)["program"]) and not installed_release(host)
    return offered(host) and not somebodys


def offered(host: Host) -> bool:
    """Whether the distribution has them, or a repository that the inventory names."""
    if host.package_manager != "apt":
        return False
    base = distributions.base(host.system["os"])
    known = [(each["id"], each["codename"]) for each in _known(host)["distributions"]]
    return bool(host.wants.llama_cpp_repository_uri) or (base.id, base.codename) in known


def names(host: Host, backend: str) -> list[str]:
    """Those of a back end."""
    return [*_known(host)["common"], *_known(host)[backend]]


def left_behind(host: Host) -> list[str]:
    """Those of all back ends that the host has."""
    every = [name for backend in BACKENDS for name in names(host, backend)]
    return [name for name in dict.fromkeys(every) if name in host.system["packages"]]


def plan(host: Host, backend: str, release: str, number: int) -> Packages:
    """What is to be installed. A release that the catalog has is asked for by its version, and any other one
    is held to its build afterwards."""
    known = _known(host)
    pinned = known["release"]["version"].format(release=release)
    by_version = release in host.catalog.llama_cpp["releases"]
    every = [
        f"{name}={pinned}" if by_version and name in _of_release(host) else name
        for name in names(host, backend)
    ]
    host.note(
        "serve", "packages of llama.cpp", " ".join(every), "a server without a container", known["source"]
    )
    return Packages(
        names=every,
        install=host.missing(every),
        repository=_repository(host),
        proof=[known["program"], "--version"],
        proof_output=rf"\bversion: .*\b{number}\b",
        variables="llama_cpp_version, llama_cpp_build or llama_cpp_repository_uri",
    )


def check_wants(wants: Wants) -> None:
    """Variables that contradict each other."""
    if wants.llama_cpp_program and wants.llama_cpp_build == "packages":
        raise WantsError(
            f"llama_cpp_program: {wants.llama_cpp_program} is not of a package. Remove it, or set "
            "llama_cpp_build to program."
        )
    if wants.llama_cpp_repository_uri and not (
        wants.llama_cpp_repository_key_url and wants.llama_cpp_repository_fingerprint
    ):
        raise WantsError(
            "llama_cpp_repository_uri: nothing says who signs it. Set llama_cpp_repository_key_url and "
            "llama_cpp_repository_fingerprint."
        )


def refuse(host: Host) -> None:
    """The finding of a distribution that has none."""
    expected = ", ".join(each["title"] for each in _known(host)["distributions"])
    host.findings.add("llama.packages", str(host.system["os"]["name"]), expected)


def _repository(host: Host) -> Repository | None:
    wants = host.wants
    if not wants.llama_cpp_repository_uri:
        return None
    host.note("serve", "repository of llama.cpp", wants.llama_cpp_repository_uri, "asked for", INVENTORY)
    return Repository(
        name=NAME,
        uri=wants.llama_cpp_repository_uri,
        suite=wants.llama_cpp_repository_suite or distributions.base(host.system["os"]).codename,
        components=["main"],
        key_url=wants.llama_cpp_repository_key_url,
        fingerprint=wants.llama_cpp_repository_fingerprint,
    )


def _of_release(host: Host) -> list[str]:
    """Those whose version is the release, the one with the program first."""
    return t.cast("list[str]", _known(host)["release"]["packages"])


def _known(host: Host) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", host.catalog.llama_cpp["packages"])
