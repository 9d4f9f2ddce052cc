# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health check of a node of Slurm: it asks the code of gpu_health and the rules of the catalog, without
Ansible. A node that is not well is drained with the finding as its reason; one that we drained comes back.

The role slurm copies this file and what it imports to the node, so all of it is Python 3.9 and the standard
library.
"""

from __future__ import annotations

import json
import subprocess  # noqa: S404 - scontrol and dmesg, by fixed words
import sys
import typing as t

from ....module_utils import _gpus, _health, _slurm
from ....module_utils._tree import Tree
from .. import health_judge
from ..facts_gpu import AmdGpus
from ..health_checks import Evidence

OUT_OF_SERVICE = ("drain", "replace")


class Settings(t.TypedDict):
    """What the role writes for this program."""

    node: str
    # health.yml of the catalog, with what the inventory changes of it.
    limits: t.Dict[str, t.Any]
    # The render nodes of each GPU that gres.conf lists, by PCI address.
    expected: t.Dict[str, t.List[str]]
    # Findings that drain nothing.
    accept: t.List[str]


def main(settings_path: str, root: str = "/") -> int:
    """Look and act. Slurm shows nobody what this prints; its exit code is logged by slurmd."""
    try:
        with open(settings_path, encoding="utf-8") as file:
            settings: Settings = json.load(file)
        found = reasons(Tree(root), settings, _dmesg)
        scontrol = _slurm.Scontrol(run)
        act(scontrol, settings["node"], found)
    except (OSError, ValueError, KeyError, _slurm.SlurmError) as error:
        print(f"amdgpu.fleet: the health check could not be made: {error}", file=sys.stderr)
        return 1
    for reason in found:
        print(reason)
    return 0


def reasons(tree: Tree, settings: Settings, dmesg: t.Callable[[], str | None]) -> list[str]:
    """Why the node should get no jobs, the worst first; empty where it is well."""
    gpus: AmdGpus = t.cast("AmdGpus", _gpus.detect(tree))
    facts = t.cast("t.Any", _health.facts(tree, t.cast("t.Any", gpus["gpus"]), dmesg))
    found = _missing(gpus, settings["expected"])
    listed = {gpu["index"]: gpu["pci_address"] for gpu in gpus["gpus"]}
    judged = health_judge.judge(gpus, facts, settings["limits"])
    for index, evidence in judged.found.items():
        if listed[index] in settings["expected"]:
            found += _bad(f"GPU {index}: ", evidence, settings["accept"])
    return found + _bad("", judged.of_no_gpu, settings["accept"])


def _bad(place: str, evidence: t.Sequence[Evidence], accept: t.Sequence[str]) -> list[str]:
    order = health_judge.ORDER.index
    return [
        f"{place}{each.seen} (limit {each.limit}) [{each.finding}]"
        for each in sorted(evidence, key=lambda one: -order(one.verdict))
        if each.verdict in OUT_OF_SERVICE and each.finding not in accept
    ]


def _missing(gpus: AmdGpus, expected: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    shown = {gpu["pci_address"]: gpu["render_nodes"] for gpu in gpus["gpus"]}
    found = []
    for address, names in expected.items():
        if address not in shown:
            found.append(f"GPU {address} is not there [health.gpu_missing]")
        elif set(names) - set(shown[address]):
            gone = ", ".join(sorted(set(names) - set(shown[address])))
            found.append(f"GPU {address} does not show {gone} any more [health.gpu_missing]")
    return found


def act(scontrol: _slurm.Scontrol, name: str, found: t.Sequence[str]) -> None:
    """Drain, say anew why, resume, or leave alone."""
    node = scontrol.node(name)
    ours = node.reason.startswith(_slurm.HEALTH)
    if found:
        reason = _slurm.one_line(_slurm.HEALTH + "; ".join(found))
        # Of a drain before a reboot the reason becomes ours, or the reboot would return a node that is not
        # well.
        if not node.out or node.reason.startswith(_slurm.SITE) or (ours and node.reason != reason):
            scontrol.drain(name, reason)
    elif ours and "DRAIN" in node.states:
        scontrol.resume(name)


def run(command: list[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except FileNotFoundError:
        return 127, "", f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return 124, "", f"{command[0]} did not answer within 20 s"
    return done.returncode, done.stdout, done.stderr


def _dmesg() -> str | None:
    rc, out, _err = run(["dmesg"])
    return out if rc == 0 else None
