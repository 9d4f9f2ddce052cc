# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless, _warm
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._display import show
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import folder as folders
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import (
    log,
    merge,
    outputs,
    page,
    run,
    table,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.record import of_host
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Record, Run
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._shape import ShapeError, fitting

# Set by tasks, so they are values already.
OF_TASKS = (
    "plan_host", "ansible_facts", "ansible_check_mode", "fleet_failure", "fleet_findings_before",
    "fleet_rebooted", "fleet_serving", "fleet_teardown", "fleet_gpu_health", "devices_applied",
    "fleet_compared", "plan_compared", "rocm_removed", "__serve_probes", "__serve_seen",
    "serve_installed_wheels", "kernel_reboot_required", "kernel_reboot_reason", "firmware_reboot_reason",
    "driver_reboot_reason",
)  # fmt: skip
# From the inventory, so they may be templates.
OF_INVENTORY = ("ansible_connection", "plan_accept", "plan_catalog")

# Before Ansible forks.
_warm.load()


class ActionModule(ActionBase):
    """Writes the report on the controller; its documentation is that of the module of the same name."""

    _supports_check_mode = True
    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            argument_spec={
                "step": {"type": "str", "choices": ["start", "record", "write"], "required": True},
                "directory": {"type": "path", "required": True},
                "title": {"type": "str", "default": "AMD GPU fleet"},
                "address": {"type": "str", "default": ""},
            }
        )
        variables = task_vars or {}
        asked = Path(arguments["directory"]).absolute()
        now = run.this_run(variables)
        if arguments["step"] == "start":
            return self._start(asked)
        place = folders.usable(asked, run.local_folder() / "amdgpu-fleet-report")
        if arguments["step"] == "record":
            return self._record(place, arguments["address"], now, variables)
        return self._write(place, asked, arguments["title"], now, variables)

    def _start(self, asked: Path) -> dict[str, t.Any]:
        run.begin()
        problem = folders.unwritable(asked)
        return {"changed": False, "directory": str(asked), **({"warnings": [problem]} if problem else {})}

    def _record(self, place: Path, address: str, now: Run, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        host = str(variables["inventory_hostname"])
        path = folders.file_of(place, host)
        known = {name: variables[name] for name in OF_TASKS if name in variables}
        known |= {name: self._templar.template(variables[name]) for name in OF_INVENTORY if name in variables}
        record = _record_of(host, known, now, address, merge.read_one(path))
        past = folders.history_of(place, host)
        problem = _try_write({path: folders.to_json(record), past: log.text(past, record)})
        stops = [sentence(each) for each in t.cast("list[dict[str, t.Any]]", record["findings"])]
        return {
            "changed": False,
            "findings": record["findings"],
            "sentences": stops,
            "failure": record["failure"],
            "reboot": record["reboot"],
            **({"warnings": [problem]} if problem else {}),
        }

    def _write(
        self, place: Path, asked: Path, title: str, now: Run, variables: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        records = _records(place, now, variables)
        written = place == asked
        where = f"Report: {place / 'report.html'}" if written else folders.unwritable(asked)
        doctor = outputs.doctor(records, now)
        problem = ""
        if written:
            problem = _try_write(
                {
                    place / "report.html": page.page(records, now, title),
                    place / "report.json": folders.to_json(records),
                    place / "doctor.json": folders.to_json(doctor),
                    place / "prometheus.json": folders.to_json(outputs.prometheus(records)),
                }
            )
        text = table.table(records, now, problem or where)
        show(f"\n{text}")
        return {
            "changed": False,
            "msg": text,
            "exit": doctor["exit"],
            "directory": str(place) if written else "",
            # What AWX hands to the next job of a workflow, and shows beside the job.
            "ansible_stats": {
                "aggregate": False,
                "per_host": False,
                "data": {
                    "amdgpu_fleet": {key: doctor[key] for key in ("exit", "hosts", "reboot", "failures")}
                },
            },
            **({"warnings": [problem]} if problem else {}),
        }


def _record_of(host: str, known: dict[str, t.Any], now: Run, address: str, before: Record | None) -> Record:
    """The record of the host; where what it answered cannot be one, a record that says so: one host must not
    cost the others their report."""
    try:
        return t.cast("Record", fitting(of_host(host, known, now, address, before), Record, "record"))
    except (
        ShapeError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        failed = {name: known[name] for name in ("ansible_connection",) if name in known}
        failed["fleet_failure"] = (
            f"What the host answered does not fit together ({_harmless.line(str(error))[:200]})."
        )
        return of_host(host, failed, now, address, before)


def _records(place: Path, now: Run, variables: dict[str, t.Any]) -> list[Record]:
    hosts = [str(host) for host in variables.get("ansible_play_hosts_all") or []]
    left = {str(host) for host in variables.get("ansible_play_hosts") or []}
    everybody = {str(host) for host in (variables.get("groups") or {}).get("all") or []}
    stored = {
        host: record
        for host, record in merge.read(place / "hosts").items()
        if host in hosts or not merge.removed(record, now.inventory, everybody)
    }
    return merge.merge(hosts, set(hosts) - left, stored, now)


def _try_write(files: dict[Path, str]) -> str:
    """Write them; what fails is a sentence, and never the end of a rollout."""
    try:
        for path, text in files.items():
            folders.write(path, text)
    except OSError as error:
        return f"The report could not be written to {path} ({(error.strerror or str(error)).lower()})."
    return ""
