# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node as Slurm's controller sees it, and the changes of its state that are ours to make.

What ``scontrol show node`` prints is read, not its JSON: that has another shape in each release of Slurm, and
needs a plugin.
"""

from __future__ import annotations

import re
import typing as t

# Reasons that are ours begin like this. Anybody else's drain is left as it is.
SITE = "amdgpu.fleet site: "
HEALTH = "amdgpu.fleet health: "
# What Slurm itself says of a node that came back from a reboot that it did not ask for.
REBOOTED = "Node unexpectedly rebooted"
BUSY = ("ALLOCATED", "MIXED", "COMPLETING")
OUT = ("DRAIN", "DOWN", "FAIL")
LONGEST = 400

Run = t.Callable[[t.List[str]], t.Tuple[int, str, str]]


class SlurmError(Exception):
    """What Slurm did not do; whole sentences."""


class UnknownNode(SlurmError):
    """Slurm does not know the node."""


class Node(t.NamedTuple):
    """One node. ``gres``: what it has, as gpu:mi300x:8; ``started``: when its slurmd was."""

    name: str
    states: frozenset[str]
    reason: str
    gres: str
    started: str

    @property
    def busy(self) -> bool:
        return bool(self.states & set(BUSY))

    @property
    def out(self) -> bool:
        """Whether it gets no new jobs."""
        return bool(self.states & set(OUT))

    @property
    def answers(self) -> bool:
        return "NOT_RESPONDING" not in self.states and "UNKNOWN" not in self.states

    def shown(self) -> str:
        return f"{self.name} {'+'.join(sorted(self.states))} {self.reason}".rstrip() + "\n"


def parse(printed: str) -> Node:
    """The node that ``scontrol show node NAME`` printed."""
    name = _word(printed, "NodeName")
    state = _word(printed, "State")
    if not name or not state:
        raise SlurmError(f"scontrol printed no node but {printed.strip()[:120]!r}.")
    # IDLE*: older releases mark a node so that does not answer.
    states = {part.strip("*$~#!%@^-") for part in state.split("+")}
    if "*" in state:
        states.add("NOT_RESPONDING")
    # Draining and drained are DRAIN with and without jobs.
    states = {"DRAIN" if part in ("DRAINED", "DRAINING") else part for part in states if part}
    found = re.search(r"^\s*Reason=(.*?)(?: \[[^\[\]]*@[^\[\]]*\])?\s*$", printed, re.MULTILINE)
    gres = re.sub(r"\(S:[^)]*\)", "", _word(printed, "Gres"))
    return Node(
        name=name,
        states=frozenset(states),
        reason=found.group(1).strip() if found else "",
        gres="" if gres == "(null)" else gres,
        started=_word(printed, "SlurmdStartTime"),
    )


def _word(printed: str, key: str) -> str:
    match = re.search(rf"(?:^|\s){key}=(\S+)", printed)
    return match.group(1) if match else ""


def one_line(text: str) -> str:
    """A reason as Slurm keeps it: one line without quotes."""
    return re.sub(r"[\s\"'\\]+", " ", text).strip()[:LONGEST]


class Scontrol:
    """Asks and tells the controller. ``run`` is given, so that answers can be tested."""

    def __init__(self, run: Run, program: str = "scontrol") -> None:
        self._run = run
        self._program = program

    def node(self, name: str) -> Node:
        return parse(self._ask(["show", "node", name], f"Slurm does not tell of the node {name}"))

    def drain(self, name: str, reason: str) -> None:
        words = ["update", f"NodeName={name}", "State=DRAIN", f"Reason={one_line(reason)}"]
        self._ask(words, f"{name} could not be drained")

    def resume(self, name: str) -> None:
        self._ask(["update", f"NodeName={name}", "State=RESUME"], f"{name} could not be returned")

    def _ask(self, words: list[str], failed: str) -> str:
        rc, out, err = self._run([self._program, *words])
        if "not found" in out + err:
            raise UnknownNode(f"{failed}: it knows none of that name. The playbook handover tells it.")
        if rc != 0:
            said = one_line(err or out) or f"scontrol ended with {rc}"
            raise SlurmError(
                f"{failed}: {said}. Try `{self._program} {' '.join(words[:2])}` as root where this runs, "
                "and look "
                "whether slurmctld and munge run."
            )
        return out


def wrong(node: Node, gres: str, not_started: str) -> str:
    """Why a node cannot be returned yet; empty where it can. ``not_started``: the start of the slurmd that
    ran before a reboot."""
    if not node.answers:
        return "its slurmd does not answer"
    if not_started and node.started == not_started:
        return "its slurmd has not registered since the reboot"
    if "INVALID_REG" in node.states:
        return f"its slurmd has other devices than slurm.conf ({node.reason or 'no reason given'})"
    if gres and node.gres != gres:
        return f"Slurm counts {node.gres or 'no GPU'} and the host has {gres}; the playbook handover tells it"
    return ""
