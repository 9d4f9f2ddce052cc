# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning reads and never writes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "path",
    ["/etc/default/grub.d/60-amdgpu-fleet.cfg", "/etc/modprobe.d/zz-amdgpu-fleet.conf", "/etc/apt/sources.list.d/amdgpu-fleet-rocm.sources",
     "/etc/udev/rules.d/70-amdgpu-fleet.rules", "/var/lib/amdgpu-fleet"],
)  # fmt: skip
def test_nothing_is_written(host, path):
    assert not host.file(path).exists
