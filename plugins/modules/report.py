#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write what a run says about hosts as a page, as JSON and as a table
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Runs on the controller only; nothing is sent to the host. It works in check mode too, because it changes
    no host.
  - A folder that cannot be written never stops a run. It is a warning before the first change, and the table
    is shown all the same.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.info
options:
  step:
    description:
      - V(start) notes when the run began and looks whether O(directory) can be written.
      - V(record) stores what the variables of this host say, in C(hosts/NAME.json). Run it for each host.
      - V(write) merges the records of this run with those of hosts that it was not for, and writes
        C(report.html), C(report.json), C(doctor.json) and C(prometheus.json). Run it once.
    type: str
    choices: [start, record, write]
    required: true
  directory:
    description: Folder on the controller for the report.
    type: path
    required: true
  title:
    description: Heading of the page.
    type: str
    default: AMD GPU fleet
  address:
    description: Address under which other hosts reach this one, for scrape targets of servers that listen on
      every address.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Record what this run says about the host
  amdgpu.fleet.report:
    step: record
    directory: /srv/fleet/reports

- name: Write the report of the fleet
  amdgpu.fleet.report:
    step: write
    directory: /srv/fleet/reports
  run_once: true
"""

RETURN = r"""
msg: {description: The table., type: str, returned: with O(step=write)}
exit:
  description: 0 where nothing was found, 1 with warnings, 2 where a host cannot go on.
  type: int
  returned: with O(step=write)
directory: {description: Where the report lies; empty where it could not be written., type: str, returned:
  with O(step=start) and O(step=write)}
findings: {description: Findings of the host., type: list, elements: dict, returned: with O(step=record)}
sentences: {description: "The findings, each as a sentence.", type: list, elements: str, returned: with
  O(step=record)}
failure: {description: What stopped the host., type: str, returned: with O(step=record)}
reboot: {description: Why the host needs a reboot., type: list, elements: str, returned: with O(step=record)}
ansible_stats:
  description: The findings of each host and C(exit) under C(amdgpu_fleet), as M(ansible.builtin.set_stats)
    sets them.
  type: dict
  returned: with O(step=write)
"""
