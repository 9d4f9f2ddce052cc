# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: facts, wants and catalog in, one plan out. Pure: no clock, no network, no host.

The plan has one section for each role, with nothing left to decide, ``findings`` and ``settings``: every
value that was decided, with its reason and its source, for people to read.
"""

from __future__ import annotations

import difflib
import fnmatch
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import (
    distributions,
    driver,
    firmware,
    kernel,
    outside,
    packages,
    place,
    room,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import model as models
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import partition as partitioning
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import serve as serving
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm.memory import host_memory
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.examine import examine
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import Findings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.rocm import section as rocm_section
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY, WantsError, normalize

PACKAGE_MANAGERS = ("apt", "dnf")


class Host:
    """What the sections of the plan are made from, and where they write their reasons."""

    def __init__(
        self,
        name: str,
        gpus: dict[str, t.Any],
        rocm: dict[str, t.Any],
        wants: dict[str, t.Any],
        catalog: Catalog,
        findings: Findings,
    ) -> None:
        self.name = name
        self.rocm: dict[str, t.Any] = rocm
        self.wants = wants
        self.catalog = catalog
        self.findings = findings
        self.gpu_facts = gpus = {**gpus, "gpus": [catalog.identify(gpu) for gpu in gpus["gpus"]]}
        # GPUs that are handed to guests (vfio-pci, gim) are not this host's to use.
        self.gpus: list[dict[str, t.Any]] = [
            gpu for gpu in gpus["gpus"] if gpu["supported"] and gpu["driver"] in (None, "amdgpu")
        ]
        self.gfx = self.gpus[0]["gfx"] if self.gpus else "cpu"
        self.profile = catalog.profile(self.gfx) or {}
        self.distribution = self._distribution()
        # Kernel arguments that keep a module from loading by itself -> the module, which a unit of the role
        # kernel loads.
        self.loaded_late: dict[str, str] = {}
        self.settings: list[dict[str, t.Any]] = []
        # GPU index -> how many devices it shows once the role partition has set its mode.
        self.partitions_planned: dict[int, int] = {}
        # The pool of an APU once the plan is applied, where the plan sets it.
        self.pool_bytes: int | None = None

    @property
    def driver_policy(self) -> str:
        """``dkms``, ``inbox`` or ``none``."""
        return driver.policy(self)[0]

    def _distribution(self) -> dict[str, t.Any] | None:
        os = distributions.base(self.rocm["os"])
        version = os.version or ""
        for entry in self.catalog.releases["distributions"].values():
            versions = entry.get("minors") or [entry["version"]]
            # A version without a dot stands for all minor versions of it.
            if entry["id"] == os.id and (version in versions or version.partition(".")[0] in versions):
                return entry
        return None

    @property
    def package_manager(self) -> str | None:
        """``apt``, ``dnf``, or one that no role can use."""
        return self.rocm["os"]["package_manager"]

    def pinned(self, name: str, known: dict[str, t.Any], key: str = "package_version") -> str:
        """``name=version`` of a release of the catalog. Of rpm packages the upstream version is known, and
        the release is left open."""
        version = known[key]
        if self.package_manager != "apt":
            version = known.get(f"rpm_{key}") or f"{version.rpartition(':')[2].rpartition('-')[0]}-*"
        return f"{name}={version}"

    def named(self, packages: t.Sequence[str]) -> list[str]:
        """``name=version`` as the package manager writes it."""
        return (
            list(packages)
            if self.package_manager == "apt"
            else [package.replace("=", "-", 1) for package in packages]
        )

    def note(self, role: str, setting: str, value: t.Any, reason: str, source: t.Any = None) -> None:
        """Remember why a value is what it is."""
        self.settings.append(
            {"role": role, "setting": setting, "value": value, "reason": reason, "source": source}
        )

    def missing(self, wanted: t.Sequence[str]) -> list[str]:
        """The packages of a list of ``name`` or ``name=version`` that are not installed in that version."""
        installed = self.rocm["packages"]
        missing = []
        for package in wanted:
            name, _equals, version = package.partition("=")
            if name not in installed or (version and not fnmatch.fnmatchcase(installed[name], version)):
                missing.append(package)
        return missing


def plan(
    facts: dict[str, t.Any], variables: dict[str, t.Any], host: str, unreachable: str = ""
) -> dict[str, t.Any]:
    """The plan of one host from the facts ``amd_gpus``, ``amd_rocm`` and ``amd_host``. Bad wants and bad overrides become findings; the host is then left alone, as one
    is that was not reached."""
    accepted = variables.get("plan_accept") or []
    accepted = [name.strip() for name in accepted.split(",")] if isinstance(accepted, str) else accepted
    # Without wants and catalog there is no plan to go on with, so these cannot be accepted.
    accepted = (
        [name for name in accepted if not str(name).startswith("inventory.")]
        if isinstance(accepted, list)
        else []
    )
    findings = Findings(host, Catalog().known_issues, accepted)
    if unreachable:
        findings = Findings(host, Catalog().known_issues)  # this one cannot be accepted
        findings.add(
            "host.unreachable", " ".join(unreachable.split()).removeprefix("Task failed: "), "an answer"
        )
        return {"host": host, "findings": findings.sorted(), "settings": []}
    try:
        wants = normalize(variables)
        models.place(wants)
        catalog = Catalog(wants["plan_catalog"])
        catalog.check_overrides()
        findings.known = catalog.known_issues
        for name in map(str.strip, wants["plan_accept"]):
            if name not in findings.known:
                close = difflib.get_close_matches(name, findings.known, n=1)
                raise WantsError(
                    f"plan_accept: there is no finding "
                    f"{name!r}.{f' Did you mean {close[0]}?' if close else ' Remove it.'}"
                )
        # The sections look at what is about ROCm and what is about the host in one place.
        rocm = {**facts["amd_rocm"], **facts["amd_host"]}
        subject = Host(host, facts["amd_gpus"], rocm, wants, catalog, findings)
        examine(subject)
        host_memory(subject)
        sections = {
            "kernel": kernel.section(subject),
            "firmware": firmware.section(subject),
            "driver": driver.section(subject),
            "rocm": rocm_section(subject),
            "devices": _devices(subject),
            "partition": partitioning.section(subject),
            "model": models.section(subject),
            "serve": serving.section(subject),
        }
        sections["devices"]["selinux"] = _selinux(subject, sections["serve"])
        _gate_packages(subject, sections)
        place.leave_to_the_owner(subject, sections)
        if not place.is_inside(subject):
            packages.check_plan(subject, sections)
            room.check(subject, sections)
        outside.check(subject, sections)
    except WantsError as error:
        findings.add(
            "inventory.variable", "an inventory that does not fit", "known variables and values", detail=error
        )
        return {"host": host, "findings": findings.sorted(), "settings": []}
    except CatalogError as error:
        findings.add(
            "inventory.catalog", "an override that does not fit", "the layout of the catalog", detail=error
        )
        return {"host": host, "findings": findings.sorted(), "settings": []}
    return {
        "host": host,
        "profile": subject.gfx,
        "title": subject.profile.get("title"),
        "gpus": _summary(subject),
        "package_manager": subject.package_manager,
        **sections,
        "findings": findings.sorted(),
        "settings": subject.settings,
    }


def _gate_packages(host: Host, sections: dict[str, t.Any]) -> None:
    """Where no role can use the package manager, nothing is planned for it: the run would stop half-way."""
    if host.package_manager in PACKAGE_MANAGERS:
        return
    lists = ("install", "remove", "headers", "hold", "unhold")
    wanted = {
        name: [key for key in lists if sections[name].get(key)] for name in ("firmware", "driver", "rocm")
    }
    if any(wanted.values()):
        os = host.rocm["os"]
        host.findings.add(
            "host.package_manager",
            f"{host.package_manager or 'none'} on {os['name']}",
            " or ".join(PACKAGE_MANAGERS),
        )
    for name, keys in wanted.items():
        sections[name].update({key: [] for key in keys})
        if "repository" in sections[name]:
            sections[name]["repository"] = None
    sections["rocm"] |= {"legacy": False, "legacy_files": []}


def _summary(host: Host) -> str:
    counts: dict[str, int] = {}
    for gpu in host.gpus:
        name = f"{gpu['product'] or gpu['pci_id']} ({gpu['gfx']})"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items()) or "none"


def _cdi_devices(host: Host) -> list[dict[str, t.Any]]:
    """One device for each KFD device, numbered as ROCm numbers them: by GPU, then by partition."""
    nodes = [node for gpu in host.gpus for node in gpu["render_nodes"]]
    return [{"name": str(number), "nodes": [node]} for number, node in enumerate(nodes)]


def _selinux(host: Host, vllm: dict[str, t.Any]) -> dict[str, list[str]]:
    """Booleans to switch on and off, and those that are ours afterwards."""
    seen, wants = host.rocm["selinux"], host.wants
    containers = wants["devices_cdi"] or (vllm["instances"] and vllm.get("container"))
    wanted = (
        host.gfx != "cpu" and containers and wants["devices_state"] == "present" and wants["devices_selinux"]
    )
    rule = (
        host.profile.get("host", {}).get("selinux_booleans", {})
        if wanted and seen["mode"] == "enforcing"
        else {}
    )
    for name, entry in rule.items():
        if name in seen["booleans"]:
            host.note(
                "devices", "SELinux boolean", f"{name}={entry['value']}", entry["reason"], entry["source"]
            )
    on = [name for name in rule if seen["booleans"].get(name) is False]
    # Without SELinux there is nothing that could be asked to switch them off.
    back = [] if wanted or seen["mode"] == "disabled" else seen["ours"]
    # One that the policy no longer has, or that somebody switched off, is no longer ours to take back.
    off = [name for name in back if seen["booleans"].get(name)]
    return {"on": on, "off": off, "ours": sorted({*seen["ours"], *on} - {*back})}


def _devices(host: Host) -> dict[str, t.Any]:
    members = host.rocm["group_members"]
    serving = (
        host.rocm["user"]
        if host.wants["serve_state"] == "present" and host.wants["serve_accelerator"] != "cpu"
        else None
    )
    users = dict.fromkeys(
        [*host.wants["devices_users"], *([serving["name"]] if serving and serving["uid"] else [])]
    )
    wanted = host.gfx != "cpu" and host.wants["devices_state"] == "present"
    joining = [
        user for user in users if wanted and any(user not in members[group] for group in ("render", "video"))
    ]
    if host.gfx != "cpu":
        host.note(
            "devices",
            "mode",
            host.wants["devices_mode"],
            "members of render may use the GPUs"
            if host.wants["devices_mode"] == "0660"
            else "every user may use the GPUs",
            INVENTORY if host.wants["devices_mode"] != "0660" else "systemd rules.d/50-udev-default.rules.in",
        )
    memlock = host.profile.get("host", {}).get("limits", {}).get("memlock")
    if memlock:
        host.note("devices", "memlock", memlock["value"], memlock["reason"], memlock["source"])
    return {
        "enabled": host.gfx != "cpu",
        "mode": host.wants["devices_mode"],
        "memlock": memlock["value"] if memlock else None,
        "cdi": _cdi_devices(host) if wanted and host.wants["devices_cdi"] else [],
        # Two specifications of the same names would make both unusable.
        "cdi_toolkit": "amd-container-toolkit" in host.rocm["packages"],
        "render_gid": host.rocm["groups"]["render"],
        "video_gid": host.rocm["groups"]["video"],
        "join": joining,
        "state": host.wants["devices_state"],
    }
