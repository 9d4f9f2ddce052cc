# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with no way out: driver, ROCm, the Hub's client and the model came from the mirror, and the engine
answers."""

from __future__ import annotations

import json

from testbed.closed import NAME as MIRROR
from testbed.machine import podman

ADDRESS = "10.77.0.65"


def test_there_is_no_way_out(host):
    assert host.check_output("ip route show default; ip -6 route show default") == ""
    # A documentation address, which no network has: the kernel itself must refuse.
    assert "unreachable" in host.run("ip route get 192.0.2.1").stderr
    assert host.run("curl --silent --show-error --max-time 5 http://192.0.2.1/").rc == 7
    assert host.run("getent hosts example.org").rc != 0


def test_repositories_of_the_mirror_alone(host):
    sources = host.check_output("cat /etc/apt/sources.list.d/amdgpu-fleet-*.sources")
    assert "http://10.77.0.3/repo.radeon.com/amdgpu/" in sources
    assert "http://10.77.0.3/stable.repo.amd.com/rocm/core/packages/debian13" in sources
    assert "https://" not in sources
    assert host.package("amdgpu-dkms").is_installed and host.package("amdrocm-amdsmi10.0").is_installed


def test_the_mirror_was_asked_for_everything(host):
    asked = [line for line in podman("logs", MIRROR).splitlines() if line.startswith(f"{ADDRESS} ")]
    for path in ("/repo.radeon.com/rocm/rocm.gpg.key", "/stable.repo.amd.com/rocm/gpg/packages.gpg", "/simple/huggingface-hub/",
                 "/api/models/tiny/open/revision/main", "/tiny/open/resolve/"):  # fmt: skip
        assert [line for line in asked if f" {path}" in line], path


def test_a_completion(host):
    body = json.dumps({"model": "open", "prompt": "AMD GPUs are", "max_tokens": 4, "temperature": 0})
    answer = host.check_output(
        "curl -sS --fail-with-body --json %s http://127.0.0.1:8000/v1/completions", body
    )
    assert json.loads(answer)["usage"]["completion_tokens"] == 4


def test_the_server_has_the_folder_and_asks_no_hub(host):
    unit = host.file("/etc/containers/systemd/vllm-tiny.container").content_string
    folder = "/var/lib/amdgpu-fleet/models/tiny/open"
    environment = host.file("/etc/vllm/tiny.env").content_string
    assert f"Volume={folder}:{folder}:ro" in unit and f"Exec=serve {folder} " in unit
    assert "HF_HUB_OFFLINE=1" in environment.splitlines() and "HF_TOKEN" not in unit + environment
