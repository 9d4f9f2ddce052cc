# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prolog of a node of Slurm: the GPUs of the job are in the partition mode that gres.conf is for.

A GPU that was reset comes back in SPX. It is divided again before a job gets it, where nobody has it open.
The role slurm copies this file and what it imports to the node.
"""

from __future__ import annotations

import json
import re
import sys
import time
import typing as t

from ....module_utils import _partition
from ....module_utils._processes import holders
from ....module_utils._tree import Tree
from .slurm_health import run

SECONDS = 60


class Settings(t.TypedDict):
    """What the role writes for this program."""

    mode: str
    # The PCI address of the GPU behind each index of Slurm.
    devices: t.List[str]


def main(settings_path: str, environment: t.Mapping[str, str], root: str = "/") -> int:
    """Not 0 makes Slurm queue the job again and drain the node; what is printed is logged by slurmd."""
    try:
        with open(settings_path, encoding="utf-8") as file:
            settings: Settings = json.load(file)
        set_mode(Tree(root), settings["mode"], asked(settings["devices"], environment))
    except (OSError, ValueError, KeyError, _partition.PartitionError) as error:
        print(f"amdgpu.fleet: the partition mode could not be set: {error}", file=sys.stderr)
        return 1
    return 0


def asked(devices: t.Sequence[str], environment: t.Mapping[str, str]) -> list[str]:
    """The GPUs that the job was given, by PCI address."""
    given = re.findall(r"[0-9]{1,4}", environment.get("SLURM_JOB_GPUS", ""))
    return list(dict.fromkeys(devices[int(index)] for index in given if int(index) < len(devices)))


def set_mode(tree: Tree, mode: str, addresses: t.Sequence[str]) -> None:
    if not addresses:
        return
    todo = _partition.plan(_partition.read(tree), mode, None, addresses)
    if not todo.changed:
        return
    _partition.refuse_holders(holders(tree, _partition.devices_of(todo, tree)), [])
    _partition.Work(tree, run, time, SECONDS).carry_out(todo)
