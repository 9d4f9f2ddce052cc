# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm is told of a host: gres.conf, the line of the node, settings. Pure, as the plan is."""

from __future__ import annotations

import dataclasses
import typing as t

from ..facts import Facts
from . import gres, slurm_conf, slurm_wants
from .slurm_wants import HandoverError, SlurmWants

HOME = "/usr/local/lib/amdgpu-fleet/slurm"
HEALTH_PROGRAM = f"{HOME}/health"
# A pattern: on nodes without it Slurm finds nothing to run, where a missing file would drain them.
PROLOG = f"{HOME}/prolog.d/*"


@dataclasses.dataclass(frozen=True)
class SlurmPlan:
    """What the role slurm writes."""

    node_name: str
    # The line of the node, and what slurm.conf has to say for all, by what it is about.
    node: str
    settings: dict[str, list[str]]
    gres: list[str]
    # gpu:mi300x:8
    counted: str
    # The render nodes of each GPU, by its PCI address: what the health check expects to see.
    expected: dict[str, list[str]]
    # The PCI address of the GPU behind each index of Slurm.
    devices: list[str]
    reason: list[str]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the role read: what ``slurmd -C`` printed, and the site's files in ``directory``."""

    slurmd: str
    slurm_conf: str
    gres_conf: str = ""
    directory: str = "/etc/slurm"


def plan(facts: Facts, wanted: SlurmWants, seen: Seen) -> SlurmPlan:
    """All of it, or the reason why there is none (``HandoverError``)."""
    _refuse(facts, wanted)
    cpus = slurm_wants.cpus(seen.slurmd)
    found = gres.devices(facts.gpus, wanted.gpu_type)
    if not found:
        raise HandoverError(
            "no GPU of this host is driven by amdgpu and shown by KFD, so Slurm has nothing to hand out. "
            "Bring "
            "the host up with the playbook site first."
        )
    theirs = slurm_conf.settings(seen.slurm_conf)
    ours = settings(wanted)
    path = f"{seen.directory}/slurm.conf"
    slurm_conf.refuse(theirs, path, ours, wanted.constrain_devices)
    slurm_conf.refuse_node(seen.slurm_conf, path, wanted.node_name)
    slurm_conf.refuse_gres(seen.gres_conf, f"{seen.directory}/gres.conf", wanted.node_name)
    if cpus.memory_mib <= wanted.memory_reserve_mib:
        raise HandoverError(
            f"slurm_memory_reserve_mib: {wanted.memory_reserve_mib} leaves nothing of the "
            f"{cpus.memory_mib} MiB "
            "of the host. Make it smaller."
        )
    counted = gres.counted(found)
    words = [f"NodeName={wanted.node_name}"]
    words += [f"NodeAddr={wanted.node_address}"] if wanted.node_address else []
    words += [*cpus.words, f"RealMemory={cpus.memory_mib - wanted.memory_reserve_mib}", f"Gres={counted}"]
    words.append(f"Feature={','.join(_features(facts, found, wanted))}")
    words += [wanted.node_words] if wanted.node_words else []
    return SlurmPlan(
        node_name=wanted.node_name,
        node=" ".join(words),
        settings={
            "gres-types": [f"GresTypes={slurm_conf.gres_types(theirs)}"],
            "health": [f"{name}={value}" for name, value in ours.items() if name != "Prolog"],
            "prolog": [f"{name}={value}" for name, value in ours.items() if name == "Prolog"],
        },
        gres=gres.lines(
            found, cpus, facts.system["numa_nodes"], wanted.node_name if wanted.configless else ""
        ),
        counted=counted,
        expected=_expected(facts, found),
        devices=[str(facts.gpus["gpus"][device.gpu]["pci_address"]) for device in found],
        reason=list(gres.AUTODETECT),
    )


def settings(wanted: SlurmWants) -> dict[str, str]:
    """What slurm.conf is given beside the nodes."""
    ours = {}
    if wanted.health:
        ours["HealthCheckProgram"] = HEALTH_PROGRAM
        ours["HealthCheckInterval"] = str(wanted.health_interval)
        # Drained nodes too, or none would come back.
        ours["HealthCheckNodeState"] = "ANY"
    if wanted.partition_mode:
        ours["Prolog"] = PROLOG
    return ours


def _refuse(facts: Facts, wanted: SlurmWants) -> None:
    units = facts.system["serve_units"]
    if units:
        raise HandoverError(
            f"{', '.join(sorted(units))} serves a model on the GPUs, and Slurm does not see what runs "
            "outside of "
            "its jobs. Set serve_state to absent and run the playbook site, or leave the host out."
        )
    mode = wanted.partition_mode
    others = [
        gpu
        for gpu in facts.gpus["gpus"]
        if mode and gpu["supported"] and gpu["driver"] == "amdgpu" and gpu["compute_partition"] != mode
    ]
    if others:
        seen = ", ".join(
            f"GPU {gpu['index']} is in {gpu['compute_partition'] or 'no mode'}" for gpu in others
        )
        raise HandoverError(
            f"slurm_partition_mode is {mode}, and {seen}. gres.conf lists the devices of one mode: set "
            "partition_compute to it and run the playbook site first."
        )


def _features(facts: Facts, found: t.Sequence[gres.Device], wanted: SlurmWants) -> list[str]:
    """What a job can ask for with --constraint, and a NodeSet can be made of."""
    used = {device.gpu for device in found}
    names = [gpu["gfx"] or "" for gpu in facts.gpus["gpus"] if gpu["index"] in used]
    return list(dict.fromkeys(["amdgpu", *filter(None, names), *wanted.features]))


def _expected(facts: Facts, found: t.Sequence[gres.Device]) -> dict[str, list[str]]:
    used: dict[str, list[str]] = {}
    for device in found:
        address = str(facts.gpus["gpus"][device.gpu]["pci_address"])
        used.setdefault(address, []).append(device.render_node)
    return used


def plain(facts: Facts, given: t.Mapping[str, t.Any], seen: Seen) -> dict[str, t.Any]:
    """The same as mappings and lists, of variables without their prefix."""
    return dataclasses.asdict(plan(facts, slurm_wants.wants(given), seen))
