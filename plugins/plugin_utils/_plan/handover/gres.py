# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of a host as Slurm counts them: one device for each partition, with its render node, its type and
the cores that are near it."""

from __future__ import annotations

import itertools
import re
import typing as t

from ..facts_gpu import AmdGpus, Gpu
from .slurm_wants import Cpus, HandoverError

# Words of a product's name that tell nobody which one it is.
MAKERS = ("amd", "instinct", "radeon", "pro", "ai", "graphics", "series", "vf", "mxgpu", "hf")
RENDER = re.compile(r"renderD([0-9]{1,4})")
# Why the lines are written out.
AUTODETECT = (
    "AutoDetect=rsmi needs a slurmd that was built with ROCm SMI, and that library on the node. It would "
    "take",
    "types and files from there. These are what the kernel shows.",
)


class Device(t.NamedTuple):
    """What one job may be given: a GPU, or a partition of it."""

    render_node: str
    kfd_node: int
    gpu: int
    type: str
    numa_node: int | None


def devices(gpus: AmdGpus, own_type: str) -> list[Device]:
    """All of them in the order of KFD, which is the order in which ROCm numbers them."""
    found = []
    for gpu in gpus["gpus"]:
        if not gpu["supported"] or gpu["driver"] != "amdgpu" or not gpu["partitions"]:
            continue
        if len(gpu["render_nodes"]) != gpu["partitions"]:
            raise HandoverError(
                f"GPU {gpu['index']} ({gpu['pci_address']}) shows {gpu['partitions']} KFD nodes and "
                f"{len(gpu['render_nodes'])} render nodes, so a job could not be given each of them. Look "
                "for "
                "the reason with amdgpu.fleet.doctor."
            )
        kind = own_type or type_of(gpu)
        found += [
            Device(render, kfd, gpu["index"], kind, gpu["numa_node"])
            for kfd, render in zip(gpu["kfd_nodes"], gpu["render_nodes"])
        ]
    return sorted(found, key=lambda device: device.kfd_node)


def type_of(gpu: Gpu) -> str:
    """What users ask for: mi300x, mi300x_cpx, rx9070xt. The architecture where the product is a choice."""
    product = re.sub(r"\(.*?\)", "", gpu["product"] or "")
    words = [word for word in product.split() if word.lower() not in MAKERS]
    vague = " or " in product or "/" in product or "," in product or not re.search(r"\d|VII", product)
    name = re.sub(r"[^a-z0-9]", "", "".join(words).lower())
    name = gpu["gfx"] or "gpu" if vague or not name else name
    mode = gpu["compute_partition"]
    return f"{name}_{mode.lower()}" if mode and mode != "SPX" and gpu["partitions"] > 1 else name


def lines(
    found: t.Sequence[Device], cpus: Cpus, numa_nodes: t.Mapping[str, str], node: str = ""
) -> list[str]:
    """The lines of gres.conf. ``node``: the name in front of them, where one file is for several nodes."""
    prefix = f"NodeName={node} AutoDetect=off " if node else ""
    near = cores(cpus, numa_nodes)
    written = [] if node else ["AutoDetect=off"]

    def alike(device: Device) -> tuple[str, str | None, int]:
        # Partitions are listed GPU by GPU, so that a reader sees which belong together.
        parent = device.gpu if "_" in device.type else -1
        return device.type, None if device.numa_node is None else near.get(device.numa_node), parent

    for (kind, place, _parent), group in itertools.groupby(found, alike):
        files = folded([device.render_node for device in group])
        words = [f"{prefix}Name=gpu Type={kind} File={files}"]
        words += [f"Cores={place}"] if place else []
        written.append(" ".join([*words, "Flags=amd_gpu_env"]))
    return written


def folded(names: t.Sequence[str]) -> str:
    """/dev/dri/renderD[128-131,133]: the order stays, and gaps stay gaps."""
    numbers = []
    for name in names:
        match = RENDER.fullmatch(name)
        if not match:
            raise HandoverError(f"{name!r} is not the name of a render node. Slurm is given none but those.")
        numbers.append(int(match.group(1)))
    if len(numbers) == 1:
        return f"/dev/dri/renderD{numbers[0]}"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"/dev/dri/renderD[{','.join(parts)}]"


def counted(found: t.Sequence[Device]) -> str:
    """gpu:mi300x:8, as the line of the node has it; types in the order in which they come."""
    counts: dict[str, int] = {}
    for device in found:
        counts[device.type] = counts.get(device.type, 0) + 1
    return ",".join(f"gpu:{kind}:{count}" for kind, count in counts.items())


def cores(cpus: Cpus, numa_nodes: t.Mapping[str, str]) -> dict[int, str]:
    """The cores near each node of memory, in Slurm's numbers; empty where they cannot be known.

    Slurm numbers cores socket by socket, and so come the nodes of memory. That holds where all nodes are of
    one size and every CPU that slurmd counts is in one of them. Slurm takes whole sockets alone ("doesn't
    match socket boundaries"), so a node that is a part of one stands for all of it.
    """
    sizes = {int(name): _size(listed) for name, listed in numa_nodes.items() if name.isdigit()}
    sizes = {name: size for name, size in sizes.items() if size}
    count = len(sizes)
    if (
        count < 2
        or len(set(sizes.values())) > 1
        or sorted(sizes) != list(range(count))
        or sum(sizes.values()) != cpus.cpus
        or cpus.cores % count
    ):
        return {}
    each, whole = cpus.cores // count, cpus.cores // cpus.sockets
    found = {}
    for name in sizes:
        first = name * each // whole * whole
        last = -(-(name + 1) * each // whole) * whole - 1
        if (first, last) != (0, cpus.cores - 1):
            found[name] = f"{first}-{last}"
    return found


def _size(listed: str) -> int:
    """How many CPUs a list of ranges has; 0 where it is none."""
    total = 0
    for part in listed.split(",") if listed else []:
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part.strip())
        if not match:
            return 0
        first = int(match.group(1))
        total += int(match.group(2) or first) - first + 1
    return total
