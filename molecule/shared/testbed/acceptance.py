# SPDX-License-Identifier: GPL-3.0-or-later
"""What acceptance tests print, in the layout of the real ones with figures of our own: for tests of the parsers,
and for the stand-ins of the package repository, which run a copy of this file.

Standard library alone, and nothing of the test bed: it runs on emulated hosts.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time

# What a stand-in does on a host: a file for each program with one word of good, slow, failing, hanging or waiting.
# One that waits goes on when the folder has a file "go".
BEHAVIOUR = pathlib.Path("/etc/bed-acceptance")
IDS = (28851, 23018, 29122, 22683, 53458, 63883, 53667, 63738)
BUSES = ("05", "26", "46", "65", "85", "a6", "c6", "e5")
GIB = 1 << 30


def transferbench_a2a(gpus: int = 8, each: float = 51.4) -> str:
    """`each`: GB/s from one GPU to another."""
    total = each * (gpus - 1)
    head = "".join(f"     GPU {at:02d}" for at in range(gpus))
    lines = [
        "TransferBench v1.66.00",
        "=" * 80,
        "Summary: [268435456 bytes per Transfer] [GFX:8] [1 Read(s) 1 Write(s)]",
        "=" * 80,
        f"SRC\\DST{head}        STotal      Actual",
    ]
    for source in range(gpus):
        cells = "".join("      N/A  " if to == source else f"{each + to / 100:11.3f}" for to in range(gpus))
        lines.append(f"GPU {source:02d}{cells}{total:14.3f}{total - 4:12.3f}")
    sums = "".join(f"{total + at / 10:11.3f}" for at in range(gpus))
    lines += [
        "",
        f"RTotal{sums}{total * gpus:14.3f}{total - 4:12.3f}{total:12.3f}",
        "",
        f"Average   bandwidth (GPU Timed): {each:8.3f} GB/s",
        f"Aggregate bandwidth (GPU Timed): {total * gpus:8.3f} GB/s",
        f"Aggregate bandwidth (CPU Timed): {total * gpus * 0.93:8.3f} GB/s",
    ]
    return "\n".join(lines) + "\n"


def transferbench_p2p(one_way: float = 48.4, both: float = 46.2) -> str:
    return f"""TransferBench v1.66.00
Bytes Per Direction 268435456
Unidirectional copy peak bandwidth GB/s [Local read / Remote write] (GPU-Executor: GFX)
 SRC+EXE\\DST    CPU 00    CPU 01       GPU 00    GPU 01
  CPU 00  ->     42.75     38.85        41.97     42.33
  GPU 00  ->     55.23     55.26      1689.85     48.46
                           CPU->CPU  CPU->GPU  GPU->CPU  GPU->GPU
Averages (During UniDir):     35.85     41.98     55.24  {one_way:8.2f}

Bidirectional copy peak bandwidth GB/s [Local read / Remote write] (GPU-Executor: GFX)
     SRC\\DST    CPU 00    CPU 01       GPU 00    GPU 01
  GPU 00 <->     95.97     79.53          N/A     92.20
                           CPU->CPU  CPU->GPU  GPU->CPU  GPU->GPU
Averages (During  BiDir):     30.72     43.84     43.75  {both:8.2f}
"""


def rocm_bandwidth_test(gpus: int = 1, local: float = 212.4, link: float = 84.3) -> str:
    lines = [
        "....................",
        "          RocmBandwidthTest Version: 2.6.0",
        "",
        "          Launch Command is: rocm-bandwidth-test (rocm_bandwidth -a + rocm_bandwidth -A)",
        "",
        "          Device: 0,  AMD EPYC 9654 96-Core Processor",
        *(
            f"          Device: {at + 1},  AMD Instinct,  GPU-{IDS[at % 8]:x},  {BUSES[at % 8]}:0.0"
            for at in range(gpus)
        ),
        "",
        "          Inter-Device Access",
        "",
        "          D/D       " + "".join(f"{at:<10}" for at in range(gpus + 1)),
        *(f"          {at}         " + "1         " * (gpus + 1) for at in range(gpus + 1)),
    ]
    for title, both in (("Unidirectional", False), ("Bidirectional", True)):
        lines += [
            "",
            f"          {title} copy peak bandwidth GB/s",
            "",
            "          D/D       " + "".join(f"{at:<12}" for at in range(gpus + 1)),
        ]
        for source in range(gpus + 1):
            cells = [_cell(source, target, both, local, link) for target in range(gpus + 1)]
            lines += ["", f"          {source:<10}" + "".join(f"{cell:<12}" for cell in cells)]
    return "\n".join(lines) + "\n"


def _cell(source: int, target: int, both: bool, local: float, link: float) -> str:
    if source == target:
        return "N/A" if both or source == 0 else f"{local:.3f}"
    return f"{link:.3f}" if 0 in (source, target) else f"{link / 1.5:.3f}"


def rccl_tests(gpus: int = 8, busbw: float = 320.0, wrong: str = "0") -> str:
    lines = [
        f"# nThread 1 nGpus {gpus} minBytes 8 maxBytes 8589934592 step: 2(factor) warmup iters: 5 iters: 20 "
        "agg iters: 1 validation: 1 graph: 0",
        "#",
        "rccl-tests: Version Unknown",
        "# Using devices",
        *(
            f"#  Rank {at:2d} Group  0 Pid 657053 on      rack device {at:2d} [0000:{BUSES[at % 8]}:00] AMD Instinct MI300X"
            for at in range(gpus)
        ),
        "#",
        "#                                                              out-of-place                       in-place",
        "#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong",
        "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)",
    ]
    size = 8
    while size <= 8 * GIB:
        rate = busbw * size / (size + 30_000_000)
        row = f"{size / max(rate, 0.01) / 1000 + 40:9.2f} {rate / 1.75:7.2f} {rate:7.2f}"
        lines.append(
            f"{size:12d} {size // 4:13d}     float     sum      -1 {row} {wrong:>6} {row} {wrong:>6}"
        )
        size *= 2
    bad = "0 OK" if wrong == "0" else f"{wrong} FAILED"
    lines += [
        "# Errors with asterisks indicate errors that have exceeded the maximum threshold.",
        f"# Out of bounds values : {bad}",
        f"# Avg bus bandwidth    : {busbw / 3:.4f}",
        "#",
    ]
    return "\n".join(lines) + "\n"


def babelstream(copy: float = 4255995.1) -> str:
    rows = (("Copy", 1.0), ("Mul", 0.967), ("Add", 0.93), ("Triad", 0.928), ("Dot", 0.911))
    table = "\n".join(f"{name:<12}{copy * part:<12.3f}0.00101     0.00117     0.00106" for name, part in rows)
    return f"""BabelStream
Version: 5.0
Implementation: HIP
Running kernels 50 times
Precision: double
Array size: 2147.5 MB (=2.1 GB)
Total size: 6442.5 MB (=6.4 GB)
Using HIP device AMD Instinct MI300X
Driver: 60241133
Memory: DEFAULT
Init: 0.400851 s (=16071.943100 MBytes/sec)
Read: 0.189949 s (=33916.687305 MBytes/sec)
Function    MBytes/sec  Min (sec)   Max         Average
{table}
"""


def hipblaslt_bench(gflops: float = 650000.0) -> str:
    return f"""Query device success: there are 1 devices. (Target device ID is 0)
Device ID 0 : AMD Instinct MI300X gfx942:sramecc+:xnack-
Is supported 1 / Total solutions: 1
[0]:transA,transB,grouped_gemm,batch_count,m,n,k,alpha,lda,stride_a,beta,a_type,b_type,compute_type,rotating_buffer,hipblaslt-Gflops,hipblaslt-GB/s,us
    T,N,0,1,8192,8192,8192,1,8192,67108864,0,bf16_r,bf16_r,f32_r,0,{gflops:g},234.327,1691.2
    --Solution index: 302128
"""


def rocblas_bench(gflops: float = 97190.6) -> str:
    return f"""rocBLAS info: maximum library size per device is 0.61866 GB.
transA,transB,M,N,K,alpha,lda,beta,ldb,ldc,rocblas-Gflops,us
N,T,4000,4000,4000,1,4000,0,4000,4000, {gflops:g}, 1317
"""


def _result(at: float, text: str) -> str:
    return f"[RESULT] [{at:<13.6f}] {text}"


def rvs_gst(gpus: int = 8, share: float = 1.2) -> str:
    """`share`: what is reached of the target."""
    lines = []
    for at, (action, target) in enumerate(
        (("gst-1215Tflops-4K4K8K-rand-fp8", 1215000), ("gst-639Tflops-8K-rand-fp16", 639000))
    ):
        second = 1101980.68 + 40 * at
        lines += [_result(second, f"Action name :{action}"), _result(second, "Module name :gst")]
        for gpu in IDS[:gpus]:
            lines += [
                _result(second + 0.2, f"[{action}] [GPU:: {gpu}] Start of GPU ramp up"),
                _result(second + 7, f"[{action}] [GPU:: {gpu}] GFLOPS {int(target * share * 0.9)}"),
            ]
        for gpu in IDS[:gpus]:
            met = "TRUE" if share >= 1 else "FALSE"
            end = f"GFLOPS {int(target * share)} Target GFLOPS: {target} met: {met}"
            lines.append(_result(second + 22, f"[{action}] [GPU:: {gpu}] {end}"))
    return "\n".join(lines) + "\n"


def rvs_iet(gpus: int = 8, passed: bool = True) -> str:
    action = "iet-750W-28K-rand-dgemm"
    lines = [_result(1102597.15, f"Action name :{action}"), _result(1102597.15, "Module name :iet")]
    lines += [_result(1102607.33, f"[{action}] [GPU:: {gpu}] Power(W) 743.000000") for gpu in IDS[:gpus]]
    lines += [
        _result(1102657.37, f"[{action}] [GPU:: {gpu}] pass: {'TRUE' if passed else 'FALSE'}")
        for gpu in IDS[:gpus]
    ]
    return "\n".join(lines) + "\n"


def rvs_mem(gpus: int = 8, speed: float = 2003.0, failed: int | None = None) -> str:
    lines = [_result(214775.9, "Action name :action_1"), _result(214775.9, "Module name :mem")]
    for test in (1, 2, 3):
        for _gpu in range(gpus):
            lines.append(_result(214775.92, f"[action_1] mem Test {test}: Change one bit memory addresss"))
            word = "FAIL" if test == failed else "PASS"
            lines.append(_result(214776.11, f"[action_1] mem Test {test} : {word}"))
    lines += [
        _result(
            214808.29, f"[action_1] mem Test 11: elapsedtime = 6390.423828 bandwidth = {speed + at:.6f}GB/s"
        )
        for at in range(gpus)
    ]
    return "\n".join(lines) + "\n"


def rvs_pebb(gpus: int = 8, speed: float = 55.2) -> str:
    lines = [
        _result(1105000.1, "Action name :pcie_h2d_bandwidth"),
        _result(1105000.1, "Module name :pebb"),
    ]
    lines += [
        _result(
            1105010.2,
            f"[pcie_h2d_bandwidth] pcie-bandwidth [{at + 1:2d}/{gpus}] [CPU:: 0] [GPU:: {at + 2} - {IDS[at]} - "
            f"0000:{BUSES[at]}:00.0] h2d::true d2h::false {speed:.3f} GBps duration: 0.223392 secs",
        )
        for at in range(gpus)
    ]
    return "\n".join(lines) + "\n"


def rvs_pbqt(gpus: int = 8, speed: float = 48.9, peers: bool = True) -> str:
    pairs = [(source, target) for source in range(gpus) for target in range(gpus) if source != target]

    def name(at: int) -> str:
        return f"[GPU:: {at + 2} - {IDS[at]} - 0000:{BUSES[at]}:00.0]"

    lines = [
        _result(1104553.3, "Action name :p2p-unidir-64MB"),
        _result(1104553.3, "Module name :pbqt"),
    ]
    lines += [
        _result(
            1104553.34,
            f"[p2p-unidir-64MB] p2p {name(source)} {name(target)} peers:{str(peers).lower()} distance:15 xGMI:15",
        )
        for source, target in pairs
    ]
    lines += [
        _result(
            1104673.14,
            f"[p2p-unidir-64MB] p2p-bandwidth[{at + 1:2d}/{len(pairs)}] {name(source)} {name(target)} "
            f"bidirectional: false {speed:.3f} GBps duration: 1.462462 secs",
        )
        for at, (source, target) in enumerate(pairs)
    ]
    return "\n".join(lines) + "\n"


def rvs_peqt(good: bool = True) -> str:
    lines = []
    for at in range(1, 18):
        lines += [
            _result(1105559.15, f"Action name :pcie_act_{at}"),
            _result(1105559.15, "Module name :peqt"),
            _result(1105559.19, f"[pcie_act_{at}] peqt {'true' if good or at != 9 else 'false'}"),
        ]
    return "\n".join(lines) + "\n"


def agfhc(failed: str = "", skipped: int = 0) -> str:
    tests = ("gfx_bf16ri-1-1", "hbm_bw-1-1", "xgmi_a2a-1-1")
    lines = ["Log directory: /root/agfhc/logs/agfhc_20260707-050239", "Executing tests:"]
    for test in tests[: len(tests) - skipped]:
        lines.append(
            f"    {'FAIL' if test == failed else 'PASS'}: {test}                  [00:01:08/00:01:20]"
        )
    end = "AGFHC_TEST_FAILURE [1]" if failed else "AGFHC_SUCCESS [0]"
    ran = len(tests) - skipped
    said = "1 Tests Failed" if failed else "All Tests Passed"
    lines += [
        "",
        "Summary:",
        f"  Tests: {len(tests)} Total, {ran} Executed, {skipped} Skipped | {said}",
        "  Total Time: 00:04:44",
        f"Program exiting with return code {end}",
    ]
    return "\n".join(lines) + "\n"


def stream(copy: float = 45123.4) -> str:
    rows = "\n".join(
        f"{name + ':':<12}{copy * part:12.1f}     0.035712     0.035456     0.036012"
        for name, part in (("Copy", 1.0), ("Scale", 0.97), ("Add", 1.04), ("Triad", 1.03))
    )
    return f"""-------------------------------------------------------------
STREAM version $Revision: 5.10 $
-------------------------------------------------------------
Function    Best Rate MB/s  Avg time     Min time     Max time
{rows}
-------------------------------------------------------------
Solution Validates: avg error less than 1.000000e-13 on all three arrays
-------------------------------------------------------------
"""


def mbw(speed: float = 9123.456) -> str:
    runs = "".join(
        f"{at}\tMethod: MEMCPY\tElapsed: 0.05612\tMiB: 512.00000\tCopy: {speed:.3f} MiB/s\n"
        for at in range(5)
    )
    return f"{runs}AVG\tMethod: MEMCPY\tElapsed: 0.05612\tMiB: 512.00000\tCopy: {speed:.3f} MiB/s\n"


def vllm_bench_serve(asked: int = 32, failed: int = 0, rate: float = 812.5) -> str:
    found = {
        "date": "20261128-190000", "backend": "openai", "model_id": "tiny", "num_prompts": asked,
        "duration": 12.5, "completed": asked - failed, "failed": failed, "request_throughput": 2.5,
        "output_throughput": rate, "total_token_throughput": 3 * rate, "latencies": [],
        "median_ttft_ms": 41.5, "p99_ttft_ms": 90.25, "median_tpot_ms": 9.5, "p99_tpot_ms": 12.5,
        "median_itl_ms": 9.25, "p99_itl_ms": 30.0, "median_e2el_ms": 700.0, "p99_e2el_ms": 912.0,
    }  # fmt: skip
    return json.dumps(found)


def llama_bench(pp: float = 3314.2, tg: float = 153.4) -> str:
    about = {
        "build_commit": "unknown", "build_number": 11669, "gpu_info": "AMD Radeon AI PRO R9700",
        "backends": "Vulkan", "model_type": "llama 135M Q4_1", "n_depth": 0, "flash_attn": 1,
    }  # fmt: skip
    entries = [
        {**about, "n_prompt": 512, "n_gen": 0, "avg_ts": pp, "stddev_ts": 2.1, "samples_ts": [pp]},
        {**about, "n_prompt": 0, "n_gen": 128, "avg_ts": tg, "stddev_ts": 0.4, "samples_ts": [tg]},
    ]
    return json.dumps(entries, indent=2)


def iperf3(gbit: float = 23.5, retransmits: int = 12) -> str:
    found = {
        "start": {"version": "iperf 3.12"},
        "intervals": [],
        "end": {
            "sum_sent": {"bits_per_second": gbit * 1.01e9, "retransmits": retransmits},
            "sum_received": {"bits_per_second": gbit * 1e9},
        },
    }
    return json.dumps(found, indent="\t")


def perftest(gbit: float = 391.2) -> str:
    return f"""---------------------------------------------------------------------------------------
                    RDMA_Write BW Test
 Dual-port       : OFF		Device         : mlx5_0
 Number of qps   : 1		Transport type : IB
---------------------------------------------------------------------------------------
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 65536      2984567          0.00               {gbit:.2f}              0.746155
---------------------------------------------------------------------------------------
"""


# Format -> a good run of it, and how many devices it is of.
GOOD = {
    "rvs": (rvs_gst(), 8),
    "transferbench_a2a": (transferbench_a2a(), 8),
    "transferbench_p2p": (transferbench_p2p(), 8),
    "rocm_bandwidth_test": (rocm_bandwidth_test(8), 8),
    "rccl_tests": (rccl_tests(), 8),
    "babelstream": (babelstream(), 1),
    "gemm": (hipblaslt_bench(), 1),
    "stream": (stream(), 0),
    "mbw": (mbw(), 0),
    "agfhc": (agfhc(), 8),
    "vllm_bench_serve": (vllm_bench_serve(), 0),
    "llama_bench": (llama_bench(), 0),
    "iperf3": (iperf3(), 0),
    "perftest": (perftest(), 0),
}


def _slower(behaviour: str, good: float, slow: float) -> float:
    return slow if behaviour == "slow" else good


def _rvs(words: list[str], behaviour: str) -> str:
    configuration = words[words.index("-c") + 1].rpartition("/")[2]
    slow = behaviour == "slow"
    return {
        "gst_single.conf": lambda: rvs_gst(8, 0.8 if slow else 1.2),
        "pebb_single.conf": rvs_pebb,
        "peqt_single.conf": rvs_peqt,
        "pbqt_single.conf": rvs_pbqt,
        "mem.conf": rvs_mem,
    }[configuration]()


def _printed(program: str, words: list[str], behaviour: str) -> str:
    if program == "TransferBench" and words[:1] == ["p2p"]:
        return transferbench_p2p(_slower(behaviour, 48.4, 30.1))
    if program == "TransferBench":
        return transferbench_a2a(8, _slower(behaviour, 51.4, 30.2))
    if program == "all_reduce_perf":
        return rccl_tests(int(words[words.index("-g") + 1]), _slower(behaviour, 320, 250))
    if program == "rocm-bandwidth-test":
        return rocm_bandwidth_test(8, _slower(behaviour, 1990.5, 1200), 55.2)
    return _rvs(words, behaviour)


def main(arguments: list[str]) -> int:
    """A stand-in of one of the programs, by its name."""
    program, words = pathlib.Path(arguments[0]).name, arguments[1:]
    file = BEHAVIOUR / program
    behaviour = file.read_text(encoding="utf-8").strip() if file.exists() else "good"
    text = _printed(program, words, behaviour)
    if behaviour == "failing":
        # What it printed until then looks well.
        print(text[: len(text) // 2], flush=True)
        print("[ERROR] HIP Error: invalid resource handle", flush=True)
        return 1
    if behaviour in ("hanging", "waiting"):
        print(text[: len(text) // 3], flush=True)
        child = subprocess.Popen(["sleep", "3600"])
        (BEHAVIOUR / "child").write_text(f"{child.pid}\n", encoding="utf-8")
        while behaviour == "hanging" or not (BEHAVIOUR / "go").exists():
            time.sleep(0.1)
    print(text, end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
