# SPDX-License-Identifier: GPL-3.0-or-later
"""The parsers of acceptance tests: figures of whole output, and never a pass of output that is cut or made up."""

from __future__ import annotations

import random

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance.formats import PARSERS, parse
from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance.judge import Ended, Threshold, judge
from testbed import acceptance as samples

ENDED = Ended(0, False, 1.0)


def verdict(form: str, text: str, devices: int, *thresholds: Threshold) -> str:
    return judge(ENDED, parse(form, text, devices), thresholds, 60).verdict


def test_every_format_has_a_sample():
    assert samples.GOOD.keys() == PARSERS.keys()


@pytest.mark.parametrize("form", PARSERS)
def test_a_good_run_has_figures_and_lacks_nothing(form):
    text, devices = samples.GOOD[form]
    found = parse(form, text, devices)
    assert found.metrics and not found.problems and not found.failures
    assert verdict(form, text, devices) in ("pass", "recorded")


@pytest.mark.parametrize("form", PARSERS)
def test_what_is_empty_or_something_else_is_an_error(form):
    for text in (
        "",
        "\n",
        "command not found",
        "\x00\xff" * 40,
        "{",
        "[]",
        "{}",
        "[" * 3000,
        "9" * 5000,
        "# Rank",
    ):
        assert verdict(form, text, 8) not in ("pass", "recorded"), text[:20]


@pytest.mark.parametrize("form", PARSERS)
def test_the_output_of_another_test_is_an_error(form):
    for other, (text, _devices) in samples.GOOD.items():
        if other != form:
            assert verdict(form, text, 8) not in ("pass", "recorded"), other


@pytest.mark.parametrize("form", PARSERS)
def test_output_that_is_cut_anywhere_lacks_a_figure_or_keeps_it(form):
    """Wherever it is cut, a figure that was asked for is there and right, or the run is no pass."""
    text, devices = samples.GOOD[form]
    whole = parse(form, text, devices)
    asked = [Threshold(name, each.value, "") for name, each in whole.metrics.items()]
    body = text.rstrip()
    lines = body.splitlines(keepends=True)
    for kept in {*range(len(lines) - 1), *random.Random(7).sample(range(len(lines)), min(len(lines), 20))}:
        cut = "".join(lines[:kept])
        found = parse(form, cut, devices)
        if judge(ENDED, found, asked, 60).verdict == "pass":
            assert found.metrics == whole.metrics, kept


@pytest.mark.parametrize(
    "form", ["rvs", "rccl_tests", "transferbench_a2a", "agfhc", "vllm_bench_serve", "iperf3"]
)
def test_output_that_lacks_its_end_is_no_pass(form):
    text, devices = samples.GOOD[form]
    for share in (0.1, 0.5, 0.9):
        assert verdict(form, text[: int(len(text) * share)], devices) not in ("pass", "recorded"), share


@pytest.mark.parametrize("form", PARSERS)
def test_garbage_in_the_place_of_any_figure_makes_no_better_one(form):
    text, devices = samples.GOOD[form]
    whole = parse(form, text, devices)
    chance = random.Random(11)
    for _turn in range(60):
        at = chance.randrange(len(text))
        damaged = text[:at] + chance.choice("9\x00-eN\n\t") + text[at + 1 :]
        found = parse(form, damaged, devices)
        for name, each in found.metrics.items():
            assert each.value == each.value and each.value < 1e30, name
        assert whole.metrics.keys() >= found.metrics.keys() or found.metrics


@pytest.mark.parametrize("number", ["inf", "nan", "-5", "1e999", "0x10", "١٢", "1_000", "9" * 400])
def test_no_figure_is_made_of_what_is_no_number(number):
    text = samples.transferbench_p2p().replace("   48.40", number)
    assert "p2p_gpu_gpu_one_way" not in parse("transferbench_p2p", text, 8).metrics
    assert verdict("transferbench_p2p", text, 8) == "error"


def test_figures_of_each_tool():
    def figures(form: str, text: str, devices: int = 8) -> dict[str, float]:
        return {name: each.value for name, each in parse(form, text, devices).metrics.items()}

    assert figures("transferbench_a2a", samples.transferbench_a2a(8, 50))["a2a_average"] == 50
    assert figures("transferbench_p2p", samples.transferbench_p2p())["p2p_gpu_gpu_both"] == 46.2
    halo = figures("rocm_bandwidth_test", samples.rocm_bandwidth_test(1), 1)
    assert halo == {"local": 212.4, "to_gpu": 84.3, "from_gpu": 84.3}
    rack = parse("rocm_bandwidth_test", samples.rocm_bandwidth_test(8), 8).metrics
    assert len(rack["local"].each) == len(rack["peer"].each) == 8
    reduced = figures("rccl_tests", samples.rccl_tests(busbw=320))
    assert 318 < reduced["busbw_in_place_8g"] < 320 and reduced["busbw_1g"] < reduced["busbw_8g"]
    assert figures("babelstream", samples.babelstream(4000000), 1)["copy"] == 4000000
    csv = (
        "function,num_times,n_elements,sizeof,max_mbytes_per_sec,min_runtime,max_runtime,avg_runtime\n"
        + "".join(
            f"{name},100,33554432,8,1234.5,0.1,0.2,0.15\n" for name in ("Copy", "Mul", "Add", "Triad", "Dot")
        )
    )
    assert figures("babelstream", csv, 1)["dot"] == 1234.5
    assert figures("gemm", samples.hipblaslt_bench(1.30708e06), 1) == {"gflops": 1307080.0}
    assert figures("gemm", samples.rocblas_bench(97190.6), 1) == {"gflops": 97190.6}
    assert figures("stream", samples.stream(40000))["copy"] == 40000
    assert figures("mbw", samples.mbw(9000)) == {"memcpy": 9000}
    assert (
        figures("vllm_bench_serve", samples.vllm_bench_serve(rate=812.5))["output_tokens_per_second"] == 812.5
    )
    assert figures("llama_bench", samples.llama_bench(3000, 150)) == {"pp512": 3000, "tg128": 150}
    assert figures("iperf3", samples.iperf3(23.5)) == {"gbit_per_second": 23.5, "retransmits": 12}
    assert figures("perftest", samples.perftest(391.2)) == {"gbit_per_second": 391.2}


def test_figures_of_rvs():
    gemm = parse("rvs", samples.rvs_gst(8, 1.2), 8)
    assert gemm.own and gemm.metrics["gflops_rand_fp8"].each.keys() == {str(each) for each in samples.IDS}
    assert parse("rvs", samples.rvs_iet(), 8).metrics["watts"].value == 743
    memory = parse("rvs", samples.rvs_mem(8, 2003.0), 8)
    assert memory.own and memory.metrics["memory_bandwidth"].value == 2003.0
    assert parse("rvs", samples.rvs_pebb(8, 55.2), 8).metrics["pcie_h2d"].value == 55.2
    assert parse("rvs", samples.rvs_pbqt(8, 48.9), 8).metrics["p2p_one_way"].value == 48.9
    assert parse("rvs", samples.rvs_peqt(), 8).own


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        ("rvs", samples.rvs_gst(8, 0.9), "of 1215000 GFLOPS"),
        ("rvs", samples.rvs_iet(8, passed=False), "did not reach its power"),
        ("rvs", samples.rvs_mem(8, failed=2), "memory test 2 failed"),
        ("rvs", samples.rvs_peqt(good=False), "pcie_act_9"),
        ("rvs", samples.rvs_pbqt(peers=False), "no peer access"),
        ("rvs", samples.rvs_gst() + "[ERROR] [1102003.864648] cannot open the device\n", "cannot open"),
        ("rvs", "No supported GPUs available\n", "No supported GPUs"),
        ("rccl_tests", samples.rccl_tests(wrong="3"), "3 wrong values"),
        ("transferbench_a2a", samples.transferbench_a2a() + "[ERROR] HIP Error: invalid resource handle\n", "HIP Error"),
        ("babelstream", samples.babelstream() + "Validation failed on sum. Error 1e-2\n", "Validation failed"),
        ("agfhc", samples.agfhc("hbm_bw-1-1"), "hbm_bw-1-1: FAIL"),
        ("vllm_bench_serve", samples.vllm_bench_serve(32, failed=2), "2 of 32 requests failed"),
        ("iperf3", '{"start": {}, "error": "unable to connect to server: Connection refused"}', "Connection refused"),
        ("perftest", samples.perftest() + "Completion with error at client\nFailed status 12: wr_id 0\n", "Failed status"),
        ("stream", samples.stream().replace("Solution Validates", "Failed Validation on array a[]"), "Failed Validation"),
    ],
)  # fmt: skip
def test_what_the_tool_calls_a_failure_is_one(form, text, reason):
    judged = judge(ENDED, parse(form, text, 8), [], 60)
    assert judged.verdict == "fail"
    assert reason in " ".join(judged.reasons)


def test_a_gpu_that_is_missing_is_no_pass():
    assert verdict("rvs", samples.rvs_gst(7), 8) == "error"
    assert verdict("rccl_tests", samples.rccl_tests(7), 8) == "error"
    assert verdict("transferbench_a2a", samples.transferbench_a2a(7), 8) == "error"
    assert verdict("rocm_bandwidth_test", samples.rocm_bandwidth_test(7), 8) == "error"
    assert verdict("agfhc", samples.agfhc(skipped=1), 8) == "error"


def test_values_that_nobody_checked_are_no_pass():
    assert verdict("rccl_tests", samples.rccl_tests(wrong="N/A").replace("N/A FAILED", "0 OK"), 8) == "error"


def test_json_is_found_among_other_lines():
    noise = "INFO 11-28 19:00:00 [serve.py:10] begin\n[not json\n{also not}\n"
    found = parse("vllm_bench_serve", noise + samples.vllm_bench_serve() + "\nINFO done\n", 0)
    assert found.own and not found.problems
    noise = "load_backend: loaded CPU backend from /usr/lib\n"
    assert parse("llama_bench", noise + samples.llama_bench(), 0).metrics["tg128"].value == 153.4
