# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench over many hosts makes of its figures; the figures themselves come from hosts."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from testbed.hosts import read_bed

PROGRAM = Path(__file__).resolve().parents[2] / "tests/bench/fleet"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("bench_fleet", str(PROGRAM))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, loader.name, module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "WORK", tmp_path)
    return module


def test_thirty_two_hosts_are_a_bed_and_inventories_within_it(bench: ModuleType) -> None:
    hosts = read_bed(bench.write_files([1, 8, 32]))
    assert len({host.address for host in hosts}) == len({host.name for host in hosts}) == 32
    assert not any(host.engine for host in hosts)
    for count in (1, 8, 32):
        content = yaml.safe_load(bench.inventory(count).read_text())["all"]
        assert list(content["hosts"]) == [host.name for host in hosts][:count]
        assert not [name for name in content["vars"] if name.startswith(("serve_", "vllm_"))]
        assert content["vars"]["ansible_ssh_common_args"].startswith("-F {{ demo_bed }}")


def test_the_table_has_machine_date_pings_and_what_a_further_host_costs(bench: ModuleType) -> None:
    measured = [bench.Measured(1, 0.5, 1.0, 3, 20, 70.4), bench.Measured(8, 0.8, 8.0, 5, 30, 90)]
    text = bench.table(measured, "2 CPUs (x)", "2026-11-28")
    lines = text.splitlines()
    assert lines[0] == "Seen on 2026-11-28: 2 CPUs (x)."
    assert lines[4].startswith("| 1 | 0.50 s | 1.0 s | 2.0 (goal 3.5) | 3 (goal 5) | 20 (goal 30) | 70 MiB |")
    assert lines[5].startswith("| 8 | 0.80 s | 8.0 s | 10.0 ")
    assert lines[6:] == ["", "From 1 to 8 hosts each further host costs 1.0 s."]


def test_the_table_replaces_the_one_before(bench: ModuleType) -> None:
    once = bench.into_page("# Cost\n\ntext\n", "first")
    assert once.startswith("# Cost\n\ntext\n\n## ") and "first" in once
    twice = bench.into_page(once + "\n## After\n", "second")
    assert "first" not in twice and twice.count("second") == 1 and twice.endswith("\n## After\n")


def test_memory_is_that_of_a_program_and_its_forks(bench: ModuleType) -> None:
    # 64 MB that parent and child share count once. Both live until they have been seen.
    code = "import os, sys; data = b'x' * (64 << 20); pid = os.fork(); sys.stdin.read(); pid and os.waitpid(pid, 0)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    watch = bench.Watch(process.pid)
    watch.start()
    while watch.most < 64 << 10 and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.5)  # the fork is counted too by now, or it never is
    assert process.stdin
    process.stdin.close()
    assert process.wait() == 0
    watch.ended.set()
    watch.join()
    assert 64 < watch.most / 1024 < 110


def test_plans_records_and_report_of_many_hosts_are_measured() -> None:
    """The smallest fleet that has every kind; how time grows is seen with 1,000 hosts only, in `make bench`."""
    program = PROGRAM.with_name("scale")
    done = subprocess.run([sys.executable, program, "5"], capture_output=True, text=True, check=True)
    hosts, plans, records, report, page, memory, each = [
        cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")
    ]
    assert hosts == "5" and float(page.removesuffix(" MB")) > 0.04
    assert all(float(cell.split()[0]) > 0 for cell in (plans, memory, each)) and records and report
