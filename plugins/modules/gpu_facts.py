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
  - A GPU is one device on the PCI bus, whatever number of partitions it is divided into and whatever ids a
    driver gives them.
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
      - V(full) adds links, the PCIe connection, VBIOS and firmware of each GPU.
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
            index: {description: "Place in this list, from 0.", type: int, returned: always}
            gfx:
              description: LLVM name of the architecture. V(null) where neither KFD nor the PCI id tells, and
                with the old driver radeon.
              type: str
              returned: always
              sample: gfx942
            product:
              description:
                - Product name. Where the PCI revision would decide between boards and is not known, the name
                  is a choice, as C(AMD Radeon RX 9070, 9070 GRE or 9070 XT).
                - V(null) for an id that the catalog lacks.
              type: str
              returned: always
              sample: AMD Instinct MI300X
            family:
              description: Family of the architecture. V(null) for one that the catalog lacks.
              type: str
              returned: always
              sample: cdna3
            pci_id:
              description: PCI vendor and device, hexadecimal. V(null) where KFD alone shows the GPU and does
                not tell.
              type: str
              returned: always
              sample: "1002:74a1"
            pci_address:
              description: PCI domain, bus, device and function. V(null) where KFD alone shows the GPU and
                does not tell.
              type: str
              returned: always
              sample: "0000:05:00.0"
            unique_id:
              description:
                - Serial number of the die, hexadecimal. V(null) on most APUs and without a driver.
                - It does not tell partitions of one GPU from GPUs.
                  RV(ansible_facts.amd_gpus.gpus[].pci_address) does.
              type: str
              returned: always
            apu: {description: Whether GPU and CPU share one memory., type: bool, returned: always}
            virtual_function: {description: Whether it is an SR-IOV virtual function., type: bool, returned:
              always}
            driver:
              description: "Kernel driver bound to it, as amdgpu, vfio-pci or radeon. V(null) where there is
                none."
              type: str
              returned: always
            supported: {description: Whether current ROCm releases support the architecture., type: bool,
              returned: always}
            vram_bytes:
              description: Video memory in bytes; the carve-out on an APU. V(null) without a driver.
              type: int
              returned: always
            gtt_bytes:
              description: System memory the GPU may map in bytes. V(null) without a driver.
              type: int
              returned: always
            usable_bytes:
              description:
                - What an inference engine can allocate in bytes, all partitions together. V(null) without a
                  driver.
                - On an APU it is the pool that KFD shows, but no more than the host has. Elsewhere it is the
                  video memory.
              type: int
              returned: always
            compute_units:
              description: Compute units, all partitions together. V(null) without a driver.
              type: int
              returned: always
              sample: 304
            xcc_count:
              description: Accelerator complex dies, all partitions together. V(null) without a driver, and
                before Linux 6.5.
              type: int
              returned: always
              sample: 8
            numa_node:
              description: NUMA node of the PCI device. V(null) where the kernel knows none.
              type: int
              returned: always
            compute_partition:
              description: Current compute partition mode. V(null) where the GPU has no modes, and without a
                driver.
              type: str
              returned: always
              sample: SPX
            memory_partition:
              description: Current memory partition mode. V(null) where the GPU has no modes, and without a
                driver.
              type: str
              returned: always
              sample: NPS1
            available_compute_partitions: {description: Modes the GPU offers., type: list, elements: str,
              returned: always}
            partitions: {description: KFD devices it shows; 0 while no driver is loaded., type: int, returned:
              always}
            kfd_nodes: {description: Their KFD node numbers., type: list, elements: int, returned: always}
            render_nodes:
              description: Their nodes in C(/dev/dri), in the order of the KFD nodes.
              type: list
              elements: str
              returned: always
              sample: [renderD128]
            available_memory_partitions: {description: Modes the GPU offers., type: list, elements: str,
              returned: detail=full}
            revision:
              description: PCI revision, hexadecimal. V(null) where it cannot be read.
              type: str
              returned: detail=full
            vbios: {description: VBIOS version. V(null) without a driver., type: str, returned: detail=full}
            link_speed:
              description: Current PCIe speed. V(null) where the kernel does not know it.
              type: str
              returned: detail=full
              sample: 32.0 GT/s
            link_width:
              description: Current PCIe lanes. V(null) where the kernel does not know it.
              type: int
              returned: detail=full
              sample: 16
            links:
              description: "For each KFD node its links: to (node), type (pcie or xgmi), weight,
                bandwidth_mb_s (MB/s)."
              type: dict
              returned: detail=full
            firmware:
              description: Versions of the firmware that KFD shows.
              type: dict
              returned: detail=full
              contains:
                mec: {description: Of the compute engine. V(null) without a driver., type: int, returned:
                  always}
                sdma: {description: Of the copy engines. V(null) without a driver., type: int, returned:
                  always}
        count: {description: Number of physical GPUs., type: int, returned: always}
        partition_count: {description: Number of KFD devices., type: int, returned: always}
        gfx: {description: The architectures present., type: list, elements: str, returned: always}
        homogeneous: {description: Whether all supported GPUs are of one product., type: bool, returned:
          always}
        kfd: {description: "State of the compute driver: present, absent or denied.", type: str, returned:
          always}
        problems:
          description: What could not be read or contradicts itself, at most 12 entries.
          type: list
          elements: dict
          returned: always
          contains:
            path: {description: The file or folder. Empty in the entry that counts what was left out., type:
              str, returned: always}
            problem: {description: What is wrong with it., type: str, returned: always, sample: is missing}
            count: {description: How many files had it., type: int, returned: always}
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
