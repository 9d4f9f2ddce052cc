# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs read of a run: doctor.json and the scrape targets."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import siblings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Record, Run, count


def exit_code(records: list[Record]) -> int:
    """0: nothing found. 1: warnings. 2: a host cannot go on. Hosts that were not asked do not count."""
    asked = [record for record in records if record["asked"]]
    if any(record["failure"] or count(record, "fail") for record in asked):
        return 2
    return 1 if any(count(record, "warn") for record in asked) else 0


def doctor(records: list[Record], run: Run) -> dict[str, t.Any]:
    return {
        "exit": exit_code(records),
        "at": run.at,
        "command": run.command,
        "limit": run.limit,
        "hosts": {record["host"]: record["findings"] for record in records},
        "reboot": {record["host"]: record["reboot"] for record in records if record["reboot"]},
        "changes": {record["host"]: record["changes"] for record in records if record["changes"]},
        "unlike": siblings.unlike(records),
        "failures": {record["host"]: record["failure"] for record in records if record["failure"]},
        # What is said of these is older than this run.
        "not_asked": {record["host"]: record["at"] for record in records if not record["asked"]},
    }


def prometheus(records: list[Record]) -> list[dict[str, t.Any]]:
    """Targets as file_sd_configs of Prometheus reads them. A limit takes none away."""
    return [
        {
            "targets": [endpoint["target"]],
            "labels": {
                "host": record["host"],
                "unit": endpoint["unit"],
                "model": endpoint["model"],
                "profile": record["profile"],
                f"{endpoint['engine']}_version": endpoint["version"],
            },
        }
        for record in sorted(records, key=lambda record: record["host"])
        for endpoint in record["endpoints"]
        if endpoint["target"]
    ]
