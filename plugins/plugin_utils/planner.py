# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: facts, wants and catalog in, one plan out. Pure: no clock, no network, no host.

The plan has one section for each role, with nothing left to decide, ``findings`` and ``settings``: every value that was
decided, with its reason and its source, for people to read.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import kernel, mirror, models, outside, partitioning, serving
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.catalog import Catalog, CatalogError, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.examine import builds_for, driver_builds, examine
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.findings import Findings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.memory import host_memory
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.wants import INVENTORY, WantsError, normalize

DRIVER_PACKAGES = ("amdgpu-dkms", "amdgpu-dkms-firmware")
PACKAGE_MANAGERS = ("apt", "dnf")
# What a new kernel of EL comes in. dnf keeps several kernels beside each other, so a lock names the running one.
EL_KERNELS = {
    "": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel", "-devel-matched", "-headers"),
    "-uek": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel"),
}


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
        self.gpus: list[dict[str, t.Any]] = [gpu for gpu in gpus["gpus"] if gpu["supported"] and gpu["driver"] in (None, "amdgpu")]
        self.gfx = self.gpus[0]["gfx"] if self.gpus else "cpu"
        self.profile = catalog.profile(self.gfx) or {}
        self.distribution = self._distribution()
        # Kernel arguments that keep a module from loading by itself -> the module, which a unit of the role kernel loads.
        self.loaded_late: dict[str, str] = {}
        self.settings: list[dict[str, t.Any]] = []
        # GPU index -> how many devices it shows once the role partition has set its mode.
        self.partitions_planned: dict[int, int] = {}
        # The pool of an APU once the plan is applied, where the plan sets it.
        self.pool_bytes: int | None = None

    @property
    def driver_policy(self) -> str:
        """``dkms``, ``inbox`` or ``none``."""
        return _driver_policy(self)[0]

    def _distribution(self) -> dict[str, t.Any] | None:
        os = self.rocm["os"]
        version = os["version"] or ""
        for entry in self.catalog.releases["distributions"].values():
            versions = entry.get("minors") or [entry["version"]]
            # A version without a dot stands for all minor versions of it.
            if entry["id"] == os["id"] and (version in versions or version.partition(".")[0] in versions):
                return entry
        return None

    @property
    def package_manager(self) -> str | None:
        """``apt``, ``dnf``, or one that no role can use."""
        return self.rocm["os"]["package_manager"]

    def pinned(self, name: str, known: dict[str, t.Any], key: str = "package_version") -> str:
        """``name=version`` of a release of the catalog. Of rpm packages the upstream version is known, and the release is left open."""
        version = known[key]
        if self.package_manager != "apt":
            version = known.get(f"rpm_{key}") or f"{version.rpartition(':')[2].rpartition('-')[0]}-*"
        return f"{name}={version}"

    def named(self, packages: t.Sequence[str]) -> list[str]:
        """``name=version`` as the package manager writes it."""
        return list(packages) if self.package_manager == "apt" else [package.replace("=", "-", 1) for package in packages]

    def note(self, role: str, setting: str, value: t.Any, reason: str, source: t.Any = None) -> None:
        """Remember why a value is what it is."""
        self.settings.append({"role": role, "setting": setting, "value": value, "reason": reason, "source": source})

    def missing(self, wanted: t.Sequence[str]) -> list[str]:
        """The packages of a list of ``name`` or ``name=version`` that are not installed in that version."""
        installed = self.rocm["packages"]
        missing = []
        for package in wanted:
            name, _equals, version = package.partition("=")
            if name not in installed or (version and not fnmatch.fnmatchcase(installed[name], version)):
                missing.append(package)
        return missing


def plan(gpus: dict[str, t.Any], rocm: dict[str, t.Any], variables: dict[str, t.Any], host: str, unreachable: str = "") -> dict[str, t.Any]:
    """The plan of one host. Bad wants and bad overrides become findings; the host is then left alone, as one is that was not reached."""
    accepted = variables.get("plan_accept") or []
    # Without wants and catalog there is no plan to go on with, so these cannot be accepted.
    accepted = [name for name in accepted if not str(name).startswith("inventory.")] if isinstance(accepted, list) else []
    findings = Findings(host, Catalog().known_issues, accepted)
    if unreachable:
        findings = Findings(host, Catalog().known_issues)  # this one cannot be accepted
        findings.add("host.unreachable", " ".join(unreachable.split()).removeprefix("Task failed: "), "an answer")
        return {"host": host, "findings": findings.sorted(), "settings": []}
    try:
        wants = normalize(variables)
        models.place(wants)
        catalog = Catalog(wants["plan_catalog"])
        catalog.check_overrides()
        findings.known = catalog.known_issues
        subject = Host(host, gpus, rocm, wants, catalog, findings)
        examine(subject)
        host_memory(subject)
        sections = {
            "kernel": kernel.section(subject) | {"reboot_into": _minimum_kernel(subject)},
            "firmware": _firmware(subject),
            "driver": _driver(subject),
            "rocm": _rocm(subject),
            "devices": _devices(subject),
            "partition": partitioning.section(subject),
            "model": models.section(subject),
            "vllm": serving.section(subject),
        }
        sections["devices"]["selinux"] = _selinux(subject, sections["vllm"])
        _gate_packages(subject, sections)
        outside.check(subject, sections)
    except WantsError as error:
        findings.add("inventory.variable", "an inventory that does not fit", "known variables and values", detail=error)
        return {"host": host, "findings": findings.sorted(), "settings": []}
    except CatalogError as error:
        findings.add("inventory.catalog", "an override that does not fit", "the layout of the catalog", detail=error)
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
    wanted = {name: [key for key in lists if sections[name].get(key)] for name in ("firmware", "driver", "rocm")}
    if any(wanted.values()):
        os = host.rocm["os"]
        host.findings.add("host.package_manager", f"{host.package_manager or 'none'} on {os['name']}", " or ".join(PACKAGE_MANAGERS))
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


def _minimum_kernel(host: Host) -> str | None:
    """Hold the running kernel to the floor of its distribution. The kernel of the next boot, where that one is new enough."""
    minimums = host.profile.get("host", {}).get("minimum_kernel", [])
    release, following = host.rocm["kernel"]["release"], host.rocm["kernel"]["default_release"]
    os = host.rocm["os"]
    # Ubuntu's HWE kernels call themselves generic, as its GA kernels do.
    flavours = {"any", host.rocm["kernel"]["flavour"], *(("hwe",) if host.rocm["kernel"]["flavour"] == "generic" else ())}
    mine = [
        entry
        for entry in minimums
        if entry["distribution"] == os["id"] and entry["version"] == os["version"] and entry["flavour"] in flavours
    ]
    floor = next(iter(mine), None) or next((entry for entry in minimums if entry["distribution"] == "any"), None)
    if not (release and floor and floor["release"] and _kernel_key(release) < _kernel_key(floor["release"])):
        return None
    newer = following and host.wants["kernel_state"] == "present" and _kernel_key(following) >= _kernel_key(floor["release"])
    waits = following if newer else None
    host.findings.add(
        "kernel.minimum",
        release,
        f">= {floor['release']}",
        severity="warn" if waits else "fail",
        why=f"older kernels lack fixes that {host.gfx} needs: hangs, page faults, or a fraction of the memory",
        remedy=f"{waits} is installed; the role kernel asks for a reboot into it" if waits else _kernel_remedy(os, floor["release"]),
    )
    return waits


def _kernel_key(release: str) -> list[int]:
    """Version and ABI number: ``6.17.0-19-generic`` and ``6.17.0-19.19~24.04.2`` are one kernel."""
    return version_key(release)[:4]


def _kernel_remedy(os: dict[str, t.Any], release: str) -> str:
    if os["id"] == "debian":
        return f"Install a kernel from backports (apt install -t {os['codename']}-backports linux-image-amd64) and reboot"
    if os["id"] == "ubuntu":
        return "Install linux-oem-24.04c or the HWE kernel and reboot"
    return f"Install kernel {release} or later and reboot"


def _firmware(host: Host) -> dict[str, t.Any]:
    rule = host.profile.get("host", {}).get("firmware") or {}
    package = (host.distribution or {}).get("firmware_package")
    section: dict[str, t.Any] = {"install": [], "reboot": False}
    seen = host.rocm["firmware"]
    managed = host.wants["firmware_policy"] == "managed" and package and rule.get("minimum")
    version = host.wants["firmware_version"]
    installed = host.rocm["packages"].get(package or "")
    refused = [entry for entry in rule.get("refused", []) if entry in (installed or "")]
    if refused:
        host.findings.add(
            "firmware.refused",
            f"{package} {installed}",
            f">= {rule['minimum']}",
            severity="warn" if managed else "fail",
            why=rule["reason"],
            remedy="The role firmware replaces it" if managed else f"Install {package} >= {rule['minimum']}",
        )
    loaded_refused = seen["mes"] in rule.get("mes_refused", [])
    if loaded_refused:
        host.findings.add("firmware.loaded", f"MES {seen['mes']}", "another version", why=rule["reason"])
    if not managed:
        return section
    at_least = f"{package}>={rule['minimum']}" if host.package_manager == "apt" else f"{package} >= {rule['minimum']}"
    wanted = host.named([f"{package}={version}"])[0] if version else at_least
    too_old = not installed or refused or version_key(installed)[:1] < version_key(rule["minimum"])[:1]
    if too_old or (version and installed != version):
        section["install"] = [wanted]
    # A good package that came after the last boot is not what runs.
    section["reboot"] = loaded_refused and not section["install"]
    host.note("firmware", "package", wanted, rule["reason"], INVENTORY if version else rule["source"])
    return section


def _driver_policy(host: Host) -> tuple[str, str, t.Any]:
    """The policy, its reason and its source."""
    want = host.wants["driver_policy"]
    if want != "auto":
        return want, "asked for", INVENTORY
    rule = host.profile.get("host", {}).get("driver")
    if not rule:
        return "none", "no GPU that needs a driver", None
    release = host.rocm["kernel"]["release"]
    if "inbox_from" in rule and release and version_key(release) >= version_key(rule["inbox_from"]):
        reason = f"the driver of kernel {release} knows {host.gfx}, and DKMS builds break on kernels outside the matrix"
        return "inbox", reason, rule["source"]
    return rule["policy"], rule["reason"], rule["source"]


def _driver(host: Host) -> dict[str, t.Any]:
    section = _driver_packages(host)
    driver_builds(host, section["release"], pending=bool(section["install"] or section["remove"]))
    wanted = _to_hold(host, section["release"]) if section["release"] and host.wants["driver_hold"] else []
    held = host.rocm["held"]
    # What changes is let go first, and held again afterwards.
    if set(wanted) != set(held) or section["install"] or section["remove"]:
        section["hold"], section["unhold"] = wanted, held
    if wanted:
        host.note("driver", "hold", " ".join(wanted), "an upgrade must not bring a kernel that the driver does not build for", INVENTORY)
    return section


def _to_hold(host: Host, release: str) -> list[str]:
    """The driver, and what brings new kernels: names for apt, exact versions for dnf."""
    if host.package_manager == "apt":
        # Of these packages the facts name those alone that always lead to the newest kernel.
        kernels = [name for name in host.rocm["packages"] if name.startswith("linux-") and not name.startswith("linux-firmware")]
        return [*DRIVER_PACKAGES, *sorted(kernels)]
    kernel = host.rocm["kernel"]["release"] or ""
    family = "-uek" if "uek" in kernel else ""
    return [*host.named(_driver_pins(host, release)), *(f"kernel{family}{part}-{kernel}" for part in EL_KERNELS[family] if kernel)]


def _driver_pins(host: Host, release: str) -> list[str]:
    known = host.catalog.releases["drivers"]["releases"][release]
    return [host.pinned("amdgpu-dkms", known), host.pinned("amdgpu-dkms-firmware", known, "firmware_version")]


def _driver_packages(host: Host) -> dict[str, t.Any]:
    policy, reason, source = _driver_policy(host)
    facts = host.rocm["driver"]
    section: dict[str, t.Any] = {
        "policy": policy,
        "release": None,
        "repository": None,
        "install": [],
        "remove": [],
        "headers": [],
        "hold": [],
        "unhold": [],
    }
    host.note("driver", "policy", policy, reason, source)
    blacklisted = [entry for entry in facts["blacklisted_by"] if entry not in host.loaded_late]
    if blacklisted and policy != "none":
        host.findings.add("driver.blacklisted", ", ".join(blacklisted), "no blacklist entry")
    if facts["reload_needed"]:
        host.findings.add("driver.reload", facts["version"] or "the inbox module", "the module on disk")
    if policy == "inbox":
        unwanted = host.profile.get("host", {}).get("driver", {}).get("packages_absent", [])
        section["remove"] = [name for name in unwanted if name in host.rocm["packages"]]
        if section["remove"]:
            host.findings.add("driver.dkms_on_inbox", ", ".join(section["remove"]), "the inbox driver", why=reason)
    if host.wants["driver_state"] == "absent":
        section["remove"] = [name for name in DRIVER_PACKAGES if name in host.rocm["packages"]]
        return section
    if policy != "dkms":
        return section

    drivers = host.catalog.releases["drivers"]
    release = host.wants["driver_release"] or drivers["default"]
    known = drivers["releases"].get(release)
    if known is None:
        host.findings.add("driver.release", release, "a release of the catalog", known=", ".join(drivers["releases"]))
        return section
    if not _gate(host, release, known):
        return section
    section["release"] = release
    distribution = host.distribution or {}
    words = {"directory": known["directory"]}
    if "driver_directory" in distribution:
        words["distribution"] = distribution["driver_directory"].format(version=host.rocm["os"]["version"])
    section["repository"] = _repository(host, "driver", distribution.get("driver_suite"), **words)
    section["install"] = host.named(host.missing(_driver_pins(host, release)))
    kernel = host.rocm["kernel"]
    parts = ([] if kernel["headers"] else distribution["headers"]) + ([] if kernel["modules"] else distribution.get("kernel_modules", []))
    section["headers"] = [name.format(release=kernel["release"]) for name in parts] if section["install"] else []
    asked = bool(host.wants["driver_release"])
    host.note(
        "driver",
        "release",
        release,
        "asked for" if asked else drivers["default_reason"],
        INVENTORY if asked else known["source"],
    )
    return section


def _gate(host: Host, release: str, known: dict[str, t.Any]) -> bool:
    """Driver, distribution, GPU and kernel must fit before any repository is touched."""
    # A virtual function is supported where its GPU is.
    products = {(gpu["product"] or "").removesuffix(" VF") for gpu in host.gpus}
    distribution, os = host.distribution, host.rocm["os"]
    major = (os["version"] or "").partition(".")[0]
    same = [entry for entry in host.catalog.releases["distributions"].values() if entry["id"] == os["id"]]
    minors = [minor for entry in same for minor in entry.get("minors") or [entry["version"]] if minor.startswith(f"{major}.")]
    if distribution is None and minors and host.package_manager != "apt":
        known_ones = " or ".join(f"{os['id']} {minor}" for minor in minors)
        host.findings.add("driver.minor_version", os["name"], known_ones, known=known_ones)
        return False
    fits = distribution and host.gfx in distribution["gfx"] and not products & set(distribution["products_excluded"])
    if not fits:
        supported = ", ".join(
            f"{entry['id']} {entry['version']}" for entry in host.catalog.releases["distributions"].values() if host.gfx in entry["gfx"]
        )
        host.findings.add(
            "driver.distribution",
            f"{host.gfx} on {host.rocm['os']['name']}",
            "a combination of ROCm's support matrix",
            supported=supported or "no distribution of the catalog",
        )
        return False
    kernel = host.rocm["kernel"]["release"]
    limits = known["kernels"]
    if kernel and not builds_for(known, kernel):
        newer = [name for name, entry in host.catalog.releases["drivers"]["releases"].items() if builds_for(entry, kernel)]
        remedy = f"Set driver_release to {newer[0]}" if newer else f"Boot a kernel older than {limits['below']}"
        host.findings.add(
            "driver.kernel",
            f"driver {release} on kernel {kernel}",
            f"a kernel from {limits['minimum']} to below {limits['below']}",
            remedy=remedy,
        )
        return False
    absent = [
        name
        for name in (distribution or {}).get("driver_prerequisites", [])
        if not any(name in enabled.lower() for enabled in host.rocm["dnf_repositories"])
    ]
    if absent and not {"dkms", "amdgpu-dkms"} & set(host.rocm["packages"]):
        seen = ", ".join(host.rocm["dnf_repositories"]) or "no repository"
        host.findings.add("driver.prerequisite", f"{seen} enabled", " and ".join(absent), missing=" and ".join(absent))
    if host.rocm["boot"]["secure_boot"] and not host.rocm["boot"]["mok_enrolled"]:
        host.findings.add("driver.secure_boot", "Secure Boot on", "a module whose signature is accepted")
    return True


def _repository(host: Host, role: str, suite: str | None, **words: str) -> dict[str, t.Any]:
    known = host.catalog.releases["repositories"][role]
    wants = host.wants
    given = wants[f"{role}_repository_uri"]
    try:
        public = known["uri" if host.package_manager == "apt" else "rpm_uri"]
        uri = (given or mirror.address(wants, public)).format(**words)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise WantsError(f"{role}_repository_uri: {given} may hold {', '.join(f'{{{name}}}' for name in words)} only.") from error
    host.note(role, "repository", uri, "asked for" if given else known["reason"], INVENTORY if given else known["source"])
    return {
        "name": f"amdgpu-fleet-{role}",
        "uri": uri,
        "suite": suite,
        "components": known["components"],
        "key_url": wants[f"{role}_repository_key_url"] or mirror.address(wants, known["key_url"]),
        "fingerprint": wants[f"{role}_repository_fingerprint"] or known["fingerprint"],
    }


def _rocm(host: Host) -> dict[str, t.Any]:
    known = host.catalog.releases["rocm"]
    section: dict[str, t.Any] = {
        "version": None,
        "repository": None,
        "install": [],
        "remove": [],
        "legacy": False,
        "legacy_files": [],
    }
    if host.wants["rocm_state"] == "absent":
        section["remove"] = sorted(name for name in host.rocm["packages"] if name.startswith("amdrocm"))
        return section
    if host.gfx != "cpu" and host.wants["rocm_userspace"] == "distribution":
        if host.wants["rocm_remove_legacy"]:
            section |= _legacy_rocm(host)
        own = known["userspace"]["distribution"]
        section["install"] = host.missing(own["packages"])
        host.note("rocm", "packages", " ".join(own["packages"]), own["reason"], own["source"])
        return section
    if host.gfx != "cpu" and host.distribution is None and host.driver_policy != "dkms":
        host.findings.add("rocm.distribution", host.rocm["os"]["name"], "a distribution of ROCm's support matrix")
    if host.gfx == "cpu" or host.distribution is None:
        return section
    version = host.wants["rocm_version"] or known["default"]
    release = known["releases"].get(version)
    usable = {name: entry for name, entry in known["releases"].items() if entry["line"] == "therock"}
    if release is None or version not in usable:
        host.findings.add("rocm.release", version, "a release of the catalog", known=", ".join(usable))
        return section
    driver = host.wants["driver_release"] or host.catalog.releases["drivers"]["default"]
    if _driver_policy(host)[0] == "dkms" and driver not in release["drivers"]:
        host.findings.add(
            "rocm.driver",
            f"driver {driver} with ROCm {version}",
            "a driver that the release lists",
            known=", ".join(name for name in release["drivers"] if name in host.catalog.releases["drivers"]["releases"]),
        )
    rule = host.profile.get("host", {}).get("rocm", {})
    named = any(version_key(version)[:2] == version_key(entry) for entry in rule.get("refused", []))
    if named or version_key(version) < version_key(rule.get("minimum", "0")):
        known_good = rule.get("recommended") or rule["minimum"]
        host.findings.add("rocm.refused", version, f">= {rule['minimum']}", why=rule["reason"], known=known_good)
    section |= _legacy_rocm(host)
    userspace = known["userspace"][host.wants["rocm_userspace"]]
    packages = [host.pinned(name.format(suffix=release["package_suffix"], gfx=host.gfx), release) for name in userspace["packages"]]
    packages += known["prerequisites"]["deb" if host.package_manager == "apt" else "rpm"]
    section["version"] = version
    section["repository"] = _repository(
        host,
        "rocm",
        host.catalog.releases["repositories"]["rocm"]["suite"],
        distribution=host.distribution["rocm_directory"],
    )
    section["install"] = host.named(host.missing(packages))
    asked = bool(host.wants["rocm_version"])
    host.note(
        "rocm",
        "version",
        version,
        "asked for" if asked else known["default_reason"],
        INVENTORY if asked else release["source"],
    )
    host.note("rocm", "packages", " ".join(host.named(packages)), userspace["reason"], userspace["source"])
    return section


def _legacy_rocm(host: Host) -> dict[str, t.Any]:
    """Packages and repositories of ROCm before 7.14, where they may be removed."""
    folders = [entry["path"] for entry in host.rocm["installations"] if entry["layout"] == "legacy"]
    known, rule = host.rocm["legacy"], host.catalog.releases["rocm"]["legacy"]
    if not folders:
        return {}
    if not known["packages"]:
        remedy = f"No package is known to own it: remove {' and '.join(folders)} by hand"
    elif not host.wants["rocm_remove_legacy"]:
        remedy = f"Set rocm_remove_legacy to true, and the role rocm removes {', '.join(known['packages'])}"
    elif known["used_by"]:
        remedy = f"Stop {', '.join(known['used_by'])} first, which use it"
    else:
        remedy = "The role rocm removes it"
        host.findings.add("rocm.legacy", ", ".join(folders), "no ROCm before 7.14", severity="warn", mended_by="rocm", remedy=remedy)
        host.note("rocm", "remove", " ".join(known["packages"]), "asked for", INVENTORY)
        # A file that names another repository too, the driver's or somebody else's, stays.
        fits = {entry["path"] for entry in host.rocm["repositories"] if re.search(rule["repository"], entry["uri"]) and not entry["mixed"]}
        others = {entry["path"] for entry in host.rocm["repositories"] if not re.search(rule["repository"], entry["uri"])}
        files = [{"path": path, "state": "absent"} for path in sorted(fits - others)]
        return {"remove": known["packages"], "legacy": True, "legacy_files": files}
    host.findings.add("rocm.legacy", ", ".join(folders), "no ROCm before 7.14", remedy=remedy)
    return {}


def _cdi_devices(host: Host) -> list[dict[str, t.Any]]:
    """One device for each KFD device, numbered as ROCm numbers them: by GPU, then by partition."""
    nodes = [node for gpu in host.gpus for node in gpu["render_nodes"]]
    return [{"name": str(number), "nodes": [node]} for number, node in enumerate(nodes)]


def _selinux(host: Host, vllm: dict[str, t.Any]) -> dict[str, list[str]]:
    """Booleans to switch on and off, and those that are ours afterwards."""
    seen, wants = host.rocm["selinux"], host.wants
    containers = wants["devices_cdi"] or (vllm["instances"] and vllm.get("container"))
    wanted = host.gfx != "cpu" and containers and wants["devices_state"] == "present" and wants["devices_selinux"]
    rule = host.profile.get("host", {}).get("selinux_booleans", {}) if wanted and seen["mode"] == "enforcing" else {}
    for name, entry in rule.items():
        if name in seen["booleans"]:
            host.note("devices", "SELinux boolean", f"{name}={entry['value']}", entry["reason"], entry["source"])
    on = [name for name in rule if seen["booleans"].get(name) is False]
    # Without SELinux there is nothing that could be asked to switch them off.
    back = [] if wanted or seen["mode"] == "disabled" else seen["ours"]
    # One that the policy no longer has, or that somebody switched off, is no longer ours to take back.
    off = [name for name in back if seen["booleans"].get(name)]
    return {"on": on, "off": off, "ours": sorted({*seen["ours"], *on} - {*back})}


def _devices(host: Host) -> dict[str, t.Any]:
    members = host.rocm["group_members"]
    serving = host.rocm["user"] if host.wants["vllm_state"] == "present" and host.wants["vllm_accelerator"] != "cpu" else None
    users = dict.fromkeys([*host.wants["devices_users"], *([serving["name"]] if serving and serving["uid"] else [])])
    wanted = host.gfx != "cpu" and host.wants["devices_state"] == "present"
    joining = [user for user in users if wanted and any(user not in members[group] for group in ("render", "video"))]
    if host.gfx != "cpu":
        host.note(
            "devices",
            "mode",
            host.wants["devices_mode"],
            "members of render may use the GPUs" if host.wants["devices_mode"] == "0660" else "every user may use the GPUs",
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
