# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin ``detected`` through ansible-inventory, with records on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from play_server import PlayServer

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _detected

GPU = {"gfx": "gfx942", "supported": True, "compute_partition": "CPX", "memory_partition": "NPS4"}
# As the role report writes it.
RACK = {
    "host": "rack1", "at": "2026-11-28T10:00:00Z", "profile": "gfx942", "gpus": "8 x AMD Instinct MI300X",
    "gfx": ["gfx942"], "partition_modes": ["CPX_NPS4"], "failure": "", "findings": [{"severity": "warn"}],
}  # fmt: skip
# As a release does that keeps whole facts and the plan.
HALO = {
    "at": "2026-11-28T10:00:00Z",
    "facts": {"amd_gpus": {"gpus": [{"gfx": "gfx1151", "supported": True}]}},
    "plan": {"profile": "gfx1151", "findings": []},
}


def unwrapped(value: dict[str, Any]) -> Any:
    """Texts of a record are marked as not to be trusted, so that Ansible never takes one for a template."""
    return value.get("__ansible_unsafe", value)


class Site:
    """A folder with an inventory of three hosts, and records."""

    def __init__(self, folder: Path, ansible: PlayServer) -> None:
        self.folder, self.ansible = folder, ansible
        self.records = folder / "reports" / "hosts"
        self.records.mkdir(parents=True)
        (folder / "hosts.yml").write_text("all: {hosts: {rack1: {}, halo: {}, new: {}}}\n")
        self.options()

    def options(self, **options: Any) -> None:
        text = json.dumps({"plugin": "amdgpu.fleet.detected", **options})
        (self.folder / "zz-detected.yml").write_text(text)

    def record(self, name: str, record: Any) -> None:
        text = record if isinstance(record, str) else json.dumps(record)
        (self.records / f"{name}.json").write_text(text)

    def inventory(self, *sources: str) -> tuple[dict[str, Any], str]:
        given = [
            argument for source in sources or ("hosts.yml", "zz-detected.yml") for argument in ("-i", source)
        ]
        process = self.ansible.run(
            "ansible-inventory", "--list", *given, cwd=self.folder, env={"COLUMNS": "1000"}
        )
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout, object_hook=unwrapped), process.stderr


@pytest.fixture
def site(tmp_path: Path, ansible: PlayServer) -> Site:
    site = Site(tmp_path, ansible)
    site.record("rack1", RACK)
    site.record("halo", HALO)
    return site


def members(inventory: dict[str, Any]) -> dict[str, list[str]]:
    return {name: group["hosts"] for name, group in inventory.items() if name != "_meta" and "hosts" in group}


def test_hosts_are_grouped_beside_the_inventory_that_names_them(site: Site) -> None:
    inventory, errors = site.inventory()
    assert members(inventory) == {
        "ungrouped": ["new"],
        "gfx942": ["rack1"], "profile_gfx942": ["rack1"], "partition_cpx_nps4": ["rack1"], "health_warn": ["rack1"],
        "gfx1151": ["halo"], "profile_gfx1151": ["halo"], "health_ok": ["halo"],
    }  # fmt: skip
    assert inventory["_meta"]["hostvars"]["halo"]["amdgpu_detected"] == {
        "at": "2026-11-28T10:00:00Z", "gfx": ["gfx1151"], "profile": "gfx1151", "partition_modes": [], "health": "ok",
        "gpu_count": 1,
    }  # fmt: skip
    assert "WARNING" not in errors


def test_a_record_of_a_host_that_is_gone_adds_no_host(site: Site) -> None:
    site.record("gone", {**RACK, "host": "gone"})
    assert "gone" not in json.dumps(site.inventory()[0])
    site.options(add_hosts=True, prefix="seen_")
    inventory, _errors = site.inventory()
    assert members(inventory)["seen_gfx942"] == ["gone", "rack1"]


def test_given_before_the_others_it_says_so(site: Site) -> None:
    inventory, errors = site.inventory("zz-detected.yml", "hosts.yml")
    assert "gfx942" not in inventory
    assert (
        "no other inventory names one of the 2 hosts that have a record. Give this inventory after" in errors
    )


def test_a_damaged_record_leaves_out_its_host_alone(site: Site) -> None:
    site.record("rack1", '{"host": "rack1", ')
    inventory, errors = site.inventory()
    assert "gfx942" not in inventory and members(inventory)["gfx1151"] == ["halo"]
    assert (
        f"{site.records}/rack1.json is no JSON. Delete the file and run amdgpu.fleet.doctor again." in errors
    )


def test_an_old_record_says_only_that_it_is_old(site: Site) -> None:
    site.options(max_age_hours=1)
    site.record("halo", {**HALO, "at": "2999-01-01T00:00:00Z"})
    inventory, _errors = site.inventory()
    assert members(inventory)["stale"] == ["rack1"]
    assert members(inventory)["gfx1151"] == ["halo"] and "gfx942" not in inventory


def test_before_the_first_run_there_are_no_groups(tmp_path: Path, ansible: PlayServer) -> None:
    site = Site(tmp_path, ansible)
    site.records.rmdir()
    inventory, errors = site.inventory()
    assert members(inventory) == {"ungrouped": ["rack1", "halo", "new"]}
    assert "WARNING" not in errors


def test_the_cache_answers_while_it_is_fresh(site: Site) -> None:
    site.options(
        cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection=str(site.folder / "cache")
    )
    before, _errors = site.inventory()
    site.record("rack1", {**RACK, "failure": "the driver did not load"})
    after, _errors = site.inventory()
    assert members(before)["health_warn"] == members(after)["health_warn"] == ["rack1"]
    site.options()
    assert members(site.inventory()[0])["health_fail"] == ["rack1"]


def test_groups_of_ones_own(site: Site) -> None:
    site.options(
        groups={"small": "'CPX_NPS4' in amdgpu_detected.partition_modes"},
        compose={"gfx": "amdgpu_detected.gfx[0]"},
    )
    inventory, _errors = site.inventory()
    assert members(inventory)["small"] == ["rack1"]
    assert inventory["_meta"]["hostvars"]["halo"]["gfx"] == "gfx1151"


@pytest.mark.parametrize(
    ("record", "groups"),
    [
        ({}, ["health_ok"]),
        ({"gfx": "gfx90a", "profile": 3}, ["gfx90a", "health_ok"]),
        ({"profile": "cpu"}, ["health_ok", "profile_cpu"]),
        ({"profile": "gfx1201"}, ["gfx1201", "health_ok", "profile_gfx1201"]),
        ({"gfx": ["gfx942; rm -rf /", "{{ x }}", None]}, ["health_ok"]),
        ({"gpus": [GPU, {**GPU, "memory_partition": None}]},
         ["gfx942", "health_ok", "partition_cpx_nps4", "partition_cpx"]),
        ({"amd_gpus": {"gpus": [{**GPU, "compute_partition": "evil"}, "no GPU"]}}, ["gfx942", "health_ok"]),
        ({"partition_modes": "CPX"}, ["health_ok"]),
        ({"findings": [{"severity": "ok"}, {"severity": "fail"}, 7]}, ["health_fail"]),
        ({"findings": {"severity": "fail"}, "failure": "stopped"}, ["health_fail"]),
    ],
)  # fmt: skip
def test_every_key_may_be_missing_or_of_another_type(record: dict[str, Any], groups: list[str]) -> None:
    seen = _detected.summary({"at": "2026-11-28T10:00:00Z", **record}, "rack1")
    moment = _detected.datetime.datetime(2026, 11, 28, 12, tzinfo=_detected.datetime.timezone.utc)
    assert _detected.groups(seen, moment, 0) == groups
    assert _detected.groups(seen, moment, 1.5) == ["stale"]
    assert _detected.groups(seen, moment, 2.5) == groups
    assert seen["host"] == "rack1"


@pytest.mark.parametrize("text", ["[]", "null", "\x00", "[" * 100_000, '"text"'])
def test_what_is_no_record_is_one_sentence(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rack1.json"
    file.write_text(text)
    with pytest.raises(_detected.RecordError, match=r"rack1\.json is .*Delete the file"):
        _detected.read(file)
