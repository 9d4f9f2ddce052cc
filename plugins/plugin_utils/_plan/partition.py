# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The partition section of a plan: the mode that is asked for, held against the GPUs and what AMD
documents."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ...module_utils._partition import COMPUTE, DEVICES, MEMORY
from .catalog import version_key
from .facts import Gpu
from .host import Host
from .wants import INVENTORY

# vbios_version holds the part number (113-...) on most boards, which says nothing about the age.
VBIOS = re.compile(r"\d{3}(\.\d{3,6})+")
SERVE_UNIT = re.compile(r"/([a-z0-9-]+)\.(service|container)$")


# What must not have a GPU open while the mode changes, and what counts devices when it starts. No sockets:
# they come before basic.target and the units of the roles after it.
RUNTIMES = (
    *(
        "docker.service",
        "podman.service",
        "containerd.service",
        "crio.service",
        "kubelet.service",
        "k3s.service",
    ),
    *("amd-metrics-exporter.service", "gpuagent.service"),
)


@dataclasses.dataclass(frozen=True)
class PartitionPlan:
    """What the role partition applies."""

    state: str
    wanted: bool
    change: bool
    compute: str | None
    memory: str | None
    stop_services: list[str]
    # Units that start after the mode is set, and programs that count devices when they start.
    before: list[str]
    runtimes: list[str]


def section(host: Host, servers: t.Sequence[str]) -> tuple[PartitionPlan, dict[int, int]]:
    """What the role applies, and how many devices each GPU (by its index) shows once that is done.

    ``servers``: units that are about to use the GPUs.
    """
    wants = host.wants
    compute, memory = wants.partition_compute, wants.partition_memory
    matches = [SERVE_UNIT.search(path) for path in host.system["serve_units"]]
    # Units of this collection hold the GPUs too, and come back with the devices of the new mode.
    own = sorted({f"{match.group(1)}.service" for match in matches if match})
    nothing = PartitionPlan(
        state=wants.partition_state,
        wanted=False,
        change=False,
        compute=None,
        memory=None,
        stop_services=[*wants.partition_stop_services, *own],
        before=sorted({*own, *servers}),
        runtimes=list(RUNTIMES),
    )
    if wants.partition_state == "absent":
        return nothing, {}
    _seen(host)
    if not (compute or memory) or not _offered(host, compute, memory):
        return nothing, {}
    for name, value in (("compute", compute), ("memory", memory)):
        if value:
            host.note("partition", name, value, "asked for", INVENTORY)
    _note_devices(host, compute)
    _minimums(host)
    planned = {gpu["index"]: _devices(gpu, compute) for gpu in host.gpus} if compute else {}
    # A host that is right already is spared the module.
    change = any(
        (compute and gpu["compute_partition"] != compute) or (memory and gpu["memory_partition"] != memory)
        for gpu in host.gpus
    )
    plan = dataclasses.replace(
        nothing, wanted=True, change=change, compute=compute or None, memory=memory or None
    )
    return plan, {index: number for index, number in planned.items() if number}


def _note_devices(host: Host, compute: str) -> None:
    devices = {_devices(gpu, compute) for gpu in host.gpus} if compute else set()
    if len(devices) == 1 and None not in devices:
        each = devices.pop() or 1
        reason = f"{each} of each of the {len(host.gpus)} GPUs in {compute}"
        source = _known(host, host.gpus[0]).get("source")
        host.note("partition", "devices", each * len(host.gpus), reason, source)


def _known(host: Host, gpu: Gpu) -> dict[str, t.Any]:
    return dict(host.catalog.gpus["partition_modes"].get(gpu["product"], {}))


def _devices(gpu: Gpu, mode: str | None) -> int | None:
    """KFD devices of one GPU in a mode, ``None`` where that is not known."""
    return gpu["xcc_count"] if mode == "CPX" else DEVICES.get(mode or "")


def _seen(host: Host) -> None:
    """What is odd about the modes of now, whatever is asked for."""
    modes: dict[str, list[str]] = {}
    for gpu in host.gpus:
        if gpu["compute_partition"]:
            modes.setdefault(
                f"{gpu['compute_partition']} {gpu['memory_partition'] or ''}".strip(), []
            ).append(str(gpu["index"]))
    asked = host.wants.partition_compute and host.wants.partition_memory
    if len(modes) > 1 and not asked:
        host.findings.add(
            "partition.mixed",
            "; ".join(f"GPU {', '.join(gpus)} in {mode}" for mode, gpus in modes.items()),
            "one mode",
        )
    dies = max((gpu["xcc_count"] or 0 for gpu in host.gpus), default=0)
    most: dict[tuple[str | None, str | None], int] = {}
    for gpu in host.gpus:
        kind = (gpu["pci_id"], gpu["compute_partition"])
        most[kind] = max(most.get(kind, 0), gpu["partitions"])
    for gpu in host.gpus:
        # A GPU that lacks a device lacks its dies as well; its neighbours say how many it should have.
        full = dies if gpu["compute_partition"] == "CPX" else DEVICES.get(gpu["compute_partition"] or "", 0)
        full = max(
            most[gpu["pci_id"], gpu["compute_partition"]], full if host.gpu_facts["homogeneous"] else 0
        )
        if 0 < gpu["partitions"] < full:
            seen = f"{gpu['partitions']} devices of GPU {gpu['index']} in {gpu['compute_partition']}"
            host.findings.add("partition.missing", seen, f"{full}")


def _offered(host: Host, compute: str, memory: str) -> bool:
    """Whether every GPU has the modes. What a GPU offers itself outranks the catalog."""
    wanted = " with ".join(name for name in (compute, memory) if name)
    if not host.gpus:
        why = "there is nothing to partition"
        host.findings.add("partition.not_offered", f"{wanted} on a host without a GPU", "no mode", why=why)
        return False
    everywhere = True
    # Equal GPUs are judged once.
    kinds = {
        (gpu["product"], gpu["virtual_function"], *gpu["available_compute_partitions"]): gpu
        for gpu in host.gpus
    }
    for gpu in kinds.values():
        offered, known = gpu["available_compute_partitions"], _known(host, gpu).get("modes", [])
        why = ""
        if gpu["virtual_function"]:
            why = "a virtual function has the partitions that its host gave it"
        elif not offered and gpu["driver"] == "amdgpu" and gpu["partitions"] > 0:
            why = "the driver offers no partition modes for it"
        elif not offered and not known:
            why = "AMD documents no partition modes for it"
        # In NPS4 newer drivers leave SPX out of the list; it comes with the other memory mode.
        elif offered and compute and compute not in offered and not (compute == "SPX" and memory):
            why = f"the driver offers {', '.join(offered)}"
        if why:
            host.findings.add(
                "partition.not_offered",
                f"{wanted} on {gpu['product'] or gpu['pci_id']}",
                "a mode that it offers",
                why=why,
            )
            everywhere = False
        else:
            _combination(host, gpu, compute, memory)
    return everywhere


def _combination(host: Host, gpu: Gpu, compute: str, memory: str) -> None:
    """The two modes held against each other, with what the GPU is in where one is not given."""
    mode, banks = compute or gpu["compute_partition"] or "SPX", memory or gpu["memory_partition"] or "NPS1"
    if banks not in MEMORY or mode not in COMPUTE:
        return  # a driver that says UNKNOWN: there is nothing to hold the other mode against
    documented = [(entry["compute"], entry["memory"]) for entry in _known(host, gpu).get("modes", [])]
    known = ", ".join(f"{one} with {other}" for one, other in documented) or "none"
    seen, devices = f"{mode} with {banks} on {gpu['product']}", _devices(gpu, mode)
    if devices is not None and int(banks[3:]) > devices:
        why = f"there would be more memory partitions ({banks[3:]}) than compute partitions ({devices})"
        host.findings.add(
            "partition.combination", seen, "no more memory than compute partitions", why=why, known=known
        )
    elif (mode, banks) in documented:
        return
    elif gpu["available_compute_partitions"]:
        host.findings.add("partition.undocumented", seen, "a combination that AMD documents", known=known)
    else:
        why = "AMD does not document it, and without the driver the GPU cannot be asked"
        host.findings.add(
            "partition.combination", seen, "a combination that AMD documents", why=why, known=known
        )


def _minimums(host: Host) -> None:
    """What AMD names as the oldest driver, kernel and firmware for partitions, where the host shows its
    own."""
    driver, kernel = host.rocm["driver"]["version"], host.system["kernel"]["release"]
    vbios = str(host.rocm["firmware"].get("vbios") or "")
    seen = {"driver": driver, "kernel": kernel, "vbios": vbios if VBIOS.fullmatch(vbios) else None}
    for product in sorted({gpu["product"] or "" for gpu in host.gpus}):
        minimum = host.catalog.gpus["partition_modes"].get(product, {}).get("minimum", {})
        for name, value in seen.items():
            if value and name in minimum and version_key(str(value)) < version_key(minimum[name]):
                host.findings.add(
                    "partition.minimum", f"{name} {value}", f">= {minimum[name]} for {product}", what=name
                )
