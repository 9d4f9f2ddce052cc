# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards of Grafana, made from the catalog. The classic model: every release up to 13 loads it."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog

SCHEMA = 39
COLUMNS = 24
SIZES = {"stat": (6, 5), "timeseries": (12, 8), "table": (24, 8)}
SOURCE = {"type": "prometheus", "uid": "${DS}"}
# The series whose labels a variable offers.
VALUES = {"host": 'label_values(up{job="amdgpu_host"}, host)', "model": "label_values(serving:up, model)"}


def dashboards(catalog: Catalog) -> dict[str, dict[str, t.Any]]:
    """Each by the name of its file."""
    return {
        f"amdgpu-{name}.json": _dashboard(name, entry)
        for name, entry in catalog.monitoring["dashboards"].items()
    }


def _dashboard(name: str, entry: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "uid": f"amdgpu-fleet-{name}",
        "title": entry["title"],
        "tags": ["amdgpu.fleet"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), *(_variable(each) for each in entry["variables"])]},
        "annotations": {"list": []},
        "links": [
            {"title": "AMD GPU fleet", "type": "dashboards", "tags": ["amdgpu.fleet"], "asDropdown": True}
        ],
        "panels": _laid_out(entry["panels"]),
    }


def _source() -> dict[str, t.Any]:
    return {"name": "DS", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(name: str) -> dict[str, t.Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": VALUES[name], "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _laid_out(panels: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """From left to right, in rows as high as their highest panel."""
    placed = []
    left = top = height = 0
    for number, panel in enumerate(panels, 1):
        kind = panel.get("kind", "timeseries")
        width, high = SIZES[kind]
        if left + width > COLUMNS:
            left, top, height = 0, top + height, 0
        placed.append(_panel(number, panel, kind, {"x": left, "y": top, "w": width, "h": high}))
        left, height = left + width, max(height, high)
    return placed


def _panel(number: int, panel: t.Mapping[str, t.Any], kind: str, place: dict[str, int]) -> dict[str, t.Any]:
    now = kind != "timeseries"
    return {
        "id": number,
        "title": panel["title"],
        "type": kind,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel["unit"]}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "instant": now,
                "range": not now,
                **({"format": "table"} if kind == "table" else {}),
            }
            for place, (expr, legend) in enumerate(panel["queries"])
        ],
    }
