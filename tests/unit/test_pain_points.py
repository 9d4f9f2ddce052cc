# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ran into with AMD GPUs, and what here prevents it or tells of it.

Each row names issues and the places that cover them: findings, whose reference must name the issue, or files
that speak of it: a rule of a profile, an entry of the catalog, or a reason that is written down.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KNOWN = yaml.safe_load((ROOT / "roles/plan/files/catalog/known_issues.yml").read_text(encoding="utf-8"))
EXAMINE = (ROOT / "tests/unit/plugin_utils/test_examine.py").read_text(encoding="utf-8")
BUILD, OPERATING = "legacy-rocm-build", "docs/operating.md"

# symptom: ({repository: issues}, findings, files)
POINTS: dict[str, tuple[dict[str, list[int]], list[str], list[str]]] = {
    "DKMS fails on kernels 7.0, 6.19 and 6.18": ({BUILD: [6193], "amdgpu": [220, 209]}, ["driver.kernel"], ["roles/plan/files/catalog/releases.yml"]),
    "an HWE kernel breaks the DKMS driver": (
        {BUILD: [4619, 5074], "amdgpu": [192]}, ["kernel.avoid", "kernel.hwe_package"], ["roles/plan/files/catalog/profiles/gfx942.yml"]),
    "DKMS fails on another installed kernel": ({BUILD: [5624, 3870, 3701]}, ["driver.not_built"], []),
    "gfx1151 hangs with MES 0x83": (
        {BUILD: [5724]}, ["firmware.refused", "firmware.loaded", "firmware.series"], ["roles/plan/files/catalog/profiles/gfx1151.yml"]),
    "gfx1151 faults with another number of registers": (
        {"TheRock": [2991], BUILD: [5991, 6146]},
        ["gpu.page_fault", "kernel.minimum", "rocm.refused", "rocm.installed", "driver.dkms_on_inbox", "driver.unpackaged"], []),
    "gfx1151 hangs (CWSR)": ({BUILD: [5590, 5151], "TheRock": [1413]}, ["kernel.outdated_argument", "gpu.hang"], []),
    "only 15.5 GB are visible": ({BUILD: [5444]}, ["memory.pool"], ["roles/plan/files/catalog/profiles/gfx1151.yml"]),
    "silent hangs on 7.0": ({BUILD: [6530, 6182]}, ["kernel.known_open"], []),
    "amdgpu/latest is stale": ({BUILD: [6630]}, ["repository.latest"], ["roles/plan/files/catalog/releases.yml"]),
    "no tools in PATH": ({BUILD: [6632]}, [], ["roles/plan/files/catalog/releases.yml"]),
    "NO_PUBKEY, expired keys": ({BUILD: [5268, 5407, 2362, 859]}, ["repository.unsigned"], []),
    "two sources of packages": ({BUILD: [1736, 5625]}, ["repository.second"], []),
    "invalid ip discovery, probe error -22": ({BUILD: [3856, 4454, 5008]}, ["gpu.init_failed"], []),
    "no space for BARs, probe error -12": ({BUILD: [6281, 2927]}, ["gpu.address_space"], []),
    "partition modes cannot be set": (
        {BUILD: [4439, 4477, 4688], "k8s-device-plugin": [157]}, ["partition.undocumented", "partition.missing"], []),
    "two owners of the driver": (
        {"gpu-operator": [93, 66, 227, 606]}, ["driver.blacklisted", "driver.not_loaded"], [OPERATING]),
    "no /dev/kfd, or not for this process": (
        {"ROCm-docker": [116], BUILD: [1798, 1549]}, ["devices.missing", "devices.permissions", "driver.not_loaded"], []),
    "SELinux, groups of containers without root": ({"podman": [9706, 25000]}, [], ["roles/plan/files/catalog/profiles/bases/rocm.yml", OPERATING]),
    "Docker Desktop, daemon.json rewritten": ({"container-toolkit": [86]}, [], [OPERATING]),
    "several GPUs hang": ({"vllm": [390], "rocm-systems": [11348]}, ["host.iommu"], ["roles/plan/files/catalog/profiles/gfx1201.yml"]),
    "no PCIe atomics": ({BUILD: [2429, 6137]}, ["gpu.atomics", "gpu.missing"], []),
    "wrong all-reduce; wheels that sort low": (
        {"TheRock": [8792, 7183]},
        [],
        ["roles/plan/files/catalog/profiles/gfx950.yml", "roles/plan/files/catalog/releases.yml"],
    ),
    "an exporter that takes commands from the network": ({}, ["host.exporter"], []),
}  # fmt: skip


def named(text: str) -> set[tuple[str, int]]:
    """The issues of a text: a repository holds for the numbers that follow it."""
    found, repository = set(), ""
    for name, number in re.findall(r"([A-Za-z][\w.-]*)?#(\d+)", text):
        repository = name or repository
        found.add((repository, int(number)))
    return found


def test_every_point_is_there():
    assert len(POINTS) == 23
    assert all(findings or files for _issues, findings, files in POINTS.values())


@pytest.mark.parametrize("point", POINTS)
def test_a_point_is_covered(point):
    issues, findings, files = POINTS[point]
    texts = [KNOWN[identifier]["reference"] for identifier in findings] + [
        (ROOT / path).read_text(encoding="utf-8") for path in files
    ]
    wanted = {(repository, number) for repository, numbers in issues.items() for number in numbers}
    covered = set().union(*(named(text) for text in texts))
    assert wanted <= covered, wanted - covered
    for text, place in zip(texts, [*findings, *files]):
        assert not wanted or named(text) & wanted, f"{place} names none of the issues"


def test_what_a_host_shows_is_shown_by_an_emulated_one():
    """Each of these findings has a host with the defect in tests/unit/plugin_utils/test_examine.py, but the
    one about a wanted release."""
    findings = {identifier for _issues, identifiers, _files in POINTS.values() for identifier in identifiers}
    missing = {identifier for identifier in findings if f'"{identifier}": (' not in EXAMINE}
    assert missing == {"rocm.refused", "partition.undocumented"}


def test_the_exporter_is_held_to_the_version_that_closed_the_port():
    assert (
        "CVE-2026-0481" in KNOWN["host.exporter"]["reference"]
        and KNOWN["host.exporter"]["match"]["below"] == "1.5"
    )
