# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose kernel arguments, module options and packages are not ours to write, and where a setting may move.

A host that is refused gets a finding with what its owner has to write, in the words of his system. Elsewhere an
argument goes only where what takes its place is written and takes effect.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._cmdline import Wanted

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

Options = t.Dict[str, t.Dict[str, str]]
OSTREE = "rpm-ostree"


_NONE: dict[str, t.Any] = {
    "system": "no boot loader that is known",
    "reason": "no configuration of a boot loader was found",
    "where": "the configuration of what starts this kernel",
    "whole": False,
}


class Needs(t.NamedTuple):
    """What a plan needs of a host whose owner writes it."""

    present: list[str]
    absent: list[str]
    options: list[str]
    packages: list[str]

    def __bool__(self) -> bool:
        return any(self)


# Where a module option goes ------------------------------------------------------------------------


def takes_effect(host: Host, module: str, parameter: str) -> str:
    """Why an option of modprobe.d is not known to take effect; the empty text where it is."""
    boot = host.rocm["boot"]
    if boot["initramfs_images"] and boot["initramfs"] is None:
        return "the tool that builds the initramfs of this host is not known"
    known = host.rocm["kernel"]["module_parameters"].get(module)
    if known is not None and parameter not in known:
        return f"the loaded module {module} has no parameter {parameter}"
    return ""


def place(host: Host, options: Options) -> tuple[list[str], Options]:
    """Arguments and options: the initramfs of an image does not hold /etc/modprobe.d, so there an option is a
    kernel argument."""
    if host.rocm["boot"]["loader"] != OSTREE:
        return [], options
    return [
        f"{module}.{name}={value}" for module, each in options.items() for name, value in each.items()
    ], {}


def stays(host: Host, entry: dict[str, t.Any], options: Options, present: t.Sequence[str]) -> str:
    """Why an outdated argument stays; the empty text where it may go. What takes its place has to be written,
    and to take effect."""
    instead = entry.get("replaced_by")
    if not instead:
        return ""
    if any(_cmdline.parse(other).name == _cmdline.parse(instead).name for other in present):
        return ""
    words = re.split(r"[ .]", instead)
    parameter = next(
        ((module, name) for module, each in options.items() for name in each if name in words), None
    )
    if parameter is None:
        return "nothing takes its place in this plan"
    return takes_effect(host, *parameter)


# Hosts that are refused ----------------------------------------------------------------------------


def check(host: Host, sections: dict[str, t.Any]) -> None:
    """Say what the owner of a refused host has to write, and leave nothing of it to the roles."""
    refused, loader = host.rocm["boot"]["refused"], host.rocm["boot"]["loader"]
    if loader == OSTREE:
        _without_packages(host, sections)
    if loader is not None:
        return
    refused = refused or _NONE
    needs = _needs(host, sections, refused["whole"])
    if needs and refused["whole"]:
        host.findings.add(
            "host.declarative",
            refused["system"],
            "a host that may be written to",
            reason=refused["reason"],
            where=refused["where"],
            lines=snippet(refused["system"], needs),
        )
    elif needs:
        host.findings.add(
            "host.boot_loader",
            refused["system"],
            "a boot loader whose configuration may be written",
            reason=refused["reason"],
            where=refused["where"],
            lines=snippet(refused["system"], needs),
        )
    sections["kernel"] |= {"present": [], "absent": []}
    if refused["whole"]:
        sections["kernel"] |= {"module_options": {}, "sysctl": {}, "load_at_boot": None, "reboot_into": None}
        _drop_packages(sections)


def _packages(sections: dict[str, t.Any]) -> list[str]:
    names = [
        name
        for section, key in (("firmware", "install"), ("driver", "install"), ("rocm", "install"))
        for name in sections[section].get(key) or []
    ]
    return list(dict.fromkeys(name.partition("=")[0] for name in names))


def _drop_packages(sections: dict[str, t.Any]) -> None:
    lists = ("install", "remove", "headers", "build", "hold", "unhold")
    for name in ("firmware", "driver", "rocm"):
        section = sections[name]
        section.update({key: [] for key in lists if key in section})
        if "repository" in section:
            section["repository"] = None
    sections["rocm"] |= {"legacy": False, "legacy_files": []}


def _without_packages(host: Host, sections: dict[str, t.Any]) -> None:
    """rpm-ostree: the kernel arguments are ours, the packages are the image's."""
    packages = _packages(sections)
    if packages:
        needs = Needs([], [], [], packages)
        host.findings.add(
            "host.declarative",
            "packages of an image",
            "an image that holds them",
            reason="its packages belong to the image that it boots",
            where="the Containerfile of the image",
            lines=snippet("bootc", needs),
        )
    _drop_packages(sections)


def _needs(host: Host, sections: dict[str, t.Any], whole: bool) -> Needs:
    """What is wanted and not in effect. Without the whole system, options and packages are ours to write."""
    kernel = sections["kernel"]
    if kernel["state"] != "present":
        return Needs([], [], [], [])
    running = host.rocm["kernel"]["command_line"]
    wanted = Wanted(kernel["present"], kernel["absent"])
    options = [
        f"options {module} " + " ".join(f"{name}={value}" for name, value in each.items())
        for module, each in kernel["module_options"].items()
        if not all(_set_already(host, module, name, value) for name, value in each.items())
    ]
    return Needs(
        _cmdline.missing(running, wanted),
        _cmdline.unwanted(running, wanted),
        options if whole else [],
        _packages(sections) if whole else [],
    )


def _set_already(host: Host, module: str, name: str, value: str) -> bool:
    return _cmdline.holds(host.rocm["kernel"]["command_line"], f"{module}.{name}={value}") or any(
        (other["module"], other["parameter"], other["value"]) == (module, name, value)
        for other in host.rocm["kernel"]["module_options"]
    )


def snippet(system: str, needs: Needs) -> str:
    """What is wanted, in the language of the system, ready to paste."""
    write = _SNIPPETS.get(system, _plain)
    return "\n".join(line for line in write(needs) if line)


def _removals(needs: Needs, mark: str = "#") -> str:
    return f"{mark} remove: {_cmdline.join(needs.absent)}" if needs.absent else ""


def _quoted(words: t.Sequence[str]) -> str:
    return " ".join(json.dumps(word) for word in words)


def _nix(needs: Needs) -> list[str]:
    options = "\n".join(f"  {line}" for line in needs.options)
    return [
        f"boot.kernelParams = [ {_quoted(needs.present)} ];" if needs.present else "",
        _removals(needs),
        f"boot.extraModprobeConfig = ''\n{options}\n'';" if options else "",
        f"# packages: {' '.join(needs.packages)}" if needs.packages else "",
    ]


def _guix(needs: Needs) -> list[str]:
    arguments = [
        *needs.present,
        *(line.replace("options ", "").replace(" ", ".", 1) for line in needs.options),
    ]
    return [
        f"(kernel-arguments (append (list {_quoted(arguments)}) %default-kernel-arguments))"
        if arguments
        else "",
        _removals(needs, ";"),
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
        "# Containerfile" if needs.packages else "",
        f"RUN dnf install -y {' '.join(needs.packages)}" if needs.packages else "",
    ]


def _as_arguments(options: t.Sequence[str]) -> list[str]:
    found = []
    for line in options:
        module, *settings = line.split()[1:]
        found += [f"{module}.{setting}" for setting in settings]
    return found


def _machine_config(needs: Needs) -> list[str]:
    arguments = [*needs.present, *_as_arguments(needs.options)]
    if not arguments:
        return [_removals(needs), f"# packages: {' '.join(needs.packages)}" if needs.packages else ""]
    return [
        "apiVersion: machineconfiguration.openshift.io/v1",
        "kind: MachineConfig",
        "metadata:",
        "  name: 99-worker-amdgpu-fleet",
        "  labels: {machineconfiguration.openshift.io/role: worker}",
        "spec:",
        "  kernelArguments:",
        *(f"    - {json.dumps(argument)}" for argument in arguments),
        _removals(needs),
        f"# packages: {' '.join(needs.packages)}" if needs.packages else "",
    ]


def _core(needs: Needs) -> list[str]:
    arguments = _cmdline.join([*needs.present, *_as_arguments(needs.options)])
    return [
        f"snap set system system.kernel.cmdline-append={json.dumps(arguments)}" if arguments else "",
        _removals(needs),
    ]


def _true_nas(needs: Needs) -> list[str]:
    arguments = _cmdline.join([*needs.present, *_as_arguments(needs.options)])
    body = json.dumps({"kernel_extra_options": arguments})
    return [f"midclt call system.advanced.update '{body}'" if arguments else "", _removals(needs)]


def _plain(needs: Needs) -> list[str]:
    return [
        f"add: {_cmdline.join(needs.present)}" if needs.present else "",
        f"remove: {_cmdline.join(needs.absent)}" if needs.absent else "",
        *needs.options,
        f"packages: {' '.join(needs.packages)}" if needs.packages else "",
    ]


_SNIPPETS: dict[str, t.Callable[[Needs], list[str]]] = {
    "NixOS": _nix,
    "Guix System": _guix,
    "bootc": _bootc,
    "composefs": _bootc,
    "RHCOS": _machine_config,
    "Ubuntu Core": _core,
    "TrueNAS": _true_nas,
}
