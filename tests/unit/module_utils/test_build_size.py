# SPDX-License-Identifier: GPL-3.0-or-later
"""How many compilers run at once, and what a listing of packages is read as."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _build_sbom, _build_size
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

GIB = _build_size.GIB


@pytest.mark.parametrize(
    ("free", "cpus", "gib", "jobs"),
    [
        (1024, 256, 3, 256),  # processors are the bound
        (128, 64, 9, 13),
        (24, 2, 3, 2),
        (16, 32, 3, 4),
        (7, 32, 3, 1),
        (7.1, 32, 3, 1),
    ],
)
def test_jobs_never_take_more_than_is_free(free: float, cpus: int, gib: float, jobs: int) -> None:
    size = _build_size.size(int(free * GIB), cpus, {"vllm": gib}, 4)
    assert size.jobs == {"vllm": jobs}
    assert size.jobs["vllm"] * gib * GIB <= size.memory_bytes == int(free * GIB) - 4 * GIB


def test_every_size_of_a_host_keeps_to_the_limit() -> None:
    steps = {"vllm": 3.0, "flash_attention": 9.0, "triton": 1.5}
    for free in range(13, 600, 7):
        for cpus in (1, 2, 7, 64, 384):
            size = _build_size.size(free * GIB, cpus, steps, 4)
            assert all(1 <= size.jobs[step] <= cpus for step in steps)
            assert all(size.jobs[step] * gib * GIB <= size.memory_bytes for step, gib in steps.items())


def test_a_bound_of_the_operator_only_lowers() -> None:
    assert _build_size.size(64 * GIB, 32, {"vllm": 3}, 4, most=2).jobs == {"vllm": 2}
    assert _build_size.size(16 * GIB, 32, {"vllm": 3}, 4, most=30).jobs == {"vllm": 4}


def test_a_job_that_does_not_fit_is_refused() -> None:
    with pytest.raises(
        _build_size.SizeError, match="One job of flash_attention takes 9 GiB, and 8.0 GiB are free"
    ):
        _build_size.size(12 * GIB, 8, {"flash_attention": 9}, 4)


def tree(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Tree(str(root))


def test_the_least_of_kernel_and_cgroups_counts(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": "MemTotal: 33554432 kB\nMemAvailable:   20971520 kB\n",
        "proc/self/cgroup": "1:cpu:/\n0::/ci.slice/job\n",
        "sys/fs/cgroup/ci.slice/memory.max": f"{10 * GIB}\n",
        "sys/fs/cgroup/ci.slice/memory.current": f"{4 * GIB}\n",
        "sys/fs/cgroup/ci.slice/job/memory.max": "max\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
    }
    host = tree(tmp_path, files)
    assert _build_size.free_memory(host) == 6 * GIB and _build_size.can_limit(host)


@pytest.mark.parametrize("meminfo", ["", "MemAvailable: much kB\n", "MemAvailable:\n", "\0\0\0"])
def test_memory_that_the_kernel_does_not_tell_is_not_known(tmp_path: Path, meminfo: str) -> None:
    host = tree(tmp_path, {"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../x\n"})
    assert _build_size.free_memory(host) is None and not _build_size.can_limit(host)


def test_packages_are_listed_once_and_garbage_is_left_out() -> None:
    text = "\n".join(
        (
            "os\t\"rhel\"", "rpm\tbash\t5.1.8-9.el9\tx86_64", "pypi\tPyYAML\t6.0\t", "pypi\tpyyaml\t6.0\t", "pypi\tNone\t\t",
            "deb\tonly-three\t1", "exe\tx\t1\t", "deb\tname with space\t1\tamd64", "deb\tlibfoo\t1:2.0~rc+1\tamd64", "\0\0", "warning: x",
        )
    )  # fmt: skip
    system, packages = _build_sbom.parse(text)
    assert system == "rhel"
    assert packages == [
        ("deb", "libfoo", "1:2.0~rc+1", "amd64"),
        ("pypi", "pyyaml", "6.0", ""),
        ("rpm", "bash", "5.1.8-9.el9", "x86_64"),
    ]
    assert _build_sbom.purl(system, packages[0]) == "pkg:deb/rhel/libfoo@1%3A2.0~rc%2B1?arch=amd64"
    assert _build_sbom.purl(system, packages[1]) == "pkg:pypi/pyyaml@6.0"
    assert _build_sbom.parse("")[1] == []
