# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit of Quadlet for the Podman that is there: an older one gets ``PodmanArgs=``, one without Quadlet a
unit around ``podman run``.

The input is a Quadlet unit with the keys of the newest Podman.
"""

from __future__ import annotations

import typing as t

from .catalog import version_key

TRUE = ("true", "yes", "on", "1")
# What Podman's own generator makes of a unit; conmon tells systemd when the container runs.
RUN = "/usr/bin/podman run --cidfile=%t/%N/cid --replace --rm --cgroups=split --sdnotify=conmon --detach"
REMOVE = "/usr/bin/podman rm --volumes --force --ignore --cidfile=%t/%N/cid"
SERVICE = f"""\
Type=notify
NotifyAccess=all
Delegate=yes
KillMode=mixed
SyslogIdentifier=%N
RuntimeDirectory=%N
Environment=PODMAN_SYSTEMD_UNIT=%n
ExecStart={{run}}{{stop}}
ExecStop={REMOVE}
ExecStopPost=-{REMOVE}"""

Keys = t.Mapping[str, t.Mapping[str, t.Any]]


class QuadletError(ValueError):
    """A unit that cannot be written for this Podman."""


def for_podman(text: str, quadlet: str | None, keys: Keys) -> str:
    """The unit for the release of Podman whose keys the host's Quadlet knows, or for a host without
    Quadlet."""
    return _service(text, keys) if quadlet is None else _container(text, version_key(quadlet), keys)


def _container(text: str, release: list[int], keys: Keys) -> str:
    lines = []
    for section, line in _lines(text):
        pair = _pair(section, line, keys)
        if pair and version_key(keys[pair[0]]["first"]) > release:
            line = "\n".join(f"PodmanArgs={argument}" for argument in _arguments(*pair, keys))
        if line or not pair:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _service(text: str, keys: Keys) -> str:
    arguments: list[str] = []
    image = command = stop = ""
    lines = []
    for section, line in _lines(text):
        pair = _pair(section, line, keys)
        if pair and pair[0] == "Image":
            image = pair[1]
        elif pair and pair[0] == "Exec":
            command = pair[1]
        elif pair:
            arguments += _arguments(*pair, keys)
        elif section == "[Service]" and line.startswith("ExecStop="):
            # Before the container is removed, as Podman's generator has it.
            stop += f"\n{line}"
        elif section != "[Container]":
            lines.append(line)
    run = " ".join(word for word in (RUN, *arguments, image, command) if word)
    return "\n".join(lines).replace("[Service]", f"[Service]\n{SERVICE.format(run=run, stop=stop)}", 1) + "\n"


def _lines(text: str) -> t.Iterator[tuple[str, str]]:
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip()
        yield section, line


def _pair(section: str, line: str, keys: Keys) -> tuple[str, str] | None:
    """Key and value of a line that is for Podman."""
    key, equals, value = line.partition("=")
    if section != "[Container]" or not equals or key.startswith("#"):
        return None
    if key not in keys:
        raise QuadletError(
            f"{key}= is not among the keys of Quadlet in catalog/podman.yml, so nobody knows which Podman "
            f"takes it"
        )
    return key, value.strip()


def _arguments(key: str, value: str, keys: Keys) -> list[str]:
    if key == "PodmanArgs":
        return [value]
    form = keys[key]["argument"]
    if "{}" not in form:
        return [form] if value.lower() in TRUE else []
    # Several variables may stand in one line.
    return [form.format(part) for part in (value.split() if key == "Environment" else [value])]
