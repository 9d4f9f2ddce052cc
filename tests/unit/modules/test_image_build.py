# SPDX-License-Identifier: GPL-3.0-or-later
"""Images by a stand-in for Podman that keeps its store in a file: what is built, when, and with which words."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stand_in_podman


class Host:
    """A folder with the stand-in, and the module run beside it."""

    def __init__(self, folder: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.folder, self._run = folder, run_module
        stand_in_podman.put(folder, {"docker.io/library/debian:13": "b" * 64})

    def put(self, state: dict[str, Any]) -> None:
        (self.folder / "store.json").write_text(json.dumps(state), encoding="utf-8")

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.folder / "store.json").read_text(encoding="utf-8"))

    def asked(self, command: str) -> list[list[str]]:
        log = self.folder / "asked"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [words for words in map(json.loads, lines) if words[0] == command]

    def __call__(self, check: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "name": "localhost/fleet/vllm:1",
            "containerfile": "FROM localhost/base:1\nRUN true\n",
            "base": "localhost/base:1",
            "base_pull": "docker.io/library/debian:13",
            "labels": {"org.opencontainers.image.title": "vllm"},
            "exports": {"PIP_INDEX_URL": "http://mirror/simple"},
            "steps": {"vllm": 3},
            "memory_gib": 16,
            "folder": str(self.folder / "builds/vllm"),
            **changes,
        }
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return self._run("image_build", _check=check, _env={"PATH": path}, **arguments)


@pytest.fixture
def host(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Host:
    return Host(tmp_path, run_module)


def test_create_update_and_delete_in_twelve_steps(host: Host) -> None:
    for changes, steps in (
        ({}, ["build", "sbom"]),
        ({"containerfile": "FROM localhost/base:1\nRUN false\n"}, ["build", "sbom"]),
    ):
        before = host.state
        first = host(check=True, **changes)
        assert first["changed"] and first["steps"] == steps and host.state == before
        made = host(**changes)
        assert made["changed"] and made["image_id"].startswith("sha256:") and made["packages"] == 2
        for check in (True, False):
            again = host(check=check, **changes)
            assert not again["changed"] and again["steps"] == [] and again["image_id"] == made["image_id"]
    assert len(host.asked("build")) == 2
    assert host(check=True, state="absent")["changed"] and "localhost/fleet/vllm:1" in host.state["images"]
    assert host(state="absent")["changed"] and "localhost/fleet/vllm:1" not in host.state["images"]
    assert not host(check=True, state="absent")["changed"] and not host(state="absent")["changed"]
    assert not (host.folder / "builds/vllm").exists()


def test_what_the_build_is_given(host: Host) -> None:
    made = host(
        run_arguments=["--privileged"],
        mounts=[{"source": "/srv/wheels", "target": "/run/links/0"}],
        arguments=["--network=host"],
    )
    (words,) = host.asked("build")
    folder = host.folder / "builds/vllm"
    assert "--format=docker" in words and "--isolation=oci" in words and "--network=host" in words
    assert (
        f"--volume={folder}/inside:/run/amdgpu-fleet:ro" in words
        and "--volume=/srv/wheels:/run/links/0:ro" in words
    )
    assert words[-1] == str(folder / "context") and not any(word.startswith("--device") for word in words)
    assert not any("mirror" in word for word in words)
    listed = host.asked("run")[0]
    assert "--network=none" in listed and "--privileged" in listed and "--privileged" not in words
    environment = folder / "inside/env"
    assert "export PIP_INDEX_URL=http://mirror/simple\n" in environment.read_text()
    assert f"export JOBS_vllm={made['jobs']['vllm']}\n" in environment.read_text()
    assert stat.S_IMODE(environment.stat().st_mode) == 0o600
    labels = made["labels"]
    assert labels["org.opencontainers.image.base.digest"] == "sha256:" + "d" * 64
    assert labels["io.amdgpu-fleet.build.inputs"] == made["inputs"]
    assert labels["io.amdgpu-fleet.build.base_id"] == "b" * 64


def test_a_mirror_and_free_memory_are_no_inputs_and_a_base_is_one(host: Host) -> None:
    host()
    assert not host(exports={}, memory_gib=8, jobs=1, arguments=["--network=host"])["changed"]
    state = host.state
    state["images"]["localhost/base:1"]["Id"] = "c" * 64
    host.put(state)
    again = host()
    assert again["changed"] and again["reason"] == "its base is another one now"
    assert (
        host(labels={"org.opencontainers.image.title": "other"})["reason"] == "it was built from other inputs"
    )


def test_a_base_that_was_removed_is_no_reason_to_build(host: Host) -> None:
    host()
    state = host.state
    del state["images"]["localhost/base:1"], state["images"]["docker.io/library/debian:13"]
    host.put(state)
    assert not host()["changed"] and len(host.asked("pull")) == 1


def test_push_by_digest_and_again_when_the_registry_lost_it(host: Host) -> None:
    made = host(
        push="registry:5000/fleet/vllm:1",
        push_arguments=["--compression-format=zstd"],
        auth_file="/etc/auth.json",
    )
    assert made["reference"].startswith("registry:5000/fleet/vllm@sha256:")
    (words,) = host.asked("push")
    assert "--authfile=/etc/auth.json" in words and "--compression-format=zstd" in words
    assert not host(push="registry:5000/fleet/vllm:1")["changed"]
    host.put({**host.state, "pushed": []})
    again = host(push="registry:5000/fleet/vllm:1")
    assert again["steps"] == ["push"] and again["reference"] == made["reference"]
    assert len(host.asked("build")) == 1


def test_an_archive_is_whole_or_not_there(host: Host) -> None:
    archive = host.folder / "images/vllm.tar"
    made = host(archive=str(archive))
    assert made["archive"] == {
        "path": str(archive),
        "bytes": len(b"an archive"),
        "sha256": hashlib.sha256(b"an archive").hexdigest(),
    }
    assert (
        "--format=docker-archive" in host.asked("save")[0]
        and host.asked("save")[0][-1] == "localhost/fleet/vllm:1"
    )
    assert not host(archive=str(archive))["changed"]
    archive.write_text("half")
    assert host(archive=str(archive))["steps"] == ["archive"] and archive.read_text() == "an archive"
    assert not list(archive.parent.glob("*.partial"))


def test_the_list_of_packages_is_cyclonedx(host: Host) -> None:
    made = host()
    document = json.loads(Path(made["sbom"]).read_text())
    assert document["bomFormat"] == "CycloneDX" and document["specVersion"] == "1.5"
    assert [each["purl"] for each in document["components"]] == [
        "pkg:deb/debian/libc6@2.41-12?arch=amd64",
        "pkg:pypi/vllm@0.33.0%2Brocm100",
    ]
    component = document["metadata"]["component"]
    assert component["version"] == made["image_id"]
    assert {"name": "io.amdgpu-fleet.build.inputs", "value": made["inputs"]} in component["properties"]
    Path(made["sbom"]).unlink()
    assert host()["steps"] == ["sbom"] and json.loads(Path(made["sbom"]).read_text()) == document


def test_a_build_that_fails_says_why_and_leaves_the_old_image(host: Host) -> None:
    old = host()
    failed = host(containerfile="FROM localhost/base:1\nRUN FAIL\n")
    assert failed["failed"] and "Finished steps are kept" in failed["msg"]
    assert "ninja: build stopped" in failed["msg"] and f"{host.folder}/builds/vllm/build.log" in failed["msg"]
    assert host.state["images"]["localhost/fleet/vllm:1"]["Id"] == old["image_id"].removeprefix("sha256:")
    killed = host(containerfile="FROM localhost/base:1\nRUN KILLED\n")
    assert "a program of it was killed" in killed["msg"] and "Set build_jobs to fewer" in killed["msg"]


def test_a_step_that_does_not_fit_is_refused_before_anything(host: Host) -> None:
    refused = host(steps={"vllm": 3, "flash_attention": 9}, memory_gib=8)
    assert refused["failed"] and refused["msg"].startswith(
        "One job of flash_attention takes 9 GiB, and 8.0 GiB are free"
    )
    assert host.asked("build") == [] and host.asked("pull") == []


def test_a_base_that_no_registry_has(host: Host) -> None:
    failed = host(base="localhost/other:1", base_pull="docker.io/library/none:1")
    assert failed["msg"] == "Pulling the base docker.io/library/none:1 failed: Error: manifest unknown."


def test_a_damaged_record_is_no_record(host: Host) -> None:
    made = host()
    Path(f"{host.folder}/builds/vllm/record.json").write_text("{")
    assert host()["steps"] == ["sbom"]
    assert host()["image_id"] == made["image_id"]


def test_check_mode_shows_the_labels_that_change(host: Host) -> None:
    host()
    shown = host(check=True, labels={"org.opencontainers.image.title": "other"})["diff"]
    assert "org.opencontainers.image.title: vllm\n" in shown["before"]
    assert "org.opencontainers.image.title: other\n" in shown["after"]
