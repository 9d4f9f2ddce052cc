# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a server on its host, by the unit that it has or had, and what of them is a reason to
restart."""

from __future__ import annotations

import dataclasses
import json
import posixpath
import re
import typing as t

from .engines import ENGINES

SYSTEMD = "/etc/systemd/system"
# Programs that units run with the host's Python.
PROGRAMS = "/usr/local/lib/amdgpu-fleet"
PROGRAM_FILES = (
    "aiter_cache.py", "inference.py", "inference_check.py", "inference_drain.py", "lifeline.py",
    "wait_turn.py",
)  # fmt: skip
# The section of a unit that says where the server answers; systemd leaves such sections alone.
SECTION = "X-Amdgpu-Fleet"


@dataclasses.dataclass(frozen=True)
class UnitFiles:
    """Everything that belongs to one unit."""

    # The name of the server and of its unit.
    name: str
    unit: str
    unit_file: str
    configuration: str
    environment: str
    secret: str
    # A timer that asks for completions, its service, and the drop-in that starts it with the server.
    timer: str
    check: str
    dropin_folder: str
    dropin: str
    # The drop-in that lets it wait for others on its GPUs.
    turn: str
    # The unit that ends the servers of several hosts together.
    lifeline: str
    # All of it that goes with the unit: keys stay, because clients may have them.
    removable: list[str]


def of(unit_file: str) -> UnitFiles:
    """The files of the unit that a path names."""
    stem = posixpath.splitext(posixpath.basename(unit_file))[0]
    fitting = [each for each in ENGINES.values() if stem.startswith(f"{each.unit_prefix}-")]
    if not fitting:
        raise ValueError(f"{unit_file} is no unit of amdgpu.fleet")
    engine = max(fitting, key=lambda each: len(each.unit_prefix))
    name = stem[len(engine.unit_prefix) + 1 :]
    base = f"{engine.configuration}/{name}"
    check, folder = f"{SYSTEMD}/inference-check-{name}", f"{SYSTEMD}/{stem}.service.d"
    files = UnitFiles(
        name=name,
        unit=f"{stem}.service",
        unit_file=unit_file,
        configuration=f"{base}.yaml",
        environment=f"{base}.env",
        secret=f"{base}.secret",
        timer=f"{check}.timer",
        check=f"{check}.service",
        dropin_folder=folder,
        dropin=f"{folder}/inference-check.conf",
        turn=f"{folder}/amdgpu-turn.conf",
        lifeline=f"{SYSTEMD}/amdgpu-lifeline-{name}.service",
        removable=[],
    )
    parts = (files.unit_file, files.configuration, files.environment, files.check, files.timer, files.dropin)
    return dataclasses.replace(files, removable=[*parts, files.turn, files.lifeline])


def is_unit(path: str) -> bool:
    """Whether a path is a unit file of a server."""
    match = re.fullmatch(
        r"/etc/(systemd/system/([^/]+)\.service|containers/systemd/([^/]+)\.container)", path
    )
    stem = (match.group(2) or match.group(3)) if match else ""
    return any(stem.startswith(f"{engine.unit_prefix}-") for engine in ENGINES.values())


def programs() -> list[str]:
    """The programs that units run."""
    return [f"{PROGRAMS}/{name}" for name in PROGRAM_FILES]


def belonging(unit_files: t.Sequence[str]) -> list[str]:
    """Everything that belongs to these units and to no person: their files and the programs."""
    files = [path for unit_file in unit_files for path in of(unit_file).removable]
    return list(dict.fromkeys([*files, *programs()]))


def restarts(path: str) -> bool:
    """Whether a change of this file is a reason to stop what answers: not where it only asks, or waits at
    the next start."""
    name = posixpath.basename(path)
    asks = name.startswith("inference-check-") or name in ("inference-check.conf", "amdgpu-turn.conf")
    names = ("inference", "inference_check", "inference_drain", "wait_turn")
    programs = [f"{PROGRAMS}/{each}.py" for each in names]
    return not asks and path not in programs


def folders() -> list[str]:
    """The configuration folders of all engines."""
    return sorted(engine.configuration for engine in ENGINES.values())


def kept(name: str) -> bool:
    """Whether a volume of Podman or a folder of systemd is one that a server filled."""
    prefixes = "|".join(re.escape(engine.unit_prefix) for engine in ENGINES.values())
    return bool(re.fullmatch(rf"({prefixes})(-.+)?", name))


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where a server answers, from its own unit."""

    unit: str
    url: str
    model: str
    completes: bool
    # What it is asked; nothing where that is health.
    question: str
    # The file with its key; empty where nobody is asked for one.
    api_key_file: str


def endpoints(texts: t.Mapping[str, str]) -> list[Endpoint]:
    """The servers that answer, of units by path with their text; one that computes for another answers
    nobody."""
    found = []
    for path, text in texts.items():
        section = text.partition(f"[{SECTION}]")[2].partition("\n[")[0]
        pairs = dict(line.split("=", 1) for line in section.splitlines() if "=" in line)
        if not pairs.get("Url"):
            continue
        found.append(
            Endpoint(
                unit=of(path).unit,
                url=pairs["Url"],
                model=json.loads(pairs["ServedName"]),
                completes=pairs["Probe"] == "completion",
                question=pairs["Probe"],
                api_key_file=pairs.get("KeyFile", ""),
            )
        )
    return found
