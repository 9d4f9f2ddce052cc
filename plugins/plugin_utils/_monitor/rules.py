# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of Prometheus, made from the catalog: one alert for each rule by which a GPU is judged, and those of
monitoring.yml. Texts are the ones that the doctor says."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, CatalogError

THRESHOLD = re.compile(r"\$\{([a-z0-9_]+)\}")
# A word of the catalog's texts, filled in from the alert.
WORD = re.compile(r"\{([a-z_]+)\}")
# What the doctor knows and an alert has no label for.
LABELS = {"instance": "model", "what": "rule", "names": "gpu"}
# How long an alert stays after its cause was last seen: reading clears these counters.
HOLD = {"xgmi_uncorrectable": "1h"}
BY = "host, gpu, pci, rule, finding, verdict, expected"
DOCUMENTATION = "https://github.com/amdgpu-fleet/amdgpu.fleet/blob/main/docs/monitoring.md"


class Alert(t.NamedTuple):
    """One alert, ready to be written."""

    name: str
    expr: str
    duration: str
    hold: str
    # A text, or a template of Prometheus.
    severity: str
    finding: str
    title: str
    seen: str
    expected: str
    why: str
    remedy: str

    def rule(self) -> dict[str, t.Any]:
        wait = {"for": self.duration} if self.duration != "0s" else {}
        hold = {"keep_firing_for": self.hold} if self.hold else {}
        return {
            "alert": self.name,
            "expr": self.expr,
            **wait,
            **hold,
            "labels": {"severity": self.severity, "finding": self.finding},
            "annotations": {
                "summary": f"{self.title}: {{{{ $labels.host }}}}{self._gpu()}",
                "seen": self.seen,
                "expected": self.expected,
                "why": self.why,
                "remedy": self.remedy,
                "documentation": f"{DOCUMENTATION}#alerts",
            },
        }

    def _gpu(self) -> str:
        return "{{ with $labels.gpu }} GPU {{ . }}{{ end }}{{ with $labels.unit }} {{ . }}{{ end }}"


def of_gpus(catalog: Catalog) -> list[Alert]:
    """One for each rule of health.yml that asks for something to be done."""
    health = catalog.health
    rules = {**health["rules"], **{f"log_{kind}": rule for kind, rule in health["log"].items()}}
    return [_of_gpu(name, rule, catalog) for name, rule in rules.items() if rule["verdict"] != "ok"]


def name_of_gpu_alert(rule: str) -> str:
    return "AmdgpuGpu" + "".join(part.capitalize() for part in rule.split("_"))


def _of_gpu(name: str, rule: t.Mapping[str, t.Any], catalog: Catalog) -> Alert:
    known = catalog.known_issues[rule["finding"]]
    # How many errors there are changes, and with it the series; the alert stays the same one.
    query = (
        r'{{ with printf "amdgpu_fleet_gpu_evidence{host=\"%s\",gpu=\"%s\",rule=\"%s\"}" '
        r'$labels.host $labels.gpu $labels.rule | query }}{{ . | first | label "seen" }}{{ end }}'
    )
    return Alert(
        name=name_of_gpu_alert(name),
        expr=f'max by ({BY}) (amdgpu_fleet_gpu_evidence{{rule="{name}"}}) > 0',
        duration="0s",
        hold=HOLD.get(name, ""),
        # What the inventory accepts is watched and not called critical.
        severity='{{ if eq $labels.verdict "watch" }}warning{{ else }}critical{{ end }}',
        finding=rule["finding"],
        title=_words(known["title"], {}),
        seen=query,
        expected="{{ $labels.expected }}",
        why=_words(known["why"], {"action": rule["action"]}),
        remedy=_words(rule["action"], {}),
    )


def of_catalog(catalog: Catalog) -> list[Alert]:
    return [_of_entry(entry, catalog) for entry in catalog.monitoring["alerts"]]


def _of_entry(entry: t.Mapping[str, t.Any], catalog: Catalog) -> Alert:
    text = {**catalog.known_issues.get(entry["finding"], {}), **entry}
    missing = [part for part in ("title", "why", "remedy") if part not in text]
    if missing:
        raise CatalogError(
            f"plan_catalog.monitoring.alerts: {entry['alert']} has no {missing[0]}, and known_issues has no "
            f"{entry['finding']}. Add it in plan_catalog."
        )
    filled = {
        part: _words(fill(str(text[part]), catalog), {}) for part in ("title", "expected", "why", "remedy")
    }
    return Alert(
        name=entry["alert"],
        expr=fill(entry["expr"], catalog),
        duration=fill(entry["for"], catalog),
        hold="",
        severity=entry["severity"],
        finding=entry["finding"],
        seen="{{ $value | humanize }}",
        **filled,
    )


def fill(text: str, catalog: Catalog) -> str:
    """The text with thresholds in the place of their names."""

    def value(found: re.Match[str]) -> str:
        known = catalog.monitoring["thresholds"].get(found.group(1))
        if known is None:
            raise CatalogError(
                f"plan_catalog.monitoring: {found.group(0)} is no threshold. Correct it in plan_catalog."
            )
        return f"{known['value']:g}"

    return THRESHOLD.sub(value, text)


def _words(text: str, known: t.Mapping[str, str]) -> str:
    """A text of the catalog as a template of Prometheus."""

    def label(found: re.Match[str]) -> str:
        name = found.group(1)
        return known.get(name) or f"{{{{ $labels.{LABELS.get(name, name)} }}}}"

    # Braces that the catalog means as such stand there twice.
    parts = re.split(r"(\{\{|\}\})", text)
    return "".join(f'{{{{ "{part}" }}}}' if part in ("{{", "}}") else WORD.sub(label, part) for part in parts)


def groups(catalog: Catalog) -> dict[str, t.Any]:
    """The file of rules. What serves is recorded first: alerts read it."""
    records = [
        {"record": each["record"], "expr": fill(each["expr"], catalog)}
        for each in catalog.monitoring["records"]
    ]
    return {
        "groups": [
            {"name": "amdgpu_fleet_records", "rules": records},
            {"name": "amdgpu_fleet_gpus", "rules": [each.rule() for each in of_gpus(catalog)]},
            {"name": "amdgpu_fleet", "rules": [each.rule() for each in of_catalog(catalog)]},
        ]
    }
