# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Podman that runs the servers: the one of the host, or the one that the role will install."""

from __future__ import annotations

import dataclasses
import typing as t

from . import engines
from .catalog import version_key
from .engines.protocol import Build
from .facts import Podman
from .host import Host

# The first Podman that generates units.
QUADLET = "4.4"
# Where it keeps images and containers unless it is told otherwise.
STORE = "/var/lib/containers/storage"


@dataclasses.dataclass(frozen=True)
class PodmanPlan:
    """The Podman of the host, as it will be once the role has installed what it lacks."""

    version: str | None
    # The release whose keys units may hold; None where it generates no units.
    quadlet: str | None
    # Whether it can reap what dies in a container.
    init: bool
    packages: list[str]
    # Its store, where everybody may read it.
    open_store: str | None


def plan_podman(host: Host, builds: t.Mapping[str, Build]) -> PodmanPlan:
    """Podman as it is, or as it will be: it is installed where a container is wanted or nothing else would
    do, and the distribution has packages of it."""
    facts: Podman = host.system["podman"]
    as_it_is = PodmanPlan(facts["version"], facts["quadlet"], facts["init"], [], facts.get("open_store"))
    want, known = host.wants.serve_kind, (host.distribution or {}).get("podman")
    # One that comes as packages needs none; it does not keep the others from theirs.
    images = any(build.image for build in builds.values())
    # What an account needs besides is a matter of the account.
    if facts["version"] or want in ("venv", "kubernetes") or host.wants.serve_user or not (known and images):
        return as_it_is
    quadlet = version_key(known["version"]) >= version_key(QUADLET)
    bare = all(engines.ENGINES[name].runs_bare(host, build) for name, build in builds.items())
    if (want == "quadlet" and not quadlet) or (want == "auto" and bare):
        return as_it_is
    release = ".".join(known["version"].split(".")[:2])
    host.note("serve", "packages", " ".join(known["packages"]), "containers need them", known["source"])
    return PodmanPlan(known["version"], release if quadlet else None, True, known["packages"], STORE)


def check_release(host: Host, podman: PodmanPlan) -> None:
    """Tell of a release with holes that a later one of the same series has not. Distributions mend older
    series under their old number, so nothing is known of those."""
    known = host.catalog.podman["holes"]
    release = podman.version or ""
    if release and version_key(known["first"]) <= version_key(release) < version_key(known["below"]):
        host.findings.add(
            "serve.podman_release", f"Podman {release}", f"{known['below']} or later", reason=known["reason"],
            below=known["below"],
        )  # fmt: skip


def close_store(host: Host, podman: PodmanPlan) -> str | None:
    """The store of root's containers, where everybody may read it."""
    store = podman.open_store
    if store:
        reason = (
            "its database keeps the environment of every container, keys among it; systemd-tmpfiles makes it "
            "for everybody to read"
        )
        host.note("serve", f"mode of {store}", "0700", reason, "Debian 13 /usr/lib/tmpfiles.d/podman.conf")
    return store
