#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_args
short_description: Kernel command line arguments of the next boot
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Adds and removes single kernel arguments in the configuration of whatever boot loader the host has, and
    keeps
    everything a person wrote there.
  - GRUB on Debian and Ubuntu gets a drop-in of its own in C(/etc/default/grub.d), then C(update-grub). Files
    of the
    user are never edited;
    an argument to be removed that stands in one of them is filtered out by the drop-in, also from what is
    written
    there later.
  - GRUB with loader entries (EL, Fedora) is changed with C(grubby), together with C(/etc/kernel/cmdline) and
    C(/etc/default/grub), so that a
    kernel installed later has the arguments too. systemd-boot (C(/etc/kernel/cmdline), loader entries,
    C(kernelstub)), C(rpm-ostree) and GRUB without drop-ins
    (SUSE, Arch) are handled in their own way.
  - Unified kernel images (C(EFI/Linux) of the EFI system partition) hold their arguments, so
    C(/etc/kernel/cmdline) is changed and all of
    them are built again, by C(kernel-install) where its layout is C(uki) or by C(mkinitcpio) where its
    presets make them. Elsewhere
    nothing is changed, and the message says what to do.
  - Limine is changed through the settings of C(limine-entry-tool), Proxmox through C(proxmox-boot-tool),
    openSUSE's C(sdbootutil) through a drop-in in C(/etc/kernel/cmdline.d). Systems that are built from a
    configuration or an image (NixOS, C(bootc), Ubuntu Core and others) and loaders that are not known are
    refused, with the place where their owner writes the arguments.
  - A tool that fails, or a result that does not show the arguments, puts every file back as it was and fails
    with the
    reason.
options:
  present:
    description:
      - Arguments the next boot must have, V(name) or V(name=value), one per entry.
      - An argument that may stand once is replaced. C(console), C(pci), C(rd.*), C(module_blacklist),
        C(modprobe.blacklist) and their kind may repeat and are added.
    type: list
    elements: str
    default: []
  absent:
    description:
      - Arguments the next boot must not have. V(name) removes the argument with any value, V(name=value) only
        with
        that value.
    type: list
    elements: str
    default: []
  boot_loader:
    description:
      - The boot loader. V(auto) takes the one that started the running system, by the EFI variables, else by
        the files whose arguments are those of C(/proc/cmdline), and refuses where none fits. V(suse) is GRUB
        whose C(/etc/default/grub) has to be edited because it
        reads no drop-ins.
    type: str
    choices: [auto, grub, bls, systemd-boot, rpm-ostree, suse, limine, proxmox, sdbootutil]
    default: auto
  dropin:
    description:
      - Name of the drop-in in C(/etc/default/grub.d). A file there that sorts later and sets the arguments
        anew makes
        another name necessary. With O(purge) it takes over from a drop-in that this module wrote under
        another name.
    type: str
    default: 60-amdgpu-fleet.cfg
  purge:
    description:
      - Take back what earlier calls added or took away and this call does not ask for. What a person wrote,
        before or since, stays.
      - GRUB's drop-in tells what that is. For other boot loaders C(/var/lib/amdgpu-fleet/kernel-arguments)
        does, which is there as long as there is something to take back.
      - A C(/etc/kernel/cmdline) that was made for later kernels stays, with the host's own arguments, because
        a kernel that is installed
        before the next boot would otherwise copy those of the running one.
    type: bool
    default: false
  root:
    description:
      - The folder under which the host's files are, for images and chroots. Its C(/etc/default/grub) is read
        by a
        shell.
      - The tool of the boot loader is run below another root only by C(chroot), and only if that root has it.
    type: path
    default: /
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: amdgpu.fleet.module_options
"""

EXAMPLES = r"""
- name: Give an Instinct host what AMD asks for, and take outdated advice away
  amdgpu.fleet.kernel_args:
    present:
      - iommu=pt
      - pci=realloc=off
    absent:
      - amdgpu.gttsize
      - amdgpu.cwsr_enable=0
  register: kernel_args

- name: Say why a reboot is needed
  ansible.builtin.debug:
    var: kernel_args.reboot_reason
  when: kernel_args.reboot_required
"""

RETURN = r"""
boot_loader:
  description: The boot loader whose configuration was read.
  returned: success
  type: str
  sample: grub
before:
  description: The arguments the next boot would have got.
  returned: success
  type: list
  elements: str
  sample: [quiet, iommu=off]
after:
  description: The arguments the next boot gets, by the boot configuration.
  returned: success
  type: list
  elements: str
  sample: [quiet, iommu=pt, pci=realloc=off]
running:
  description: The arguments of the running kernel, from C(/proc/cmdline); null where that cannot be read.
  returned: success
  type: list
  elements: str
  sample: [BOOT_IMAGE=/boot/vmlinuz-6.8.0-60-generic, root=UUID=6f2c, ro, quiet]
reboot_required:
  description:
    - Whether the running kernel differs from RV(after) in an argument that was asked for, or that this call
      purged. False where neither
      loader entries nor images are to be seen, because a reboot might not bring what C(/etc/kernel/cmdline)
      says.
  returned: success
  type: bool
  sample: true
reboot_reason:
  description: In which arguments it differs; an empty text where it does not.
  returned: success
  type: str
  sample: iommu=pt is not in effect in the running kernel
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [add iommu=pt, write /etc/default/grub.d/60-amdgpu-fleet.cfg, run /usr/sbin/update-grub]
problems:
  description: What could not be read.
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _kernel_args as kernel_args


def main() -> None:
    kernel_args.run(AnsibleModule(**kernel_args.ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
