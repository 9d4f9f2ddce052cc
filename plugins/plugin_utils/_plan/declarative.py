# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose kernel arguments, module options and packages are not ours to write.

Such a host gets a finding with what its owner has to write, in the words of his system, ready to paste.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import typing as t
import urllib.parse

from ...module_utils import _cmdline
from ...module_utils._cmdline import Wanted
from . import devices
from .facts_boot import Refused
from .findings import SYSTEM_ROLES
from .host import Host
from .moving import OSTREE
from .plan import Plan

SYSCTLS = "/usr/lib/sysctl.d/60-amdgpu-fleet.conf"
# Findings that a kernel argument mends.
OF_ARGUMENTS = ("host.iommu", "kernel.outdated_argument")
NOTHING_KNOWN: Refused = {
    "system": "no boot loader that is known",
    "reason": "no configuration of a boot loader was found",
    "where": "the configuration of what starts this kernel",
    "whole": False,
    "units": True,
}


class Needs(t.NamedTuple):
    """What a plan needs of a host whose owner writes it."""

    present: list[str]
    absent: list[str]
    options: list[str]
    packages: list[str]
    sysctl: t.Mapping[str, t.Any] = {}
    units: t.Sequence[str] = ()

    def __bool__(self) -> bool:
        return any(self)


def _packages(plan: Plan) -> list[str]:
    names = [*plan.firmware.install, *plan.driver.install, *plan.rocm.install]
    return list(dict.fromkeys(name.partition("=")[0] for name in names))


def check(host: Host, plan: Plan) -> Plan:
    """Say what the owner of a refused host has to write, and leave nothing of it to the roles."""
    boot = host.system["boot"]
    if boot["loader"] == OSTREE:
        return _without_packages(host, plan)
    if boot["loader"] is not None:
        return plan
    refused = boot["refused"] or NOTHING_KNOWN
    needs = _needs(host, plan, refused)
    system, where, reason = refused["system"], refused["where"], refused["reason"]
    roles = SYSTEM_ROLES if refused["units"] else (*SYSTEM_ROLES, "devices")
    host.findings.left_to_the_owner(OF_ARGUMENTS if not refused["whole"] else ("",), where, roles)
    lines = snippet(system, needs)
    if needs and refused["whole"]:
        expected = "a host that may be written to"
        host.findings.add("host.declarative", system, expected, reason=reason, where=where, lines=lines)
    elif needs:
        expected = "a boot loader whose configuration may be written"
        host.findings.add("host.boot_loader", system, expected, reason=reason, where=where, lines=lines)
    kernel = dataclasses.replace(plan.kernel, present=[], absent=[])
    if not refused["whole"]:
        return dataclasses.replace(plan, kernel=kernel)
    kernel = dataclasses.replace(kernel, module_options={}, sysctl={}, load_at_boot=None, reboot_into=None)
    if not refused["units"]:
        plan = dataclasses.replace(plan, devices=devices.left_alone(plan.devices))
    return dataclasses.replace(plan, kernel=kernel).without_packages()


def _without_packages(host: Host, plan: Plan) -> Plan:
    """rpm-ostree: the kernel arguments are ours, the packages are the image's."""
    if _packages(plan):
        host.findings.add(
            "host.declarative",
            "packages of an image",
            "an image that holds them",
            reason="its packages belong to the image that it boots",
            where="the Containerfile of the image",
            lines=snippet("bootc", Needs([], [], [], _packages(plan))),
        )
    return plan.without_packages()


def _needs(host: Host, plan: Plan, refused: Refused) -> Needs:
    """What is wanted and not in effect. Without the whole system, options and packages are ours to write."""
    kernel, whole = plan.kernel, refused["whole"]
    units = [server.unit for server in plan.serve.instances] if whole and not refused["units"] else []
    if kernel.state != "present":
        return Needs([], [], [], [], units=units)
    running = host.system["kernel"]["command_line"]
    wanted = Wanted(kernel.present, kernel.absent)
    options = [
        f"options {module} " + " ".join(f"{name}={value}" for name, value in each.items())
        for module, each in kernel.module_options.items()
        if not all(_set_already(host, module, name, value) for name, value in each.items())
    ]
    return Needs(
        _cmdline.missing(running, wanted),
        _cmdline.unwanted(running, wanted),
        options if whole else [],
        _packages(plan) if whole else [],
        _sysctl(host, plan) if whole else {},
        units,
    )


def _sysctl(host: Host, plan: Plan) -> dict[str, t.Any]:
    """Those that are not in effect. The kernel's own values of the others are not known, so they are told
    where there is something else to write, or a person asked for them."""
    wanted = dict(plan.kernel.sysctl)
    if wanted.get("kernel.numa_balancing") == 0 and host.system["numa_balancing"] is False:
        del wanted["kernel.numa_balancing"]
    return wanted


def _set_already(host: Host, module: str, name: str, value: str) -> bool:
    return _cmdline.holds(host.system["kernel"]["command_line"], f"{module}.{name}={value}") or any(
        (other["module"], other["parameter"], other["value"]) == (module, name, value)
        for other in host.system["kernel"]["module_options"]
    )


def snippet(system: str, needs: Needs) -> str:
    """What is wanted, in the language of the system, ready to paste."""
    lines = [line for line in _SNIPPETS.get(system, _plain)(needs) if line]
    text = "\n".join(lines)
    # What the language of the system has no word for.
    for what, names in (("packages", needs.packages), ("units", needs.units)):
        if names and not all(name in text for name in names):
            lines.append(f"# {what}: {' '.join(names)}")
    return "\n".join(lines)


def _removals(needs: Needs, mark: str = "#") -> str:
    return f"{mark} remove: {_cmdline.join(needs.absent)}" if needs.absent else ""


def _sysctl_note(needs: Needs, mark: str = "# ") -> str:
    words = [f"{name}={value}" for name, value in needs.sysctl.items()]
    return f"{mark}sysctl: {_cmdline.join(words)}" if words else ""


def _quoted(words: t.Sequence[str]) -> str:
    return " ".join(json.dumps(word) for word in words)


def _nix(needs: Needs) -> list[str]:
    options, sysctls = "\n".join(f"  {line}" for line in needs.options), needs.sysctl.items()
    return [
        f"boot.kernelParams = [ {_quoted(needs.present)} ];" if needs.present else "",
        _removals(needs),
        f"boot.extraModprobeConfig = ''\n{options}\n'';" if options else "",
        *(f"boot.kernel.sysctl.{json.dumps(name)} = {json.dumps(value)};" for name, value in sysctls),
        f"# packages: {' '.join(needs.packages)}" if needs.packages else "",
    ]


def _guix(needs: Needs) -> list[str]:
    arguments = [
        *needs.present,
        *(line.replace("options ", "").replace(" ", ".", 1) for line in needs.options),
    ]
    pairs = " ".join(f'({json.dumps(name)} . "{value}")' for name, value in needs.sysctl.items())
    return [
        f"(kernel-arguments (append (list {_quoted(arguments)}) %default-kernel-arguments))"
        if arguments
        else "",
        _removals(needs, ";"),
        f"(service sysctl-service-type (sysctl-configuration (settings '({pairs}))))" if pairs else "",
        f"; packages: {' '.join(needs.packages)}" if needs.packages else "",
    ]


def _bootc(needs: Needs) -> list[str]:
    """An option goes onto the command line, too: the initramfs was built before the file came."""
    arguments = [*needs.present, *_as_arguments(needs.options)]
    return [
        "# /usr/lib/bootc/kargs.d/60-amdgpu-fleet.toml" if arguments else "",
        f"kargs = {json.dumps(arguments)}" if arguments else "",
        'match-architectures = ["x86_64"]' if arguments else "",
        _removals(needs),
        f"# {SYSCTLS} in the image" if needs.sysctl else "",
        *_sysctl_lines(needs),
        "# Containerfile" if needs.packages else "",
        f"RUN dnf install -y {' '.join(needs.packages)}" if needs.packages else "",
    ]


def _sysctl_lines(needs: Needs) -> list[str]:
    return [f"{name} = {value}" for name, value in needs.sysctl.items()]


def _as_arguments(options: t.Sequence[str]) -> list[str]:
    found = []
    for line in options:
        module, *settings = line.split()[1:]
        found += [f"{module}.{setting}" for setting in settings]
    return found


def _machine_config(needs: Needs) -> list[str]:
    arguments = [*needs.present, *_as_arguments(needs.options)]
    rest = [_removals(needs), f"# packages: {' '.join(needs.packages)}" if needs.packages else ""]
    if not (arguments or needs.sysctl):
        return rest
    return [
        "apiVersion: machineconfiguration.openshift.io/v1",
        "kind: MachineConfig",
        "metadata:",
        "  name: 99-worker-amdgpu-fleet",
        "  labels: {machineconfiguration.openshift.io/role: worker}",
        "spec:",
        "  kernelArguments:" if arguments else "",
        *(f"    - {json.dumps(argument)}" for argument in arguments),
        "  config:",
        "    ignition: {version: 3.2.0}",
        *_sysctl_of_ignition(needs),
        *rest,
    ]


def _sysctl_of_ignition(needs: Needs) -> list[str]:
    if not needs.sysctl:
        return []
    text = urllib.parse.quote("".join(f"{line}\n" for line in _sysctl_lines(needs)))
    return [
        "    storage:",
        "      files:",
        "        - path: /etc/sysctl.d/60-amdgpu-fleet.conf",
        "          mode: 0644",
        f"          contents: {{source: {json.dumps(f'data:,{text}')}}}",
    ]


def _talos(needs: Needs) -> list[str]:
    arguments = [*needs.present, *_as_arguments(needs.options)]
    sysctls = [f"    {json.dumps(name)}: {json.dumps(str(value))}" for name, value in needs.sysctl.items()]
    return [
        "# schematic of the image" if arguments else "",
        *(["customization:", "  extraKernelArgs:"] if arguments else []),
        *(f"    - {argument}" for argument in arguments),
        _removals(needs),
        *(["# machine config", "machine:", "  sysctls:", *sysctls] if sysctls else []),
    ]


def _bottlerocket(needs: Needs) -> list[str]:
    """Arguments by their names: one that repeats has a list."""
    values: dict[str, list[str]] = {}
    for argument in [*needs.present, *_as_arguments(needs.options)]:
        name, value = _cmdline.parse(argument)
        values.setdefault(name, []).extend([] if value is None else [value])
    return [
        "[settings.boot.kernel-parameters]" if values else "",
        *(f"{json.dumps(name)} = {json.dumps(each)}" for name, each in values.items()),
        _removals(needs),
        "[settings.kernel.sysctl]" if needs.sysctl else "",
        *(f"{json.dumps(name)} = {json.dumps(str(value))}" for name, value in needs.sysctl.items()),
    ]


def _core(needs: Needs) -> list[str]:
    arguments = _cmdline.join([*needs.present, *_as_arguments(needs.options)])
    return [
        f"snap set system system.kernel.cmdline-append={json.dumps(arguments)}" if arguments else "",
        _removals(needs),
        _sysctl_note(needs),
    ]


def _true_nas(needs: Needs) -> list[str]:
    arguments = _cmdline.join([*needs.present, *_as_arguments(needs.options)])
    body = json.dumps({"kernel_extra_options": arguments})
    tunables = [
        json.dumps({"type": "SYSCTL", "var": name, "value": str(value)})
        for name, value in needs.sysctl.items()
    ]
    return [
        f"midclt call system.advanced.update '{body}'" if arguments else "",
        _removals(needs),
        *(f"midclt call tunable.create '{tunable}'" for tunable in tunables),
    ]


def _ostree(needs: Needs) -> list[str]:
    """set-kargs only adds to what is there: what has to go is edited by hand."""
    arguments = [*needs.present, *_as_arguments(needs.options)]
    appended = " ".join(shlex.quote(f"--append={argument}") for argument in arguments)
    return [
        f"ostree admin instutil set-kargs --merge {appended}" if arguments else "",
        _removals(needs),
        _sysctl_note(needs),
        f"# packages: {' '.join(needs.packages)}" if needs.packages else "",
    ]


def _zfsbootmenu(needs: Needs) -> list[str]:
    words = [f"-r {shlex.quote(argument)}" for argument in needs.absent]
    words += [f"-a {shlex.quote(argument)}" for argument in needs.present]
    return [f"zbm-kcl {' '.join(words)}" if words else ""]


def _plain(needs: Needs) -> list[str]:
    arguments = [*needs.present, *_as_arguments(needs.options)]
    return [
        f"add: {_cmdline.join(arguments)}" if arguments else "",
        f"remove: {_cmdline.join(needs.absent)}" if needs.absent else "",
        _sysctl_note(needs, ""),
        f"packages: {' '.join(needs.packages)}" if needs.packages else "",
    ]


_SNIPPETS: dict[str, t.Callable[[Needs], list[str]]] = {
    "NixOS": _nix,
    "Guix System": _guix,
    "bootc": _bootc,
    "composefs": _bootc,
    "RHCOS": _machine_config,
    "Talos": _talos,
    "Bottlerocket": _bottlerocket,
    "Ubuntu Core": _core,
    "TrueNAS": _true_nas,
    "Endless OS": _ostree,
    "OSTree": _ostree,
    "ZFSBootMenu": _zfsbootmenu,
}
