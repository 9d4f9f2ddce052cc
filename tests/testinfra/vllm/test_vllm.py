# SPDX-License-Identifier: GPL-3.0-or-later
"""A real completion over HTTP from each kind of deployment, and who may ask for one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def kind(host) -> str:
    return host.check_output("hostname").removeprefix("vllm-")


@pytest.fixture
def url(kind) -> str:
    return {"container": "http://127.0.0.1:8000", "venv": "http://10.77.0.32:8000"}[kind]


@pytest.fixture
def key(host, kind) -> str:
    if kind == "container":
        return ""
    return host.file("/etc/vllm/tiny.secret").content_string.strip().partition("=")[2]


BODY = json.dumps({"model": "tiny-llama", "prompt": "AMD GPUs are", "max_tokens": 4, "temperature": 0})


def test_a_completion(host, url, key):
    answer = host.check_output("curl -sS --fail-with-body -H 'Authorization: Bearer %s' --json %s %s/v1/completions", key, BODY, url)
    assert json.loads(answer)["usage"]["completion_tokens"] == 4


def test_the_unit_is_enabled_and_runs(host):
    unit = host.service("vllm-tiny")
    assert unit.is_running
    assert host.check_output("systemctl show --property=UnitFileState --value vllm-tiny") in ("enabled", "generated")
    assert host.check_output("systemctl show --property=NRestarts --value vllm-tiny") == "0"


def test_it_listens_where_it_was_asked_to(host, kind):
    addresses = [line.split()[3] for line in host.check_output("ss -Hltn sport = :8000").splitlines()]
    assert addresses == [{"container": "127.0.0.1:8000", "venv": "10.77.0.32:8000"}[kind]]


def test_nothing_of_rocm_on_the_cpu(host, kind):
    unit = {"container": "/etc/containers/systemd/vllm-tiny.container", "venv": "/etc/systemd/system/vllm-tiny.service"}[kind]
    text = host.file(unit).content_string + host.file("/etc/vllm/tiny.env").content_string
    assert not [word for word in ("/dev/kfd", "ROCM", "HSA_", "SYS_PTRACE", "SupplementaryGroups") if word in text]


def test_the_key_is_asked_for_and_shown_to_nobody(host, kind, url, key):
    if kind == "container":
        assert not host.file("/etc/vllm/tiny.secret").exists
        return
    assert len(key) == 40
    assert host.file("/etc/vllm/tiny.secret").mode == 0o600
    assert host.check_output("curl -s -o /dev/null -w '%%{http_code}' %s/v1/models", url) == "401"
    seen = host.check_output("cat /etc/systemd/system/vllm-tiny.service /etc/vllm/tiny.yaml /etc/vllm/tiny.env; ps axww -o args; "
                             "journalctl --no-pager; systemctl show vllm-tiny")  # fmt: skip
    assert key not in seen


def test_the_service_is_confined(host, kind):
    if kind == "container":
        return
    show = dict(line.split("=", 1) for line in host.check_output("systemctl show vllm-tiny").splitlines() if "=" in line)
    assert show["DynamicUser"] == "yes" and show["ProtectSystem"] == "strict" and show["DevicePolicy"] == "closed"
    assert show["KillMode"] == "mixed" and show["RestartPreventExitStatus"] == "2"
    pid = show["MainPID"]
    # A user that exists only while the service runs: systemd takes its number from this range.
    assert 61184 <= int(host.check_output(f"stat -c %u /proc/{pid}")) <= 65519


def test_no_engine_is_left_when_the_unit_stops(host):
    host.check_output("systemctl stop vllm-tiny")
    assert host.run("pgrep -f 'VLLM::|vllm.entrypoints'").rc == 1
    assert host.check_output("ss -Hltn sport = :8000") == ""


def test_removal_leaves_models_and_keys(host, kind):
    playbook = Path(__file__).resolve().parents[3] / "playbooks/teardown.yml"
    command = ["ansible-playbook", playbook, "-i", os.environ["MOLECULE_INVENTORY_FILE"], "--tags", "vllm", "--limit", f"vllm-{kind}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout
    for path in ("/etc/systemd/system/vllm-tiny.service", "/etc/containers/systemd/vllm-tiny.container", "/etc/vllm/tiny.yaml"):
        assert not host.file(path).exists
    assert host.run("systemctl cat vllm-tiny.service").rc != 0
    assert host.check_output("ls -A /opt/vllm 2>/dev/null || true") == ""
    assert host.file("/srv/models/tiny-llama/config.json").exists
    assert host.file("/etc/vllm/tiny.secret").exists is (kind == "venv")
