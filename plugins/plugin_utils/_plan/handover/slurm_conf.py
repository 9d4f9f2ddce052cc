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
    for line in OURS.sub("", text).replace("\\\n", " ").splitlines():
        match = LINE.match(line.partition("#")[0])
        if match and not re.search(r"\s\S+=", match.group(2)):
            found[match.group(1).lower()] = match.group(2)
    return found


def gres_types(site: t.Mapping[str, str]) -> str:
    """GresTypes with gpu; a second line would take the place of the site's."""
    kinds = [kind for kind in site.get("grestypes", "").replace(" ", "").split(",") if kind]
    return ",".join(kinds if "gpu" in kinds else [*kinds, "gpu"])


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
                f"{path} has {name}={theirs}. Leave slurm_partition_mode empty and call {value} from there, or "
                "remove that line."
            )
    plugins = site.get("taskplugin", "").replace(" ", "").split(",")
    if devices and site and "task/cgroup" not in plugins:
        raise HandoverError(
            f"{path} has TaskPlugin={site.get('taskplugin', '(its default)')}, and task/cgroup alone keeps a job "
            "from the devices of others. Add it there, or set slurm_constrain_devices to false."
        )
