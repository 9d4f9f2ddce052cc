# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of Prometheus and the dashboards, made from the catalog: every rule run by promtool, every expression
held to metrics that exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from ansible.errors import AnsibleFilterError
from monitoring_cases import CASES, RECORDS

from ansible_collections.amdgpu.fleet.plugins.filter.monitor import monitor_targets
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._monitor import dashboards, rules, targets
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError

CATALOG = Catalog()
GROUPS = rules.groups(CATALOG)["groups"]
WRITTEN = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in WRITTEN if "alert" in rule}
GPU_ALERTS = {alert.name: alert for alert in rules.of_gpus(CATALOG)}
DASHBOARDS = dashboards.dashboards(CATALOG)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *map(str, arguments)]
    # It has memory enough, and need not look for more so often.
    environment = {**os.environ, "GOGC": "400"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def rule_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "amdgpu-fleet.yml"
    path.write_text(yaml.safe_dump({"groups": GROUPS}, sort_keys=False), encoding="utf-8")
    return path


def run_tests(rule_file: Path, *tests: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = rule_file.with_name("tests.yml")
    document = {"rule_files": [rule_file.name], "evaluation_interval": "1m", "tests": list(tests)}
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return promtool("test", "rules", path)


def series(given: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in given.items()]


def braces(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def firing(alert: str, minute: int, labels: dict[str, str] | None) -> dict[str, Any]:
    """What must be seen of an alert at a minute: these labels and no others, or nothing."""
    samples = [] if labels is None else [{"labels": f"ALERTS{braces(labels)}", "value": 1}]
    query = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    return {"expr": query, "eval_time": f"{minute}m", "exp_samples": samples}


# --- every rule, by promtool


def test_promtool_takes_the_rules(rule_file):
    done = promtool("check", "rules", rule_file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tested() -> None:
    assert {entry["alert"] for entry in CATALOG.monitoring["alerts"]} == set(CASES)
    assert [entry["record"] for entry in CATALOG.monitoring["records"]] == list(RECORDS)
    assert set(ALERTS) == set(CASES) | set(GPU_ALERTS)


def parts(names: Iterable[str], number: int) -> list[list[str]]:
    """promtool takes its time to begin, so it gets many tests at once, each with its name."""
    every = list(names)
    return [every[at::number] for at in range(number)]


@pytest.mark.parametrize("names", parts(CASES, 6), ids=" ".join)
def test_an_alert_fires_with_its_labels_and_resolves(names, rule_file):
    tests = []
    for name in names:
        case = CASES[name]
        rule = ALERTS[name]
        labels = {**case.labels, **rule["labels"], "alertname": name, "alertstate": "firing"}
        tests.append({
            "name": name, "interval": "1m", "input_series": series(case.series),
            "promql_expr_test": [
                firing(name, case.fires, labels), *(firing(name, minute, None) for minute in case.quiet)
            ],
        })  # fmt: skip
    done = run_tests(rule_file, *tests)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("names", parts(RECORDS, 2), ids=" ".join)
def test_a_recording_rule_gives_its_value(names, rule_file):
    tests = []
    for name in names:
        case = RECORDS[name]
        # A sum in binary is not exact.
        rounded = [{"labels": labels, "value": round(value, 4)} for labels, value in case.values.items()]
        seen = {"expr": f"round({name}, 0.0001)", "eval_time": f"{case.at}m", "exp_samples": rounded}
        tests.append({
            "name": name, "interval": "1m", "input_series": series(case.series), "promql_expr_test": [seen],
        })  # fmt: skip
    done = run_tests(rule_file, *tests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_one_is_in_a_part() -> None:
    for every in (CASES, RECORDS):
        assert sorted(sum(parts(every, 6), [])) == sorted(every)


def evidence(alert: rules.Alert, verdict: str, values: str, seen: str) -> dict[str, str]:
    rule = re.search(r'rule="(\w+)"', alert.expr)
    assert rule
    labels = {
        "job": "amdgpu_host", "instance": "10.0.0.1:9100", "host": "rack1", "gpu": "2", "pci": "0000:05:00.0",
        "rule": rule[1], "finding": alert.finding, "verdict": verdict, "expected": "none", "seen": seen,
    }  # fmt: skip
    return {f"amdgpu_fleet_gpu_evidence{braces(labels)}": values}


@pytest.mark.parametrize(("verdict", "severity"), [("drain", "critical"), ("watch", "warning")])
def test_alerts_of_gpus(verdict, severity, rule_file):
    """The number that was seen grows, which is another series and the same alert. Everything is wrong at once, and
    each alert tells of its own."""
    given: dict[str, str] = {}
    samples = []
    for name, alert in GPU_ALERTS.items():
        given |= evidence(alert, verdict, "_x4 1x3 _x200", "1 in umc")
        given |= evidence(alert, verdict, "_x8 1x3 _x200", "2 in umc")
        labels = {
            "alertname": name, "alertstate": "firing", "severity": severity, "finding": alert.finding,
            "host": "rack1", "gpu": "2", "pci": "0000:05:00.0", "verdict": verdict, "expected": "none",
            "rule": re.findall(r'rule="(\w+)"', alert.expr)[0],
        }  # fmt: skip
        samples += [firing(name, 3, None), firing(name, 6, labels), firing(name, 9, labels)]
        samples.append(firing(name, 90 if alert.hold else 18, None))
    assert len(given) == 2 * len(GPU_ALERTS)
    done = run_tests(
        rule_file, {"interval": "1m", "input_series": series(given), "promql_expr_test": samples}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_texts_are_filled_in(rule_file):
    """promtool prints what it got where it expected another alert: all texts of all alerts."""
    tests = [
        {"interval": "1m", "input_series": series(case.series), "alert_rule_test": [
            {"alertname": name, "eval_time": f"{case.fires}m", "exp_alerts": []}]}
        for name, case in CASES.items()
    ]  # fmt: skip
    every = {}
    for alert in GPU_ALERTS.values():
        every |= evidence(alert, "drain", "1x9", "3 in umc")
    tests.append({"interval": "1m", "input_series": series(every), "alert_rule_test": [
        {"alertname": name, "eval_time": "6m", "exp_alerts": []} for name in GPU_ALERTS]})  # fmt: skip
    text = ""
    for first in range(0, len(tests), 10):
        done = run_tests(rule_file, *tests[first : first + 10])
        # Tests that failed as they should, and not a promtool that was ended.
        assert done.returncode == 1 and "FAILED" in done.stdout + done.stderr, done
        text += done.stdout + done.stderr
    for name, alert in ALERTS.items():
        assert f'alertname="{name}"' in text, name
        assert alert["annotations"]["remedy"] and alert["annotations"]["expected"]
    for bad in ("error expanding", "<no value>", "{{", "map["):
        assert bad not in text, text[text.index(bad) - 300 : text.index(bad) + 200]
    assert text.count('seen="3 in umc"') == len(GPU_ALERTS)


# --- texts and ids


def test_every_finding_about_a_gpu_has_an_alert() -> None:
    """What the doctor says of a GPU by a limit, Prometheus says too, with the same remedy."""
    health = CATALOG.health
    wanted = {
        rule["finding"]
        for rule in [*health["rules"].values(), *health["log"].values()]
        if rule["verdict"] != "ok"
    }
    assert wanted == {alert.finding for alert in GPU_ALERTS.values()}
    for rule in health["rules"].values():
        if rule["verdict"] != "ok":
            assert any(alert.remedy == rule["action"] for alert in GPU_ALERTS.values()), rule


def test_findings_exist_or_are_explained() -> None:
    for entry in CATALOG.monitoring["alerts"]:
        known = CATALOG.known_issues.get(entry["finding"])
        assert entry["finding"].startswith("monitor.") == (known is None), entry["alert"]
        assert known or {"title", "why", "remedy"} <= set(entry), entry["alert"]


def test_thresholds_are_overridden_in_the_inventory() -> None:
    own = Catalog({"monitoring": {"thresholds": {"ttft_p95_seconds": {"value": 0.7}}}})
    (alert,) = [each for each in rules.of_catalog(own) if each.name == "InferenceSlowFirstToken"]
    assert alert.expr.endswith("> 0.7") and alert.expected == "95 % within 0.7 s"
    with pytest.raises(CatalogError, match="thresholds.ttft_p95_seconds.value"):
        _part = Catalog({"monitoring": {"thresholds": {"ttft_p95_seconds": {"value": "soon"}}}}).monitoring
    unknown = Catalog({"monitoring": {"alerts": [
        {"alert": "Mine", "expr": "up > ${nothing}", "for": "0s", "severity": "info", "finding": "serve.down",
         "expected": "all"}]}})  # fmt: skip
    with pytest.raises(CatalogError, match="nothing"):
        rules.groups(unknown)


def test_every_threshold_is_used() -> None:
    used = set(rules.THRESHOLD.findall(json.dumps(CATALOG.monitoring["alerts"])))
    assert used == set(CATALOG.monitoring["thresholds"])


# --- names


def exported() -> set[str]:
    """Every name that a scrape may have."""
    found = set()
    for exporter in CATALOG.monitoring["exporters"].values():
        for name, entry in exporter["metrics"].items():
            ends = ("_bucket", "_sum", "_count") if entry["type"] == "histogram" else ("",)
            found |= {f"{name}{end}" for end in ends}
    return found


def names(expr: str) -> Iterator[str]:
    """The metrics that an expression asks for, from its syntax tree."""
    pretty = promql_parser.parse(expr).prettify()
    for node in selectors(promql_parser.parse(expr)):
        if node.name:
            yield node.name
            continue
        (matcher,) = [each for each in node.matchers.matchers if each.name == "__name__"]
        yield from str(matcher.value).split("|")
    assert pretty


def selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for attribute in ("expr", "lhs", "rhs", "vector_selector", "param"):
        child = getattr(node, attribute, None)
        if child is not None and not isinstance(child, (str, float, int)):
            yield from selectors(child)
    for child in getattr(node, "args", None) or []:
        yield from selectors(child)


def expressions() -> Iterator[tuple[str, str]]:
    for rule in WRITTEN:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for file, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{file}: {panel['title']}", target["expr"]


def test_the_names_of_an_expression_are_read_at_all() -> None:
    expr = 'sum by (a) (rate(x_total{b="up"}[5m])) / on (a) max_over_time(y[1h]) or {__name__=~"p|q"} unless vector(1) - -z'
    assert set(names(expr)) == {"x_total", "y", "p", "q", "z"}


def test_no_expression_asks_for_a_name_that_nobody_exports() -> None:
    known = exported() | {rule["record"] for rule in WRITTEN if "record" in rule} | {"ALERTS"}
    wrong = [(place, name) for place, expr in expressions() for name in names(expr) if name not in known]
    assert wrong == []


def test_a_recording_rule_stands_before_those_who_read_it() -> None:
    above: set[str] = set()
    own = {rule["record"] for rule in WRITTEN if "record" in rule}
    for rule in WRITTEN:
        if "record" in rule:
            assert set(names(rule["expr"])) & own <= above, rule["record"]
            above.add(rule["record"])


# --- dashboards


@pytest.mark.parametrize("file", DASHBOARDS)
def test_a_dashboard_is_one_that_grafana_loads(file):
    dashboard = DASHBOARDS[file]
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= set(dashboard)
    assert 39 <= dashboard["schemaVersion"] <= 41
    assert [panel["id"] for panel in dashboard["panels"]] == list(range(1, len(dashboard["panels"]) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["datasource"] == {"type": "prometheus", "uid": "${DS}"}
    offered = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for p in dashboard["panels"] for t in p["targets"])))
    assert used == offered - {"DS"}


def test_promtool_takes_every_expression_of_a_dashboard(tmp_path):
    recorded = [
        {"record": f"panel:number{number}", "expr": expr.replace("$host", "rack1").replace("$model", "chat")}
        for number, (_place, expr) in enumerate(expressions())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


# --- targets

HOSTVARS: dict[str, dict[str, Any]] = {
    "rack1": {
        "monitor_address": "10.0.0.1", "serve_api_key": "key-of-rack1",
        "serve_instances": [
            {"name": "chat", "model": "/m", "host": "10.0.0.1", "count": 2},
            {"name": "smol", "engine": "auto", "model": "/m/smol.GGUF", "host": "0.0.0.0", "port": 9000},
        ],
    },
    "halo": {"ansible_host": "10.0.0.2", "serve_instances": [{"name": "chat", "model": "/m", "served_name": "c"}]},
    "edge": {"group_names": ["gateway"], "monitor_host": False, "gateway_metrics_port": 8405},
    "made": {"monitor_address": "::", "ansible_host": "fd00::3", "monitor_amd_exporter_image": "x@sha256:0",
             "serve_instances": [{"name": "s", "engine": "llama_cpp", "model": "/x", "host": "fd00::3"}]},
}  # fmt: skip


def scrape(own: str) -> dict[tuple[str, str], targets.Target]:
    return {
        (each.host, each.labels.get("unit", each.job)): each
        for each in targets.targets(list(HOSTVARS), HOSTVARS, own)
    }


def test_targets_come_from_the_inventory() -> None:
    found = scrape("halo")
    assert found["rack1", "amdgpu_host"].address == "10.0.0.1:9100"
    assert [found["rack1", f"vllm-chat-{at}.service"].address for at in (0, 1)] == [
        "10.0.0.1:8000",
        "10.0.0.1:8001",
    ]
    smol = found["rack1", "llama-cpp-smol.service"]
    assert (smol.job, smol.address, smol.key) == ("llama_cpp", "rack1:9000", "key-of-rack1")
    # vLLM's metrics ask for no key, and none is sent.
    assert found["rack1", "vllm-chat-0.service"].key == ""
    assert found["halo", "vllm-chat.service"].labels == {
        "job": "vllm", "host": "halo", "unit": "vllm-chat.service", "model": "c"}  # fmt: skip
    # Its own loopback.
    assert (found["halo", "amdgpu_host"].address, found["halo", "amdgpu_host"].reason) == (
        "127.0.0.1:9100",
        "",
    )
    assert found["made", "amdgpu_host"].address == "[fd00::3]:9100"
    assert found["made", "amd"].address == "[fd00::3]:5000"
    assert ("edge", "amdgpu_host") not in found


def test_what_cannot_be_scraped_says_why() -> None:
    found = scrape("rack1")
    assert "monitor_address" in found["halo", "amdgpu_host"].reason
    assert "serve_instances" in found["halo", "vllm-chat.service"].reason
    assert "gateway_metrics_address" in found["edge", "haproxy"].reason
    assert "made on the host" in found["made", "llama-cpp-s.service"].reason
    assert found["rack1", "llama-cpp-smol.service"].address == "127.0.0.1:9000"


def test_an_inventory_that_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(AnsibleFilterError, match="serve_instances of a host is not a list"):
        monitor_targets(["a"], {"a": {"serve_instances": [{"name": "x", "port": "many"}]}})
