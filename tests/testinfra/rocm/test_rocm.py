# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

SOURCES = "/etc/apt/sources.list.d/amdgpu-fleet-rocm.sources"


def takes_the_distributions_own(host) -> bool:
    return host.check_output("hostname") == "rocm-own"


def test_amd_smi_and_nothing_else(host):
    packages = host.check_output(
        "dpkg-query -W -f '${Package}=${Version} ' 'amdrocm*' 2>/dev/null || true"
    ).split()
    if takes_the_distributions_own(host):
        assert packages == []
        return
    # base comes along because amd-smi depends on it
    assert packages == [f"amdrocm-{name}10.0=10.0.0-4" for name in ("amdsmi", "base", "sysdeps")]
    assert "10.0.0" in host.check_output("/opt/rocm/core-10.0/bin/amd-smi version")


def test_the_repository_of_the_distribution(host):
    if takes_the_distributions_own(host):
        assert not host.file(SOURCES).exists
        return
    distribution = {"12": "debian12", "13": "debian13"}[host.system_info.release.split(".")[0]]
    assert f"/rocm/core/packages/{distribution}\n" in host.file(SOURCES).content_string


def test_the_distributions_own_tool_reads_the_topology(host):
    if takes_the_distributions_own(host):
        assert "gfx1151" in host.check_output("rocm_agent_enumerator").split()
    else:
        assert not host.package("rocminfo").is_installed


def test_legacy_packages_and_their_repository_are_gone(host):
    versions = host.check_output("dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n'")
    assert ".70204-" not in versions
    assert not host.file("/opt/rocm-7.2.4").exists
    assert not host.file("/etc/apt/sources.list.d/rocm.list").exists
