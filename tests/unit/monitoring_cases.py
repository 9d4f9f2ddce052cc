# SPDX-License-Identifier: GPL-3.0-or-later
"""For each alert and each recording rule: series that bring it about, and what must come of them. Values are in the
notation of promtool, one a minute."""

from __future__ import annotations

from typing import NamedTuple

SERVER = 'host="rack1", unit="vllm-chat.service", model="chat"'
SCRAPED = f'job="vllm", instance="10.0.0.1:8000", {SERVER}'
LLAMA = 'job="llama_cpp", instance="10.0.0.2:8000", host="halo", unit="llama-cpp-smol.service", model="smol"'
NODE = 'job="amdgpu_host", instance="10.0.0.1:9100", host="rack1"'
OF_SERVER = {"host": "rack1", "unit": "vllm-chat.service", "model": "chat"}
OF_NODE = {"job": "amdgpu_host", "instance": "10.0.0.1:9100", "host": "rack1"}
OF_SCRAPE = {**OF_SERVER, "job": "vllm", "instance": "10.0.0.1:8000"}


class Case(NamedTuple):
    """An alert is silent at the first of ``quiet``, fires at ``fires``, and is silent again at the others. promtool of
    Debian 12 runs groups in any order, so an alert may lag a minute behind the series that it reads."""

    series: dict[str, str]
    fires: int
    labels: dict[str, str]
    quiet: tuple[int, ...]


def bucket(name: str, slow: str, fast: str) -> dict[str, str]:
    """A histogram of which ``fast`` are below the limit and ``slow`` are all."""
    series = {}
    for le in ("0.01", "0.1", "1.0", "5.0"):
        series[f'vllm:{name}_bucket{{{SCRAPED}, engine="0", le="{le}"}}'] = fast
    for le in ("640.0", "+Inf"):
        series[f'vllm:{name}_bucket{{{SCRAPED}, engine="0", le="{le}"}}'] = slow
    return series


LATE = "0+10x19 190+10x40"
SOON = "0+0x19 0+10x40"
REQUESTS = f'http_requests_total{{{SCRAPED}, handler="/v1/completions", method="POST", status="%s"}}'
RUNNING = f'vllm:num_requests_running{{{SCRAPED}, engine="0"}}'
WAITING = f'vllm:num_requests_waiting{{{SCRAPED}, engine="0"}}'
TOKENS = f'vllm:generation_tokens_total{{{SCRAPED}, engine="0"}}'
PROMPTS = f'vllm:prompt_tokens_total{{{SCRAPED}, engine="0"}}'
COLLECTED = f"amdgpu_fleet_collected_timestamp_seconds{{{NODE}}}"
GATEWAY = 'job="haproxy", instance="10.0.0.9:8405", host="edge"'
SELF = 'job="prometheus", instance="127.0.0.1:9090"'
OF_SELF = {"job": "prometheus", "instance": "127.0.0.1:9090"}
PROBE = f'job="amdgpu_host", instance="10.0.0.1:9100", {SERVER}'
OF_PROBE = {**OF_NODE, **OF_SERVER}

CASES = {
    "AmdgpuHostDown": Case({f"up{{{NODE}}}": "1x4 0x4 1x9"}, 7, OF_NODE, (3, 12)),
    "AmdgpuCollectorMissing": Case(
        {f"up{{{NODE}}}": "1x40", COLLECTED: "_ _x12 720+60x20"}, 8, OF_NODE, (1, 20)
    ),
    "AmdgpuCollectorStale": Case({COLLECTED: "0+60x5 300x6 720+60x9"}, 10, OF_NODE, (4, 16)),
    "AmdgpuCollectorFailed": Case(
        {f"amdgpu_fleet_collector_success{{{NODE}}}": "1x4 0x6 1x9"}, 8, OF_NODE, (3, 14)
    ),
    "AmdgpuGpuLost": Case(
        {
            f"amdgpu_fleet_gpus_expected{{{NODE}}}": "8x20",
            f"amdgpu_fleet_gpus_found{{{NODE}}}": "8x4 7x6 8x9",
        },
        6,
        OF_NODE,
        (3, 13),
    ),
    "AmdgpuGpuUnread": Case(
        {f'amdgpu_fleet_gpu_unread{{{NODE}, gpu="2", pci="0000:05:00.0"}}': "0x4 1x6 0x9"},
        9,
        {**OF_NODE, "gpu": "2", "pci": "0000:05:00.0"},
        (3, 14),
    ),
    "AmdgpuRebooted": Case(
        {f"node_boot_time_seconds{{{NODE}}}": "-9000x19 1200x40"}, 22, OF_NODE, (10, 40)
    ),
    "AmdgpuDiskFull": Case(
        {
            f'node_filesystem_avail_bytes{{{NODE}, fstype="ext4", mountpoint="/"}}': "50x4 3x9 50x9",
            f'node_filesystem_size_bytes{{{NODE}, fstype="ext4", mountpoint="/"}}': "100x30",
        },
        12,
        {**OF_NODE, "fstype": "ext4", "mountpoint": "/"},
        (3, 18),
    ),
    "InferenceServerDown": Case({f"up{{{SCRAPED}}}": "1x4 0x4 1x9"}, 7, OF_SCRAPE, (3, 12)),
    "InferenceProbeFailed": Case(
        {f"amdgpu_fleet_probe_success{{{PROBE}}}": "1x4 0x4 1x9"}, 6, OF_PROBE, (3, 12)
    ),
    "InferenceProbeStale": Case(
        {
            f"amdgpu_fleet_probe_timestamp_seconds{{{PROBE}}}": "0+60x4 240x9 840+60x9",
            f"amdgpu_fleet_probe_interval_seconds{{{PROBE}}}": "60x30",
        },
        13,
        OF_PROBE,
        (4, 18),
    ),
    "InferenceServerHung": Case(
        {RUNNING: "1x40", TOKENS: "0+60x5 300x12 300+60x20", PROMPTS: "0x40"}, 14, OF_SERVER, (4, 22)
    ),
    "InferenceQueue": Case({WAITING: "0x4 30x15 0x9"}, 18, OF_SERVER, (10, 23)),
    "InferenceKvCacheFull": Case(
        {f'vllm:kv_cache_usage_perc{{{SCRAPED}, engine="0"}}': "0.5x4 0.99x15 0.2x9"},
        18,
        OF_SERVER,
        (10, 23),
    ),
    "InferencePreemptions": Case(
        {f'vllm:num_preemptions_total{{{SCRAPED}, engine="0"}}': "0x9 0+60x15 900x20"},
        22,
        OF_SERVER,
        (9, 40),
    ),
    "InferenceSlowFirstToken": Case(bucket("time_to_first_token_seconds", LATE, SOON), 12, OF_SERVER, (3, 50)),
    "InferenceSlowTokens": Case(bucket("inter_token_latency_seconds", LATE, SOON), 12, OF_SERVER, (3, 50)),
    "InferenceSlowAnswers": Case(bucket("e2e_request_latency_seconds", LATE, SOON), 12, OF_SERVER, (3, 50)),
    "InferenceErrors": Case(
        {REQUESTS % "2xx": "0+60x60", REQUESTS % "5xx": "0x9 0+10x15 150x40"}, 20, OF_SERVER, (9, 40)
    ),
    "InferenceAsleep": Case(
        {f'vllm:engine_sleep_state{{{SCRAPED}, engine="0", sleep_state="awake"}}': "1x4 0x15 1x9"},
        18,
        OF_SERVER,
        (10, 23),
    ),
    "InferenceTurnedAway": Case(
        {
            f'vllm:admission_rejections_total{{{SCRAPED}, engine="0", reason="max_num_queued_reqs"}}': (
                "0x9 0+5x5 25x20"
            )
        },
        12,
        OF_SERVER,
        (8, 30),
    ),
    "InferenceGpuIdle": Case(
        {
            RUNNING: "1x40",
            f'amdgpu_fleet_gpu_busy_ratio{{{NODE}, gpu="0"}}': "0.9x4 0x15 0.9x9",
            f'amdgpu_fleet_gpu_busy_ratio{{{NODE}, gpu="1"}}': "0x40",
        },
        14,
        {"host": "rack1"},
        (6, 23),
    ),
    "InferenceAvailabilityFast": Case({f"up{{{SCRAPED}}}": "1x29 0x9 1x99"}, 40, OF_SERVER, (20, 60)),
    "InferenceAvailabilitySlow": Case({f"up{{{SCRAPED}}}": "1x29 0x9 1x99"}, 52, OF_SERVER, (20, 110)),
    "InferenceAvailabilityTrend": Case({f"up{{{SCRAPED}}}": "1x29 0x3 1x700"}, 110, OF_SERVER, (20, 500)),
    "InferenceErrorsFast": Case(
        {REQUESTS % "2xx": "0+60x200", REQUESTS % "5xx": "0x19 0+60x9 540x200"}, 31, OF_SERVER, (10, 60)
    ),
    "InferenceErrorsSlow": Case(
        {REQUESTS % "2xx": "0+60x200", REQUESTS % "5xx": "0x19 0+60x9 540x200"}, 42, OF_SERVER, (10, 100)
    ),
    "InferenceErrorsTrend": Case(
        {REQUESTS % "2xx": "0+60x600", REQUESTS % "5xx": "0x19 0+6x19 114x600"}, 110, OF_SERVER, (10, 500)
    ),
    "GatewayDown": Case(
        {f"up{{{GATEWAY}}}": "1x4 0x4 1x9"},
        7,
        {"job": "haproxy", "instance": "10.0.0.9:8405", "host": "edge"},
        (3, 12),
    ),
    "GatewayReplicaDown": Case(
        {f'haproxy_server_status{{{GATEWAY}, proxy="replicas", server="rack1", state="DOWN"}}': "0x4 1x4 0x9"},
        7,
        {"job": "haproxy", "instance": "10.0.0.9:8405", "host": "edge", "proxy": "replicas",
         "server": "rack1", "state": "DOWN"},
        (3, 12),
    ),
    "GatewayEmpty": Case(
        {f'haproxy_backend_active_servers{{{GATEWAY}, proxy="replicas.org_chat"}}': "2x4 0x4 2x9"},
        7,
        {"job": "haproxy", "instance": "10.0.0.9:8405", "host": "edge", "proxy": "replicas.org_chat"},
        (3, 12),
    ),
    "GatewayErrors": Case(
        {
            f'haproxy_backend_http_responses_total{{{GATEWAY}, proxy="replicas", code="2xx"}}': "0+60x60",
            f'haproxy_backend_http_responses_total{{{GATEWAY}, proxy="replicas", code="5xx"}}': (
                "0x9 0+10x15 150x40"
            ),
        },
        20,
        {"host": "edge"},
        (9, 40),
    ),
    "AmdExporterDown": Case(
        {'up{job="amd", instance="10.0.0.1:5000", host="rack1"}': "1x4 0x9 1x9"},
        9,
        {"job": "amd", "instance": "10.0.0.1:5000", "host": "rack1"},
        (3, 18),
    ),
    "AmdExporterUnwell": Case(
        {'amd_gpu_health{job="amd", host="rack1", gpu_id="3"}': "1x4 0x9 1x9"},
        9,
        {"job": "amd", "host": "rack1", "gpu_id": "3"},
        (3, 18),
    ),
    # It stops with Prometheus alone.
    "AmdgpuWatchdog": Case({}, 5, {}, ()),
    "AmdgpuNoAlertmanager": Case(
        {f"prometheus_notifications_alertmanagers_discovered{{{SELF}}}": "1x4 0x9 1x9"}, 9, OF_SELF, (3, 18)
    ),
    "AmdgpuRulesFail": Case(
        {f"prometheus_config_last_reload_successful{{{SELF}}}": "1x4 0x4 1x9"}, 7, OF_SELF, (3, 12)
    ),
}  # fmt: skip


class Value(NamedTuple):
    """What a recording rule gives at a minute. llama.cpp's series stand beside vLLM's where it has them."""

    series: dict[str, str]
    at: int
    values: dict[str, float]


ONE = "{" + SERVER + "}"
OTHER = '{host="halo", unit="llama-cpp-smol.service", model="smol"}'
HALF = {**bucket("time_to_first_token_seconds", "0+10x30", "0+10x30")}
UP = {f"up{{{SCRAPED}}}": "1x9 0x4 1x20"}
ERRORS = {
    REQUESTS % "2xx": "0+54x60",
    REQUESTS % "5xx": "0+6x60",
    f'vllm:request_success_total{{{SCRAPED}, engine="0", finished_reason="error"}}': "0+6x60",
}

RECORDS = {
    "serving:up": Value(
        {
            f"up{{{SCRAPED}}}": "1x9",
            f"amdgpu_fleet_probe_success{{{PROBE}}}": "0x9",
            f"up{{{LLAMA}}}": "1x9",
        },
        5,
        {ONE: 0, OTHER: 1},
    ),
    "serving:requests_running:sum": Value(
        {RUNNING: "3x9", f"llamacpp:requests_processing{{{LLAMA}}}": "1x9"}, 5, {ONE: 3, OTHER: 1}
    ),
    "serving:requests_waiting:sum": Value(
        {WAITING: "4x9", f"llamacpp:requests_deferred{{{LLAMA}}}": "2x9"}, 5, {ONE: 4, OTHER: 2}
    ),
    "serving:generation_tokens:rate1m": Value(
        {TOKENS: "0+60x9", f"llamacpp:tokens_predicted_total{{{LLAMA}}}": "0+120x9"}, 5, {ONE: 1, OTHER: 2}
    ),
    "serving:prompt_tokens:rate1m": Value(
        {PROMPTS: "0+60x9", f"llamacpp:prompt_tokens_total{{{LLAMA}}}": "0+120x9"}, 5, {ONE: 1, OTHER: 2}
    ),
    # All between nothing and a hundredth of a second.
    "serving:time_to_first_token_seconds:p50": Value(HALF, 9, {ONE: 0.005}),
    "serving:time_to_first_token_seconds:p95": Value(HALF, 9, {ONE: 0.0095}),
    "serving:inter_token_latency_seconds:p50": Value(
        bucket("inter_token_latency_seconds", "0+10x30", "0+10x30"), 9, {ONE: 0.005}
    ),
    "serving:inter_token_latency_seconds:p95": Value(
        bucket("inter_token_latency_seconds", "0+10x30", "0+10x30"), 9, {ONE: 0.0095}
    ),
    "serving:e2e_latency_seconds:p50": Value(
        bucket("e2e_request_latency_seconds", "0+10x30", "0+10x30"), 9, {ONE: 0.005}
    ),
    "serving:e2e_latency_seconds:p99": Value(
        bucket("e2e_request_latency_seconds", "0+10x30", "0+10x30"), 9, {ONE: 0.0099}
    ),
    "serving:kv_cache:ratio": Value(
        {f'vllm:kv_cache_usage_perc{{{SCRAPED}, engine="0"}}': "0.5x9",
         f'vllm:kv_cache_usage_perc{{{SCRAPED}, engine="1"}}': "0.75x9"}, 5, {ONE: 0.75}
    ),
    "serving:preemptions:rate5m": Value(
        {f'vllm:num_preemptions_total{{{SCRAPED}, engine="0"}}': "0+60x20"}, 10, {ONE: 1}
    ),
    "serving:requests:rate5m": Value(ERRORS, 20, {ONE: 1}),
    "serving:errors:rate5m": Value(ERRORS, 20, {ONE: 0.2}),
    "serving:errors:ratio_rate5m": Value(ERRORS, 20, {ONE: 0.2}),
    "serving:errors:ratio_rate30m": Value(ERRORS, 20, {ONE: 0.2}),
    "serving:errors:ratio_rate1h": Value(ERRORS, 20, {ONE: 0.2}),
    "serving:errors:ratio_rate6h": Value(ERRORS, 20, {ONE: 0.2}),
    "serving:errors:ratio_rate3d": Value(ERRORS, 20, {ONE: 0.2}),
    # Ten minutes of 1, then five of 0; a window has both of its ends.
    "serving:down:ratio5m": Value(UP, 10, {ONE: 1 / 6}),
    "serving:down:ratio30m": Value(UP, 19, {ONE: 0.25}),
    "serving:down:ratio1h": Value(UP, 19, {ONE: 0.25}),
    "serving:down:ratio6h": Value(UP, 19, {ONE: 0.25}),
    "serving:down:ratio3d": Value(UP, 19, {ONE: 0.25}),
    "host:gpu_power_watts:sum": Value(
        {f'amdgpu_fleet_gpu_power_watts{{{NODE}, gpu="0"}}': "150x9",
         f'amdgpu_fleet_gpu_power_watts{{{NODE}, gpu="1"}}': "250x9"}, 5, {'{host="rack1"}': 400}
    ),
    "host:generation_tokens:rate1m": Value({TOKENS: "0+60x9"}, 5, {'{host="rack1"}': 1}),
    "host:generation_tokens_per_watt:ratio": Value(
        {TOKENS: "0+6000x9", f'amdgpu_fleet_gpu_power_watts{{{NODE}, gpu="0"}}': "200x9"},
        5,
        {'{host="rack1"}': 0.5},
    ),
}  # fmt: skip
