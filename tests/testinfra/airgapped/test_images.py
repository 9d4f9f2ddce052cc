# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from a real registry and from archives, held to their digest, while the engine serves."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from testbed.closed import ADDRESS, REGISTRY_PORT
from testbed.engine import IMAGE
from testbed.machine import podman

REGISTRY = f"{ADDRESS}:{REGISTRY_PORT}"
NAME = f"{REGISTRY}/vllm/small:1"
WRONG = "sha256:" + "0" * 64
PLAYBOOK = """
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - ansible.builtin.include_role: {name: amdgpu.fleet.plan}
    - ansible.builtin.include_role: {name: amdgpu.fleet.serve, tasks_from: TASKS}
"""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> dict[str, str]:
    """Two small images in the registry below one name and another tag; what they are for is pulling."""
    known = {}
    for tag in ("1", "2"):
        folder = tmp_path_factory.mktemp("image")
        (folder / "Containerfile").write_text("FROM scratch\nCOPY file /\n")
        (folder / "file").write_bytes(os.urandom(300_000) + tag.encode())
        reference = f"{REGISTRY}/vllm/small:{tag}"
        podman("build", "--quiet", f"--tag={reference}", folder)
        podman("push", "--quiet", "--tls-verify=false", f"--digestfile={folder}/digest", reference)
        known[tag] = (folder / "digest").read_text().strip()
        known[f"id{tag}"] = "sha256:" + podman("image", "inspect", "--format={{.Id}}", reference).strip()
        # The hosts look into the machine's own store too.
        podman("rmi", "--force", reference)
    return known


def install(tmp_path: Path, tasks: str = "install", **variables: object) -> tuple[bool, str]:
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAYBOOK.replace("TASKS", tasks))
    command = [
        "ansible-playbook",
        playbook,
        "-i",
        os.environ["MOLECULE_INVENTORY_FILE"],
        "--extra-vars",
        json.dumps(variables),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode == 0, re.sub(r"\\n|\s+", " ", done.stdout + done.stderr)


def pinned(name: str, digest: str) -> str:
    """What a unit starts: a name that means no other image."""
    return f"{name}-{digest.removeprefix('sha256:')[:12]}"


def image_id(host, name: str) -> str:
    return host.run("podman image inspect --format 'sha256:{{.Id}}' %s", name).stdout.strip()


def serves(host) -> bool:
    body = json.dumps({"model": "open", "prompt": "a", "max_tokens": 1})
    return (
        host.service("vllm-tiny").is_running
        and host.run("curl -sS --fail --json %s http://127.0.0.1:8000/v1/completions", body).rc == 0
    )


def test_a_pull_by_digest(host, tmp_path, pushed):
    worked, said = install(tmp_path, vllm_image=NAME, vllm_image_digest=pushed["1"])
    assert worked and "changed=0" not in said, said
    assert image_id(host, pinned(NAME, pushed["1"])) == pushed["id1"]
    # What is there is not asked for again.
    worked, said = install(tmp_path, vllm_image=NAME, vllm_image_digest=pushed["1"])
    assert worked and "changed=0" in said, said


def test_a_pull_without_a_digest(host, tmp_path, pushed):
    name = f"{REGISTRY}/vllm/small:2"
    worked, said = install(tmp_path, vllm_image=name)
    assert worked, said
    assert image_id(host, name) == pushed["id2"]


def test_a_digest_that_the_registry_has_not_is_refused_and_the_name_stays(host, tmp_path, pushed):
    worked, said = install(tmp_path, vllm_image=NAME, vllm_image_digest=WRONG)
    assert (
        not worked
        and f"The image {NAME} could not be installed" in said
        and "What was there before is still there" in said
    ), said
    assert image_id(host, pinned(NAME, pushed["1"])) == pushed["id1"] and not image_id(
        host, pinned(NAME, WRONG)
    )
    assert serves(host)


def test_another_image_under_the_name_is_pulled_again(host, tmp_path, pushed):
    """Somebody moved the tag: the plan sees it, and the one that is pinned comes back."""
    host.check_output("podman tag %s %s", f"{REGISTRY}/vllm/small:2", pinned(NAME, pushed["1"]))
    worked, said = install(tmp_path, vllm_image=NAME, vllm_image_digest=pushed["1"])
    assert worked, said
    assert image_id(host, pinned(NAME, pushed["1"])) == pushed["id1"]


def test_another_digest_of_one_tag_is_another_image_beside_it(host, tmp_path, pushed):
    """The unit of before still starts the image of before."""
    worked, said = install(tmp_path, vllm_image=NAME, vllm_image_digest=pushed["2"])
    assert worked and "changed=0" not in said, said
    assert (
        image_id(host, pinned(NAME, pushed["2"])) == pushed["id2"]
        and image_id(host, pinned(NAME, pushed["1"])) == pushed["id1"]
    )
    host.check_output("podman untag %s %s", *[pinned(NAME, pushed["2"])] * 2)


def test_an_image_of_the_catalog_comes_from_the_registry_of_the_mirror(host, tmp_path, pushed):
    override = {"vllm": {"cpu_versions": {"0.32.0": {"image": "docker.io/vllm/small:1"}}}}
    host.run("podman untag %s %s", NAME, NAME)
    worked, said = install(tmp_path, vllm_image="", plan_catalog=override)
    assert worked, said
    assert image_id(host, NAME) == pushed["id1"]


def test_an_archive_is_loaded_and_held_to_its_id(host, tmp_path, pushed):
    host.check_output(
        "podman save --quiet --format docker-archive --output /root/two.tar %s", f"{REGISTRY}/vllm/small:2"
    )
    host.check_output("podman rmi %s", f"{REGISTRY}/vllm/small:2")
    worked, said = install(
        tmp_path,
        vllm_image=f"{REGISTRY}/vllm/small:2",
        vllm_image_archive="/root/two.tar",
        vllm_image_digest=pushed["id2"],
    )
    assert worked, said
    assert image_id(host, pinned(f"{REGISTRY}/vllm/small:2", pushed["id2"])) == pushed["id2"]


def test_an_archive_of_another_image_is_refused_and_the_name_stays(host, tmp_path, pushed):
    host.check_output("podman tag %s localhost/keep:1", NAME)
    host.check_output(
        "podman tag %s %s && podman save --quiet --output /root/moved.tar %s",
        f"{REGISTRY}/vllm/small:2",
        NAME,
        NAME,
    )
    host.check_output(
        "podman tag localhost/keep:1 %s && podman untag localhost/keep:1 localhost/keep:1", NAME
    )
    worked, said = install(
        tmp_path, vllm_image=NAME, vllm_image_archive="/root/moved.tar", vllm_image_digest=WRONG
    )
    assert not worked and f"with the id {pushed['id2']}, not {WRONG}" in said, said
    assert image_id(host, NAME) == pushed["id1"]
    assert serves(host)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"vllm_image_archive": "/root/nowhere.tar"}, "/root/nowhere.tar"),
        ({"vllm_image": f"{REGISTRY}/vllm/none:1"}, "vllm/none"),
    ],
)
def test_what_is_not_there(host, tmp_path, variables, said):
    worked, output = install(tmp_path, **{"vllm_image": f"{REGISTRY}/vllm/absent:1", **variables})
    assert not worked and said in output and "could not be installed" in output, output
    assert serves(host)


def test_no_room(host, tmp_path, pushed):
    host.check_output("truncate --size 8T /root/large.tar")
    worked, said = install(
        tmp_path, vllm_image=f"{REGISTRY}/vllm/large:1", vllm_image_archive="/root/large.tar"
    )
    assert (
        not worked and "/root/large.tar has 8.00 TB" in said and "/var/lib/containers/storage has" in said
    ), said


def test_a_wrong_digest_of_the_image_that_serves_stops_before_the_unit(host, tmp_path):
    worked, said = install(tmp_path, "main", vllm_image_digest=WRONG)
    assert not worked and f"The image {IMAGE} could not be installed" in said, said
    assert serves(host)
