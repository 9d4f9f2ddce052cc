# SPDX-License-Identifier: GPL-3.0-or-later
"""On the host that builds: what the image says of itself, what is listed, what a second build and an archive do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

testinfra_hosts = ["ansible://build-host"]

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
IMAGE = "localhost/amdgpu-fleet/vllm-cpu:0.32.0-kernels"
FOLDER = "/var/lib/amdgpu-fleet/builds/vllm-cpu-0.32.0-kernels"
BASE = "localhost/amdgpu-fleet/debian12:latest"
# The first step is what a cache is told by.
TWO_STEPS = (
    "FROM localhost/amdgpu-fleet/base:small\nRUN date +%N > /one\nRUN . /run/amdgpu-fleet/env && {then}\n"
)


@pytest.fixture
def module(host):
    """Run image_build for a small image on the host, and take it away again."""

    def run(**changes: Any) -> tuple[int, dict[str, Any]]:
        arguments = {
            "name": "localhost/amdgpu-fleet/small:1",
            "base": "localhost/amdgpu-fleet/base:small",
            "base_pull": BASE,
            "folder": "/var/lib/amdgpu-fleet/builds/small",
            "steps": {"vllm": 0.1},
            **changes,
        }
        command = [str(REPOSITORY / ".venv/bin/ansible"), "--inventory", INVENTORY, "build-host", "--module-name",
                   "amdgpu.fleet.image_build", "--args", json.dumps(arguments)]  # fmt: skip
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_NOCOLOR": "1",
            # Molecule asks for colours, and they would win.
            "ANSIBLE_FORCE_COLOR": "0",
        }
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert "{" in done.stdout, done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])

    yield run
    assert run(state="absent", archive="/var/tmp/small.tar")[0] == 0


def inspect(host, name: str) -> dict[str, Any]:
    return json.loads(host.check_output("podman image inspect %s", name))[0]


def test_the_labels_say_every_input(host):
    labels = inspect(host, IMAGE)["Labels"]
    assert (
        labels["io.amdgpu-fleet.build.recipe"] == "vllm-cpu"
        and labels["io.amdgpu-fleet.build.variant"] == "kernels"
    )
    assert "sha256:d2c957d5eee3d098" in labels["io.amdgpu-fleet.build.source.vllm"]
    assert labels["org.opencontainers.image.base.name"] == "localhost/vllm-cpu:0.32.0"
    assert labels["io.amdgpu-fleet.build.base_id"] == inspect(host, "localhost/vllm-cpu:0.32.0")["Id"]


def test_the_list_of_packages_is_that_of_the_image(host):
    listed = json.loads(host.file(f"{FOLDER}/sbom.json").content_string)
    packages = {each["purl"].partition("@")[0]: each["version"] for each in listed["components"]}
    assert packages["pkg:pypi/vllm"] == "0.32.0+cpu" and packages["pkg:pypi/torch"] == "2.13.0+cpu"
    assert packages["pkg:deb/debian/libc6"].startswith("2.36")
    assert listed["metadata"]["component"]["version"] == f"sha256:{inspect(host, IMAGE)['Id']}"


def test_the_build_saw_no_gpu_and_kept_its_settings_to_root(host):
    # The host has GPUs; Podman hands over none unless it is told to.
    assert host.file("/dev/kfd").exists
    assert "/dev/kfd" not in host.file(f"{FOLDER}/Containerfile").content_string
    environment = host.file(f"{FOLDER}/inside/env")
    assert environment.mode == 0o600 and "export JOBS_vllm=" in environment.content_string


def test_a_build_that_failed_goes_on_behind_its_finished_steps(module, host):
    code, failed = module(containerfile=TWO_STEPS.format(then="false"))
    assert code and "Finished steps are kept" in failed["msg"]
    assert host.run("podman image exists localhost/amdgpu-fleet/small:1").rc == 1
    code, made = module(containerfile=TWO_STEPS.format(then="test ! -e /dev/kfd && echo $JOBS_vllm > /two"))
    assert code == 0 and made["steps"] == ["build", "sbom"], made
    assert "Using cache" in host.file("/var/lib/amdgpu-fleet/builds/small/build.log").content_string
    jobs = host.check_output("podman run --rm --network=none localhost/amdgpu-fleet/small:1 cat /two")
    assert jobs == str(made["jobs"]["vllm"])


def test_an_archive_keeps_the_id(module, host):
    code, made = module(containerfile=TWO_STEPS.format(then="true"), archive="/var/tmp/small.tar")
    assert code == 0 and made["steps"] == ["build", "sbom", "archive"], made
    assert host.check_output("sha256sum /var/tmp/small.tar").split()[0] == made["archive"]["sha256"]
    host.check_output("podman rmi localhost/amdgpu-fleet/small:1")
    host.check_output("podman load --quiet --input /var/tmp/small.tar")
    assert f"sha256:{inspect(host, 'localhost/amdgpu-fleet/small:1')['Id']}" == made["image_id"]
    assert not module(containerfile=TWO_STEPS.format(then="true"), archive="/var/tmp/small.tar")[1]["changed"]
