# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""slurm.conf as the site has it: what of it stands in the way of ours."""

from __future__ import annotations

import re
import typing as t

from .slurm_wants import HandoverError

# The block that the role writes, which is not the site's.
OURS = re.compile(r"^# BEGIN amdgpu\.fleet$.*?^# END amdgpu\.fleet$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^\s*([A-Za-z]+)\s*=\s*(.*?)\s*$")


def settings(text: str) -> dict[str, str]:
    """The single settings of a slurm.conf, by name in lower case; the last one counts, as for Slurm. Lines of
    several words (NodeName, PartitionName) are left out."""
    found = {}
    for line in _theirs(text):
        match = LINE.match(line)
        if match and not re.search(r"\s\S+=", match.group(2)):
            found[match.group(1).lower()] = match.group(2)
    return found


def gres_types(site: t.Mapping[str, str]) -> str:
    """GresTypes with gpu; a second line would take the place of the site's."""
    kinds = [kind for kind in site.get("grestypes", "").replace(" ", "").split(",") if kind]
    return ",".join(kinds if "gpu" in kinds else [*kinds, "gpu"])


def refuse_node(text: str, path: str, name: str) -> None:
    """Stop where the site has a line for the node: Slurm does not start with two."""
    for line in _theirs(text):
        match = re.match(r"\s*NodeName\s*=\s*(\S+)", line, re.IGNORECASE)
        if match and name in match.group(1).split(","):
            raise HandoverError(
                f"{path} has a line NodeName={match.group(1)}, and Slurm does not start with two lines for "
                f"{name}. "
                "Take it out of there; what else it says of the node can go into slurm_node_words."
            )


def refuse_gres(text: str, path: str, name: str) -> None:
    """Stop where the site lists GPUs of the node, which would be counted twice."""
    for line in _theirs(text):
        words = {key.lower(): value for key, value in re.findall(r"(\w+)\s*=\s*(\S+)", line)}
        elsewhere = "nodename" in words and name not in words["nodename"].split(",")
        detects = words.get("autodetect", "off").lower() not in ("off", "none")
        if not elsewhere and (words.get("name", "").lower() == "gpu" or detects):
            raise HandoverError(
                f"{path} has the line {line.strip()!r}, and the GPUs would be counted twice. Take it out "
                "of there."
            )


def _theirs(text: str) -> list[str]:
    return [line.partition("#")[0] for line in OURS.sub("", text).replace("\\\n", " ").splitlines()]


def refuse(site: t.Mapping[str, str], path: str, ours: t.Mapping[str, str], devices: bool) -> None:
    """Stop where a setting of the site's would be overridden, or where its jobs could not be confined."""
    for name, value in ours.items():
        theirs = site.get(name.lower())
        if theirs and theirs != value and name in ("HealthCheckProgram",):
            raise HandoverError(
                f"{path} has {name}={theirs}, and Slurm runs one alone. Set slurm_health to false and call "
                f"{value} from there, or remove that line."
            )
        if theirs and theirs != value and name == "Prolog":
            raise HandoverError(
                f"{path} has {name}={theirs}. Leave slurm_partition_mode empty and call {value} from "
                "there, or "
                "remove that line."
            )
    plugins = site.get("taskplugin", "").replace(" ", "").split(",")
    if devices and site and "task/cgroup" not in plugins:
        raise HandoverError(
            f"{path} has TaskPlugin={site.get('taskplugin', '(its default)')}, and task/cgroup alone keeps "
            "a job "
            "from the devices of others. Add it there, or set slurm_constrain_devices to false."
        )
