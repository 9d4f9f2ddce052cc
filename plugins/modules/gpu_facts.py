#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Facts about the AMD GPUs of a host
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Lists the AMD GPUs of a host from C(/sys) alone. No vendor tool is needed, and none is asked.
  - Works before any driver is installed (PCI ids), with the inbox and the DKMS driver (KFD topology), in
    containers
    and with GPUs passed through to a guest.
  - The KFD topology is the authority for the architecture. E(HSA_OVERRIDE_GFX_VERSION) has no influence.
  - A file that is missing, unreadable or damaged gives a V(null) value and an entry in C(problems), never an
    error.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.facts
options:
  root:
    description: The folder under which C(/sys) is read.
    type: path
    default: /
  detail:
    description:
      - V(summary) gives what planning needs.
      - V(full) adds links, VBIOS and firmware of each GPU.
    type: str
    choices: [summary, full]
    default: summary
"""

EXAMPLES = r"""
- name: Detect the GPUs
  amdgpu.fleet.gpu_facts:

- name: Go on only where a supported GPU is
  ansible.builtin.assert:
    that: ansible_facts['amd_gpus']['gpus'] | selectattr('supported') | length > 0

- name: Read the GPUs of an image that is mounted at /mnt/image
  amdgpu.fleet.gpu_facts:
    root: /mnt/image
    detail: full
"""

RETURN = r"""
ansible_facts:
  description: The facts that are added.
  returned: always
  type: dict
  contains:
    amd_gpus:
      description: What was found.
      type: dict
      returned: always
      contains:
        gpus:
          description:
            - One entry for each physical GPU, in PCI order. The two dies of an MI250 are two GPUs, as they
              are for the driver.
          type: list
          elements: dict
          returned: always
          contains:
            index: {description: Position in this list., type: int, returned: always}
            gfx: {description: LLVM name of the architecture., type: str, returned: always, sample: gfx942}
            product: {description: Product name., type: str, returned: always, sample: AMD Instinct MI300X}
            family: {description: Family of the architecture., type: str, returned: always, sample: cdna3}
            pci_id: {description: "PCI vendor and device, hexadecimal.", type: str, returned: always, sample: "1002:74a1"}
            pci_address: {description: "PCI domain, bus, device and function.", type: str, returned: always,
              sample: "0000:05:00.0"}
            unique_id: {description: "Serial number of the die, hexadecimal.", type: str, returned: always}
            apu: {description: Whether GPU and CPU share one package and memory., type: bool, returned: always}
            virtual_function: {description: Whether it is an SR-IOV virtual function., type: bool, returned:
              always}
            driver: {description: "Kernel driver bound to it: amdgpu, vfio-pci, radeon or null.", type: str, returned: always}
            supported: {description: Whether current ROCm releases support the architecture., type: bool, returned: always}
            vram_bytes: {description: Video memory in bytes; the carve-out on an APU., type: int, returned:
              always}
            gtt_bytes: {description: System memory the GPU may map in bytes., type: int, returned: always}
            usable_bytes:
              description: What an inference engine can allocate in bytes, all partitions together. KFD pool
                on an APU, VRAM elsewhere.
              type: int
              returned: always
            compute_units: {description: "Compute units, all partitions together.", type: int, returned:
              always, sample: 304}
            xcc_count: {description: "Accelerator complex dies, all partitions together.", type: int, returned: always, sample: 8}
            numa_node: {description: NUMA node of the PCI device., type: int, returned: always}
            link_speed: {description: Current PCIe speed., type: str, returned: always, sample: 32.0 GT/s}
            link_width: {description: Current PCIe lanes., type: int, returned: always, sample: 16}
            compute_partition: {description: Current compute partition mode., type: str, returned: always,
              sample: SPX}
            memory_partition: {description: Current memory partition mode., type: str, returned: always,
              sample: NPS1}
            available_compute_partitions: {description: Modes the GPU offers., type: list, elements: str,
              returned: always}
            partitions: {description: KFD devices it shows; 0 while no driver is loaded., type: int, returned:
              always}
            kfd_nodes: {description: Their KFD node numbers., type: list, elements: int, returned: always}
            render_nodes: {description: Their nodes in C(/dev/dri)., type: list, elements: str, returned:
              always, sample: [renderD128]}
            available_memory_partitions: {description: Modes the GPU offers., type: list, elements: str,
              returned: detail=full}
            revision: {description: "PCI revision, hexadecimal.", type: str, returned: detail=full}
            vbios: {description: VBIOS version., type: str, returned: detail=full}
            links:
              description: "For each KFD node its links: to (node), type (pcie or xgmi), weight,
                bandwidth_mb_s (MB/s)."
              type: dict
              returned: detail=full
            firmware: {description: Firmware versions of the compute (mec) and copy (sdma) engines., type: dict, returned: detail=full}
        count: {description: Number of physical GPUs., type: int, returned: always}
        partition_count: {description: Number of KFD devices., type: int, returned: always}
        gfx: {description: The architectures present., type: list, elements: str, returned: always}
        homogeneous: {description: Whether all supported GPUs are of one product., type: bool, returned:
          always}
        kfd: {description: "State of the compute driver: present, absent or denied.", type: str, returned: always}
        problems:
          description: "What could not be read: path, problem, and how many files had it (count)."
          type: list
          elements: dict
          returned: always
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "detail": {"type": "str", "choices": ["summary", "full"], "default": "summary"},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    tree = Tree(module.params["root"])
    facts = detect(tree, full=module.params["detail"] == "full")
    module.exit_json(changed=False, ansible_facts={"amd_gpus": facts})


if __name__ == "__main__":
    main()
