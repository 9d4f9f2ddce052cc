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


def test_podman_hands_out_the_gpus_by_their_cdi_names(host):
    if host.check_output("hostname") == "devices-none":
        assert not host.file("/etc/cdi/amdgpu-fleet.json").exists
        return
    podman = "podman run --rm --pids-limit=0 --ulimit nofile=20000:20000 --network=none --entrypoint=ls"
    image = "localhost/vllm-cpu:0.32.0"
    one = host.check_output(f"{podman} --device amd.com/gpu=1 {image} /dev/kfd /dev/dri").split()
    assert one == ["/dev/kfd", "/dev/dri:", "renderD136"]
    every = host.check_output(f"{podman} --device amd.com/gpu=all {image} /dev/dri").split()
    assert every == [f"renderD{minor}" for minor in range(128, 192, 8)]


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
