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

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import serving
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.catalog import Catalog, CatalogError, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.findings import Findings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.wants import WantsError, normalize

GIB = 1 << 30
INVENTORY = "the inventory"


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
        self.rocm = rocm
        self.wants = wants
        self.catalog = catalog
        self.findings = findings
        self.gpu_facts = gpus
        self.gpus = [gpu for gpu in gpus["gpus"] if gpu["supported"]]
        self.gfx = self.gpus[0]["gfx"] if self.gpus else "cpu"
        self.profile = catalog.profile(self.gfx) or {}
        self.distribution = self._distribution()
        self.settings: list[dict[str, t.Any]] = []

    def _distribution(self) -> dict[str, t.Any] | None:
        os = self.rocm["os"]
        for entry in self.catalog.releases["distributions"].values():
            if entry["id"] == os["id"] and entry["version"] == os["version"]:
                return entry
        return None

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


def plan(gpus: dict[str, t.Any], rocm: dict[str, t.Any], variables: dict[str, t.Any], host: str) -> dict[str, t.Any]:
    """The plan of one host. Bad wants and bad overrides become findings; the host is then left alone."""
    accepted = variables.get("plan_accept") or []
    findings = Findings(host, Catalog().known_issues, accepted if isinstance(accepted, list) else [])
    try:
        wants = normalize(variables)
    except WantsError as error:
        findings.add("inventory.variable", "an inventory that does not fit", "known variables and values", detail=error)
        return {"host": host, "findings": findings.sorted(), "settings": []}
    try:
        catalog = Catalog(wants["plan_catalog"])
        subject = Host(host, gpus, rocm, wants, catalog, findings)
        _gpu_findings(subject)
        sections = {
            "kernel": _kernel(subject),
            "firmware": _firmware(subject),
            "driver": _driver(subject),
            "rocm": _rocm(subject),
            "devices": _devices(subject),
            "vllm": serving.section(subject),
        }
    except CatalogError as error:
        findings.add("inventory.catalog", "an override that does not fit", "the layout of the catalog", detail=error)
        return {"host": host, "findings": findings.sorted(), "settings": []}
    return {
        "host": host,
        "profile": subject.gfx,
        "title": subject.profile.get("title"),
        "gpus": _summary(subject),
        **sections,
        "findings": findings.sorted(),
        "settings": subject.settings,
    }


def _summary(host: Host) -> str:
    counts: dict[str, int] = {}
    for gpu in host.gpus:
        name = f"{gpu['product'] or gpu['pci_id']} ({gpu['gfx']})"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items()) or "none"


def _gpu_findings(host: Host) -> None:
    facts = host.gpu_facts
    if facts["kfd"] == "denied":
        host.findings.add("gpu.hidden", "permission denied in the KFD topology", "readable KFD nodes")
    if not host.gpus:
        unsupported = ", ".join(gpu["product"] or gpu["pci_id"] for gpu in facts["gpus"]) or "no AMD GPU"
        host.findings.add("gpu.none", unsupported, "a GPU that ROCm supports")
    elif not host.profile:
        host.findings.add("gpu.profile", host.gfx, "an architecture with a profile", gfx=host.gfx)
    architectures = sorted({gpu["gfx"] for gpu in host.gpus})
    if len(architectures) > 1:
        host.findings.add("gpu.mixed", ", ".join(architectures), "one architecture")
    for problem in facts["problems"]:
        if "KFD does not show it" in problem["problem"]:
            host.findings.add("gpu.missing", problem["path"], "a KFD node for it")


def _memory_gib(host: Host) -> int:
    return (host.rocm["memory_bytes"] or 0) // GIB


def _ttm_module(host: Host) -> str:
    """The DKMS driver brings a TTM of its own under another name; options for the wrong one are ignored in silence."""
    return "amdttm" if _driver_policy(host)[0] == "dkms" else "ttm"


def _kernel(host: Host) -> dict[str, t.Any]:
    wants, settings = host.wants, host.profile.get("host", {})
    kernel = settings.get("kernel", {})
    removed = wants["kernel_arguments_absent"]
    present: list[str] = []
    absent: list[str] = list(removed)

    def keep(argument: str) -> bool:
        return argument not in removed and argument.partition("=")[0] not in removed

    for entry in kernel.get("present", []):
        if keep(entry["argument"]) and _applies(host, entry.get("when", {})):
            present.append(entry["argument"])
            host.note("kernel", "argument", entry["argument"], entry["reason"], entry["source"])
    for name in wants["kernel_opt_in"]:
        option = kernel.get("opt_in", {}).get(name)
        if option is None:
            known = ", ".join(sorted(kernel.get("opt_in", {}))) or "nothing for this GPU"
            raise CatalogError(f"kernel_opt_in: {name} is not an optional setting of {host.gfx}; there is {known}.")
        for argument in option.get("arguments", []):
            present.append(argument)
            host.note("kernel", "argument", argument, f"opted in: {option['reason']}", option["source"])
    for argument in wants["kernel_arguments_present"]:
        present.append(argument)
        host.note("kernel", "argument", argument, "asked for", INVENTORY)

    running = host.rocm["kernel"]["command_line"]
    for entry in kernel.get("absent", []):
        argument = entry["argument"]
        if argument in present:
            continue
        absent.append(argument)
        seen = [token for token in running if token == argument or token.partition("=")[0] == argument]
        if seen:
            replaced = f", {entry['replaced_by']} takes its place" if entry.get("replaced_by") else ""
            host.findings.add(
                "kernel.outdated_argument", " ".join(seen), f"no {argument}", why=entry["reason"], replaced=replaced
            )
    _minimum_kernel(host, settings.get("minimum_kernel", []))

    options = _module_options(host, settings.get("module_options", []))
    sysctl = {}
    for name, entry in settings.get("sysctl", {}).items():
        sysctl[name] = entry["value"]
        host.note("kernel", "sysctl", f"{name}={entry['value']}", entry["reason"], entry["source"])
    if sysctl.get("kernel.numa_balancing") == 0 and host.rocm["numa_balancing"]:
        host.findings.add("host.numa_balancing", "kernel.numa_balancing=1", "0")
    for name, value in wants["kernel_sysctl"].items():
        sysctl[name] = value
        host.note("kernel", "sysctl", f"{name}={value}", "asked for", INVENTORY)
    if len(host.gpus) > 1 and "iommu=pt" in present and host.rocm["iommu"]["mode"] == "remap":
        host.findings.add("host.iommu", "remapped DMA", "iommu=pt")
    return {
        "present": present,
        "absent": absent,
        "module_options": options,
        "sysctl": sysctl,
        "state": wants["kernel_state"],
    }


def _applies(host: Host, condition: dict[str, t.Any]) -> bool:
    """Whether the condition of a catalog entry holds: every key must be known, so that a typing error is not ignored."""
    for key, value in condition.items():
        if key == "driver":
            if _driver_policy(host)[0] != value:
                return False
        elif key == "gpus_above":
            if len(host.gpus) <= value:
                return False
        elif key == "products":
            if not any(gpu["product"] in value for gpu in host.gpus):
                return False
        elif key == "never":
            return False
        else:
            raise CatalogError(f"catalog/profiles/{host.gfx}.yml: the condition {key} is unknown.")
    return True


def _minimum_kernel(host: Host, minimums: list[dict[str, t.Any]]) -> None:
    release = host.rocm["kernel"]["release"]
    if not minimums or not release:
        return
    os, flavour = host.rocm["os"], host.rocm["kernel"]["flavour"]
    mine = [
        entry
        for entry in minimums
        if entry.get("distribution") == os["id"]
        and entry.get("version") in (None, os["version"])
        and (entry.get("flavour") in (None, flavour) or (entry.get("flavour") == "hwe" and flavour == "generic"))
    ]
    general = [entry for entry in minimums if "distribution" not in entry]
    floor = (mine or general or [None])[0]
    if floor and floor.get("release") and version_key(release)[:4] < version_key(floor["release"])[:4]:
        host.findings.add(
            "kernel.minimum",
            release,
            f">= {floor['release']}",
            why=floor.get("reason", "older kernels lack fixes that this GPU needs"),
            remedy=floor.get("remedy", _kernel_remedy(os, floor["release"])),
        )


def _kernel_remedy(os: dict[str, t.Any], release: str) -> str:
    if os["id"] == "debian":
        return f"Install a kernel from backports (apt install -t {os['codename']}-backports linux-image-amd64) and reboot"
    if os["id"] == "ubuntu":
        return "Install linux-oem-24.04c or the HWE kernel and reboot"
    return f"Install kernel {release} or later and reboot"


def _module_options(host: Host, entries: list[dict[str, t.Any]]) -> dict[str, dict[str, str]]:
    options: dict[str, dict[str, str]] = {}
    memory = _memory_gib(host)
    for entry in entries:
        module = _ttm_module(host) if entry["module"] in ("ttm", "amdttm") else entry["module"]
        reason, source = entry["reason"], entry["source"]
        if "formula" in entry:
            limit = int(memory * entry["fraction"])
            gib = host.wants["kernel_gtt_gib"] or limit
            if host.wants["kernel_gtt_gib"]:
                reason, source = "asked for", INVENTORY
            if not memory:
                continue
            if gib > limit:
                host.findings.add("memory.gtt_too_large", f"{gib} GiB", f"at most {limit} of {memory} GiB", limit=limit)
                continue
            value = str(gib * entry["pages_per_gib"])
            reason = f"{gib} GiB: {reason}"
            pool = sum(gpu["usable_bytes"] or 0 for gpu in host.gpus) // GIB
            if pool and pool < gib // 2:
                host.findings.add(
                    "memory.pool",
                    f"{pool} GiB of {memory} GiB",
                    f"{gib} GiB",
                    why="the kernel gives the GPU half of the memory at most, and 15.5 GiB before 6.16.9",
                )
        else:
            value = str(entry["value"])
        options.setdefault(module, {})[entry["parameter"]] = value
        host.note("kernel", "module option", f"{module} {entry['parameter']}={value}", reason, source)
    return options


def _firmware(host: Host) -> dict[str, t.Any]:
    rule = host.profile.get("host", {}).get("firmware") or {}
    package = (host.distribution or {}).get("firmware_package")
    section: dict[str, t.Any] = {"package": package, "wanted": [], "install": [], "hold": False}
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
    if seen["mes"] in rule.get("mes_refused", []):
        host.findings.add("firmware.loaded", f"MES {seen['mes']}", "another version", why=rule["reason"])
    if not managed:
        return section
    wanted = f"{package}={version}" if version else f"{package}>={rule['minimum']}"
    too_old = not installed or refused or version_key(installed)[:1] < version_key(rule["minimum"])[:1]
    section["wanted"] = [wanted]
    if too_old or (version and installed != version):
        section["install"] = [wanted]
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
    distribution = host.distribution or {}
    if rule["policy"] == "dkms" and rule.get("fallback") and host.gfx not in distribution.get("gfx", []):
        name = host.rocm["os"]["name"]
        return rule["fallback"], f"AMD has no DKMS packages for {host.gfx} on {name}", distribution.get("source")
    return rule["policy"], rule["reason"], rule["source"]


def _driver(host: Host) -> dict[str, t.Any]:
    policy, reason, source = _driver_policy(host)
    facts = host.rocm["driver"]
    section: dict[str, t.Any] = {
        "policy": policy,
        "release": None,
        "repository": None,
        "install": [],
        "remove": [],
        "state": host.wants["driver_state"],
    }
    host.note("driver", "policy", policy, reason, source)
    if facts["blacklisted_by"] and policy != "none":
        host.findings.add("driver.blacklisted", ", ".join(facts["blacklisted_by"]), "no blacklist entry")
    if facts["reload_needed"]:
        host.findings.add("driver.reload", facts["version"] or "the inbox module", "the module on disk")
    if policy == "inbox":
        section["remove"] = [
            name for name in ("amdgpu-dkms", "amdgpu-dkms-firmware") if name in host.rocm["packages"]
        ]
        if section["remove"]:
            host.findings.add("driver.dkms_on_inbox", ", ".join(section["remove"]), "the inbox driver", why=reason)
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
    section["repository"] = _repository(
        host, "driver", host.distribution["driver_suite"], directory=known["directory"]
    )
    packages = [f"amdgpu-dkms={known['package_version']}", f"amdgpu-dkms-firmware={known['firmware_version']}"]
    section["install"] = host.missing(packages)
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
    products = {gpu["product"] for gpu in host.gpus}
    distribution = host.distribution
    fits = distribution and host.gfx in distribution["gfx"] and not products & set(distribution["products_excluded"])
    if not fits:
        supported = ", ".join(
            f"{entry['id']} {entry['version']}"
            for entry in host.catalog.releases["distributions"].values()
            if host.gfx in entry["gfx"]
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
    if kernel and not version_key(limits["minimum"]) <= version_key(kernel)[:2] < version_key(limits["below"]):
        newer = [
            name
            for name, entry in host.catalog.releases["drivers"]["releases"].items()
            if version_key(entry["kernels"]["minimum"]) <= version_key(kernel)[:2] < version_key(entry["kernels"]["below"])
        ]
        remedy = f"Set driver_release to {newer[0]}" if newer else f"Boot a kernel older than {limits['below']}"
        host.findings.add(
            "driver.kernel",
            f"driver {release} on kernel {kernel}",
            f"a kernel from {limits['minimum']} to below {limits['below']}",
            remedy=remedy,
        )
        return False
    if host.rocm["boot"]["secure_boot"]:
        host.findings.add("driver.secure_boot", "Secure Boot on", "a module whose signature is accepted")
    return True


def _repository(host: Host, role: str, suite: str, **words: str) -> dict[str, t.Any]:
    known = host.catalog.releases["repositories"][role]
    wants = host.wants
    uri = wants[f"{role}_repository_uri"] or known["uri"].format(**words)
    host.note(
        role,
        "repository",
        uri,
        "asked for" if wants[f"{role}_repository_uri"] else known["reason"],
        INVENTORY if wants[f"{role}_repository_uri"] else known["source"],
    )
    return {
        "name": f"amdgpu-fleet-{role}",
        "uri": uri,
        "suite": suite,
        "components": known["components"],
        "key_url": wants[f"{role}_repository_key_url"] or known["key_url"],
        "fingerprint": wants[f"{role}_repository_fingerprint"] or known["fingerprint"],
    }


def _rocm(host: Host) -> dict[str, t.Any]:
    known = host.catalog.releases["rocm"]
    section: dict[str, t.Any] = {
        "version": None,
        "repository": None,
        "install": [],
        "state": host.wants["rocm_state"],
    }
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
            known=", ".join(release["drivers"]),
        )
    legacy = [entry["path"] for entry in host.rocm["installations"] if entry["layout"] == "legacy"]
    if legacy:
        host.findings.add("rocm.legacy", ", ".join(legacy), "no ROCm before 7.14")
    userspace = known["userspace"][host.wants["rocm_userspace"]]
    packages = [
        f"{name.format(suffix=release['package_suffix'], gfx=host.gfx)}={release['package_version']}"
        for name in userspace["packages"]
    ]
    section["version"] = version
    section["repository"] = _repository(
        host, "rocm", host.catalog.releases["repositories"]["rocm"]["suite"],
        distribution=host.distribution["rocm_directory"],
    )
    section["install"] = host.missing(packages)
    asked = bool(host.wants["rocm_version"])
    host.note(
        "rocm",
        "version",
        version,
        "asked for" if asked else known["default_reason"],
        INVENTORY if asked else release["source"],
    )
    host.note("rocm", "packages", " ".join(packages), userspace["reason"], userspace["source"])
    return section


def _devices(host: Host) -> dict[str, t.Any]:
    members = host.rocm["group_members"]
    users = host.wants["devices_users"]
    joining = [user for user in users if any(user not in members[group] for group in ("render", "video"))]
    if host.gfx != "cpu":
        host.note(
            "devices",
            "mode",
            host.wants["devices_mode"],
            "members of render may use the GPUs" if host.wants["devices_mode"] == "0660" else "every user may use the GPUs",
            INVENTORY if host.wants["devices_mode"] != "0660" else "systemd rules.d/50-udev-default.rules.in",
        )
        host.note("devices", "memlock", "unlimited", "GPU transfers pin host memory", "Azure/azhpc-images 2026-07-29")
    return {
        "enabled": host.gfx != "cpu",
        "mode": host.wants["devices_mode"],
        "render_gid": host.rocm["groups"]["render"],
        "video_gid": host.rocm["groups"]["video"],
        "join": joining,
        "state": host.wants["devices_state"],
    }


def name_fits(name: str) -> bool:
    """Whether a unit and its files can carry the name."""
    return re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name) is not None
