# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook build on this machine, with a stand-in for Podman: what it plans, builds, and writes for hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import stand_in_podman
import yaml
from play_server import PlayServer

PUSH = "registry.example.net/fleet/vllm:1"
WHEEL = "/nowhere/vllm-0.32.0+cpu-x.whl"
Play = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def play(tmp_path: Path, ansible: PlayServer) -> Play:
    stand_in_podman.put(tmp_path, {"docker.io/library/ubuntu:24.04": "b" * 64})

    def run(*words: str, **variables: object) -> subprocess.CompletedProcess[str]:
        given = {
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "build_hosts": "all",
            "build_recipe": "vllm-strix",
            "build_gfx": ["gfx1151"],
            "build_memory_gib": 16,
            "build_directory": str(tmp_path / "builds"),
            "report_directory": str(tmp_path / "reports"),
            **variables,
        }
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return ansible.run(
            "ansible-playbook", "playbooks/build.yml", "-i", "localhost,", "-c", "local", "-e", json.dumps(given), *words,
            env={"PATH": path},
        )  # fmt: skip

    return run


def test_it_is_built_once_and_hosts_are_told_its_digest(play: Play, tmp_path: Path) -> None:
    planned = play("--check", "--diff", build_push=PUSH)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    wanted = "vllm-strix:0.33.0-gfx1151: build, sbom, push (there is no image of that name)"
    assert wanted in planned.stdout and not (tmp_path / "builds").exists()
    built = play(build_push=PUSH)
    assert built.returncode == 0, built.stdout + built.stderr
    written = yaml.safe_load((tmp_path / "reports/builds/vllm-strix-0.33.0-gfx1151.yml").read_text())
    assert written["vllm_image"].startswith("registry.example.net/fleet/vllm@sha256:")
    listed = json.loads((tmp_path / "reports/builds/vllm-strix-0.33.0-gfx1151.sbom.json").read_text())
    assert listed["components"][0]["name"] == "libc6"
    again = play(build_push=PUSH)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
    gone = play(build_state="absent")
    assert gone.returncode == 0 and "changed=0" not in gone.stdout, gone.stdout + gone.stderr
    assert not (tmp_path / "reports/builds/vllm-strix-0.33.0-gfx1151.yml").exists()
    left = json.loads((tmp_path / "store.json").read_text())["images"]
    assert "localhost/amdgpu-fleet/vllm-strix:0.33.0-gfx1151" not in left


def test_an_archive_is_told_with_the_id_it_keeps(play: Play, tmp_path: Path) -> None:
    built = play(build_archive=str(tmp_path / "vllm.tar"))
    assert built.returncode == 0, built.stdout + built.stderr
    written = yaml.safe_load((tmp_path / "reports/builds/vllm-strix-0.33.0-gfx1151.yml").read_text())
    image = json.loads((tmp_path / "store.json").read_text())["images"][written["vllm_image"]]
    assert written["vllm_image_digest"] == f"sha256:{image['Id']}"
    assert written["vllm_image_archive"] == str(tmp_path / "vllm.tar") and (tmp_path / "vllm.tar").exists()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"build_recipe": "vllm-0.5.0-rocm6.1"}, "is not built any more"),
        ({"build_gfx": ["gfx942"]}, "vllm-strix builds no code for gfx942"),
        (
            {"build_recipe": "vllm-cpu", "build_variant": "kernels", "build_kernels_wheel": WHEEL},
            f"build_kernels_wheel: there is no file {WHEEL} on localhost",
        ),
    ],
)
def test_what_cannot_be_built_stops_before_anything(
    play: Play, tmp_path: Path, variables: dict[str, object], message: str
) -> None:
    refused = play(**variables)
    assert refused.returncode == 2 and message in " ".join(refused.stdout.split()), refused.stdout
    assert not (tmp_path / "builds").exists() and not (tmp_path / "asked").exists()
