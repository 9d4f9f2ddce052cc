# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that the real huggingface_hub fetched from a Hub of the test bed, models from archives, and what is
refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from testbed.closed import NAME as MIRROR
from testbed.machine import podman

MODELS = "/var/lib/amdgpu-fleet/models"
TOKEN = "/etc/amdgpu-fleet/huggingface.token"
REPOSITORY = Path(__file__).resolve().parents[3]
CONVERGE = REPOSITORY / "molecule/model/converge.yml"
HUB, SHELF = "model-hub", "model-shelf"


@pytest.fixture
def name(host) -> str:
    return host.check_output("hostname")


def apply(host: str, **variables: object) -> tuple[bool, str]:
    """Whether the role went through on one host, and all that was said."""
    command = [
        "ansible-playbook",
        CONVERGE,
        "-i",
        os.environ["MOLECULE_INVENTORY_FILE"],
        "--limit",
        host,
        "-vv",
    ]
    command += ["--extra-vars", json.dumps(variables)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    return done.returncode == 0, re.sub(r"\\n|\s+", " ", done.stdout + done.stderr)


def sums(host, folder: str) -> dict[str, str]:
    lines = host.check_output(
        "cd '%s' && find . -type f -not -path './.cache/*' -exec sha256sum {} +", folder
    ).splitlines()
    return {line.split()[1].removeprefix("./"): line.split()[0] for line in lines}


def requests(model: str) -> list[str]:
    return [line for line in podman("logs", MIRROR).splitlines() if f"/tiny/{model}/" in line]


def only(name: str, wanted: str) -> None:
    if name != wanted:
        pytest.skip(f"only on {wanted}")


def test_what_was_fetched_is_what_was_there(host, name):
    there = sums(host, "/srv/models/tiny-llama")
    if name == HUB:
        assert sums(host, f"{MODELS}/tiny/private") == there
        weak = sums(host, f"{MODELS}/tiny/weak")
        assert {
            key: value for key, value in weak.items() if key != "padding.txt"
        } == there and "padding.txt" in weak
    else:
        [folder] = host.check_output("ls %s", MODELS).split()
        found = sums(host, f"{MODELS}/{folder}")
        assert folder.startswith("tiny@") and found.pop("SHA256SUMS") and found == there
    # The server runs as a user of its own.
    assert host.check_output("find %s -not -perm -o=r | head -1", MODELS) == ""
    assert host.check_output("find %s -name '*.partial' -o -name '*.old'", MODELS) == ""


def test_a_line_that_broke_was_taken_up_where_it_broke(name):
    only(name, HUB)
    got = [line for line in requests("weak") if "GET" in line and "padding.txt" in line]
    assert len(got) == 2 and '" 200 ' in got[0] and '" 206 ' in got[1], got
    assert re.search(r"bytes=10485760-", got[1])


def test_the_token_is_for_root_and_in_nothing_else(host, name):
    if name == SHELF:
        assert not host.file(TOKEN).exists
        return
    token = host.file(TOKEN)
    assert (token.mode, token.user, token.content_string) == (0o600, "root", "hf_of_the_test_bed\n")
    seen = host.check_output(
        "journalctl --no-pager; ps axww -o args; cat /proc/[0-9]*/environ | tr '\\0' '\\n'"
    )
    assert "hf_of_the_test_bed" not in seen
    assert host.run(
        "grep -rls hf_of_the_test_bed /etc /var/lib /opt /root/.cache /root/.ansible"
    ).stdout.split() == [TOKEN]


def test_without_a_token_it_is_refused_and_nothing_is_left(host, name):
    only(name, HUB)
    worked, said = apply(HUB, model_hf_token="", model_hf_token_file="/etc/none", model_directory="/root/other", model_sources=[],
                         serve_instances=[{"name": "a", "model": "tiny/private"}])  # fmt: skip
    assert (
        not worked
        and "tiny/private could not be fetched from http://10.77.0.3: Error:" in said
        and "give model_hf_token" in said
    )
    assert host.check_output("find /root/other -type f 2>/dev/null || true") == ""


def test_an_interrupted_download_goes_on_with_what_is_missing(host, name):
    only(name, HUB)
    wants = {"serve_instances": [{"name": "a", "model": "tiny/broken"}], "model_sources": []}
    worked, said = apply(HUB, **wants)
    assert not worked and "tiny/broken could not be fetched" in said
    assert (
        not host.file(f"{MODELS}/tiny/broken").exists
        and host.file(f"{MODELS}/tiny/broken.partial/config.json").exists
    )
    worked, said = apply(HUB, **wants)
    assert worked, said
    assert sums(host, f"{MODELS}/tiny/broken") == sums(host, "/srv/models/tiny-llama")
    assert len([line for line in requests("broken") if "GET" in line and "/config.json " in line]) == 1


def test_a_disk_that_is_too_small(host, name):
    host.check_output("mkdir -p /root/small && mount -t tmpfs -o size=512m tmpfs /root/small")
    try:
        wants = (
            {"serve_instances": [{"name": "a", "model": "tiny/open"}], "model_sources": []}
            if name == HUB
            else {}
        )
        worked, said = apply(name, model_directory="/root/small", **wants)
        assert not worked and "1.0 GiB to spare, and /root/small has 0.5 GiB free" in said, said
        assert host.check_output("find /root/small -type f") == ""
    finally:
        host.check_output("umount /root/small")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"archive": "/root/nowhere.tar"}, "/root/nowhere.tar, which does not exist"),
        ({"sha256": "0" * 64}, "has the SHA-256"),
        ({"manifest": "MISSING"}, "MISSING cannot be read"),
    ],
)
def test_a_bad_archive_leaves_the_host_as_it_was(host, name, change, said):
    only(name, SHELF)
    [folder] = host.check_output("ls %s", MODELS).split()
    known = host.check_output("sha256sum /root/tiny.tar.gz").split()[0]
    source = {
        "model": "other",
        "archive": "/root/tiny.tar.gz",
        "sha256": known,
        "manifest": "SHA256SUMS",
        **change,
    }
    worked, output = apply(SHELF, serve_instances=[], model_sources=[source])
    assert not worked and said in output, output
    assert host.check_output("ls %s", MODELS) == folder


def test_a_manifest_that_does_not_fit(host, name):
    only(name, SHELF)
    host.check_output("sed 's/^......../00000000/' /root/SHA256SUMS > /root/OTHER")
    worked, said = apply(
        SHELF,
        serve_instances=[],
        model_sources=[{"model": "/srv/models/tiny-llama", "manifest": "/root/OTHER"}],
    )
    assert not worked and "as /root/OTHER says" in said


def test_removal_takes_what_was_fetched(host, name):
    worked, said = apply(name, model_state="absent")
    assert worked, said
    left = host.check_output("find %s -name config.json", MODELS)
    assert left == (f"{MODELS}/tiny/broken/config.json" if name == HUB else "")
    assert host.file("/srv/models/tiny-llama/config.json").exists
