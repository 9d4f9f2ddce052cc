# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: detected
short_description: Groups hosts by what the last run saw on them
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Every run of the playbooks C(site), C(doctor) and C(report) leaves a record of each host in
    C(reports/hosts/NAME.json). This plugin reads these records and groups the hosts. It asks no host.
  - The groups are the architecture (C(gfx942)), the profile (C(profile_gfx942)), the partition mode
    (C(partition_cpx_nps4)) and the health (C(health_ok), C(health_warn), C(health_fail)).
  - Each host also gets the variable C(amdgpu_detected), with the keys C(at), C(gfx), C(profile),
    C(partition_modes), C(health) and C(gpu_count).
  - It stands beside any other inventory, which says which hosts there are. Give it last, so that they are
    known. In a folder of inventories Ansible reads the files in the order of their names.
  - The name of its file must end in C(detected.yml) or C(detected.yaml).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [amdgpu.fleet.detected]
  reports:
    description:
      - Folder of the report, as O(amdgpu.fleet.report#role:main:report_directory) names it. A relative path
        starts at the folder of the inventory file.
    type: str
    default: reports
  prefix:
    description: What the name of each group begins with.
    type: str
    default: ""
  add_hosts:
    description:
      - Whether to add hosts that no other inventory names. A record outlives its host, so that a run could
        reach for hosts that are gone.
    type: bool
    default: false
  max_age_hours:
    description: Hosts whose record is older come into the group C(stale) and into no other. V(0) takes every
      record.
    type: float
    default: 0
"""

EXAMPLES = r"""
# inventory/zz-detected.yml, beside inventory/hosts.yml
plugin: amdgpu.fleet.detected
reports: ../reports
max_age_hours: 24

# Then:  ansible-playbook amdgpu.fleet.upgrade -i inventory --limit 'gfx942:&health_ok'

---
# A group of its own for racks in CPX, and a cache for an inventory of many hosts.
plugin: amdgpu.fleet.detected
groups:
  many_small: amdgpu_detected.gpu_count * 8 >= 64 and 'CPX_NPS4' in amdgpu_detected.partition_modes
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/amdgpu-fleet
cache_timeout: 600
"""

import datetime
import typing as t
from pathlib import Path

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _detected


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "amdgpu.fleet.detected"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("detected.yml", "detected.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        records = self._records(Path(path), cache)
        known = [
            seen for seen in records if seen["host"] in self.inventory.hosts or self.get_option("add_hosts")
        ]
        if records and not known:
            self.display.warning(
                f"{path}: no other inventory names one of the {len(records)} hosts that have a record. Give "
                f"this "
                f"inventory after the others, or set add_hosts."
            )
        now = datetime.datetime.now(datetime.timezone.utc)
        for seen in known:
            self._place(seen, now)

    def _records(self, path: Path, cache: bool) -> list[_detected.Seen]:
        """What the records say, from the cache where it is asked for and holds them."""
        key = self.get_cache_key(str(path))
        use_cache = cache and self.get_option("cache")
        if use_cache and key in self._cache:
            return list(self._cache[key])
        records = self._read(Path(path).parent / Path(self.get_option("reports")).expanduser() / "hosts")
        if self.get_option("cache"):
            self._cache[key] = records
        return records

    def _read(self, folder: Path) -> list[_detected.Seen]:
        if not folder.is_dir():
            # Before the first run there is no record, and that is no error.
            self.display.vv(f"{folder}: there is no record of a host yet")
            return []
        records = []
        for file in sorted(folder.glob("*.json")):
            try:
                records.append(_detected.read(file))
            except _detected.RecordError as error:
                self.display.warning(f"amdgpu.fleet.detected leaves a host out: {error}")
        return records

    def _place(self, seen: _detected.Seen, now: datetime.datetime) -> None:
        host = seen["host"]
        self.inventory.add_host(host)
        variables = {key: value for key, value in seen.items() if key != "host"}
        self.inventory.set_variable(host, "amdgpu_detected", variables)
        for name in _detected.groups(seen, now, self.get_option("max_age_hours")):
            group = self.inventory.add_group(self._sanitize_group_name(self.get_option("prefix") + name))
            self.inventory.add_child(group, host)
        strict = self.get_option("strict")
        values = {**self.inventory.get_host(host).get_vars(), "amdgpu_detected": variables}
        try:
            self._set_composite_vars(self.get_option("compose"), values, host, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), values, host, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), values, host, strict=strict)
        except Exception as error:
            raise AnsibleParserError(f"amdgpu.fleet.detected: {host}: {error}") from error
