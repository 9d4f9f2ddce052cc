# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of the real managers of Debian 13: podman, systemd-nspawn, LXC. Detection in them says what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed import host_tools, modules_inside

PLACE = """
import json
from ansible_collections.amdgpu.fleet.plugins.module_utils import _os, _place
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
tree = Tree("/")
release = tree.word("proc/sys/kernel/osrelease")
print(json.dumps({**_place.place(tree, release), "init": _os.init(tree)}))
"""
# A copy of the image that can be written to, without the traces of Podman.
ROOT = """
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
mkdir -p /mnt/w
mount -t tmpfs tmpfs /mnt/w
mkdir -p /mnt/w/upper /mnt/w/work /mnt/w/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/w/upper,workdir=/mnt/w/work /mnt/w/root
echo fedcba9876543210fedcba9876543210 > /mnt/w/root/etc/machine-id
rm -f /mnt/w/root/run/.containerenv
"""
NSPAWN = "systemd-nspawn --quiet --register=no --keep-unit --bind=/work --directory=/mnt/w/root"
LOOK = "env PYTHONPATH=/work PYTHONDONTWRITEBYTECODE=1 python3 /work/place.py"
LXC = """
cat > /etc/lxc/x.conf <<END
lxc.rootfs.path = dir:/mnt/w/root
lxc.net.0.type = none
lxc.mount.auto = proc:mixed sys:ro
lxc.mount.entry = /work work none bind,create=dir 0 0
END
env -u container lxc-execute -n x -f /etc/lxc/x.conf --
"""
CASES = {
    "podman": ("place", "podman", "/run/.containerenv"),
    "nspawn": (f"{NSPAWN} {LOOK}", "systemd-nspawn", "/run/host/container-manager"),
    "nspawn with a process before": (
        f"{NSPAWN} --as-pid2 {LOOK}",
        "systemd-nspawn",
        "/run/host/container-manager",
    ),
    "nspawn with users of its own": (
        f"{NSPAWN} --private-users=65536:65536 --private-users-ownership=chown {LOOK}",
        "systemd-nspawn",
        "/proc/self/uid_map",
    ),
    # Started for one program, it says so nowhere: two signs that decide together.
    "lxc": (f"{LXC.strip()} {LOOK}", None, "/proc/self/ns/pid"),
}


def seen(folder: Path, command: str) -> dict[str, Any]:
    folder.chmod(0o755)  # users of a container's own read it too
    said = modules_inside.run(host_tools.BOX, folder, f"{ROOT}{command}", place=PLACE)
    found: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_real_container_is_told_from_a_host(tmp_path: Path, case: str) -> None:
    command, manager, sign = CASES[case]
    found = seen(tmp_path, command)
    assert (found["kind"], found["container"]) == ("container", manager), found
    assert sign in found["signs"], found
    assert found["init"] not in (None, "systemd"), "no service starts there"
