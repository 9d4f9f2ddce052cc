# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What engines and networks measure of themselves, most of it JSON: by key, because the documents grow."""

from __future__ import annotations

import json
import re
import typing as t

from .parsed import Parsed, number, quantity

MOST_STARTS = 50
MILLISECONDS = ("ttft", "tpot", "itl", "e2el")


def _document(text: str, parsed: Parsed, kind: type) -> t.Any:
    """The last JSON document of that kind that begins a line; programs print lines of their own around it."""
    decoder = json.JSONDecoder()
    # Whatever a program prints, only so many lines are tried.
    for start in [found.end() - 1 for found in re.finditer(r"^[\[{]", text, re.M)][-MOST_STARTS:][::-1]:
        try:
            document, _end = decoder.raw_decode(text[start:])
        except (ValueError, RecursionError):
            continue
        if isinstance(document, kind) and document:
            return document
    parsed.lacks("no JSON document that is whole")
    return None


def vllm_serve(text: str, _devices: int) -> Parsed:
    """``vllm bench serve`` ends with 0 even where requests failed."""
    parsed = Parsed()
    found = _document(text, parsed, dict)
    if found is None:
        return parsed
    asked, completed, failed = (quantity(found.get(key)) for key in ("num_prompts", "completed", "failed"))
    if asked is None or completed is None or not asked:
        parsed.lacks("how many requests were asked and answered")
    elif completed != asked or failed:
        parsed.fail(f"{asked - completed:.0f} of {asked:.0f} requests failed")
    else:
        parsed.own = True
    parsed.add("output_tokens_per_second", quantity(found.get("output_throughput")), "tokens/s")
    parsed.add("total_tokens_per_second", quantity(found.get("total_token_throughput")), "tokens/s")
    parsed.add("requests_per_second", quantity(found.get("request_throughput")), "requests/s")
    for name in MILLISECONDS:
        for part in ("median", "p99"):
            parsed.add(f"{part}_{name}_ms", quantity(found.get(f"{part}_{name}_ms")), "ms")
    rate = parsed.metrics.get("output_tokens_per_second")
    if rate is None or rate.value == 0:
        parsed.lacks("no figure output_tokens_per_second")
    return parsed


def llama_bench(text: str, _devices: int) -> Parsed:
    """``llama-bench -o json``: an entry for each test, of the prompt (pp) or of the generation (tg)."""
    parsed = Parsed()
    found = _document(text, parsed, list)
    for entry in found or []:
        prompt, generated, rate = (
            quantity(entry.get(key)) if isinstance(entry, dict) else None
            for key in ("n_prompt", "n_gen", "avg_ts")
        )
        if prompt is None or generated is None or not rate:
            parsed.lacks("an entry without its rate")
            continue
        parsed.add(f"pp{prompt:.0f}" if prompt else f"tg{generated:.0f}", rate, "tokens/s")
    if found is not None and not any(name.startswith("tg") for name in parsed.metrics):
        parsed.lacks("no figure of the generation")
    return parsed


def iperf3(text: str, _devices: int) -> Parsed:
    """``iperf3 --json``: what arrived."""
    parsed = Parsed()
    found = _document(text, parsed, dict)
    if found is None:
        return parsed
    if found.get("error"):
        parsed.fail(str(found["error"]))
        return parsed
    end = found.get("end")
    received = end.get("sum_received") if isinstance(end, dict) else None
    sent = end.get("sum_sent") if isinstance(end, dict) else None
    rate = quantity(received.get("bits_per_second")) if isinstance(received, dict) else None
    parsed.add("gbit_per_second", rate / 1e9 if rate else None, "Gbit/s")
    if isinstance(sent, dict):
        parsed.add("retransmits", quantity(sent.get("retransmits")), "segments")
    if not rate:
        parsed.lacks("no figure gbit_per_second")
    return parsed


def perftest(text: str, _devices: int) -> Parsed:
    """``ib_write_bw --report_gbits``: the fourth column of the rows below the title is the average."""
    parsed = Parsed()
    rates: list[float] = []
    titled = False
    for raw in text.splitlines():
        words = raw.split()
        titled = titled or ("BW average[Gb/sec]" in raw and words[:1] == ["#bytes"])
        if re.search(r"failed|Couldn't|Unable|syndrom", raw, re.I):
            parsed.fail(raw.strip())
        if titled and len(words) >= 5 and words[0].isdigit():
            value = number(words[3])
            if value is None:
                parsed.lacks(f"the average {words[3]!r} is no number")
            else:
                rates.append(value)
    parsed.add("gbit_per_second", max(rates, default=None), "Gbit/s")
    if not rates:
        parsed.lacks("no row with an average")
    return parsed
