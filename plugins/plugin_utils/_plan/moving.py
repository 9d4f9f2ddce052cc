# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a setting may move: an argument goes only where what takes its place is written and takes effect."""

from __future__ import annotations

import re
import typing as t

from ...module_utils import _cmdline
from . import owners
from .host import Host

Options = t.Dict[str, t.Dict[str, str]]
# Its kernel arguments are ours; its packages, initramfs and modprobe.d are the image's.
OSTREE = "rpm-ostree"


def _without_options(host: Host) -> bool:
    boot = host.system["boot"]
    return boot["initramfs_images"] and not boot["initramfs_options"]


def takes_effect(host: Host, module: str, parameter: str) -> str:
    """Why an option of modprobe.d is not known to take effect; the empty text where it is."""
    boot = host.system["boot"]
    if boot["initramfs_images"] and boot["initramfs"] is None:
        return "the tool that builds the initramfs of this host is not known"
    if module in host.system["kernel"]["builtin"]:
        return f"{module} is a part of the kernel, which does not read /etc/modprobe.d"
    if _without_options(host):
        return "the initramfs of this host does not hold /etc/modprobe.d"
    known = host.system["kernel"]["module_parameters"].get(module)
    if known is not None and parameter not in known:
        return f"the loaded module {module} has no parameter {parameter}"
    return ""


def place(host: Host, options: Options) -> tuple[list[str], Options]:
    """Arguments and options: where the initramfs does not hold /etc/modprobe.d (that of an image, of dracut
    outside host-only mode), an option is a kernel argument. The operator of a cluster loads its driver in a
    container, and modprobe there reads /proc/cmdline and no file of the host. A driver that is a part of the
    kernel reads no file at all."""
    boot = host.system["boot"]
    if owners.of_the_operator(host) or set(options) & set(host.system["kernel"]["builtin"]):
        pass
    elif boot["loader"] != OSTREE and not (boot["loader"] and _without_options(host)):
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
