#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: All facts about a host that a plan needs, in one execution
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Returns the GPUs as M(amdgpu.fleet.gpu_facts) does, ROCm and its driver as M(amdgpu.fleet.rocm_facts)
    does, and the rest of the host - distribution, kernel, boot loader, packages, device permissions, Podman.
  - The options are what the plan asks about the host. P(amdgpu.fleet.plan_questions#filter) makes them from
    the inventory.
  - Reads files. The only commands are C(dmesg), C(rpm) on distributions that use it, and C(modinfo) for a
    compressed or signed module.
  - A file that is missing, unreadable or damaged gives a V(null) value and an entry in C(problems), never an
    error.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.facts
  - amdgpu.fleet.attributes.questions
options:
  root:
    description:
      - The folder under which the files of the host are read, or an archive that M(amdgpu.fleet.capture)
        made.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Read a host
  amdgpu.fleet.host_facts:

- name: Read a host, who holds port 8000 and whether the model is there
  amdgpu.fleet.host_facts:
    ports: [8000]
    paths: [/srv/models/chat]

- name: Stop where the next boot is not into the running kernel
  ansible.builtin.assert:
    that: ansible_facts['amd_host']['kernel']['default_release'] ==
      ansible_facts['amd_host']['kernel']['release']
"""

RETURN = r"""
ansible_facts:
  description: The facts that are added.
  returned: always
  type: dict
  contains:
    amd_gpus:
      description: "The GPUs, as M(amdgpu.fleet.gpu_facts) returns them."
      type: dict
      returned: always
    amd_rocm:
      description: "ROCm and its driver, as M(amdgpu.fleet.rocm_facts) returns them."
      type: dict
      returned: always
    amd_host:
      description: "The rest of the host, and the answers to the options."
      type: dict
      returned: always
      contains:
        os:
          description: The distribution.
          type: dict
          contains:
            id: {description: "ID of os-release, or null.", type: str}
            version: {description: "VERSION_ID of os-release, or null.", type: str}
            codename: {description: "VERSION_CODENAME of os-release, or null.", type: str}
            name: {description: "PRETTY_NAME of os-release, or null.", type: str}
            like: {description: ID_LIKE of os-release., type: list, elements: str}
            ubuntu_codename: {description: "UBUNTU_CODENAME of os-release, of a derivative, or null.", type:
              str}
            debian_codename: {description: "DEBIAN_CODENAME of os-release, of a derivative, or null.", type:
              str}
            platform: {description: "PLATFORM_ID of os-release, or null.", type: str}
            variant: {description: "VARIANT_ID of os-release, or null.", type: str}
            package_manager: {description: "apt, dnf, zypper or pacman, or null.", type: str}
            machine: {description: "Machine (x86_64); known of the running system only, or null.", type: str}
            glibc: {description: "Version of glibc; known of the running system only, or null.", type: str}
            init: {description: "What starts services (systemd, runit), or null.", type: str}
        place:
          description: Where the system runs.
          type: dict
          contains:
            kind: {description: "host, guest (a virtual machine), container or wsl.", type: str}
            container: {description: "Manager of the container (lxc, podman), or null.", type: str}
            machine: {description: "Kind of the virtual machine (kvm, hyperv), or null.", type: str}
            signs: {description: What shows that it is a container., type: list, elements: str}
        memory_bytes: {description: "Memory in bytes (MemTotal, without the carve-out of an APU), or null.",
          type: int}
        cpu_vendor: {description: "amd or intel, or null.", type: str}
        packages: {description: Versions of the installed packages that a plan can need., type: dict}
        package_state:
          description: What would stop the package manager.
          type: dict
          contains:
            unfinished:
              description: Packages of dpkg that were begun and not finished.
              type: list
              elements: dict
              contains:
                name: {description: Package., type: str}
                version: {description: Its version., type: str}
                state: {description: "Its state, as dpkg names it (half-configured).", type: str}
            interrupted: {description: Whether dpkg was stopped while it wrote its status., type: bool}
            duplicates: {description: Packages of rpm of which two versions are installed., type: list,
              elements: str}
            on_hold: {description: Packages that a plan can need and that somebody holds., type: list,
              elements: str}
            busy: {description: "Who holds the lock of the package manager, or null.", type: str}
        room:
          description: Room where kernels and modules are written.
          type: dict
          contains:
            boot: {description: "Bytes free in /boot; known of the running system only, or null.", type: int}
            modules: {description: "Bytes free in /lib/modules; known of the running system only, or null.",
              type: int}
            var: {description: "Bytes free in /var; known of the running system only, or null.", type: int}
            image: {description: "Size of the largest image of an initramfs in bytes, or null.", type: int}
            esp: {description: "Bytes free on the EFI system partition; known of the running system only, or
              null.", type: int}
            esp_path: {description: "An EFI system partition that images lie on, or null.", type: str}
        held: {description: Packages that this collection keeps from being upgraded., type: list, elements:
          str}
        repositories:
          description: Repositories of AMD that somebody else configured.
          type: list
          elements: dict
          contains:
            path: {description: File., type: str}
            uri: {description: Address., type: str}
            signed: {description: Whether a key is named., type: bool}
            mixed: {description: Whether the file holds repositories of others too., type: bool}
        dnf_repositories: {description: Names of the enabled repositories of dnf., type: list, elements: str}
        kernel:
          description: The running kernel and those that are installed.
          type: dict
          contains:
            release: {description: "Release of the running kernel, or null.", type: str}
            flavour: {description: "Last part of its name (generic, amd64), or null.", type: str}
            command_line: {description: Arguments that it was started with., type: list, elements: str}
            default_release: {description: "Release that the next boot starts, or null.", type: str}
            installed: {description: Releases that have modules and an image., type: list, elements: str}
            headers: {description: Whether the running one has headers., type: bool}
            modules: {description: Whether the running one has GPU modules of its own., type: bool}
            without_headers: {description: Releases without headers., type: list, elements: str}
            without_modules: {description: Releases without GPU modules., type: list, elements: str}
            module_options:
              description: Options of amdgpu and TTM in files that we did not write.
              type: list
              elements: dict
              contains:
                path: {description: File., type: str}
                module: {description: Module., type: str}
                parameter: {description: Parameter., type: str}
                value: {description: Value., type: str}
            builtin: {description: GPU drivers that are a part of the kernel and no modules., type: list,
              elements: str}
            module_parameters: {description: "Parameters that TTM has, where it is loaded.", type: dict}
            unknown_parameters: {description: Arguments and options that the loaded module has no parameter
              for., type: list, elements: str}
            trouble:
              description: Lines of the kernel log about GPUs that are not well.
              type: list
              elements: dict
              contains:
                line: {description: The latest line of its kind., type: str}
                count: {description: How many there were., type: int}
        boot:
          description: How the system starts.
          type: dict
          contains:
            loader: {description: "Boot loader that is ours to change, or null.", type: str}
            refused:
              description: "What is not ours to change, or null."
              type: dict
              contains:
                system: {description: The system whose kernel arguments are not ours to write., type: str}
                reason: {description: Why they are not., type: str}
                where: {description: Where its owner writes them., type: str}
                whole: {description: Whether nothing else of the system is ours either., type: bool}
                units: {description: Whether units and rules in /etc stay there., type: bool}
            next_system: {description: "What the next boot starts instead of Linux, or null.", type: str}
            initramfs: {description: "Tool that builds the initramfs, or null.", type: str}
            initramfs_commands: {description: Commands which build all images again., type: list, elements:
              list}
            initramfs_images: {description: Whether there are images., type: bool}
            initramfs_options: {description: Whether images hold /etc/modprobe.d; false where they are known
              not to., type: bool}
            writable_root: {description: Whether the system can be written., type: bool}
            secure_boot: {description: "Whether Secure Boot is on; only EFI has it, or null.", type: bool}
            signatures_enforced: {description: "Whether the kernel takes signed modules alone, or null.",
              type: bool}
            mok_enrolled: {description: "Whether shim trusts the key of DKMS, or null.", type: bool}
            bootc: {description: Whether the system is an ostree image., type: bool}
            id: {description: "Id of this boot, or null.", type: str}
            rebooted_from: {description: "Boot that our last reboot ended, where it was not seen to come back,
              or null.", type: str}
            rebooted_into: {description: "Boot that our last reboot led to, or null.", type: str}
            rebooted_for: {description: "Reasons of our last reboot, or null.", type: str}
        iommu:
          description: The IOMMU.
          type: dict
          contains:
            mode: {description: "off, pt or remap.", type: str}
            groups: {description: Number of groups., type: int}
        numa_nodes: {description: "CPUs of each node of memory, as a list of ranges.", type: dict}
        numa_balancing: {description: "Whether automatic NUMA balancing is on, or null.", type: bool}
        transparent_hugepages: {description: "always, madvise or never, or null.", type: str}
        memlock:
          description: Limits of locked memory.
          type: dict
          contains:
            users: {description: "Limit for everybody, in KiB or unlimited, or null.", type: str}
            services: {description: "Default of systemd, or null.", type: str}
        selinux:
          description: SELinux.
          type: dict
          contains:
            mode: {description: "enforcing, permissive or disabled.", type: str}
            booleans: {description: Whether containers may use devices., type: dict}
            ours: {description: Booleans that this collection set., type: list, elements: str}
        devices:
          description: Device files of the GPUs.
          type: dict
          contains:
            kfd:
              description: The device file of KFD.
              type: dict
              contains:
                present: {description: Whether /dev/kfd is there., type: bool}
                owner: {description: "Number of the owner, or null.", type: int}
                group: {description: "Name of the group, or null.", type: str}
                gid: {description: "Number of the group, or null.", type: int}
                mode: {description: "Mode, octal, or null.", type: str}
            render:
              description: "The render nodes, one entry for each set of equal ones."
              type: list
              elements: dict
              contains:
                first: {description: Name of the first of equal nodes., type: str}
                count: {description: How many are equal., type: int}
                owner: {description: Number of the owner., type: int}
                group: {description: "Name of the group, or null.", type: str}
                gid: {description: Number of the group., type: int}
                mode: {description: "Mode, octal.", type: str}
        groups:
          description: Numbers of the groups that own GPU devices.
          type: dict
          contains:
            render: {description: "Number of the group render, or null.", type: int}
            video: {description: "Number of the group video, or null.", type: int}
        group_members:
          description: Their members.
          type: dict
          contains:
            render: {description: Members of render., type: list, elements: str}
            video: {description: Members of video., type: list, elements: str}
        podman:
          description: Podman.
          type: dict
          contains:
            version: {description: "Release, or null.", type: str}
            init: {description: Whether it has an init for containers., type: bool}
            quadlet: {description: "Release whose keys its Quadlet knows, or null.", type: str}
            images: {description: Those asked for that are stored., type: list, elements: str}
            image_digests: {description: Digests of each of them., type: dict}
            open_store: {description: "Root's store, where others may look into it, or null.", type: str}
        user:
          description: "The account that was asked for, or null."
          type: dict
          contains:
            name: {description: Name of the account., type: str}
            uid: {description: "Its number, or null.", type: int}
            home: {description: "Its folder, or null.", type: str}
            subordinate_ids: {description: Whether it has subordinate ids., type: bool}
            linger: {description: Whether its services run without a login., type: bool}
            lowest_port: {description: Lowest port that it may listen on., type: int}
            commands: {description: Commands of rootless Podman that the host has., type: list, elements: str}
        ports:
          description: Who holds each port that was asked for.
          type: dict
          contains:
            NAME:
              description: Each of them.
              type: dict
              contains:
                listening: {description: Whether something listens., type: bool}
                unit: {description: "Unit of systemd that holds it, or null.", type: str}
                process: {description: "Process that holds it, or null.", type: str}
        paths:
          description: What each model folder that was asked for holds.
          type: dict
          contains:
            NAME:
              description: Each of them.
              type: dict
              contains:
                exists: {description: Whether the path is there., type: bool}
                directory: {description: Whether it is a folder., type: bool}
                model: {description: "Whether it has a config.json, a params.json or an adapter_config.json.",
                  type: bool}
                model_type: {description: "Type of the model, or null.", type: str}
                architecture: {description: "Class that serves it, or null.", type: str}
                pools: {description: Whether files of Sentence Transformers say that it makes vectors., type:
                  bool}
                base: {description: "Names of the model, and of those that it comes from.", type: list,
                  elements: str}
                quantization: {description: "How the weights are quantized, or null.", type: str}
                fp8_scales: {description: "What shares a scale, tensor, channel or block, or null.", type:
                  str}
                weights_bytes: {description: "Size of the weight files, in bytes, or null.", type: int}
                missing: {description: "What of the weights is not there, or null.", type: str}
                checked_by: {description: "Manifest that it was checked against, or null.", type: str}
                place: {description: "Where it is, whatever links lead there.", type: str}
                elsewhere: {description: Folders outside of it in which files of it lie., type: list,
                  elements: str}
                barred: {description: Folders that its links lead to and that no server is given., type: list,
                  elements: str}
                astray: {description: "Where the path leads, if somebody other than root led it to a private
                  place, or null.", type: str}
                shape:
                  description: "Numbers that memory is computed from, or null."
                  type: dict
                  contains:
                    type: {description: Model type., type: str}
                    layers: {description: Layers., type: int}
                    heads: {description: Attention heads., type: int}
                    kv_heads: {description: Heads of the KV cache., type: int}
                    head_dim: {description: Size of a head., type: int}
                    hidden: {description: Hidden size., type: int}
                    vocabulary: {description: Size of the vocabulary., type: int}
                    context: {description: "Longest context, in tokens.", type: int}
                    reach: {description: "Context that may be asked for, where it is more than that, in
                      tokens.", type: int}
                    stretched: {description: "Context that YaRN stretches the positions to, in tokens.", type:
                      int}
                    dtype: {description: Type of the weights., type: str}
                    kv_dtype: {description: Type of the KV cache., type: str}
                    kv_lora_rank: {description: Rank of a compressed KV cache., type: int}
                    rope_head_dim: {description: Size of the rotary part of a head., type: int}
                    q_lora_rank: {description: Rank that queries are compressed to., type: int}
                    value_dim: {description: "Size of a value, where it is not that of a key.", type: int}
                    sliding_heads: {description: "Heads of layers with a window, where they differ.", type:
                      dict}
                    index: {description: "Layers with a vector to pick tokens by, and its bytes.", type: dict}
                    cross: {description: "Layers that look at an encoder, and how many tokens that has.",
                      type: dict}
                    window: {description: "Sliding window, in tokens.", type: int}
                    chunk: {description: "Chunk that some layers attend within, in tokens.", type: int}
                    attention: {description: "Number of layers that are full, sliding, chunked or state.",
                      type: dict}
                    state: {description: Sizes of the state that one layer keeps of a sequence., type: dict}
                    encoder: {description: "Whether it only encodes, and keeps no cache.", type: bool}
                    intermediate: {description: Width of the feed-forward layers., type: int}
                    experts: {description: Number of experts., type: int}
                    expert: {description: Width of one expert., type: int}
                    shared_expert: {description: Width of the expert that all tokens use., type: int}
                    vision_heads: {description: Attention heads of the vision encoder., type: int}
                    labels: {description: Labels of a classifier., type: int}
                    drafts: {description: Layers that propose the next tokens., type: int}
                    quant_block: {description: Rows and columns of the weights that share a scale., type: int}
                    quant_group: {description: Rows of the weights that share a scale., type: int}
                    weight_bits: {description: Bits of a weight in GPTQ and AWQ., type: int}
                    asymmetric: {description: "Whether the range of a weight does not lie around zero, in
                      GPTQ.", type: bool}
                    weight_format: {description: "Format of the weights, where it is NVFP4.", type: str}
                    expert_format: {description: "Format of the experts, where it is not that of the other
                      weights.", type: str}
                    uncounted: {description: What makes the cache another one than these numbers say., type:
                      str}
                gguf:
                  description: "What a GGUF file, or the one in the folder, says of itself, or null."
                  type: dict
                  contains:
                    file: {description: "The file that a server is given, the first one of several, or null.",
                      type: str}
                    files: {description: How many files the weights are in., type: int}
                    architecture: {description: "Architecture of the model, or null.", type: str}
                    quantization: {description: "Type of most of the weights, or null.", type: str}
                    chat_template: {description: Whether it has a chat template., type: bool}
                    context: {description: "Longest context, in tokens; 0 where nothing says so.", type: int}
                    layers: {description: Layers., type: int}
                    heads: {description: Attention heads., type: int}
                    experts: {description: Experts of a layer; 0 where it has none., type: int}
                    vocabulary: {description: "Size of the vocabulary, where the file says it.", type: int}
                    total_bytes: {description: Bytes of all weights., type: int}
                    weights_bytes: {description: Bytes of the weights that a GPU with all layers holds., type:
                      int}
                    embedding_bytes: {description: "Bytes of the embedding, which the host keeps.", type: int}
                    key_width: {description: "Elements of the keys of a token, in the layers that see all.",
                      type: int}
                    value_width: {description: "Elements of the values of a token, in the layers that see
                      all.", type: int}
                    window: {description: "Sliding window, in tokens; 0 where no layer has one.", type: int}
                    window_key_width: {description: "Elements of the keys of a token, in the layers with a
                      window.", type: int}
                    window_value_width: {description: "Elements of the values of a token, in the layers with a
                      window.", type: int}
                    state_bytes: {description: "Bytes of the states of a sequence, in recurrent layers.",
                      type: int}
                    projector: {description: "The file for images (mmproj) that lies beside it, or null.",
                      type: str}
                    projector_bytes: {description: Bytes of its weights., type: int}
                    draft: {description: "A model for speculative decoding that lies beside it, or null.",
                      type: str}
                    problem: {description: "What keeps it from being served, or null.", type: str}
        serve_units: {description: Files of the units that this collection wrote., type: list, elements: str}
        acceptance:
          description: "What the host passed, where the role acceptance recorded it, or null."
          type: dict
          contains:
            level: {description: "quick, full or burn_in.", type: str}
            verdict: {description: "pass, fail or incomplete.", type: str}
            finished: {description: When it was written., type: str}
            age_hours: {description: "How long ago that is, or null.", type: int}
            plan: {description: What of the plan it holds for., type: str}
            failed: {description: Names of the tests that failed., type: list, elements: str}
            warnings: {description: How many figures are worth a look., type: int}
            changed: {description: "What is another one since, in words.", type: list, elements: str}
        environments:
          description: What each virtual environment that was asked for holds.
          type: dict
          contains:
            NAME:
              description: Each of them.
              type: dict
              contains:
                python: {description: "Version of Python, or null.", type: str}
                vllm: {description: "Version of vLLM, or null.", type: str}
                torch: {description: "Version of torch, or null.", type: str}
                checked: {description: Whether it is complete and was checked on this hardware., type: bool}
        code_objects:
          description: What images and virtual environments have code for.
          type: dict
          contains:
            NAME:
              description: Each of them.
              type: dict
              contains:
                complete: {description: Whether everything could be read., type: bool}
                reasons: {description: Why not., type: list, elements: str}
                libraries: {description: How many libraries have code., type: int}
                nvidia: {description: How many have code for GPUs of NVIDIA., type: int}
                sets:
                  description: Libraries by what they have code for; none where there are required ones.
                  type: list
                  elements: dict
                  contains:
                    targets: {description: "What they have code for, as in gfx90a:xnack- or gfx11-generic.",
                      type: list, elements: str}
                    count: {description: How many libraries have code for these., type: int}
                    names: {description: The first of them., type: list, elements: str}
                required:
                  description: Those that the engine does not start without.
                  type: list
                  elements: dict
                  contains:
                    path: {description: A library without whose code the engine does not start., type: str}
                    targets: {description: What it has code for., type: list, elements: str}
                    unread: {description: "Why not all of it is known, or null.", type: str}
        programs: {description: Where each program that was asked for is., type: dict}
        venvs:
          description: Virtual environments below /opt/vllm.
          type: dict
          contains:
            current: {description: "Environment that serves, or null.", type: str}
            previous: {description: "Environment that served before, or null.", type: str}
            found: {description: Environments that we made., type: list, elements: str}
            uv: {description: Environments of the installer., type: list, elements: str}
        network:
          description: "Interfaces and RDMA devices, where they were asked for, or null."
          type: dict
          contains:
            interfaces:
              description: Interfaces that have an address or an RDMA device.
              type: list
              elements: dict
              contains:
                name: {description: Name., type: str}
                up: {description: Whether it is up., type: bool}
                networks: {description: Networks that it is in., type: list, elements: str}
            rdma:
              description: Ports of RDMA devices.
              type: list
              elements: dict
              contains:
                name: {description: Device., type: str}
                port: {description: Number of the port., type: int}
                up: {description: Whether it is up., type: bool}
                link: {description: "Ethernet or InfiniBand, or null.", type: str}
                interface: {description: "Network interface, or null.", type: str}
                roce_v2: {description: "Indexes of the GIDs of RoCE v2, those of an IPv4 address first.",
                  type: list, elements: int}
        problems:
          description: What could not be read.
          type: list
          elements: dict
          contains:
            path: {description: File or program., type: str}
            problem: {description: What is wrong with it., type: str}
            count: {description: How many files have it., type: int}
    amd_health:
      description: "The state of the GPUs, as M(amdgpu.fleet.gpu_health) returns it."
      type: dict
      returned: when O(health) is true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _all_facts, _host_facts
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._capture_open import CaptureError, opened
from ansible_collections.amdgpu.fleet.plugins.module_utils._reader import Reader


def main() -> None:
    module = AnsibleModule(
        argument_spec={"root": {"type": "path", "default": "/"}, **_host_facts.QUESTIONS},
        supports_check_mode=True,
    )
    hold_to_text(module)
    try:
        module.params["root"] = opened(module.params["root"], module.tmpdir)
    except CaptureError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, ansible_facts=_all_facts.facts(Reader(module), module.params))


if __name__ == "__main__":
    main()
