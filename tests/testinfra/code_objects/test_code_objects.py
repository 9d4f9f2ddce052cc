# SPDX-License-Identifier: GPL-3.0-or-later
"""An image with code for the GPU is installed and remembered, one without is refused and remembered too."""

from __future__ import annotations

import json

RECORDS = "/var/lib/amdgpu-fleet/code-objects"
RIGHT = "localhost/vllm-right:0.33.0"


def records(host) -> dict[str, dict]:
    names = host.check_output(f"ls {RECORDS}").split()
    read = [json.loads(host.file(f"{RECORDS}/{name}").content_string) for name in names]
    return {each["identity"]: each["code"] for each in read}


def test_what_the_images_have_is_remembered_by_their_id(host):
    identity = host.check_output("podman image inspect --format '{{.Id}}' %s", RIGHT)
    found = records(host)
    assert len(found) == 2
    assert [each["targets"] for each in found[identity]["required"]] == [["gfx942", "gfx1151"]]
    other = next(code for name, code in found.items() if name != identity)
    assert [each["targets"] for each in other["required"]] == [["gfx942", "gfx1201"]]
    assert all(code["complete"] for code in found.values())


def test_nothing_serves(host):
    assert host.run("systemctl list-units --all --plain --no-legend 'vllm-*'").stdout == ""
    assert not host.file("/etc/containers/systemd/vllm-tiny.container").exists


def test_a_record_is_nobodys_secret_and_roots_to_write(host):
    for name in host.check_output(f"ls {RECORDS}").split():
        assert host.file(f"{RECORDS}/{name}").mode == 0o644
        assert host.file(f"{RECORDS}/{name}").user == "root"
