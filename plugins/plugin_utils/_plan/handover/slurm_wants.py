# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of a node of Slurm, and what slurmd says of its CPUs."""

from __future__ import annotations

import dataclasses
import re
import typing as t


class HandoverError(ValueError):
    """Why a host cannot be handed over; the message says what to do."""


NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
WORD = re.compile(r"[A-Za-z0-9_.:-]*")


@dataclasses.dataclass(frozen=True)
class SlurmWants:
    """The variables of the role slurm that the lines depend on, without their prefix."""

    node_name: str
    node_address: str = ""
    gpu_type: str = ""
    features: list[str] = dataclasses.field(default_factory=list)
    node_words: str = ""
    memory_reserve_mib: int = 1024
    configless: bool = False
    constrain_devices: bool = True
    health: bool = True
    health_interval: int = 300
    partition_mode: str = ""


class Cpus(t.NamedTuple):
    """What ``slurmd -C`` counts."""

    # CPUs=... to ThreadsPerCore=..., as slurm.conf has them.
    words: list[str]
    cpus: int
    cores: int
    sockets: int
    memory_mib: int


def wants(given: t.Mapping[str, t.Any]) -> SlurmWants:
    """The variables, held to what can stand in a line of Slurm's files."""
    fields = {field.name for field in dataclasses.fields(SlurmWants)}
    wanted = SlurmWants(**{name: value for name, value in given.items() if name in fields})
    if not NAME.fullmatch(wanted.node_name):
        raise HandoverError(
            f"slurm_node_name: {wanted.node_name!r} cannot be the name of a node. Set it to what "
            "`hostname -s` prints on the host."
        )
    for name, value in (("slurm_node_address", wanted.node_address), ("slurm_gpu_type", wanted.gpu_type)):
        if not WORD.fullmatch(value) or (name == "slurm_gpu_type" and ":" in value):
            raise HandoverError(f"{name}: {value!r} is not one word. Correct it in the inventory.")
    for feature in wanted.features:
        if not NAME.fullmatch(feature):
            raise HandoverError(f"slurm_features: {feature!r} is not one word. Correct it in the inventory.")
    if not re.fullmatch(r"(\w+=[^\s#]+( \w+=[^\s#]+)*)?", wanted.node_words):
        raise HandoverError(
            f"slurm_node_words: {wanted.node_words!r} is not words as Weight=10, one after the other. "
            "Correct it."
        )
    if wanted.memory_reserve_mib < 0:
        raise HandoverError(
            f"slurm_memory_reserve_mib: {wanted.memory_reserve_mib} is below 0. Correct it in the inventory."
        )
    if not 1 <= wanted.health_interval <= 65533:
        raise HandoverError(
            f"slurm_health_interval: {wanted.health_interval} is not 1 to 65533 seconds. Correct it."
        )
    return wanted


def cpus(printed: str) -> Cpus:
    """The CPUs and the memory that ``slurmd -C`` printed."""
    values = dict(re.findall(r"\b([A-Za-z]+)=([0-9]{1,9})\b", printed))
    names = ("CPUs", "Boards", "SocketsPerBoard", "CoresPerSocket", "ThreadsPerCore")
    missing = [name for name in ("CPUs", "RealMemory") if name not in values]
    if missing:
        raise HandoverError(
            f"`slurmd -C` prints no {' and no '.join(missing)} but {printed.strip()[:80]!r}. Run it on the "
            "host "
            "and put right what it says."
        )
    count = int(values["CPUs"])
    # Without them Slurm takes each CPU for a socket.
    sockets = int(values.get("Boards", 1)) * int(values.get("SocketsPerBoard", count))
    cores = sockets * int(values.get("CoresPerSocket", 1))
    words = [f"{name}={values[name]}" for name in names if name in values]
    return Cpus(words, count, cores, sockets, int(values["RealMemory"]))
