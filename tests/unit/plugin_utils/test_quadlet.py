# SPDX-License-Identifier: GPL-3.0-or-later
"""One unit for every Podman: keys it does not know yet become arguments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.quadlet import QuadletError, for_podman

TEMPLATE = Path(__file__).resolve().parents[3] / "roles/serve/templates/server.container.j2"
KEYS = Catalog().podman["quadlet"]
UNIT = """\
[Unit]
Description=vLLM

[Container]
ContainerName=vllm-a
Image=localhost/vllm:1
Pull=never
# A comment with = in it.
Exec=/srv/m --config /etc/c.yaml
Environment=A=1 B=2
RunInit=true
ShmSize=8g
StopTimeout=60
GroupAdd=44
GroupAdd=105
PodmanArgs=--ulimit=nofile=9:9 --pids-limit=-1

[Service]
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


def container(text: str) -> list[str]:
    return text.partition("[Container]\n")[2].partition("\n\n")[0].splitlines()


def test_the_newest_keys_stay():
    assert for_podman(UNIT, "5.4", KEYS) == UNIT


@pytest.mark.parametrize(
    ("release", "arguments"),
    [
        ("5.0", ["--group-add=44", "--group-add=105"]),
        ("4.8", ["--stop-timeout=60", "--group-add=44", "--group-add=105"]),
        ("4.6", ["--shm-size=8g", "--stop-timeout=60", "--group-add=44", "--group-add=105"]),
        ("4.4", ["--pull=never", "--shm-size=8g", "--stop-timeout=60", "--group-add=44", "--group-add=105"]),
    ],
)
def test_newer_keys_become_arguments(release, arguments):
    text = for_podman(UNIT, release, KEYS)
    lines = container(text)
    assert [line.partition("=")[2] for line in lines if line.startswith("PodmanArgs=--")][:-1] == arguments
    used = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    assert all(version_key(KEYS[key]["first"]) <= version_key(release) for key in used)
    assert {"Image", "Exec", "RunInit", "Environment"} < used and lines[-1].startswith("PodmanArgs=--ulimit")
    assert text.partition("[Container]")[0] == UNIT.partition("[Container]")[0]


def test_a_service_where_there_is_no_quadlet():
    text = for_podman(UNIT, None, KEYS)
    assert (
        "[Container]" not in text
        and "\nRestart=on-failure\n" in text
        and text.startswith("[Unit]\nDescription=vLLM\n")
    )
    run = re.search(r"^ExecStart=(.+)$", text, re.M).group(1)
    assert run == (
        "/usr/bin/podman run --cidfile=%t/%N/cid --replace --rm --cgroups=split --sdnotify=conmon --detach "
        "--name=vllm-a --pull=never "
        "--env=A=1 --env=B=2 --init --shm-size=8g --stop-timeout=60 --group-add=44 --group-add=105 "
        "--ulimit=nofile=9:9 --pids-limit=-1 "
        "localhost/vllm:1 /srv/m --config /etc/c.yaml"
    )
    assert text.index("[Service]") < text.index("ExecStart=") < text.index("[Install]")


def test_what_is_not_true_is_no_argument():
    assert "--init" not in for_podman(UNIT.replace("RunInit=true", "RunInit=false"), None, KEYS)


def test_a_key_that_nobody_knows():
    with pytest.raises(QuadletError, match="Colour="):
        for_podman(UNIT.replace("Pull=never", "Colour=red"), "5.4", KEYS)


def test_the_template_uses_keys_of_the_table_only():
    section = TEMPLATE.read_text(encoding="utf-8").partition("[Container]")[2].partition("[Service]")[0]
    used = set(re.findall(r"^([A-Z]\w+)=", section, re.M))
    assert len(used) > 10 and used <= set(KEYS)
