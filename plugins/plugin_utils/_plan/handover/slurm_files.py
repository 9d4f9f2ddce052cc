# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that a node of Slurm is given, with what they read."""

from __future__ import annotations

import json
import typing as t

from ... import _shipped
from .slurm import HEALTH_PROGRAM, HOME, PROLOG

LIBRARY = f"{HOME}/lib"
CONFIGURATION = "/etc/amdgpu-fleet"
PLUGINS = "plugins.plugin_utils._plan.handover"
PROGRAM = """#!{python} -IB
# Written by amdgpu.fleet. {what}
import os
import sys

sys.path.insert(0, "{library}")

from ansible_collections.amdgpu.fleet.{module} import main

sys.exit(main({arguments}))
"""


class File(t.TypedDict, total=False):
    """An entry of ``files`` of the module config_files."""

    path: str
    content: str
    mode: str
    state: str


class Files(t.TypedDict):
    """The code, which nobody reads in a diff, and the rest."""

    code: list[File]
    settings: list[File]


def of(planned: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any], limits: t.Mapping[str, t.Any]) -> Files:
    """``planned``: the plan of slurm.py; ``wanted``: the variables of the role without their prefix."""
    health, mode = bool(wanted["health"]), str(wanted["partition_mode"])
    health_settings, prolog_settings = (
        f"{CONFIGURATION}/slurm-health.json",
        f"{CONFIGURATION}/slurm-prolog.json",
    )
    programs = {
        "slurm_health": (HEALTH_PROGRAM, "Slurm runs it now and then (HealthCheckProgram).", health),
        "slurm_prolog": (
            PROLOG.replace("*", "partition-mode"),
            "Slurm runs it before each job (Prolog).",
            bool(mode),
        ),
    }
    arguments = {
        "slurm_health": f'"{health_settings}"',
        "slurm_prolog": f'"{prolog_settings}", os.environ',
    }
    settings: list[File] = []
    for name, (path, what, used) in programs.items():
        content = PROGRAM.format(
            python=wanted["python"],
            what=what,
            library=LIBRARY,
            module=f"{PLUGINS}.{name}",
            arguments=arguments[name],
        )
        settings.append(_file(path, content, used, "0755"))
    about_health = {
        "node": planned["node_name"],
        "limits": limits,
        "expected": planned["expected"],
        "accept": list(wanted["health_accept"]),
    }
    settings.append(_file(health_settings, _json(about_health), health))
    about_mode = {"mode": mode, "devices": planned["devices"]}
    settings.append(_file(prolog_settings, _json(about_mode), bool(mode)))
    modules = [f"{PLUGINS}.{name}" for name, (_path, _what, used) in programs.items() if used]
    code = [
        File(path=f"{LIBRARY}/{path}", content=content) for path, content in _shipped.files(*modules).items()
    ]
    return Files(code=code, settings=settings)


def _file(path: str, content: str, used: bool, mode: str = "0644") -> File:
    return File(path=path, content=content, mode=mode) if used else File(path=path, state="absent")


def _json(value: t.Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
