# SPDX-License-Identifier: GPL-3.0-or-later
"""What `systemd-analyze security` thinks of every service that a role writes.

A service around Podman is not among them: Podman makes namespaces and mounts, so what confines such a server is
its container. tests/unit/plugin_utils/test_confined.py holds the container to what it may do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).resolve().parents[3] / "roles"
# Podman's own service is not ours to confine.
OF_PODMAN = ("server.container.j2", "amd-exporter.service.j2")
# The gateway begins as root and talks to everybody.
MOST = {"gateway.service.j2": 30}
TOGETHER = {"group": "rack", "addresses": ["10.0.0.1", "10.0.0.2"], "lifeline": 29000, "rank": 0}


def services() -> list[Path]:
    """The templates of all services, whichever role they belong to."""
    return sorted(path for path in ROLES.glob("*/templates/*.service.j2") if path.name not in OF_PODMAN)


def rendered(template: Path, plan: dict, instance: dict) -> str:
    role = template.parents[1]
    variables: dict = {"ansible_search_path": [str(role)], "plan_host": plan, "instance": instance}
    for part in ("defaults", "vars"):
        values = yaml.safe_load((role / part / "main.yml").read_text(encoding="utf-8")) or {}
        variables |= {k: trust_as_template(v) if isinstance(v, str) else v for k, v in values.items()}
    expression = trust_as_template("{{ lookup('ansible.builtin.template', '" + template.name + "') }}")
    return str(Templar(loader=DataLoader(), variables=variables).template(expression))


@pytest.fixture
def unit(make_plan):
    """unit(template) -> the text of the service."""
    plan = make_plan(
        "mi300x-8",
        serve_instances=[{"name": "a", "model": "/srv/models/m", "host": "0.0.0.0"}],
        serve_kind="venv",
        partition_compute="CPX",
    )
    plan["kernel"]["load_at_boot"] = "amdgpu"
    instance = {**plan["serve"]["instances"][0], "nodes": TOGETHER}
    return lambda template: rendered(template, plan, instance)


def test_every_service_is_looked_at():
    assert {path.name for path in services()} >= {
        *("server.service.j2", "inference-check.service.j2", "lifeline.service.j2"),
        *("gateway.service.j2", "partition.service.j2", "driver.service.j2"),
    }


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
@pytest.mark.parametrize("template", services(), ids=lambda path: path.name)
def test_what_systemd_thinks_of_it(unit, template, tmp_path):
    text = unit(template)
    path = tmp_path / template.name.removesuffix(".j2")
    path.write_text(text, encoding="utf-8")
    most = MOST.get(template.name, 25)
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", "--no-pager", path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-300:] + result.stderr
    # Every line is one that systemd knows: it says so and goes on.
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not re.search(r"Unknown|Failed to parse|Invalid", verified.stderr), verified.stderr
