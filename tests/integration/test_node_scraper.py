# SPDX-License-Identifier: GPL-3.0-or-later
"""A second opinion on the kernel log: AMD's node-scraper reads the same hosts. What it calls an error must not pass
for well here. Where the two differ, DIFFERENT says why.

Its other plugins want the output of tools (lspci, amd-smi) that an emulated host does not have, and it reads no sysfs.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml
from nodescraper.enums import EventPriority
from nodescraper.models import SystemInfo
from nodescraper.plugins.inband.dmesg.dmesg_analyzer import DmesgAnalyzer
from nodescraper.plugins.inband.dmesg.dmesgdata import DmesgData

from ansible_collections.amdgpu.fleet.plugins.module_utils._health import log
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import catalog
from testbed.tree import load_host, write_tree

HOSTS = Path(__file__).resolve().parents[1] / "hosts"
GPU = "0000:05:00.0"
ORDER = (None, "ok", "watch", "drain", "replace")
PORT = "pcieport 0000:04:00.0: "
# The lines of hosts with a fault, and some that no host of ours has.
LINES = [
    *(
        f"amdgpu {GPU}: amdgpu: {line}"
        for name in ("health", "more")
        for case in yaml.safe_load((HOSTS / f"faults/{name}.yml").read_text(encoding="utf-8")).values()
        for line in case.get("log", "").splitlines()
    ),
    f"amdgpu {GPU}: amdgpu: socket: 0, die: 0 2 new uncorrectable hardware errors detected in umc block",
    f"amdgpu {GPU}: amdgpu: 3 uncorrectable hardware errors detected in total in gfx block",
    f"amdgpu {GPU}: amdgpu: 1 new deferred hardware errors detected in umc block",
    f"amdgpu {GPU}: amdgpu: poison is consumed by client 3, kick off gpu reset flow",
    f"amdgpu {GPU}: amdgpu: Saved bad pages 130 reaches threshold value 128",
    f"amdgpu {GPU}: amdgpu: RAS records:130 exceed threshold:128",
    f"amdgpu {GPU}: amdgpu: VRAM is lost due to GPU reset!",
    f"amdgpu {GPU}: amdgpu: Mode2 reset failed!",
    f"{PORT}pciehp: Slot(1): Card not present",
    f"{PORT}pciehp: Slot(1): Link Down",
    f"{PORT}DPC: containment event, status:0x1f01 source:0x0000",
    f"{PORT}DPC: error containment capabilities: Int Msg #0, RPExt+ PoisonedTLP+",
    f"{PORT}EDR: EDR event received",
]  # fmt: skip
MISSED = "it has no such pattern, or another one than the driver's text of today"
DIFFERENT = {
    # Ours is worse, or theirs says nothing.
    "Please consult AMD Service Action Guide": MISSED,
    "succeeded!": "it tells that a reset began, and not how it ended; what ran was ended all the same",
    "device lost from bus": MISSED,
    "ring gfx": MISSED,
    "MES failed": MISSED,
    "SMU: No response": MISSED,
    "uncorrectable hardware errors detected in total": "it wants the form without 'in total'",
    "RAS records:130": MISSED,
    "VRAM is lost": MISSED,
    "GPU is throttled": "a warning there, watch here: the same",
    "is throttled": "a warning there, watch here: the same",
    # Theirs is worse.
    "error containment capabilities": "a port tells at boot what it can do; it calls every line with DPC an error",
}


def theirs(text: str) -> set[EventPriority]:
    """How bad they call what they know in the text; what is only 'unknown' to them is no opinion."""
    system = SystemInfo(name="host")
    analyzer = DmesgAnalyzer(system_info=system, logger=logging.getLogger("node-scraper"))
    result = analyzer.analyze_data(DmesgData(dmesg_content=text, skip_log_file=True))
    return {event.priority for event in result.events if "nknown" not in event.description}


def ours(text: str) -> str | None:
    """The worst verdict that the catalog has for the lines."""
    rules = catalog.read_part("health")["log"]
    found = [rules[each["kind"]]["verdict"] for each in log.hardware(text, [GPU]) if each["kind"] in rules]
    return max(found, key=ORDER.index, default=None)


@pytest.mark.parametrize("line", LINES)
def test_two_opinions_on_a_line(line):
    text = f"[    9.100000] {line}\n"
    error = bool(theirs(text) & {EventPriority.ERROR, EventPriority.CRITICAL})
    trouble = ORDER.index(ours(text)) >= ORDER.index("watch")
    explained = next((why for words, why in DIFFERENT.items() if words in line), None)
    if explained is None:
        assert error and trouble, f"theirs: {theirs(text)}, ours: {ours(text)}"
    else:
        assert error != trouble, f"both say the same now, so {explained!r} is out of date"


def test_corrected_errors_are_no_fault_to_either():
    """A warning there; here the counters say whether there are many."""
    text = f"[    9.1] amdgpu {GPU}: amdgpu: 7 correctable hardware errors detected in total in umc block\n"
    assert theirs(text) == {EventPriority.WARNING} and ours(text) is None


@pytest.mark.parametrize("name", sorted(path.stem for path in HOSTS.glob("*.yml")))
def test_neither_finds_a_fault_in_the_log_of_a_host_that_is_well(name, tmp_path):
    write_tree(load_host(name), tmp_path)
    path = tmp_path / "var/log/dmesg"
    text = path.read_text() if path.exists() else ""
    assert theirs(text) <= {EventPriority.INFO, EventPriority.WARNING}
    assert ours(text) is None
