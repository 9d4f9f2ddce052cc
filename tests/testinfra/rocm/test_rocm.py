# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

OWN = "ansible://rocm-own"
AMD = ["ansible://rocm-rack", "ansible://rocm-radeon"]


@pytest.mark.testinfra_hosts(*AMD)
def test_amd_smi_and_nothing_else(host):
    packages = host.check_output("dpkg-query -W -f '${Package}=${Version} ' 'amdrocm*'").split()
    # base comes along because amd-smi depends on it
    assert packages == [f"amdrocm-{name}10.0=10.0.0-4" for name in ("amdsmi", "base", "sysdeps")]
    assert "10.0.0" in host.check_output("/opt/rocm/core-10.0/bin/amd-smi version")


@pytest.mark.testinfra_hosts(*AMD)
def test_the_repository_of_the_distribution(host):
    source = host.file("/etc/apt/sources.list.d/amdgpu-fleet-rocm.sources").content_string
    distribution = {"12": "debian12", "13": "debian13"}[host.system_info.release.split(".")[0]]
    assert f"/rocm/core/packages/{distribution}\n" in source


@pytest.mark.testinfra_hosts(OWN)
def test_the_distributions_own_tools_need_no_repository_of_amd(host):
    assert not host.file("/etc/apt/sources.list.d/amdgpu-fleet-rocm.sources").exists
    assert not host.check_output("dpkg-query -W -f '${Package} ' 'amdrocm*' 2>/dev/null || true")
    # The real tool of Debian reads the emulated topology.
    assert "gfx1151" in host.check_output("rocm_agent_enumerator").split()
