# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``kernel`` of the plan: arguments of the next boot, module options, sysctls.

Who asks for more wins: the inventory beats an optional setting, that one beats the catalog. Two arguments are
the same where the kernel takes them as the same (``_cmdline``), which is also what the module ``kernel_args``
goes by.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
import typing as t

from ...module_utils import _cmdline, _modprobe
from ...module_utils._cmdline import CmdlineError, Wanted
from . import apu, distributions, owners
from .catalog import CatalogError, version_key
from .driver import Policy
from .host import Host
from .memory import GIB, memory_pool
from .moving import Options, place, stays
from .wants import INVENTORY, WantsError


@dataclasses.dataclass(frozen=True)
class KernelPlan:
    """What the role kernel applies."""

    present: list[str]
    absent: list[str]
    # Module -> parameter -> value, for modprobe.d.
    module_options: dict[str, dict[str, str]]
    sysctl: dict[str, t.Any]
    # A kernel that is installed and new enough, where the running one is not.
    reboot_into: str | None
    # A module that a unit loads: without it a driver that an optional setting blacklists would never come.
    load_at_boot: str | None
    state: str


@dataclasses.dataclass(frozen=True)
class ForOthers:
    """What other sections need of this one."""

    # Arguments that keep a module from loading by itself, and the module, which a unit loads.
    loaded_late: dict[str, str]
    # The pool of an APU once the plan is applied, where the plan sets it.
    pool_bytes: int | None


def section(host: Host, driver: Policy) -> tuple[KernelPlan, ForOthers]:
    """What the role kernel applies, and what driver and serving have to know of it."""
    settings = host.profile.get("host", {})
    inventory = _asked_for(host)
    asked, loaded_late = _opted_in(host, settings.get("kernel", {}).get("opt_in", {}), inventory)
    present = _arguments(host, driver, inventory, asked)
    passed_through = _cmdline.holds(present, "iommu=pt")
    if len(host.gpus) > 1 and passed_through and host.system["iommu"]["mode"] == "remap":
        host.findings.add("host.iommu", "remapped DMA", "iommu=pt")
    chosen, pool = _module_options(host, driver, present)
    moved, options = place(host, chosen)
    present += moved
    outdated = _outdated(host, asked, options, present)
    _check_overruled(host, options)
    plan = KernelPlan(
        present=present,
        absent=[*asked.absent, *outdated],
        module_options=options,
        sysctl=_sysctl(host, driver),
        reboot_into=_minimum_kernel(host),
        load_at_boot=next(iter(loaded_late.values()), None),
        state=host.wants.kernel_state,
    )
    return plan, ForOthers(loaded_late, pool)


def _arguments(host: Host, driver: Policy, inventory: Wanted, asked: Wanted) -> list[str]:
    """Arguments to add. What the inventory asks for comes last in the line, where the kernel
    reads it last."""
    settings = host.profile.get("host", {})
    present = []
    for entry in settings.get("kernel", {}).get("present", []):
        if entry.get("optional") or not applies(host, driver, entry):
            continue
        if not _overruled(entry["argument"], asked):
            present.append(entry["argument"])
            host.note("kernel", "argument", entry["argument"], entry["reason"], entry["source"])
    for argument in inventory.present:
        host.note("kernel", "argument", argument, "asked for", INVENTORY)
    return [*present, *asked.present]


def _asked_for(host: Host) -> Wanted:
    names = ("kernel_arguments_present", "kernel_arguments_absent")
    wants, grub = host.wants, host.system["boot"]["loader"] in ("grub", "suse")
    for argument in wants.kernel_arguments_present if grub else []:
        if re.search(r"[$`\\']", argument):  # _boot.grub_argument
            raise WantsError(
                f"{names[0]}: {argument!r} holds a character that GRUB reads as its own. Write it into "
                f"/etc/default/grub."
            )
    try:
        return _cmdline.wanted(wants.kernel_arguments_present, wants.kernel_arguments_absent, names)
    except CmdlineError as error:
        raise WantsError(str(error)) from error


def _opted_in(host: Host, optional: dict[str, t.Any], inventory: Wanted) -> tuple[Wanted, dict[str, str]]:
    """The optional settings that were asked for, under what the inventory says argument by argument."""
    taken: list[str] = []
    loaded_late: dict[str, str] = {}
    for name in host.wants.kernel_opt_in:
        option = optional.get(name)
        if option is None:
            choices = ", ".join(sorted(optional)) or "nothing for this GPU"
            raise WantsError(
                f"kernel_opt_in: {name} is not an optional setting of {host.gfx}; there is {choices}. "
                "Choose one of them."
            )
        if "load_at_boot" in option and _driver_of_another(host):
            continue  # named by owners.check
        for argument in option["arguments"]:
            if not _overruled(argument, inventory):
                taken.append(argument)
                host.note("kernel", "argument", argument, _why(option), option["source"])
            stays = any(_cmdline.same(argument, other) for other in [*taken, *inventory.present])
            if "load_at_boot" in option and stays and host.wants.kernel_state == "present":
                loaded_late[argument] = option["load_at_boot"]
    try:
        taken = _cmdline.wanted(taken, [], ("kernel_opt_in", "")).present
    except CmdlineError as error:
        raise WantsError(str(error)) from error
    return Wanted([*taken, *inventory.present], inventory.absent), loaded_late


def _driver_of_another(host: Host) -> bool:
    return owners.of_the_operator(host) or any(name in owners.EXCLUSIVE for name in owners.names(host))


def _why(option: dict[str, t.Any]) -> str:
    return f"opted in. Gain: {option['gain']} Cost: {option['cost']}"


def _overruled(argument: str, stronger: Wanted) -> bool:
    """Whether an argument must not stand beside what is asked for elsewhere with more weight."""
    rival = any(_key(other) == _key(argument) for other in stronger.present)
    return rival or any(_cmdline.matches(argument, pattern) for pattern in stronger.absent)


def _key(argument: str) -> tuple[str, str]:
    """The part of an argument that can be set once: its name, or for a name that may repeat, all before the
    second equals sign, as in ``pci=realloc=off``."""
    name, value = _cmdline.parse(argument)
    return name, (value or "").partition("=")[0] if _cmdline.repeatable(name) else ""


def _outdated(host: Host, asked: Wanted, options: Options, present: list[str]) -> list[str]:
    """Arguments of outdated advice. One that is asked for all the same stays, and one whose replacement is
    not written or not known to take effect."""
    absent = []
    for entry in host.profile.get("host", {}).get("kernel", {}).get("absent", []):
        argument = entry["argument"]
        if any(_cmdline.matches(other, argument) for other in [*asked.present, *present]):
            continue
        why_not = stays(host, entry, options, present)
        if not why_not:
            absent.append(argument)
        instead = f"{entry['replaced_by']} takes its place" if entry.get("replaced_by") else ""
        seen = [token for token in host.system["kernel"]["command_line"] if _cmdline.matches(token, argument)]
        if seen:
            remedy = f"The role kernel removes it{', ' if instead else ''}{instead}"
            if why_not:
                remedy = f"It stays, because {why_not}. Remove it by hand once that is settled"
            line, expected = " ".join(seen), f"no {argument}"
            host.findings.add("kernel.outdated_argument", line, expected, why=entry["reason"], remedy=remedy)
        _outdated_options(host, entry, instead)
    return absent


def _outdated_options(host: Host, entry: dict[str, t.Any], instead: str) -> None:
    """The same advice, followed in a file of modprobe.d. A limit that the plan puts there is outdated on the
    command line alone."""
    placed = {
        (known[key], known["parameter"])
        for known in host.profile.get("host", {}).get("module_options", [])
        for key in known
        if key.startswith("module")
    }
    for option in host.system["kernel"]["module_options"]:
        module, parameter, value = option["module"], option["parameter"], option["value"]
        setting = f"{module}.{parameter}={value}"
        if (module, parameter) in placed or not _cmdline.matches(setting, entry["argument"]):
            continue
        end = f"; {instead}" if instead else ""
        remedy = f"Remove it from {option['path']} and build the initramfs again{end}"
        line = f"options {module} {parameter}={value} in {option['path']}"
        expected = f"no {entry['argument']}"
        host.findings.add("kernel.outdated_argument", line, expected, why=entry["reason"], remedy=remedy)


def _check_overruled(host: Host, options: dict[str, dict[str, str]]) -> None:
    """A file that modprobe reads after ours has the last word, and the role would ask for one reboot after
    the other."""
    ours = posixpath.basename(_modprobe.PATH)
    for other in host.system["kernel"]["module_options"] if host.wants.kernel_state == "present" else []:
        module, parameter, value = (other[key] for key in ("module", "parameter", "value"))
        mine = options.get(module, {}).get(parameter)
        if mine is not None and posixpath.basename(other["path"]) > ours and not _modprobe.equal(mine, value):
            line = f"options {module} {parameter}={value} in {other['path']}"
            host.findings.add(
                "kernel.option_overruled", line, f"{parameter}={mine}", path=other["path"], ours=ours
            )


def _sysctl(host: Host, driver: Policy) -> dict[str, t.Any]:
    settings, sysctl = host.profile.get("host", {}), {}
    for name, entry in settings.get("sysctl", {}).items():
        if not applies(host, driver, entry):
            continue
        sysctl[name] = entry["value"]
        host.note("kernel", "sysctl", f"{name}={entry['value']}", entry["reason"], entry["source"])
    for option in (settings.get("kernel", {}).get("opt_in", {})[name] for name in host.wants.kernel_opt_in):
        for name, value in option.get("sysctl", {}).items():
            sysctl[name] = value
            host.note("kernel", "sysctl", f"{name}={value}", _why(option), option["source"])
    if sysctl.get("kernel.numa_balancing") == 0 and host.system["numa_balancing"]:
        host.findings.add("host.numa_balancing", "kernel.numa_balancing=1", "0")
    for name, value in host.wants.kernel_sysctl.items():
        sysctl[name] = value
        host.note("kernel", "sysctl", f"{name}={value}", "asked for", INVENTORY)
    return sysctl


def applies(host: Host, driver: Policy, entry: dict[str, t.Any]) -> bool:
    """Whether the condition ``when`` of a catalog entry holds. An unknown key is an error, never ignored."""
    for key, value in entry.get("when", {}).items():
        test = _CONDITIONS.get(key)
        if test is None:
            raise CatalogError(f"catalog/profiles/{host.gfx}.yml: the condition {key} is unknown.")
        if not test(host, driver, value):
            return False
    return True


_CONDITIONS: dict[str, t.Callable[[Host, Policy, t.Any], bool]] = {
    "driver": lambda _host, driver, value: driver.name == value,
    "cpu_vendor": lambda host, _driver, value: host.system["cpu_vendor"] == value,
    "gpus_above": lambda host, _driver, value: len(host.gpus) > value,
    "products": lambda host, _driver, value: any(gpu["product"] in value for gpu in host.gpus),
    "not_products": lambda host, _driver, value: not any(gpu["product"] in value for gpu in host.gpus),
    "virtual_function": lambda host, _driver, value: (
        any(gpu["virtual_function"] for gpu in host.gpus) == value
    ),
}


def _module_options(
    host: Host, driver: Policy, arguments: list[str]
) -> tuple[dict[str, dict[str, str]], int | None]:
    """Options for modprobe.d, and the pool that they give an APU.

    A parameter on the command line beats them, so none is written beside one that is asked for there.
    """
    options: dict[str, dict[str, str]] = {}
    pool, asked = None, host.wants.kernel_gtt_gib
    for entry in host.profile.get("host", {}).get("module_options", []):
        if not applies(host, driver, entry) or (entry.get("optional") and not asked):
            continue
        # The DKMS driver brings a TTM under another name; options for the wrong one are ignored in silence.
        dkms = driver.name == "dkms" or owners.of_the_operator(host)
        module = entry.get("module_with_dkms", entry["module"]) if dkms else entry["module"]
        name = f"{module}.{entry['parameter']}"
        argument = next((argument for argument in arguments if _cmdline.matches(argument, name)), "")
        if argument and asked:
            raise WantsError(
                f"kernel_gtt_gib sets {name}, and {argument} stands in kernel_arguments_present. "
                "Keep one of them."
            )
        if argument:
            continue
        reason, source = entry["reason"], entry["source"]
        if entry["formula"] == "per_gpu":
            value = entry["pages_per_gpu"] * len(host.gpus)
        elif entry["formula"] == "gib_of_ram":
            gib, memory = _pool_gib(host, entry)
            if gib is None:
                continue
            # A limit below the carve-out that is the pool moves nothing.
            if apu.keeps_carve_out(host, gib * GIB) and not asked:
                continue
            value = gib * entry["pages_per_gib"]
            why = f"{gib} of {memory} GiB. {reason}"
            reason, source = ("asked for", INVENTORY) if asked else (why, source)
            pool = gib * GIB if host.wants.kernel_state == "present" else None
            memory_pool(host, gib)
        else:
            raise CatalogError(f"catalog/profiles/{host.gfx}.yml: the formula {entry['formula']} is unknown.")
        options.setdefault(module, {})[entry["parameter"]] = str(value)
        host.note("kernel", "module option", f"{module} {entry['parameter']}={value}", reason, source)
    return options, pool


def _pool_gib(host: Host, entry: dict[str, t.Any]) -> tuple[int | None, int]:
    """The pool to set, ``None`` where more is asked for than there is, and the memory of the host."""
    memory = (host.system["memory_bytes"] or 0) // GIB
    limit = int(memory * entry["fraction"])
    gib = host.wants.kernel_gtt_gib or limit
    if gib < 1:
        return None, memory  # not known how much there is: a limit of 0 would be half of it
    if gib <= limit:
        return gib, memory
    seen, expected = f"{gib} GiB", f"at most {limit} of {memory} GiB"
    host.findings.add("memory.gtt_too_large", seen, expected, limit=limit)
    return None, memory


def _minimum_kernel(host: Host) -> str | None:
    """Hold the running kernel to the floor of its distribution. The kernel of the next boot, where that one
    is new enough."""
    minimums = host.profile.get("host", {}).get("minimum_kernel", [])
    release, following = host.system["kernel"]["release"], host.system["kernel"]["default_release"]
    os = distributions.kernel_base(host.system)
    # Ubuntu's HWE kernels call themselves generic, as its GA kernels do.
    flavours = {
        "any",
        host.system["kernel"]["flavour"],
        *(("hwe",) if host.system["kernel"]["flavour"] == "generic" else ()),
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
        and host.wants.kernel_state == "present"
        and _kernel_key(following) >= _kernel_key(floor["release"])
    )
    waits = following if newer else None
    host.findings.add(
        "kernel.minimum",
        release,
        f">= {floor['release']}",
        severity="warn" if waits else "fail",
        why=(
            f"older kernels lack fixes that {host.gfx} needs: hangs, page faults, or a fraction of the memory"
        ),
        remedy=f"{waits} is installed; the role kernel asks for a reboot into it"
        if waits
        else distributions.kernel_remedy(host.system, floor["release"]),
    )
    return waits


def _kernel_key(release: str) -> list[int]:
    """Version and ABI number: ``6.17.0-19-generic`` and ``6.17.0-19.19~24.04.2`` are one kernel."""
    return version_key(release)[:4]
