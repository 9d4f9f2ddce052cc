# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rose between two looks at the health of the GPUs. A test that passes while errors rise has failed."""

from __future__ import annotations

import typing as t

Facts = t.Mapping[str, t.Any]
KINDS = ("correctable", "uncorrectable", "deferred")
PAGES = ("retired", "pending", "failed")
LINK = ("nonfatal", "fatal")


def rose(before: Facts, after: Facts) -> list[str]:
    """In words; ``before`` and ``after`` are facts ``amd_health``."""
    if before.get("boot_id") != after.get("boot_id"):
        return ["the host was rebooted meanwhile"]
    found = []
    later = {gpu.get("pci_address"): gpu for gpu in after.get("gpus") or []}
    for gpu in before.get("gpus") or []:
        address = gpu.get("pci_address")
        if address not in later:
            found.append(f"GPU {gpu.get('index')} ({address}) is gone")
            continue
        found += [f"GPU {gpu.get('index')}: {what}" for what in _of_gpu(gpu, later[address])]
    return found + _log(before, after)


def _of_gpu(before: Facts, after: Facts) -> list[str]:
    found = []
    old, new = _blocks(before), _blocks(after)
    for block, counts in new.items():
        for kind in KINDS:
            found += _more(old.get(block, {}).get(kind), counts.get(kind), f"{kind} errors of {block}")
    pairs = [("bad_pages", each, f"{each} pages of memory") for each in PAGES]
    pairs += [("pcie_errors", each, f"{each} errors of PCIe") for each in LINK]
    for part, key, words in pairs:
        found += _more((before.get(part) or {}).get(key), (after.get(part) or {}).get(key), words)
    found += _more(before.get("replay_count"), after.get("replay_count"), "packets sent again")
    found += _more(_events(before), _events(after), "fatal events")
    xgmi = "links of xGMI that are down"
    found += _more(
        (before.get("xgmi") or {}).get("links_down"), (after.get("xgmi") or {}).get("links_down"), xgmi
    )
    if (after.get("unread") or {}).get("all") and not (before.get("unread") or {}).get("all"):
        found.append("its state cannot be read any more")
    return found


def _blocks(gpu: Facts) -> t.Mapping[str, t.Any]:
    return (gpu.get("ras") or {}).get("blocks") or {}


def _events(gpu: Facts) -> t.Any:
    return (gpu.get("ras") or {}).get("fatal_events")


def _more(before: t.Any, after: t.Any, what: str) -> list[str]:
    """A counter that was not there and is above 0 rose too: its file appears with the first error."""
    if not isinstance(after, int) or after <= (before or 0):
        return []
    return [f"{what} rose from {before or 0} to {after}"]


def _log(before: Facts, after: Facts) -> list[str]:
    known = {(each.get("kind"), each.get("gpu")): each.get("count") or 0 for each in before.get("log") or []}
    return [
        f"the kernel log says: {each.get('line')}"
        for each in after.get("log") or []
        if (each.get("count") or 0) > known.get((each.get("kind"), each.get("gpu")), 0)
    ]
