# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


def test_rules_and_limits(host):
    rules = host.file("/etc/udev/rules.d/70-amdgpu-fleet.rules")
    limits = host.file("/etc/security/limits.d/60-amdgpu-fleet.conf")
    if host.check_output("hostname") == "devices-none":
        assert not rules.exists and not limits.exists
        return
    assert rules.contains('^SUBSYSTEM=="kfd", KERNEL=="kfd", GROUP="render", MODE="0660"$')
    assert limits.contains("^\\* hard memlock unlimited$")
    # Debian 13 has a checker for rules; no real GPU is there to fire them.
    host.check_output("udevadm verify /etc/udev/rules.d/70-amdgpu-fleet.rules")


def test_devices(host):
    kfd = host.file("/dev/kfd")
    if host.check_output("hostname") == "devices-none":
        assert not kfd.exists
        return
    assert (kfd.group, kfd.mode) == ("render", 0o660)


def test_users(host):
    groups = set(host.user("operator").groups)
    wanted = {"render", "video"}
    assert wanted <= groups if host.check_output("hostname") == "devices-rack" else not wanted & groups
