# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus, Alertmanager and node_exporter of Debian watch two real engines and emulated GPUs: what breaks is told
to a webhook within a minute, with what to do, and is taken back. The tests build on each other, in this order."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._monitor import dashboards
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
testinfra_hosts = ["ansible://monitor-watch"]
KEY = "planted-key"
# Two servers, each with the name of its model.
SERVERS = {"smol": "10.77.0.230:8000", "tiny": "10.77.0.231:8000"}
MINUTE = 60
GPU = "/sys/bus/pci/devices/0000:e5:00.0"
CATALOG = Catalog()


@functools.cache
def machine(name: str) -> testinfra.host.Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


def prometheus(host, path: str, **query: str) -> Any:
    url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(query)}"
    answer = json.loads(host.check_output("curl -sS --max-time 30 %s", url))
    assert answer["status"] == "success", answer
    return answer["data"]


def value(host, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = prometheus(host, "query", query=query)["result"]
    return found


def wait(seconds: float, what: str, look: Callable[[], Any]) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: nothing for {seconds:.0f} s"
        time.sleep(1)


def told(host, alert: str, status: str, since: int) -> dict[str, Any]:
    """The alert as the webhook got it after the first ``since`` messages."""

    def look() -> dict[str, Any] | None:
        for message in messages(host)[since:]:
            for each in message["alerts"]:
                if each["labels"]["alertname"] == alert and each["status"] == status:
                    return each
        return None

    # "Within a minute" is from the fault to the webhook; a busy machine is given twice that.
    return wait(2 * MINUTE, f"the webhook is told that {alert} is {status}", look)


def messages(host) -> list[dict[str, Any]]:
    text = host.check_output("cat /var/lib/bed-webhook 2>/dev/null || true")
    assert all(line.startswith("/alerts?token=planted-token ") for line in text.splitlines())
    return [json.loads(line.partition(" ")[2]) for line in text.splitlines()]


def ask(model: str) -> None:
    body = json.dumps({"model": model, "prompt": "AMD GPUs are", "max_tokens": 12, "temperature": 0})
    machine("monitor-watch").check_output(
        "curl -sS --fail --max-time 100 -H %s --json %s http://%s/v1/completions",
        f"Authorization: Bearer {KEY}",
        body,
        SERVERS[model],
    )


@pytest.fixture(scope="module")
def load() -> Iterator[None]:
    """A client of each server, for as long as the tests run."""
    stop = threading.Event()

    def client(model: str) -> None:
        while not stop.is_set():
            try:
                ask(model)
            except AssertionError:  # while it is stopped, which is a test
                stop.wait(1)

    clients = [threading.Thread(target=client, args=(model,)) for model in SERVERS]
    for each in clients:
        each.start()
    yield
    stop.set()
    for each in clients:
        each.join()


def test_every_target_is_scraped(host, load):
    wanted = {
        ("amdgpu_host", "monitor-rack"), ("amdgpu_host", "monitor-halo"), ("amdgpu_host", "monitor-watch"),
        ("llama_cpp", "monitor-rack"), ("vllm", "monitor-halo"), ("haproxy", "monitor-watch"),
        ("prometheus", "monitor-watch"), ("alertmanager", "monitor-watch"),
    }  # fmt: skip

    def up() -> bool:
        return {(each["metric"]["job"], each["metric"]["host"]) for each in value(host, "up == 1")} == wanted

    wait(MINUTE, "all targets answer", up)


def test_gpus_and_servers_are_well_and_nothing_is_said_of_them(host):
    wait(MINUTE, "eight GPUs are ok", lambda: len(
        value(host, 'amdgpu_fleet_gpu_verdict{host="monitor-rack", verdict="ok"} == 1')) == 8)  # fmt: skip
    assert len(value(host, 'amdgpu_fleet_gpu_verdict{host="monitor-halo", verdict="ok"} == 1')) == 1
    assert value(host, "amdgpu_fleet_gpu_evidence") == []
    (found,) = value(host, 'amdgpu_fleet_gpus_found{host="monitor-watch"}')
    assert found["value"][1] == "0"
    # The watchdog says that monitoring works; a host of the test bed has just been started.
    firing = {each["labels"]["alertname"] for each in prometheus(host, "alerts")["alerts"]}
    assert "AmdgpuWatchdog" in firing
    assert not [name for name in firing if name.startswith(("AmdgpuGpu", "AmdgpuCollector", "AmdgpuHost"))]


def test_both_engines_look_alike_under_load(host, load):
    for record in ("serving:generation_tokens:rate1m", "serving:prompt_tokens:rate1m"):
        for model in SERVERS:
            query = f'{record}{{model="{model}"}} > 0'
            (series,) = wait(2 * MINUTE, query, functools.partial(value, host, query))
            assert set(series["metric"]) == {"__name__", "host", "unit", "model"}
    for record in (
        "time_to_first_token_seconds:p95",
        "inter_token_latency_seconds:p95",
        "e2e_latency_seconds:p99",
    ):
        query = f'serving:{record}{{model="tiny"}} > 0'
        wait(2 * MINUTE, query, functools.partial(value, host, query))
    wait(
        2 * MINUTE,
        "errors are counted as none",
        lambda: value(host, 'serving:errors:ratio_rate5m{model="tiny"} == 0'),
    )
    wait(2 * MINUTE, "tokens for each watt", lambda: value(host, "host:generation_tokens_per_watt:ratio > 0"))


def test_the_completion_of_the_timer_is_told(host):
    # The timer waits for as long as a start may take; from the first on it goes by its interval.
    machine("monitor-rack").check_output("systemctl start inference-check-smol.service")
    machine("monitor-halo").check_output("systemctl start inference-check-tiny.service")
    for unit in ("llama-cpp-smol.service", "vllm-tiny.service"):
        query = (
            f'amdgpu_fleet_probe_success{{unit="{unit}"}} == 1 and amdgpu_fleet_probe_first_token_seconds > 0'
        )
        wait(2 * MINUTE, query, functools.partial(value, host, query))


def scraped(host, exporter: str) -> set[str]:
    """Families that a real exporter has now."""
    places = {
        "collector": ["10.77.0.230:9100", "10.77.0.231:9100"], "node": ["10.77.0.230:9100", "10.77.0.231:9100"],
        "vllm": ["10.77.0.231:8000"], "llama_cpp": ["10.77.0.230:8000"], "haproxy": ["127.0.0.1:8405"],
        "prometheus": ["127.0.0.1:9090"],
    }[exporter]  # fmt: skip
    found: set[str] = set()
    for place in places:
        text = host.check_output(
            "curl -sS --fail -H %s http://%s/metrics", f"Authorization: Bearer {KEY}", place
        )
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        found |= set(kinds)
        # As they are called in expressions: a client may leave the end of a counter's name to its samples.
        found |= {
            re.sub(r"_(bucket|sum|count)$", "", name)
            for name in re.findall(r"^([a-zA-Z_:][\w:]*)[ {]", text, re.M)
        }
        found |= set(re.findall(r"^([a-zA-Z_:][\w:]*)[ {]", text, re.M))
    return found


@pytest.mark.parametrize("exporter", ["collector", "node", "vllm", "llama_cpp", "haproxy", "prometheus"])
def test_names_of_the_catalog_are_names_of_the_real_exporters(exporter, host, load):
    entry = CATALOG.monitoring["exporters"][exporter]
    # Made by Prometheus itself, and what no GPU that is well has.
    elsewhere = {
        "up",
        "scrape_duration_seconds",
        "amdgpu_fleet_gpu_evidence",
        "amdgpu_fleet_kernel_log_lines",
    }
    wanted = set(entry["metrics"]) - set(entry["rare"]) - elsewhere
    wait(MINUTE, f"all of {wanted - scraped(host, exporter)}", lambda: wanted <= scraped(host, exporter))


def test_prometheus_answers_every_panel(host):
    for file, board in dashboards.dashboards(CATALOG).items():
        written = json.loads(host.file(f"/etc/prometheus/amdgpu-fleet/dashboards/{file}").content_string)
        assert written == board
        for panel in board["panels"]:
            for target in panel["targets"]:
                value(host, target["expr"].replace("$host", ".*").replace("$model", ".*"))


def test_a_fault_of_a_gpu_reaches_the_webhook_and_is_taken_back(host):
    rack = machine("monitor-rack")
    since, begin = len(messages(host)), time.monotonic()
    rack.check_output("printf 'ue: 3\\nce: 0\\nde: 0\\n' > %s/ras/aca_umc", GPU)
    alert = told(host, "AmdgpuGpuEccUncorrectable", "firing", since)
    took = time.monotonic() - begin
    print(f"the webhook knew after {took:.0f} s")
    labels = {
        name: alert["labels"][name]
        for name in ("host", "gpu", "pci", "severity", "finding", "verdict", "expected")
    }
    assert labels == {
        "host": "monitor-rack", "gpu": "7", "pci": "0000:e5:00.0", "severity": "critical",
        "finding": "health.ecc_uncorrectable", "verdict": "drain", "expected": "none",
    }  # fmt: skip
    texts = alert["annotations"]
    assert texts["seen"] == "3 in umc uncorrectable"
    assert texts["remedy"] == CATALOG.health["rules"]["ecc_uncorrectable"]["action"]
    assert texts["summary"] == "Uncorrectable errors of a GPU: monitor-rack GPU 7"
    since = len(messages(host))
    rack.check_output("printf 'ue: 0\\nce: 0\\nde: 0\\n' > %s/ras/aca_umc", GPU)
    told(host, "AmdgpuGpuEccUncorrectable", "resolved", since)


def test_a_gpu_that_is_gone_is_an_alert(host):
    """Absence is one: no series of the GPU is left that could say so."""
    rack = machine("monitor-rack")
    since = len(messages(host))
    rack.check_output("mkdir -p /run/gone && mv /sys/bus/pci/devices/0000:e5:00.0 /run/gone/pci")
    try:
        alert = told(host, "AmdgpuGpuLost", "firing", since)
        assert (alert["labels"]["host"], alert["labels"]["finding"]) == ("monitor-rack", "health.gpu_missing")
    finally:
        rack.check_output("mv /run/gone/pci /sys/bus/pci/devices/0000:e5:00.0")
    told(host, "AmdgpuGpuLost", "resolved", since)


def test_a_server_that_is_killed_reaches_the_webhook_and_is_taken_back(host):
    rack = machine("monitor-rack")
    since = len(messages(host))
    rack.check_output("systemctl kill --signal=KILL llama-cpp-smol && systemctl stop llama-cpp-smol")
    alert = told(host, "InferenceServerDown", "firing", since)
    assert {name: alert["labels"][name] for name in ("host", "unit", "model", "finding", "severity")} == {
        "host": "monitor-rack", "unit": "llama-cpp-smol.service", "model": "smol", "finding": "serve.down",
        "severity": "critical",
    }  # fmt: skip
    assert "journalctl -u llama-cpp-smol.service" in alert["annotations"]["remedy"]
    rack.check_output("systemctl start llama-cpp-smol")
    told(host, "InferenceServerDown", "resolved", since)


def test_a_collector_that_stops_is_an_alert(host):
    """Its last values would stay for ever."""
    halo = machine("monitor-halo")
    since = len(messages(host))
    halo.check_output("systemctl stop amdgpu-collector.timer")
    alert = told(host, "AmdgpuCollectorStale", "firing", since)
    assert alert["labels"]["host"] == "monitor-halo" and alert["annotations"]["expected"].endswith("25 s old")
    halo.check_output("systemctl start amdgpu-collector.timer")
    told(host, "AmdgpuCollectorStale", "resolved", since)


def test_what_prometheus_knows_is_kept_for_the_page(host):
    """For tools/render_dashboard.py: one picture of this run."""
    end = time.time()
    folder = REPOSITORY / ".cache/logs"
    shown = []
    for file, board in dashboards.dashboards(CATALOG).items():
        for panel in board["panels"]:
            if panel["type"] != "timeseries":
                continue
            for target in panel["targets"]:
                query = target["expr"].replace("$host", ".*").replace("$model", ".*")
                data = prometheus(
                    host, "query_range", query=query, start=str(end - 600), end=str(end), step="5"
                )
                shown.append({"dashboard": file, "panel": panel["title"], "unit": panel["fieldConfig"]["defaults"]["unit"],
                              "legend": target["legendFormat"], "series": data["result"]})  # fmt: skip
    alerts = value(host, 'max_over_time(ALERTS{alertstate="firing", severity!="none"}[15m])')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "monitor.json").write_text(json.dumps({"end": end, "panels": shown, "alerts": alerts}))
    assert any(each["series"] for each in shown)


# --- who can read what


def test_keys_are_for_root_and_prometheus_alone(host):
    (name,) = host.check_output("ls /etc/prometheus/amdgpu-fleet/keys").split()
    for path, text in (
        (f"/etc/prometheus/amdgpu-fleet/keys/{name}", KEY),
        ("/etc/prometheus/alertmanager.yml", "planted-token"),
    ):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == ("root", "prometheus", 0o640), path
        assert text in file.content_string
    open_ones = host.check_output(
        "grep -rl -e planted-key -e planted-token /etc/prometheus /etc/default /etc/systemd/system || true"
    )
    assert set(open_ones.split()) == {
        f"/etc/prometheus/amdgpu-fleet/keys/{name}",
        "/etc/prometheus/alertmanager.yml",
    }
    assert "planted" not in host.check_output("ps -eo args | grep -v -e grep -e curl || true")
    assert "planted" not in host.check_output("curl -sS http://127.0.0.1:9090/api/v1/status/config")


def test_nothing_listens_where_it_was_not_asked_to(host):
    sockets = host.check_output("ss -Hltn | awk '{print $4}'").split()
    mine = {each for each in sockets if each.rpartition(":")[2] in ("9090", "9093", "9094", "9100", "8405")}
    assert mine == {"127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:9100", "127.0.0.1:8405"}
    rack = machine("monitor-rack").check_output("ss -Hltn | awk '{print $4}'").split()
    assert {each for each in rack if each.endswith(":9100")} == {"10.77.0.230:9100"}


def test_the_collector_may_do_little(host):
    rack = machine("monitor-rack")
    names = "Result,CapabilityBoundingSet,RestrictAddressFamilies,ProtectSystem"
    shown = rack.check_output(f"systemctl show amdgpu-collector.service --property={names}")
    # systemd 252 writes an empty list as nothing; no restriction at all would be "~".
    assert {
        "RestrictAddressFamilies=none" if line == "RestrictAddressFamilies=" else line
        for line in shown.splitlines()
    } == {
        "Result=success",
        "ProtectSystem=strict",
        "RestrictAddressFamilies=none",
        "CapabilityBoundingSet=cap_dac_read_search cap_syslog",
    }
    file = rack.file("/var/lib/prometheus/node-exporter/amdgpu.prom")
    assert file.mode == 0o644 and file.content_string.endswith("\n")


# --- the end


def play(playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(
        ["ansible-playbook", playbook, "-i", INVENTORY, *arguments],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip


def test_bad_values_are_refused_with_a_sentence_and_change_nothing(host):
    before = host.check_output(
        "sha256sum /etc/prometheus/prometheus.yml /etc/prometheus/amdgpu-fleet/rules.yml"
    )
    for variables, said in (
        ({"monitor_address": "rack1"}, "monitor_address: write one IP address"),
        (
            {"plan_catalog": {"monitoring": {"thresholds": {"kv_use": {"value": "much"}}}}},
            "thresholds.kv_use.value",
        ),
    ):
        result = play(
            "playbooks/monitor.yml", "--limit", "monitor-watch", "--extra-vars", json.dumps(variables)
        )
        assert result.returncode and said in result.stdout, result.stdout[-2000:]
    assert before == host.check_output(
        "sha256sum /etc/prometheus/prometheus.yml /etc/prometheus/amdgpu-fleet/rules.yml"
    )


def test_the_prometheus_of_somebody_else_is_left_alone(host):
    host.check_output(
        "cp /etc/prometheus/prometheus.yml /root/ours && sed -i 1d /etc/prometheus/prometheus.yml"
    )
    result = play("playbooks/monitor.yml", "--limit", "monitor-watch")
    host.check_output("mv /root/ours /etc/prometheus/prometheus.yml")
    assert result.returncode and "is not from this role" in result.stdout, result.stdout[-2000:]
    assert "monitor_files_directory" in result.stdout


def test_rules_and_targets_alone(host, tmp_path):
    result = play("playbooks/monitor.yml", "--limit", "monitor-watch", "--extra-vars", json.dumps(
        {"monitor_files_directory": "/srv/rules", "monitor_host": True}))  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    host.check_output("promtool check rules /srv/rules/rules.yml")
    host.check_output("promtool check config --syntax-only /srv/rules/example-prometheus.yml")
    targets = yaml.safe_load(host.file("/srv/rules/targets/vllm.json").content_string)
    assert targets[0]["targets"] == ["10.77.0.231:8000"]


def test_it_is_taken_back(host):
    result = play("playbooks/monitor.yml", "--extra-vars", '{"monitor_state": "absent"}')
    assert result.returncode == 0, result.stdout[-3000:]
    for name in ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter"):
        service = host.service(name)
        assert not service.is_running and not service.is_enabled, name
    for path in (
        "/etc/prometheus/amdgpu-fleet",
        "/etc/prometheus/prometheus.yml",
        "/etc/prometheus/alertmanager.yml",
    ):
        assert not host.file(path).exists, path
    rack = machine("monitor-rack")
    assert not rack.file("/etc/systemd/system/amdgpu-collector.timer").exists
    assert not rack.file("/usr/local/lib/amdgpu-fleet/collector").exists
    assert not rack.file("/var/lib/prometheus/node-exporter/amdgpu.prom").exists
    again = play("playbooks/monitor.yml", "--extra-vars", '{"monitor_state": "absent"}')
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout[-2000:]
