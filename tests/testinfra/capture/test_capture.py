# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that came over ssh: they say what their hosts say, on a machine that has neither, and tell no secret."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
PREPARE = yaml.safe_load((REPOSITORY / "molecule/capture/prepare.yml").read_text(encoding="utf-8"))
SECRET = PREPARE[0]["vars"]["secret"]
MOLECULE = yaml.safe_load((REPOSITORY / "molecule/capture/molecule.yml").read_text(encoding="utf-8"))
WANTS = {
    name: value
    for name, value in MOLECULE["provisioner"]["inventory"]["group_vars"]["all"].items()
    if name != "fleet_captures"
}
# Room and time change while one looks.
CHANGES = ("room", "uptime_seconds")
# What only a host that is connected can be asked: whether it is as the plan says, and whether its servers serve.
ASKED = ("host.drift", "serve.absent")


def name_of(host: Any) -> str:
    return str(host.backend.get_hostname())


def archive_of(host: Any) -> Path:
    return EPHEMERAL / "captures" / f"{name_of(host)}.tar.gz"


def run(command: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections")}
    program = Path(sys.executable).with_name(command)
    return subprocess.run(
        [program, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def questions() -> dict[str, Any]:
    (server,) = WANTS["serve_instances"]
    return {"ports": [server["port"]], "paths": [server["model"]], "health": True}


def facts_of_archive(host: Any, folder: Path, questions: dict[str, Any]) -> dict[str, Any]:
    asked = json.dumps({"root": str(archive_of(host)), **questions})
    words = ("localhost", "-c", "local", "-m", "amdgpu.fleet.host_facts", "-a", asked, "--tree", str(folder))
    done = run("ansible", *words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    facts: dict[str, Any] = json.loads((folder / "localhost").read_text(encoding="utf-8"))["ansible_facts"]
    return facts


def test_the_archive_says_what_its_host_says(host, tmp_path, questions):
    """Packages of rpm, owners of device files, room, what the kernel is: nothing of this machine is in it."""
    here = host.ansible("amdgpu.fleet.host_facts", json.dumps(questions), check=False, become=True)[
        "ansible_facts"
    ]
    again = facts_of_archive(host, tmp_path, questions)
    for fact in ("amd_gpus", "amd_rocm", "amd_host", "amd_health"):
        for name, value in here[fact].items():
            assert name in CHANGES or again[fact][name] == value, f"{fact}.{name}"
    assert again["amd_gpus"]["count"] == (8 if "rack" in name_of(host) else 1)
    manager = again["amd_host"]["os"]["package_manager"]
    assert manager == ("dnf" if "rack" in name_of(host) else "apt")
    package = "libatomic" if manager == "dnf" else "firmware-amd-graphics"
    assert package in again["amd_host"]["packages"]
    assert again["amd_host"]["paths"]["/srv/capture/chat"]["model"]


def findings(path: Path) -> list[dict[str, Any]]:
    (record,) = (path / "hosts").glob("*.json")
    found = json.loads(record.read_text(encoding="utf-8"))["findings"]
    return [entry for entry in found if entry["id"] not in ASKED]


def test_the_doctor_says_of_the_archive_what_it_says_of_the_host(host, tmp_path):
    (tmp_path / "wants.yml").write_text(json.dumps(WANTS), encoding="utf-8")
    inventory = EPHEMERAL / "inventory"
    places = {
        "host": ("-i", str(inventory), "-e", f"fleet_hosts={name_of(host)}"),
        "archive": ("-e", f"plan_root={archive_of(host)}", "-e", "@wants.yml"),
    }
    for name, words in places.items():
        report = ("-e", f"report_directory={tmp_path / name}")
        done = run("ansible-playbook", "amdgpu.fleet.doctor", *words, *report, cwd=tmp_path)
        assert done.returncode in (0, 1, 2), done.stdout + done.stderr
    known = {entry["id"] for entry in findings(tmp_path / "archive")}
    assert known >= (
        {"host.iommu", "host.numa_balancing"}
        if "rack" in name_of(host)
        else {"kernel.minimum", "firmware.refused"}
    )
    assert findings(tmp_path / "archive") == findings(tmp_path / "host")


def test_no_secret_came_along(host):
    archive = archive_of(host)
    assert archive.stat().st_size < 8 << 20
    with tarfile.open(archive) as entries:
        names = entries.getnames()
        for entry in entries:
            content = (entries.extractfile(entry) or io.BytesIO()).read() if entry.isfile() else b""
            assert SECRET.encode() not in content, entry.name
    assert SECRET.encode() not in gzip.decompress(archive.read_bytes())
    assert not [name for name in names if name.endswith(("id_bed", ".secret", ".token", "shadow"))]
    # It was read where it stands, or this would prove nothing.
    assert {"etc/modprobe.d/zz-bed.conf", "srv/capture/chat/config.json"} <= set(names)


def test_nothing_is_left_on_the_host(host):
    assert (
        host.check_output("find /tmp /root /var/tmp -name 'amdgpu-fleet-capture*' -o -name 'capture.tar.gz'")
        == ""
    )
