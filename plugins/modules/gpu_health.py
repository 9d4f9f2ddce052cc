#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_health
short_description: The state of the AMD GPUs of a host
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Reads errors, bad pages, PCIe and XGMI links, temperatures, power, clocks, throttling and versions of
    each GPU
    from the files of the kernel. No vendor tool is needed, and none is asked.
  - What cannot be read is V(null), never 0, and C(unread) says why.
  - A GPU that sleeps to save power is not woken.
  - Says what is there, and judges nothing. M(amdgpu.fleet.host_facts) returns the same where it is asked to,
    and
    the filter P(amdgpu.fleet.plan#filter) judges it.
notes:
  - On MI100 and MI200 the file C(xgmi_error) is cleared by the read.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.facts
options:
  root:
    description: The folder under which the files of the host are read.
    type: path
    default: /
seealso:
  - module: amdgpu.fleet.gpu_facts
"""

EXAMPLES = r"""
- name: Read the state of the GPUs
  amdgpu.fleet.gpu_health:

- name: Stop where a GPU lost data
  ansible.builtin.assert:
    that: >-
      ansible_facts['amd_health']['gpus'] | map(attribute='ras') | select | map(attribute='blocks') |
      map('dict2items') | flatten
      | map(attribute='value.uncorrectable') | select | length == 0

- name: Read a captured tree of a host
  amdgpu.fleet.gpu_health:
    root: /srv/captures/node7
"""

RETURN = r"""
ansible_facts:
  description: The facts that are added.
  returned: always
  type: dict
  contains:
    amd_health:
      description: What was found.
      type: dict
      returned: always
      contains:
        boot_id: {description: "The boot; counters begin anew with it, or null.", type: str}
        uptime_seconds: {description: "How long the host is up, or null.", type: int}
        gpus:
          description: Each GPU.
          type: list
          elements: dict
          contains:
            index: {description: Place of the GPU in the facts of gpu_facts., type: int}
            pci_address: {description: "PCI address, or null.", type: str}
            asleep: {description: Whether it sleeps to save power; it is not woken., type: bool}
            busy_percent: {description: "How busy it is, or null.", type: int}
            partitions:
              description: Its devices; errors and sensors are those of the whole GPU.
              type: list
              elements: dict
              contains:
                kfd_node: {description: Number of its KFD node., type: int}
                render_node: {description: "Its node in /dev/dri, or null.", type: str}
            ras:
              description: "Errors that the GPU counted, or null."
              type: dict
              contains:
                blocks:
                  description: Errors of each block (umc is the memory) since the driver was loaded.
                  type: dict
                  contains:
                    NAME:
                      description: Each of them.
                      type: dict
                      contains:
                        correctable: {description: "Errors that were corrected, or null.", type: int}
                        uncorrectable: {description: "Errors by which data was lost, or null.", type: int}
                        deferred: {description: "Bad data that was found, and nobody has used yet, or null.",
                          type: int}
                fatal_events: {description: "Fatal events; GPUs that are linked count them together, or
                  null.", type: int}
            bad_pages:
              description: "Pages of its memory that are worn out, or null."
              type: dict
              contains:
                retired: {description: Pages that are not used any more., type: int}
                pending: {description: Pages that will be retired when they are free., type: int}
                failed: {description: Pages that could not be retired., type: int}
                threshold: {description: "How many the driver accepts, where it says so, or null.", type: int}
            links:
              description: PCIe from the GPU up to the slot of its board.
              type: list
              elements: dict
              contains:
                device: {description: PCI address of the lower end., type: str}
                partner: {description: "PCI address of the upper end, or null.", type: str}
                width: {description: "Lanes that are in use, or null.", type: int}
                max_width: {description: "Lanes that both ends have, or null.", type: int}
                speed: {description: "GT/s that it runs at; idle links run slower to save power, or null.",
                  type: float}
                max_speed: {description: "GT/s that both ends can do, or null.", type: float}
            pcie_errors:
              description: What PCIe reports (AER) of these.
              type: dict
              contains:
                correctable: {description: "Errors that the link repaired, or null.", type: int}
                nonfatal: {description: "Transactions that were lost, or null.", type: int}
                fatal: {description: "Errors after which the link had to be reset, or null.", type: int}
            replay_count: {description: "Packets that were sent again; newer GPUs always show 0 or nothing, or
              null.", type: int}
            xgmi:
              description: "Links to other GPUs, or null."
              type: dict
              contains:
                hive_id: {description: "The hive that it is in, or null.", type: str}
                nodes: {description: "GPUs in the hive, or null.", type: int}
                error: {description: "0 none, 1 one, 2 several since the last read, or null.", type: int}
                width: {description: "Lanes of a link, or null.", type: int}
                speed: {description: "Gbit/s of a lane, or null.", type: int}
                links_up: {description: "Links that work, or null.", type: int}
                links_down: {description: "Links that do not, or null.", type: int}
            temperatures:
              description: Each of its sensors.
              type: list
              elements: dict
              contains:
                name: {description: "What is measured (edge, junction, mem).", type: str}
                celsius: {description: "Degrees, or null.", type: int}
                critical: {description: "Where the GPU begins to protect itself, or null.", type: int}
                emergency: {description: "Where it switches itself off, or null.", type: int}
            power:
              description: Power.
              type: dict
              contains:
                watts: {description: "What it draws, or null.", type: int}
                cap: {description: "What it may draw, or null.", type: int}
                cap_default: {description: "What the board allows by itself, or null.", type: int}
                cap_max: {description: "The most that can be set, or null.", type: int}
            clocks:
              description: Clocks.
              type: dict
              contains:
                gfx: {description: "MHz, or null.", type: int}
                memory: {description: "MHz, or null.", type: int}
            metrics:
              description: "What the table gpu_metrics tells, or null."
              type: dict
              contains:
                version: {description: Version of the table gpu_metrics., type: str}
                throttled_by: {description: "What holds the clocks down now - power, current, temperature, or
                  null.", type: list, elements: str}
                residencies:
                  description: How often something held them down since the driver was loaded.
                  type: dict
                  contains:
                    accumulation: {description: "Samples that were taken; tables of APUs do not tell, or
                      null.", type: int}
                    prochot: {description: "Samples in which the board asked for less, or null.", type: int}
                    ppt: {description: "Samples at the limit of power, or null.", type: int}
                    socket_thm: {description: "Samples in which the GPU was too hot, or null.", type: int}
                    vr_thm: {description: "Samples in which its voltage regulators were too hot, or null.",
                      type: int}
                    hbm_thm: {description: "Samples in which its memory was too hot, or null.", type: int}
                    spl: {description: "Of an APU, at the limit of sustained power, or null.", type: int}
                    fppt: {description: "Of an APU, at the fast limit of power, or null.", type: int}
                    sppt: {description: "Of an APU, at the slow limit of power, or null.", type: int}
                    thm_core: {description: "Of an APU, with processor cores that were too hot, or null.",
                      type: int}
                    thm_gfx: {description: "Of an APU, with graphics that were too hot, or null.", type: int}
                    thm_soc: {description: "Of an APU, with the rest of the chip too hot, or null.", type:
                      int}
                pcie_width: {description: "Lanes, or null.", type: int}
                pcie_speed: {description: "GT/s, or null.", type: float}
                pcie_replay: {description: "Packets that were sent again, or null.", type: int}
                pcie_rollover: {description: "Packets that were sent again four times, or null.", type: int}
                pcie_nak_sent: {description: "Packets that the GPU refused, or null.", type: int}
                pcie_nak_received: {description: "Packets of it that were refused, or null.", type: int}
                pcie_l0_to_recovery: {description: "How often the link had to be trained again, or null.",
                  type: int}
                pcie_other_end_recovery: {description: "How often the other end asked for it, or null.", type:
                  int}
            records:
              description: "Error records of the driver; root may read them, or null."
              type: dict
              contains:
                uncorrected: {description: Error records (CPER) of that severity., type: int}
                fatal: {description: Error records (CPER) of that severity., type: int}
                corrected: {description: Error records (CPER) of that severity., type: int}
                latest: {description: "When the latest was made, or null.", type: str}
                afid: {description: "AMD's field id of the latest. AMD's library alone decodes it; unread
                  names how, or null.", type: int}
            serial_number: {description: "Of the board, or null.", type: str}
            vbios: {description: "Version of the VBIOS, or null.", type: str}
            firmware: {description: "Version of each part, hexadecimal.", type: dict}
            unread: {description: Why each value that is null could not be read., type: dict}
        log:
          description: "What the kernel log says about hardware, or null."
          type: list
          elements: dict
          contains:
            kind: {description: "What it tells of (uncorrectable, bad_pages, reset, heat).", type: str}
            gpu: {description: "PCI address, where the line names a GPU, or null.", type: str}
            count: {description: How many lines there are., type: int}
            line: {description: The latest., type: str}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gpus, _health
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._reader import Reader


def main() -> None:
    module = AnsibleModule(argument_spec={"root": {"type": "path", "default": "/"}}, supports_check_mode=True)
    hold_to_text(module)
    reader = Reader(module)
    gpus = _gpus.detect(reader.tree)["gpus"]
    facts = {"amd_health": _health.facts(reader.tree, gpus, reader.dmesg)}
    module.exit_json(changed=False, ansible_facts=facts)


if __name__ == "__main__":
    main()
