# SPDX-License-Identifier: GPL-3.0-or-later
"""compare: the code of the modules that roles use, asked at once, and what is left to do though no file changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
ROLES = yaml.safe_load((REPOSITORY / "roles/plan/vars/main.yml").read_text(encoding="utf-8"))["__plan_roles"]
FILE = {"path": "/etc/sysctl.d/60-amdgpu-fleet.conf", "content": "kernel.numa_balancing = 0\n"}


def files(root: Path, *entries: dict, **more: str) -> dict:
    return {"kind": "config_files", "arguments": {"root": str(root), "files": list(entries), **more}}


@pytest.fixture
def compare(run_module):
    def run(parts: dict, **arguments: object) -> dict:
        return run_module("compare", roles=list(parts), parts=parts, **arguments)

    return run


def test_what_is_as_wanted_is_unchanged_and_what_is_not_says_why(compare, run_module, tmp_path):
    wanted = {"kernel": [files(tmp_path, FILE)], "devices": [files(tmp_path, {**FILE, "path": "/etc/other"})]}
    run_module("config_files", root=str(tmp_path), files=[FILE])
    result = compare(wanted)
    assert result["unchanged"] == ["kernel"] and not result["changed"]
    assert "/etc/other" in result["reasons"]["devices"]
    assert not (tmp_path / "etc/other").exists(), "it only looks"


def test_a_change_that_was_not_followed_up_is_work(compare, run_module, tmp_path):
    pending = "/var/lib/amdgpu-fleet/pending-kernel"
    run_module("config_files", root=str(tmp_path), files=[FILE], pending=pending)
    result = compare({"kernel": [files(tmp_path, FILE, pending=pending)]})
    assert "pending_paths" in result["reasons"]["kernel"]
    (tmp_path / pending.lstrip("/")).unlink()
    assert compare({"kernel": [files(tmp_path, FILE, pending=pending)]})["unchanged"] == ["kernel"]


def test_kernel_arguments_that_wait_for_a_boot_are_work(compare, run_module, emulated):
    root = emulated("mi300x-8")
    arguments = {"present": ["amdgpu.noretry=0"], "root": str(root)}
    parts = {"kernel": [{"kind": "kernel_args", "arguments": arguments}]}
    grub_config(root)
    assert "amdgpu.noretry=0" in compare(parts)["reasons"]["kernel"]
    run_module("kernel_args", **arguments)
    grub_config(root, "amdgpu.noretry=0")
    assert "reboot_required" in compare(parts)["reasons"]["kernel"]
    command_line = root / "proc/cmdline"
    command_line.write_text(command_line.read_text().rstrip("\n") + " amdgpu.noretry=0\n")
    assert compare(parts)["unchanged"] == ["kernel"]


def grub_config(root: Path, more: str = "") -> None:
    """What update-grub writes for the one kernel of the host; below a root of its own no program of the host runs."""
    running = (root / "proc/cmdline").read_text().split()
    words = " ".join(word for word in running if not word.startswith("BOOT_IMAGE="))
    config = root / "boot/grub/grub.cfg"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f"menuentry 'Debian' {{\n\tlinux /vmlinuz {words} {more}\n}}\n")


def test_a_module_that_would_fail_is_work_for_its_role(compare, tmp_path):
    parts = {
        "kernel": [{"kind": "kernel_args", "arguments": {"present": ["a b"], "root": str(tmp_path)}}],
        "driver": [{"kind": "package_repository", "arguments": {"name": "x", "state": "present"}}],
        "rocm": [{"kind": "config_files", "arguments": {"files": [{"path": "/etc/x", "mod": "0644"}]}}],
    }
    reasons = compare(parts)["reasons"]
    assert set(reasons) == {"kernel", "driver", "rocm"}
    assert "fingerprint" in reasons["driver"] and "mod" in reasons["rocm"]


def test_no_address_is_read(compare, tmp_path):
    (tmp_path / "etc/apt").mkdir(parents=True)
    repository = {
        "name": "driver",
        "format": "deb",
        "uri": "http://127.0.0.1:9/x",
        "suite": "noble",
        "root": str(tmp_path),
    }
    repository |= {
        "key_url": "http://127.0.0.1:9/key",
        "fingerprint": "CA8BB4727A47B4D09B4EE8969386B48A1A693C5C",
    }
    reason = compare({"driver": [{"kind": "package_repository", "arguments": repository}]})["reasons"][
        "driver"
    ]
    assert reason == "The repository key at http://127.0.0.1:9/key has to be read"


def test_keys_do_not_come_back(compare, tmp_path):
    secret = {"path": "/etc/key", "content": "VLLM_API_KEY=hunter2hunter2\n", "secret": True, "mode": "0600"}
    result = compare({"serve": [files(tmp_path, secret)]})
    assert "serve" in result["reasons"] and "hunter2" not in json.dumps(result)


UNIT = {
    "Id": "vllm-a.service",
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "generated",
    "NeedDaemonReload": "no",
}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, ""),
        ({"UnitFileState": "enabled"}, ""),
        ({"UnitFileState": "disabled"}, "vllm-a.service does not start at boot"),
        ({"ActiveState": "failed"}, "vllm-a.service is failed"),
        ({"ActiveState": "activating"}, "vllm-a.service is activating"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "vllm-a.service is not-found"),
        ({"NeedDaemonReload": "yes"}, "vllm-a.service runs as an older file says"),
        ({"Id": ""}, ""),
    ],
)
def test_units(compare, tmp_path, state, reason):
    text = "".join(f"{name}={value}\n" for name, value in {**UNIT, **state}.items())
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
    program.chmod(0o755)
    result = compare(
        {"serve": [{"kind": "units", "arguments": {"units": ["vllm-a.service"]}}]},
        _env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert result["reasons"].get("serve", "") == reason


def test_units_that_systemd_does_not_tell_of_are_work(compare, tmp_path):
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    program.chmod(0o755)
    result = compare(
        {"serve": [{"kind": "units", "arguments": {"units": ["a.service"]}}]},
        _env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert "broken" in result["reasons"]["serve"]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_says_what_it_would_set_and_asks_before_it_works(role):
    variables = yaml.safe_load((REPOSITORY / "roles" / role / "vars/main.yml").read_text(encoding="utf-8"))
    assert {f"__{role}_work", f"__{role}_parts"} <= set(variables)
    tasks = yaml.safe_load((REPOSITORY / "roles" / role / "tasks/main.yml").read_text(encoding="utf-8"))
    (applies,) = [task for task in tasks if task.get("ansible.builtin.include_tasks") == "apply.yml"]
    assert applies["when"] == f"'{role}' not in plan_unchanged"


def test_every_role_that_site_applies_after_the_plan_is_compared():
    play = yaml.safe_load((REPOSITORY / "playbooks/site.yml").read_text(encoding="utf-8"))[1]
    applied = [
        task["ansible.builtin.import_role"]["name"]
        for task in play["tasks"][0]["block"]
        if "ansible.builtin.import_role" in task
    ]
    assert applied == [f"amdgpu.fleet.{role}" for role in ROLES]
