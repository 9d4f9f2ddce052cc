# SPDX-License-Identifier: GPL-3.0-or-later
"""After the teardown, and the update of a kernel that came after it."""

from __future__ import annotations

import json

import pytest

BY_HAND = {"root=/dev/vda1", "ro", "quiet", "amdgpu.gttsize=131072", "amdgpu.cwsr_enable=0"}


def test_what_a_person_wrote_is_back_and_nothing_else_is_there(host):
    if host.check_output("hostname") != "boot-systemd":
        pytest.skip("its arguments stayed")
    entries = json.loads(host.check_output("bootctl list --json=short"))
    assert len(entries) == 2
    for entry in entries:
        assert {argument for argument in entry["options"].split() if not argument.startswith("systemd.machine_id=")} == BY_HAND
    assert not host.file("/var/lib/amdgpu-fleet/kernel-arguments").exists
