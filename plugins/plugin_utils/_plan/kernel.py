# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``kernel`` of the plan: arguments of the next boot, module options, sysctls.

Who asks for more wins: the inventory beats an optional setting, that one beats the catalog. Two arguments are
the same where the kernel takes them as the same (``_cmdline``), which is also what the module ``kernel_args``
goes by.
"""

from __future__ import annotations

import posixpath
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline, _modprobe
from ansible_collections.amdgpu.fleet.plugins.module_utils._cmdline import CmdlineError, Wanted
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import apu, distributions
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import CatalogError, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm.fit import GIB
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.examine import memory_pool
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY, WantsError

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host


def section(host: Host) -> dict[str, t.Any]:
    """What the role kernel applies."""
    settings = host.profile.get("host", {})
    arguments = _arguments(host, settings)
    if (
        len(host.gpus) > 1
        and _cmdline.holds(arguments.present, "iommu=pt")
        and host.rocm["iommu"]["mode"] == "remap"
    ):
        host.findings.add("host.iommu", "remapped DMA", "iommu=pt")
    options = _module_options(host, settings.get("module_options", []), arguments.present)
    _check_overruled(host, options)
    return {
        "present": arguments.present,
        "absent": arguments.absent,
        "module_options": options,
        "sysctl": _sysctl(host, settings),
        "reboot_into": _minimum_kernel(host),
        # Without a unit that loads it, a driver that an optional setting blacklists would never come.
        "load_at_boot": next(iter(host.loaded_late.values()), None),
        "state": host.wants["kernel_state"],
    }


def _arguments(host: Host, settings: dict[str, t.Any]) -> Wanted:
    """Arguments to add and to remove. What the inventory asks for comes last in the line, where the kernel
    reads it last."""
    known = settings.get("kernel", {})
    inventory = _asked_for(host)
    asked = _opted_in(host, known.get("opt_in", {}), inventory)
    present = []
    for entry in known.get("present", []):
        if not entry.get("optional") and applies(host, entry) and not _overruled(entry["argument"], asked):
            present.append(entry["argument"])
            host.note("kernel", "argument", entry["argument"], entry["reason"], entry["source"])
    for argument in inventory.present:
        host.note("kernel", "argument", argument, "asked for", INVENTORY)
    return Wanted([*present, *asked.present], [*asked.absent, *_outdated(host, settings, asked)])


def _asked_for(host: Host) -> Wanted:
    names = ("kernel_arguments_present", "kernel_arguments_absent")
    for argument in host.wants[names[0]] if host.rocm["boot"]["loader"] in ("grub", "suse") else []:
        if re.search(r"[$`\\']", argument):  # _boot.grub_argument
            raise WantsError(
                f"{names[0]}: {argument!r} holds a character that GRUB reads as its own. Write it into "
                f"/etc/default/grub."
            )
    try:
        return _cmdline.wanted(host.wants[names[0]], host.wants[names[1]], names)
    except CmdlineError as error:
        raise WantsError(str(error)) from error


def _opted_in(host: Host, known: dict[str, t.Any], inventory: Wanted) -> Wanted:
    """The optional settings that were asked for, under what the inventory says argument by argument."""
    taken: list[str] = []
    for name in host.wants["kernel_opt_in"]:
        option = known.get(name)
        if option is None:
            there = ", ".join(sorted(known)) or "nothing for this GPU"
            raise WantsError(
                f"kernel_opt_in: {name} is not an optional setting of {host.gfx}; there is {there}."
            )
        for argument in option["arguments"]:
            if not _overruled(argument, inventory):
                taken.append(argument)
                host.note("kernel", "argument", argument, _why(option), option["source"])
            stays = any(_cmdline.same(argument, other) for other in [*taken, *inventory.present])
            if "load_at_boot" in option and stays and host.wants["kernel_state"] == "present":
                host.loaded_late[argument] = option["load_at_boot"]
    try:
        taken = _cmdline.wanted(taken, [], ("kernel_opt_in", "")).present
    except CmdlineError as error:
        raise WantsError(str(error)) from error
    return Wanted([*taken, *inventory.present], inventory.absent)


def _why(option: dict[str, t.Any]) -> str:
    return f"opted in. Gain: {option['gain']} Cost: {option['cost']}"


def _overruled(argument: str, stronger: Wanted) -> bool:
    """Whether an argument must not stand beside what is asked for elsewhere with more weight."""
    rival = any(_key(other) == _key(argument) for other in stronger.present)
    return rival or any(_cmdline.matches(argument, pattern) for pattern in stronger.absent)


def _key(argument: str) -> tuple[str, str]:
    """What can be set once. Of a name that may repeat that is the part before the second equals sign:
    ``pci=realloc=off``."""
    name, value = _cmdline.parse(argument)
    return name, (value or "").partition("=")[0] if _cmdline.repeatable(name) else ""


def _outdated(host: Host, settings: dict[str, t.Any], asked: Wanted) -> list[str]:
    """Arguments of outdated advice. One that is asked for all the same stays."""
    absent = []
    # A limit that has its place in modprobe.d is outdated on the command line alone.
    placed = {
        (entry[key], entry["parameter"])
        for entry in settings.get("module_options", [])
        for key in entry
        if key.startswith("module")
    }
    for entry in settings.get("kernel", {}).get("absent", []):
        argument = entry["argument"]
        if any(_cmdline.matches(other, argument) for other in asked.present):
            continue
        absent.append(argument)
        instead = f"{entry['replaced_by']} takes its place" if entry.get("replaced_by") else ""
        seen = [token for token in host.rocm["kernel"]["command_line"] if _cmdline.matches(token, argument)]
        if seen:
            remedy = f"The role kernel removes it{', ' if instead else ''}{instead}"
            host.findings.add(
                "kernel.outdated_argument",
                " ".join(seen),
                f"no {argument}",
                why=entry["reason"],
                remedy=remedy,
            )
        for option in host.rocm["kernel"]["module_options"]:
            name, value = f"{option['module']}.{option['parameter']}", option["value"]
            if (option["module"], option["parameter"]) not in placed and _cmdline.matches(
                f"{name}={value}", argument
            ):
                remedy = f"Remove it from {option['path']} and build the initramfs again{'; ' if instead else ''}{instead}"
                line = f"options {option['module']} {option['parameter']}={value} in {option['path']}"
                host.findings.add(
                    "kernel.outdated_argument", line, f"no {argument}", why=entry["reason"], remedy=remedy
                )
    return absent


def _check_overruled(host: Host, options: dict[str, dict[str, str]]) -> None:
    """A file that modprobe reads after ours has the last word, and the role would ask for one reboot after
    the other."""
    ours = posixpath.basename(_modprobe.PATH)
    for other in host.rocm["kernel"]["module_options"] if host.wants["kernel_state"] == "present" else []:
        module, parameter, value = (other[key] for key in ("module", "parameter", "value"))
        mine = options.get(module, {}).get(parameter)
        if mine is not None and posixpath.basename(other["path"]) > ours and not _modprobe.equal(mine, value):
            line = f"options {module} {parameter}={value} in {other['path']}"
            host.findings.add(
                "kernel.option_overruled", line, f"{parameter}={mine}", path=other["path"], ours=ours
            )


def _sysctl(host: Host, settings: dict[str, t.Any]) -> dict[str, t.Any]:
    sysctl = {}
    for name, entry in settings.get("sysctl", {}).items():
        if not applies(host, entry):
            continue
        sysctl[name] = entry["value"]
        host.note("kernel", "sysctl", f"{name}={entry['value']}", entry["reason"], entry["source"])
    for option in (
        settings.get("kernel", {}).get("opt_in", {})[name] for name in host.wants["kernel_opt_in"]
    ):
        for name, value in option.get("sysctl", {}).items():
            sysctl[name] = value
            host.note("kernel", "sysctl", f"{name}={value}", _why(option), option["source"])
    if sysctl.get("kernel.numa_balancing") == 0 and host.rocm["numa_balancing"]:
        host.findings.add("host.numa_balancing", "kernel.numa_balancing=1", "0")
    for name, value in host.wants["kernel_sysctl"].items():
        sysctl[name] = value
        host.note("kernel", "sysctl", f"{name}={value}", "asked for", INVENTORY)
    return sysctl


def applies(host: Host, entry: dict[str, t.Any]) -> bool:
    """Whether the condition ``when`` of a catalog entry holds. An unknown key is an error, never ignored."""
    for key, value in entry.get("when", {}).items():
        test = _CONDITIONS.get(key)
        if test is None:
            raise CatalogError(f"catalog/profiles/{host.gfx}.yml: the condition {key} is unknown.")
        if not test(host, value):
            return False
    return True


_CONDITIONS: dict[str, t.Callable[[Host, t.Any], bool]] = {
    "driver": lambda host, value: host.driver_policy == value,
    "cpu_vendor": lambda host, value: host.rocm["cpu_vendor"] == value,
    "gpus_above": lambda host, value: len(host.gpus) > value,
    "products": lambda host, value: any(gpu["product"] in value for gpu in host.gpus),
    "not_products": lambda host, value: not any(gpu["product"] in value for gpu in host.gpus),
    "virtual_function": lambda host, value: any(gpu["virtual_function"] for gpu in host.gpus) == value,
}


def _module_options(
    host: Host, entries: list[dict[str, t.Any]], arguments: list[str]
) -> dict[str, dict[str, str]]:
    """Options for modprobe.d. A parameter on the command line beats them, so none is written beside one that
    is asked for there."""
    options: dict[str, dict[str, str]] = {}
    for entry in entries:
        asked = host.wants["kernel_gtt_gib"]
        if not applies(host, entry) or (entry.get("optional") and not asked):
            continue
        # The DKMS driver brings a TTM under another name, and options for the wrong one are ignored in
        # silence.
        module = (
            entry.get("module_with_dkms", entry["module"])
            if host.driver_policy == "dkms"
            else entry["module"]
        )
        name = f"{module}.{entry['parameter']}"
        argument = next((argument for argument in arguments if _cmdline.matches(argument, name)), "")
        if argument and asked:
            raise WantsError(
                f"kernel_gtt_gib sets {name}, and {argument} stands in kernel_arguments_present. Keep one of "
                f"them."
            )
        if argument:
            continue
        reason, source = entry["reason"], entry["source"]
        if entry["formula"] == "per_gpu":
            value = entry["pages_per_gpu"] * len(host.gpus)
        elif entry["formula"] == "gib_of_ram":
            memory = (host.rocm["memory_bytes"] or 0) // GIB
            limit = int(memory * entry["fraction"])
            gib = asked or limit
            if gib > limit:
                host.findings.add(
                    "memory.gtt_too_large", f"{gib} GiB", f"at most {limit} of {memory} GiB", limit=limit
                )
                continue
            # A limit below the carve-out that is the pool moves nothing.
            if apu.keeps_carve_out(host, gib * GIB) and not asked:
                continue
            value = gib * entry["pages_per_gib"]
            reason, source = (
                ("asked for", INVENTORY) if asked else (f"{gib} of {memory} GiB. {reason}", source)
            )
            host.pool_bytes = gib * GIB if host.wants["kernel_state"] == "present" else None
            memory_pool(host, gib)
        else:
            raise CatalogError(f"catalog/profiles/{host.gfx}.yml: the formula {entry['formula']} is unknown.")
        options.setdefault(module, {})[entry["parameter"]] = str(value)
        host.note("kernel", "module option", f"{module} {entry['parameter']}={value}", reason, source)
    return options


def _minimum_kernel(host: Host) -> str | None:
    """Hold the running kernel to the floor of its distribution. The kernel of the next boot, where that one
    is new enough."""
    minimums = host.profile.get("host", {}).get("minimum_kernel", [])
    release, following = host.rocm["kernel"]["release"], host.rocm["kernel"]["default_release"]
    os = distributions.kernel_base(host.rocm)
    # Ubuntu's HWE kernels call themselves generic, as its GA kernels do.
    flavours = {
        "any",
        host.rocm["kernel"]["flavour"],
        *(("hwe",) if host.rocm["kernel"]["flavour"] == "generic" else ()),
    }
    mine = [
        entry
        for entry in minimums
        if entry["distribution"] == os.id
        # A rolling release has no version of its own.
        and os.version in (None, entry["version"])
        and entry["flavour"] in flavours
    ]
    floor = next(iter(mine), None) or next(
        (entry for entry in minimums if entry["distribution"] == "any"), None
    )
    if not (release and floor and floor["release"] and _kernel_key(release) < _kernel_key(floor["release"])):
        return None
    newer = (
        following
        and host.wants["kernel_state"] == "present"
        and _kernel_key(following) >= _kernel_key(floor["release"])
    )
    waits = following if newer else None
    host.findings.add(
        "kernel.minimum",
        release,
        f">= {floor['release']}",
        severity="warn" if waits else "fail",
        why=f"older kernels lack fixes that {host.gfx} needs: hangs, page faults, or a fraction of the memory",
        remedy=f"{waits} is installed; the role kernel asks for a reboot into it"
        if waits
        else distributions.kernel_remedy(host.rocm, floor["release"]),
    )
    return waits


def _kernel_key(release: str) -> list[int]:
    """Version and ABI number: ``6.17.0-19-generic`` and ``6.17.0-19.19~24.04.2`` are one kernel."""
    return version_key(release)[:4]
