# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on one device or on the whole host: BabelStream, GEMM of hipBLASLt and rocBLAS, STREAM, mbw, and
AMD's AGFHC."""

from __future__ import annotations

import re

from .parsed import Parsed, number

FUNCTIONS = ("copy", "mul", "add", "triad", "dot")
_STREAM_ROW = re.compile(r"^(Copy|Scale|Add|Triad):\s+(\S+)\s+\S+\s+\S+\s+\S+$")
_MBW = re.compile(r"^AVG\s+Method:\s*(\S+)\s+Elapsed:\s*\S+\s+MiB:\s*\S+\s+Copy:\s*(\S+)\s*MiB/s")
_AGFHC_TEST = re.compile(r"^(PASS|FAIL|SKIP|ERROR|ABORT(?:ED)?):\s*(\S+)")
_AGFHC_SUMMARY = re.compile(r"Tests:\s*([0-9]+) Total,\s*([0-9]+) Executed,\s*([0-9]+) Skipped")
_AGFHC_CODE = re.compile(r"Program exiting with return code (AGFHC_\w+) \[(-?[0-9]+)\]")


def babelstream(text: str, _devices: int) -> Parsed:
    """Its table, or its ``--csv``."""
    parsed = Parsed()
    columns: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if re.search(r"Validation failed|HIP error|^Error", line, re.I):
            parsed.fail(line)
        if "mbytes_per_sec" in line:
            columns = line.split(",")
            continue
        words = line.split(",") if columns else line.split()
        name = words[0].strip().lower() if words else ""
        if name in FUNCTIONS and len(words) >= 5:
            at = columns.index("max_mbytes_per_sec") if "max_mbytes_per_sec" in columns else 1
            value = number(words[at].strip()) if at < len(words) else None
            parsed.add(name, value, "MB/s")
    for name in FUNCTIONS:
        if name not in parsed.metrics:
            parsed.lacks(f"no figure {name}")
    return parsed


def gemm(text: str, _devices: int) -> Parsed:
    """The CSV of hipblaslt-bench and rocblas-bench; the best row counts, as AMD's guide measures peaks."""
    parsed = Parsed()
    column, width = -1, 0
    rates: list[float] = []
    for raw in text.splitlines():
        line = raw.strip()
        words = [word.strip() for word in re.sub(r"^\[[0-9]+\]:?", "", line).split(",")]
        if any(word.endswith("-Gflops") for word in words):
            column = next(at for at, word in enumerate(words) if word.endswith("-Gflops"))
            width = len(words)
        elif column >= 0 and len(words) == width and words[0] in ("N", "T", "C"):
            value = number(words[column])
            if value is None:
                parsed.lacks(f"the rate {words[column]!r} is no number")
            else:
                rates.append(value)
        elif re.search(r"\berror\b|failed|NaN", line, re.I):
            parsed.fail(line)
    parsed.add("gflops", max(rates, default=None), "GFLOPS")
    if not rates:
        parsed.lacks("no row with a rate")
    return parsed


def stream(text: str, _devices: int) -> Parsed:
    """McCalpin's STREAM, on the memory of the host."""
    parsed = Parsed()
    for raw in text.splitlines():
        found = _STREAM_ROW.match(raw.strip())
        if found:
            parsed.add(found.group(1).lower(), number(found.group(2)), "MB/s")
        elif "Failed Validation" in raw or "errors in" in raw:
            parsed.fail(raw.strip())
    if re.search(r"^Solution Validates", text, re.M):
        parsed.own = parsed.own is not False
    else:
        parsed.lacks("the line that says whether the solution validates")
    for name in ("copy", "scale", "add", "triad"):
        if name not in parsed.metrics:
            parsed.lacks(f"no figure {name}")
    return parsed


def memory_copies(text: str, _devices: int) -> Parsed:
    """mbw, of which the lines AVG count."""
    parsed = Parsed()
    for raw in text.splitlines():
        found = _MBW.match(raw.strip())
        if found:
            parsed.add(found.group(1).lower(), number(found.group(2)), "MiB/s")
    if "memcpy" not in parsed.metrics:
        parsed.lacks("no figure memcpy")
    return parsed


def agfhc(text: str, _devices: int) -> Parsed:
    """AMD's AGFHC: a line for each test, a summary, and the code at the very end."""
    parsed = Parsed()
    passed = 0
    code = summary = None
    for raw in text.splitlines():
        line = raw.strip()
        test, counts, last = (pattern.search(line) for pattern in (_AGFHC_TEST, _AGFHC_SUMMARY, _AGFHC_CODE))
        if test and test.group(1) == "PASS":
            passed += 1
        elif test:
            parsed.fail(f"{test.group(2)}: {test.group(1)}")
        if counts:
            summary = [int(count[:9]) for count in counts.groups()]
        if last:
            code = last.groups()
        if re.search(r"unable to run", line, re.I):
            parsed.fail(line)
    if code is None:
        parsed.lacks("the line with the return code")
    elif code != ("AGFHC_SUCCESS", "0"):
        parsed.fail(f"it ended with {code[0]} [{code[1]}]")
    if summary is None:
        parsed.lacks("the summary")
    elif summary[1] < 1 or summary[1] != passed or summary[2]:
        parsed.lacks(f"{passed} passed of {summary[0]} tests, {summary[2]} were skipped")
    if not parsed.problems and not parsed.failures:
        parsed.own = True
    parsed.add("tests", float(passed), "tests")
    return parsed
