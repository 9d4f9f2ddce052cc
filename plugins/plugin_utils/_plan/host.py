# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host as the sections of the plan see it: what it is, what is wanted of it, and what is known.

Nothing in it changes while a plan is made. What one section needs of another is an argument. Sections say
what they found (``findings``) and why they chose what they chose (``note``); neither is read by a section.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import typing as t

from . import distributions, packaging
from .catalog import Catalog
from .facts import AmdGpus, AmdHealth, AmdHost, AmdRocm, Facts, Gpu
from .findings import Findings
from .wants import Wants


@dataclasses.dataclass(frozen=True)
class Setting:
    """One value of a plan with the reason for it and where that is known from."""

    role: str
    setting: str
    value: t.Any
    reason: str
    source: t.Any


@dataclasses.dataclass(frozen=True)
class Host:
    """Facts, wants and catalog of one host."""

    name: str
    gpu_facts: AmdGpus
    rocm: AmdRocm
    system: AmdHost
    wants: Wants
    catalog: Catalog
    findings: Findings
    # The GPUs that are this host's to use: supported, and not handed to guests (vfio-pci, gim).
    gpus: list[Gpu]
    # The architecture of the first of them; ``cpu`` where there is none.
    gfx: str
    profile: dict[str, t.Any]
    # The entry of the catalog, where AMD supports the distribution.
    distribution: dict[str, t.Any] | None
    settings: list[Setting]
    # Where it was asked for.
    health: AmdHealth | None = None

    @property
    def package_manager(self) -> str | None:
        """``apt``, ``dnf``, or one that no role can use."""
        return self.system["os"]["package_manager"]

    @property
    def packaging(self) -> packaging.PackageManager:
        """How the package manager writes what is wanted of it."""
        return packaging.of(self.package_manager)

    def note(self, role: str, setting: str, value: t.Any, reason: str, source: t.Any = None) -> None:
        """Remember why a value is what it is."""
        self.settings.append(Setting(role, setting, value, reason, source))

    def missing(self, wanted: t.Sequence[str]) -> list[str]:
        """The packages of a list of ``name`` or ``name=version`` that are not installed in that version."""
        installed = self.system["packages"]
        missing = []
        for package in wanted:
            name, _equals, version = package.partition("=")
            if name not in installed or (version and not fnmatch.fnmatchcase(installed[name], version)):
                missing.append(package)
        return missing


def look_at(name: str, facts: Facts, wants: Wants, catalog: Catalog, findings: Findings) -> Host:
    """The host of these facts."""
    gpu_facts: AmdGpus = {**facts.gpus, "gpus": [catalog.identify(gpu) for gpu in facts.gpus["gpus"]]}
    gpus = [gpu for gpu in gpu_facts["gpus"] if gpu["supported"] and gpu["driver"] in (None, "amdgpu")]
    gfx = (gpus[0]["gfx"] or "cpu") if gpus else "cpu"
    return Host(
        name=name,
        gpu_facts=gpu_facts,
        rocm=facts.rocm,
        system=facts.system,
        wants=wants,
        catalog=catalog,
        findings=findings,
        gpus=gpus,
        gfx=gfx,
        profile=catalog.profile(gfx) or {},
        distribution=_distribution(facts.system, catalog),
        settings=[],
        health=facts.health,
    )


def _distribution(system: AmdHost, catalog: Catalog) -> dict[str, t.Any] | None:
    os = distributions.base(system["os"])
    version = os.version or ""
    for entry in catalog.releases["distributions"].values():
        versions = entry.get("minors") or [entry["version"]]
        # A version without a dot stands for all minor versions of it.
        if entry["id"] == os.id and (version in versions or version.partition(".")[0] in versions):
            return t.cast("dict[str, t.Any]", entry)
    return None
