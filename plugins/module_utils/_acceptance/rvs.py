# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of the ROCm Validation Suite: lines ``[RESULT] [seconds] [action] ...`` of all its modules."""

from __future__ import annotations

import re

from .parsed import Parsed, number

# A number of few digits has a blank before the bracket.
_STAMP = re.compile(r"^\[(?:RESULT|INFO *|WARN *|ERROR *|DEBUG)\] *\[ *[0-9.]+ *\] *")
_ACTION = re.compile(r"Action name *:\s*(\S+)")
_MODULE = re.compile(r"Module name *:\s*(\S+)")
_GST = re.compile(r"\[([^\]]+)\] *\[GPU:: *(\S+)\] *GFLOPS +(\S+) +Target GFLOPS: +(\S+) +met: *(TRUE|FALSE)")
_IET = re.compile(r"\[([^\]]+)\] *\[GPU:: *(\S+)\] *pass: *(TRUE|FALSE)")
_POWER = re.compile(r"\[([^\]]+)\] *\[GPU:: *(\S+)\] *Power\(W\) +(\S+)")
_MEM_BEGIN = re.compile(r"mem Test ([0-9]+): ")
_MEM_END = re.compile(r"mem Test ([0-9]+) *: *(PASS|FAIL)")
_MEM_BANDWIDTH = re.compile(r"bandwidth = ([0-9.]+)GB/s")
_PEQT = re.compile(r"\[([^\]]+)\] *peqt (true|false)")
_PEBB = re.compile(
    r"pcie-bandwidth *\[ *([0-9]+)/([0-9]+)\].*?\[GPU:: *\S+ - (\S+) - .*?"
    r"h2d:: *(\S+) +d2h:: *(\S+) +(\S+) GBps"
)
_PBQT = re.compile(
    r"p2p-bandwidth *\[ *([0-9]+)/([0-9]+)\] *\[GPU:: *\S+ - (\S+) - .*?bidirectional: *(\S+) +(\S+) GBps"
)
_PEERS = re.compile(r"p2p *\[GPU:: *\S+ - (\S+) - .*?peers: *(true|false)")
_GM = re.compile(r"gm (\S+) (\S+) violations ([0-9]+)")
_BABEL = re.compile(r"^\s*([0-9]+) +(Copy|Mul|Add|Triad|Dot) +([0-9.]+) +[0-9.]+ +[0-9.]+ +[0-9.]+\s*$")
_WRONG = re.compile(r"^\[ERROR|\bRVS-ERROR\b|\bERROR:|No supported GPUs available|Missing packages: *[1-9]")
# Modules whose every action ends with a verdict, for each GPU or once.
_JUDGED = ("gst", "iet", "peqt")


class _Reading:
    """Figures and verdicts by action, while the lines go by."""

    def __init__(self, devices: int) -> None:
        self.devices, self.parsed = devices, Parsed()
        self.modules: dict[str, str] = {}
        self.action = ""
        self.verdicts: dict[str, set[str]] = {}
        self.lowest: dict[str, dict[str, float]] = {}
        self.highest: dict[str, dict[str, float]] = {}
        self.memory: dict[str, list[int]] = {}
        self.transfers: dict[str, tuple[set[int], int]] = {}

    def verdict(self, action: str, device: str, good: bool, what: str) -> None:
        self.verdicts.setdefault(action, set()).add(device)
        if good:
            self.parsed.own = self.parsed.own is not False
        else:
            self.parsed.fail(what)

    def low(self, name: str, device: str, text: str) -> None:
        value = number(text)
        if value is None:
            self.parsed.lacks(f"{name} of {device} is {text!r} and no number")
            return
        each = self.lowest.setdefault(name, {})
        each[device] = min(value, each.get(device, value))


def parse(text: str, devices: int) -> Parsed:
    seen = _Reading(devices)
    for raw in text.splitlines():
        line = raw.strip()
        if _WRONG.search(line):
            seen.parsed.fail(line)
        line = _STAMP.sub("", line)
        _of_frame(seen, line)
        _of_stress(seen, line)
        _of_memory(seen, line)
        _of_links(seen, line)
    _finish(seen)
    return seen.parsed


def _of_frame(seen: _Reading, line: str) -> None:
    action, module = _ACTION.search(line), _MODULE.search(line)
    if action:
        seen.action = action.group(1)
        seen.modules.setdefault(seen.action, "")
    if module and seen.action:
        seen.modules[seen.action] = module.group(1)


def _of_stress(seen: _Reading, line: str) -> None:
    found = _GST.search(line)
    if found:
        action, gpu, value, target, met = found.groups()
        seen.verdict(action, gpu, met == "TRUE", f"{action} of GPU {gpu}: {value} of {target} GFLOPS")
        seen.low(f"gflops_{_kind(action)}", gpu, value)
    found = _IET.search(line)
    if found:
        action, gpu, met = found.groups()
        seen.verdict(action, gpu, met == "TRUE", f"{action} of GPU {gpu} did not reach its power")
    found = _POWER.search(line)
    if found:
        value_w = number(found.group(3))
        if value_w is not None:
            each = seen.highest.setdefault("watts", {})
            each[found.group(2)] = max(value_w, each.get(found.group(2), 0))


def _kind(action: str) -> str:
    """``rand_fp8`` of gst-1215Tflops-4K4K8K-rand-fp8."""
    found = re.search(r"(rand|trig)[-_]?([a-z]*[0-9]+)", action)
    return f"{found.group(1)}_{found.group(2)}" if found else "all"


def _of_memory(seen: _Reading, line: str) -> None:
    begun, ended, speed = (pattern.search(line) for pattern in (_MEM_BEGIN, _MEM_END, _MEM_BANDWIDTH))
    if ended:
        seen.memory.setdefault(ended.group(1), [0, 0])[1] += 1
        seen.verdict("mem", "", ended.group(2) == "PASS", f"memory test {ended.group(1)} failed")
    elif begun and not speed and "elapsedtime" not in line:
        seen.memory.setdefault(begun.group(1), [0, 0])[0] += 1
    if speed:
        # The line names no GPU: one line is one of them.
        seen.low(
            "memory_bandwidth", f"line {len(seen.lowest.get('memory_bandwidth', {})) + 1}", speed.group(1)
        )
    row = _BABEL.match(line)
    if row:
        seen.low(f"stream_{row.group(2).lower()}", row.group(1), row.group(3))


def _of_links(seen: _Reading, line: str) -> None:
    found = _PEQT.search(line)
    if found:
        action, good = found.groups()
        seen.verdict(action, "", good == "true", f"{action}: a PCIe capability is not as it should be")
    found = _PEBB.search(line)
    if found:
        at, of, gpu, h2d, d2h, value = found.groups()
        _transfer(seen, f"pebb {seen.action}", int(at), int(of))
        way = "both" if h2d == d2h == "true" else "h2d" if h2d == "true" else "d2h"
        seen.low(f"pcie_{way}", gpu, value)
    found = _PBQT.search(line)
    if found:
        at, of, gpu, both, value = found.groups()
        _transfer(seen, f"pbqt {seen.action}", int(at), int(of))
        seen.low("p2p_both" if both == "true" else "p2p_one_way", gpu, value)
    found = _PEERS.search(line)
    if found:
        seen.verdict(
            "peers", found.group(1), found.group(2) == "true", f"GPU {found.group(1)} has no peer access"
        )
    found = _GM.search(line)
    if found:
        gpu, what, count = found.groups()
        seen.verdict("gm", gpu, count == "0", f"GPU {gpu}: {count} violations of {what}")


def _transfer(seen: _Reading, name: str, at: int, of: int) -> None:
    done, _of = seen.transfers.get(name, (set(), of))
    done.add(at)
    seen.transfers[name] = (done, of)


def _finish(seen: _Reading) -> None:
    parsed = seen.parsed
    for action, module in seen.modules.items():
        if module not in _JUDGED:
            continue
        devices = seen.verdicts.get(action, set())
        wanted = seen.devices if module in ("gst", "iet") else 1
        if len(devices) < wanted:
            parsed.lacks(f"{action} ended for {len(devices)} of {wanted} GPUs")
    for test, (begun, ended) in seen.memory.items():
        if ended < max(begun, 1):
            parsed.lacks(f"memory test {test} began {begun} times and ended {ended} times")
    for name, (done, of) in seen.transfers.items():
        if len(done) < of:
            parsed.lacks(f"{name}: {len(done)} of {of} transfers")
    for name, each in seen.lowest.items():
        parsed.add_each(name, each, "GFLOPS" if name.startswith("gflops") else _unit(name))
    for name, each in seen.highest.items():
        parsed.add_each(name, each, "W")
    if not parsed.metrics and parsed.own is None:
        parsed.lacks("no result of RVS")


def _unit(name: str) -> str:
    return "MB/s" if name.startswith("stream") else "GB/s"
