# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role monitor puts on a host: the collector, with the code that judges for the doctor."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog

COLLECTION = Path(__file__).resolve().parents[3]
PACKAGE = "ansible_collections/amdgpu/fleet"
PROGRAM = "roles/monitor/files/collect.py"
# What it imports, and nothing else of the collection; a test runs it with these alone.
UTILITIES = (
    "_answer", "_apu", "_exposition", "_gfx", "_gpu_memory", "_gpu_table", "_gpus", "_kernel_log", "_kfd",
    "_notes", "_owners", "_tree", "_health/__init__", "_health/cper", "_health/link", "_health/log",
    "_health/metrics", "_health/reading", "_health/sensors",
)  # fmt: skip
PLANNER = ("__init__", "health_checks", "health_judge", "health_siblings")


def programs(folder: str) -> list[dict[str, str]]:
    """The files, for config_files."""
    names = [
        *(f"plugins/module_utils/{name}.py" for name in UTILITIES),
        *(f"plugins/plugin_utils/_plan/{name}.py" for name in PLANNER),
    ]
    places = {f"{folder}/{PACKAGE}/{name}": name for name in names}
    return [
        {"path": path, "content": (COLLECTION / name).read_text(encoding="utf-8")}
        for path, name in {f"{folder}/collect.py": PROGRAM, **places}.items()
    ]


def settings(catalog: Catalog, accepted: t.Sequence[str], gpus: int) -> str:
    """What the collector is told, as JSON."""
    metrics = catalog.monitoring["exporters"]["collector"]["metrics"]
    told = {
        "gpus": gpus,
        "accept": sorted(set(accepted)),
        "health": catalog.health,
        "meaning": {name: entry["what"] for name, entry in metrics.items()},
    }
    return json.dumps(told, indent=1, sort_keys=True) + "\n"
