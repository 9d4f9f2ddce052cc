# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What copies between devices tell: TransferBench, rocm-bandwidth-test and the tests of RCCL."""

from __future__ import annotations

import re

from .parsed import Parsed, number

_AVERAGE = re.compile(r"Average\s+bandwidth\s*\([^)]*\)\s*:\s*(\S+)\s*GB/s")
_AGGREGATE = re.compile(r"Aggregate\s+bandwidth\s*\(GPU[^)]*\)\s*:\s*(\S+)\s*GB/s")
_DIRECTIONS = re.compile(r"Averages\s*\(During\s+(UniDir|BiDir)\)\s*:?\s*(.*)")
_DEVICE = re.compile(r"Device:\s*([0-9]+),\s*(.*)")
_MATRIX = re.compile(r"(Unidirectional|Bidirectional) (copy peak|.*) bandwidth", re.I)
_ERROR = re.compile(r"\[ERROR\]|HIP Error|\bERROR\b|NCCL (failure|WARN)|Test (NCCL|CUDA|HIP) failure", re.I)
_RANK = re.compile(r"#\s+Rank\s+([0-9]+)\b.*\bdevice\b")
_OUT_OF_BOUNDS = re.compile(r"#\s*Out of bounds values\s*:\s*([0-9]+)\s*(\S*)")
_AVERAGE_BUS = re.compile(r"#\s*Avg bus bandwidth\s*:\s*(\S+)")
_BOX = str.maketrans(dict.fromkeys("│|┌┐└┘├┤┬┴┼─╔╗╚╝║═", " "))


def all_to_all(text: str, devices: int) -> Parsed:
    """``TransferBench a2a``: the row of totals, and the average below the table."""
    parsed = Parsed()
    rows = 0
    for raw in text.splitlines():
        line = raw.translate(_BOX).strip()
        if _ERROR.search(line):
            parsed.fail(line)
        words = line.split()
        rows += words[:1] == ["GPU"] and len(words) > devices + 1 and "." in line
        if words[:1] == ["RTotal"]:
            totals = [number(word) for word in words[1 : devices + 1]]
            if len(totals) < devices or None in totals:
                parsed.lacks(f"the totals of {devices} GPUs")
            else:
                each = {str(at): value for at, value in enumerate(totals) if value is not None}
                parsed.add_each("a2a_total", each, "GB/s")
        for name, pattern in (("a2a_average", _AVERAGE), ("a2a_aggregate", _AGGREGATE)):
            found = pattern.search(line)
            if found:
                parsed.add(name, number(found.group(1)), "GB/s")
    if rows < devices:
        parsed.lacks(f"{rows} of {devices} rows of the table")
    return _with(parsed, "a2a_total", "a2a_average")


def peer_to_peer(text: str, _devices: int) -> Parsed:
    """``TransferBench p2p``: of the averages, the fourth number is that between GPUs."""
    parsed = Parsed()
    for raw in text.splitlines():
        if _ERROR.search(raw):
            parsed.fail(raw.strip())
        found = _DIRECTIONS.search(raw.translate(_BOX))
        if not found:
            continue
        numbers = [number(word) for word in found.group(2).split()]
        way = "one_way" if found.group(1) == "UniDir" else "both"
        if len(numbers) == 4:
            for name, value in zip(("cpu_cpu", "cpu_gpu", "gpu_cpu", "gpu_gpu"), numbers):
                parsed.add(f"p2p_{name}_{way}", value, "GB/s")
    return _with(parsed, "p2p_gpu_gpu_one_way", "p2p_gpu_gpu_both")


def bandwidth_test(text: str, devices: int) -> Parsed:
    """``rocm-bandwidth-test``: two tables over all devices; GPUs have a PCI address in the list above."""
    parsed = Parsed()
    gpus: list[str] = []
    tables: dict[str, dict[tuple[str, str], float]] = {}
    table = ""
    columns: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if _ERROR.search(line):
            parsed.fail(line)
        device, title = _DEVICE.match(line), _MATRIX.match(line)
        if device and re.search(r",\s*[0-9a-fA-F]{2,4}:[0-9a-fA-F]{1,2}", device.group(2)):
            gpus.append(device.group(1))
        if title:
            table, columns = title.group(1).lower(), []
        words = line.split()
        if table and words[:1] == ["D/D"]:
            columns = words[1:]
        elif table and columns and len(words) == len(columns) + 1:
            for column, word in zip(columns, words[1:]):
                value = number(word)
                if value is not None:
                    tables.setdefault(table, {})[words[0], column] = value
    if len(gpus) != devices:
        parsed.lacks(f"{len(gpus)} of {devices} GPUs in the list")
    _bandwidths(parsed, tables.get("unidirectional", {}), gpus)
    if "bidirectional" not in tables:
        parsed.lacks("the table of both directions")
    return _with(parsed, "local", "to_gpu", "from_gpu")


def _bandwidths(parsed: Parsed, table: dict[tuple[str, str], float], gpus: list[str]) -> None:
    kinds: dict[str, dict[str, float]] = {"local": {}, "to_gpu": {}, "from_gpu": {}, "peer": {}}
    for (source, target), value in table.items():
        kind, gpu = "", source
        if source in gpus and target in gpus:
            kind = "local" if source == target else "peer"
        elif target in gpus:
            kind, gpu = "to_gpu", target
        elif source in gpus:
            kind = "from_gpu"
        if kind:
            each = kinds[kind]
            # From the socket that is far away a copy is slower: the best one is that of the link.
            best = max if kind in ("to_gpu", "from_gpu") else min
            each[gpu] = best(value, each.get(gpu, value))
    for kind, each in kinds.items():
        if kind != "peer" and len(each) < len(gpus):
            parsed.lacks(f"{kind} of {len(each)} of {len(gpus)} GPUs")
        parsed.add_each(kind, each, "GB/s")


def collectives(text: str, devices: int) -> Parsed:
    """A test of rccl-tests: a row for each size, first out of place and then in place."""
    parsed = Parsed()
    ranks: set[str] = set()
    rows: dict[int, tuple[float, float]] = {}
    average = checked = None
    for raw in text.splitlines():
        line = raw.strip()
        rank, wrong, mean = (pattern.match(line) for pattern in (_RANK, _OUT_OF_BOUNDS, _AVERAGE_BUS))
        if rank:
            ranks.add(rank.group(1))
        elif wrong:
            checked = wrong.group(1) == "0"
            if not checked or wrong.group(2) != "OK":
                parsed.fail(f"{wrong.group(1)} values are out of bounds")
        elif mean:
            average = number(mean.group(1))
        elif _ERROR.search(line):
            parsed.fail(line)
        elif line[:1].isdigit():
            _row(parsed, line.split(), rows)
    if len(ranks) != devices:
        parsed.lacks(f"{len(ranks)} of {devices} ranks in the list")
    if checked is None:
        parsed.lacks("the line that says whether values are out of bounds")
    elif checked and parsed.own is None and rows:
        parsed.own = True
    for size, (apart, in_place) in rows.items():
        if size >= 1 << 30:
            parsed.add(f"busbw_{size >> 30}g", apart, "GB/s")
            parsed.add(f"busbw_in_place_{size >> 30}g", in_place, "GB/s")
    parsed.add("busbw_average", average, "GB/s")
    return _with(parsed, "busbw_average")


def _row(parsed: Parsed, words: list[str], rows: dict[int, tuple[float, float]]) -> None:
    """The columns between size and time differ from test to test: it is read from its end."""
    size = number(words[0])
    if len(words) < 10 or size is None:
        parsed.lacks(f"the row {' '.join(words)[:60]!r} is not whole")
        return
    apart, in_place = number(words[-6]), number(words[-2])
    if apart is None or in_place is None:
        parsed.lacks(f"the row of {words[0]} bytes has no bandwidth")
        return
    for wrong in (words[-5], words[-1]):
        if wrong == "N/A":
            parsed.lacks("a check of the values (it ran with -c 0)")
        elif number(wrong) != 0:
            parsed.fail(f"{wrong} wrong values at {words[0]} bytes")
    rows[int(size)] = (apart, in_place)


def _with(parsed: Parsed, *names: str) -> Parsed:
    for name in names:
        if name not in parsed.metrics:
            parsed.lacks(f"no figure {name}")
    return parsed
