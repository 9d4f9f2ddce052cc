# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vulkan, HIP or the CPU: what a host is best served by, and why."""

from __future__ import annotations

import typing as t

from ...facts import Gpu
from ...host import Host
from ...wants import INVENTORY
from ..protocol import Instance

GPU_BACKENDS = ("vulkan", "hip")


class Choice(t.NamedTuple):
    """A back end and the reason for it."""

    name: str
    reason: str
    source: str


def gpus(host: Host) -> list[Gpu]:
    """Vulkan needs no ROCm: where ROCm supports none of the GPUs, llama.cpp takes those of the driver."""
    if host.gpus:
        return host.gpus
    found = host.gpu_facts["gpus"]
    return [gpu for gpu in found if gpu["driver"] in (None, "amdgpu") and gpu["gfx"] and gpu["render_nodes"]]


def choose(host: Host, number: int) -> Choice:
    """The back end of a build on this host, with a finding where the one that is asked for cannot work."""
    wants = host.wants
    asked = wants.llama_cpp_backend
    if asked == "auto" and wants.serve_accelerator != "auto":
        asked = "cpu" if wants.serve_accelerator == "cpu" else "hip"
    choice = Choice(asked, "asked for", INVENTORY) if asked != "auto" else _best(host, number)
    host.note("serve", "back end of llama.cpp", choice.name, choice.reason, choice.source)
    name = choice.name
    why = _hindrance(host, name, number) if name in GPU_BACKENDS else None
    if why:
        host.findings.add("llama.backend", f"{name} on {_gfx(host)}", _others(host, name, number), why=why)
    return choice


def _gfx(host: Host) -> str:
    found = gpus(host)
    return str(found[0]["gfx"]) if found else "a host without GPU"


def _best(host: Host, number: int) -> Choice:
    rules = host.catalog.llama_cpp["backends"]
    if not gpus(host):
        return Choice("cpu", "there is no GPU", rules["source"])
    preferred = rules["by_gfx"].get(_gfx(host), rules["default"])
    first = preferred["backend"]
    second = next(name for name in GPU_BACKENDS if name != first)
    why = _hindrance(host, first, number)
    if not why:
        return Choice(first, preferred["reason"], rules["source"])
    if preferred.get("alone"):
        # A server on the CPU of such a host is nothing that anybody meant: the finding says what would do.
        return Choice(first, preferred["reason"], rules["source"])
    if not _hindrance(host, second, number):
        return Choice(second, f"not {first}: {why}", rules["source"])
    return Choice("cpu", f"not {first}: {why}; not {second} either", rules["source"])


def check_packages(host: Host, name: str) -> None:
    """A back end that was chosen before anybody knew that packages would bring it."""
    built_for, gfx = host.catalog.llama_cpp["packages"]["gfx"][name], _gfx(host)
    if host.wants.llama_cpp_build != "packages" and built_for != "all" and gfx not in built_for:
        why = f"the package has no code for {gfx}"
        host.findings.add("llama.backend", f"{name} on {gfx}", "vulkan or cpu", why=why)


def _others(host: Host, asked: str, number: int) -> str:
    rules = host.catalog.llama_cpp["backends"]
    alone = rules["by_gfx"].get(_gfx(host), {}).get("alone")
    others = [] if alone else [name for name in GPU_BACKENDS if name != asked]
    return " or ".join([*(name for name in others if not _hindrance(host, name, number)), "cpu"])


def _hindrance(host: Host, name: str, number: int) -> str | None:
    """Why a back end does not work on this host with this build; ``None`` where nothing is known."""
    catalog, wants, gfx = host.catalog.llama_cpp, host.wants, _gfx(host)
    if not gpus(host):
        return "there is no GPU"
    packaged = wants.llama_cpp_build == "packages"
    own = bool(wants.llama_cpp_image or wants.llama_cpp_program or wants.llama_cpp_build == "program")
    built_for = catalog["packages"]["gfx"][name] if packaged else catalog["images"][name]["gfx"]
    if name == "hip" and not host.gpus:
        return f"ROCm does not support {gfx}"
    if built_for != "all" and gfx not in built_for and (packaged or not own):
        return f"the {'package' if packaged else 'image'} has no code for {gfx}"
    for bug in _bugs(host, name, number):
        if bug["severity"] == "fail":
            return f"{bug['what'].rstrip('.')} ({bug['source']})"
    return None


def _bugs(host: Host, name: str, number: int) -> list[dict[str, t.Any]]:
    """Those of a build with this back end on this GPU."""
    return [
        bug
        for bug in host.catalog.llama_cpp["bugs"]
        if name == bug["backend"]
        and _gfx(host) in bug["gfx"]
        and (bug["from_build"] or 0) <= number < (bug["below_build"] or 1 << 30)
    ]


def warn(instance: Instance[t.Any], options: t.Mapping[str, t.Any]) -> None:
    """Bugs that one can live with."""
    host, build = instance.host, instance.build
    for bug in _bugs(host, build.backend, build.number):
        if bug["severity"] != "warn" or bug.get("kind", instance.kind) != instance.kind:
            continue
        asked = bug.get("option", {})
        if all(
            options.get(name) and (not values or options[name] in values) for name, values in asked.items()
        ):
            seen = f"build b{build.number} with {build.backend} on {_gfx(host)}"
            host.findings.add(
                "llama.bug", seen, "a build without the bug", why=bug["what"], remedy=bug["remedy"]
            )
