# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parser reads which output."""

from __future__ import annotations

import typing as t

from . import compute, copies, engines, rvs
from .parsed import Metric, Parsed

# Format, as the catalog names it -> what reads it.
PARSERS: dict[str, t.Callable[[str, int], Parsed]] = {
    "rvs": rvs.parse,
    "transferbench_a2a": copies.all_to_all,
    "transferbench_p2p": copies.peer_to_peer,
    "rocm_bandwidth_test": copies.bandwidth_test,
    "rccl_tests": copies.collectives,
    "babelstream": compute.babelstream,
    "gemm": compute.gemm,
    "stream": compute.stream,
    "mbw": compute.memory_copies,
    "agfhc": compute.agfhc,
    "vllm_bench_serve": engines.vllm_serve,
    "llama_bench": engines.llama_bench,
    "iperf3": engines.iperf3,
    "perftest": engines.perftest,
}
__all__ = ["PARSERS", "Metric", "Parsed", "parse"]


def parse(form: str, text: str, devices: int) -> Parsed:
    """What an output says. Whatever it holds, this ends with an answer and never with a traceback."""
    try:
        parsed = PARSERS[form](text, devices)
    except (ValueError, OverflowError, RecursionError) as error:
        parsed = Parsed()
        parsed.lacks(f"the output cannot be read ({type(error).__name__})")
    if parsed.problems and parsed.own:
        parsed.own = None
    return parsed
