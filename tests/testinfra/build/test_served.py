# SPDX-License-Identifier: GPL-3.0-or-later
"""On the host that serves: the image that the other host built, by the digest that it has in the registry."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

testinfra_hosts = ["ansible://build-serves"]

WRITTEN = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "builds/vllm-cpu-0.32.0-kernels.yml"
BODY = json.dumps(
    {
        "model": "smol",
        "messages": [
            {"role": "user", "content": "What is the capital of France? Answer in one short sentence."}
        ],
        "max_tokens": 16,
        "temperature": 0,
    }
)


def test_the_unit_runs_the_digest_that_was_pushed(host):
    image = yaml.safe_load(WRITTEN.read_text(encoding="utf-8"))["vllm_image"]
    digest = image.partition("@")[2]
    assert image.startswith("10.77.0.3:5000/fleet/vllm-cpu@sha256:")
    assert digest in host.check_output("podman inspect --format '{{.ImageDigest}}' vllm-smol")
    assert host.run("podman image exists localhost/amdgpu-fleet/vllm-cpu:0.32.0-kernels").rc == 1


def test_what_serves_was_built_from_the_source(host):
    wheel = host.check_output(
        "podman exec vllm-smol sh -c 'cat /opt/vllm/lib/python3.11/site-packages/vllm-0.32.0+cpu.dist-info/WHEEL'"
    )
    # The wheel of the index has the tag cp38-abi3.
    assert "Tag: cp311-cp311-linux_x86_64" in wheel.splitlines()


def test_it_knows_the_capital_of_france(host):
    answer = host.check_output(
        "curl -sS --fail-with-body --json %s http://127.0.0.1:8000/v1/chat/completions", BODY
    )
    assert "Paris" in json.loads(answer)["choices"][0]["message"]["content"]
