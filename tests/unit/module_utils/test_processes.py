# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds something open, in a /proc that changes while it is read."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.amdgpu.fleet.plugins.module_utils._processes import holders
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree


def process(root: Path, pid: int, name: str, cgroup: str = "/", **descriptors: str) -> Path:
    folder = root / f"proc/{pid}"
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cgroup").write_text(f"0::{cgroup}\n")
    for number, target in descriptors.items():
        (folder / "fd" / number.lstrip("fd")).symlink_to(target)
    return folder


def test_a_descriptor_that_closed_does_not_hide_the_process(tmp_path):
    server = process(tmp_path, 100, "haproxy", "/system.slice/haproxy.service", fd4="socket:[77]")
    (server / "fd/3").write_text("")  # listed, and no link any more
    (found,) = holders(Tree(str(tmp_path)), {"socket:[77]"})
    assert str(found) == "haproxy (pid 100, haproxy.service) has socket:[77] open"


def test_a_process_that_ended_is_passed_over(tmp_path):
    (tmp_path / "proc/99").mkdir(parents=True)
    process(tmp_path, 1000, "late", fd0="/dev/kfd")
    process(
        tmp_path,
        101,
        "early",
        "/system.slice/vllm-main.service/libpod-payload-5f",
        fd0="/dev/kfd",
        fd1="/dev/dri/renderD128",
    )
    found = list(holders(Tree(str(tmp_path)), {"/dev/kfd", "/dev/dri/renderD128"}))
    assert [(each.pid, each.units, each.held) for each in found] == [
        (101, ("vllm-main.service",), ("/dev/dri/renderD128", "/dev/kfd")),
        (1000, (), ("/dev/kfd",)),
    ]
