#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rocm_facts
short_description: Facts about ROCm, the amdgpu driver and what they depend on
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Reads ROCm installations, the kernel driver, firmware, kernel, boot loader, IOMMU, device permissions and
    Podman.
  - Reads files. The only commands are C(dmesg), C(rpm) on distributions that use it, and C(modinfo) for a
    compressed or signed module.
  - A file that is missing, unreadable or damaged gives a V(null) value and an entry in C(problems), never an
    error.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.facts
options:
  root:
    description: The folder under which the files of the host are read.
    type: path
    default: /
  search_paths:
    description: Virtual environments to look for ROCm wheels and vLLM in.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports to look up in the list of listening sockets.
    type: list
    elements: int
    default: []
  paths:
    description: Model folders to look for.
    type: list
    elements: str
    default: []
  images:
    description: Container images to look for in Podman's stores.
    type: list
    elements: str
    default: []
  programs:
    description: Programs to look for, by name or by path.
    type: list
    elements: str
    default: []
  user:
    description: Account whose store the images are looked for in, and of which C(user) tells.
    type: str
    default: ""
  network:
    description: Whether to look at interfaces and RDMA devices.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read the ROCm and driver state
  amdgpu.fleet.rocm_facts:

- name: Stop where the running driver is not the installed one
  ansible.builtin.assert:
    that: not ansible_facts['amd_rocm']['driver']['reload_needed']
    fail_msg: Reboot to start the installed amdgpu driver.
"""

RETURN = r"""
ansible_facts:
  description: The facts that are added.
  returned: always
  type: dict
  contains:
    amd_rocm:
      description: What was found.
      type: dict
      returned: always
      contains:
        installations:
          description: "Each installation: version, path, layout (legacy, therock, distribution or wheel),
            current (bool)."
          type: list
          elements: dict
          returned: always
        version: {description: Version of the current installation., type: str, returned: always, sample: 10.0.0}
        legacy:
          description: "Of ROCm before 7.14: packages (names), used_by (units, and processes that belong to
            none, which run code of it)."
          type: dict
          returned: always
        os:
          description:
            - "id, version, codename, name, package_manager, machine (x86_64), glibc (version; with machine
              null where O(root) is not the
              running system)."
          type: dict
          returned: always
        programs: {description: "For each of O(programs): where it is, or null.", type: dict, returned: always}
        memory_bytes: {description: Memory of the host in bytes., type: int, returned: always}
        cpu_vendor: {description: "amd, intel or null.", type: str, returned: always}
        packages: {description: Versions of the installed packages a plan can need., type: dict, returned: always}
        held: {description: Packages that this collection keeps from being upgraded., type: list, elements: str, returned: always}
        dnf_repositories: {description: Names of the enabled repositories of dnf., type: list, elements: str,
          returned: always}
        repositories:
          description:
            - "AMD's repositories that somebody else configured: path, uri, signed (whether a key is named), mixed (whether the file holds
              others, too)."
          type: list
          elements: dict
          returned: always
        driver:
          description:
            - "loaded, source (dkms, inbox or null), version of the module, release (31.50.0), dkms (version,
              kernel, state), build_log (of
              a build that failed), built_for_running_kernel, next_module (the kind that the next boot would
              load: dkms, inbox or null),
              reload_needed (the running module is not the installed one), signer of the module (under Secure
              Boot), blacklisted_by."
          type: dict
          returned: always
        firmware:
          description:
            - "package, version, newer_than_boot (whether the package was installed after this boot began,
              null where that is not known),
              mes (loaded MES version, hexadecimal), vbios."
          type: dict
          returned: always
        kernel:
          description:
            - "release, flavour, command_line (list), default_release (what the next boot starts), installed
              (releases), headers (bool, of
              the running one), without_headers and without_modules (releases that have none), modules (bool,
              whether the running one has
              its own GPU modules), module_options (of amdgpu and TTM in files of modprobe.d that we did not
              write: path, module, parameter,
              value), trouble (lines of the kernel log about GPUs that are not well: line, count)."
          type: dict
          returned: always
        boot:
          description:
            - "loader, secure_boot (null without EFI), mok_enrolled (whether shim trusts the key of DKMS),
              bootc, id (of this boot),
              rebooted_into, or rebooted_from where it was not seen to come back, and rebooted_for (the last
              reboot that this collection
              asked for)."
          type: dict
          returned: always
        iommu: {description: "mode (off, pt or remap), groups (how many).", type: dict, returned: always}
        numa_nodes: {description: "For each node of memory: its CPUs, as a list of ranges.", type: dict,
          returned: always}
        numa_balancing: {description: Whether automatic NUMA balancing is on., type: bool, returned: always}
        transparent_hugepages: {description: "always, madvise or never.", type: str, returned: always}
        memlock:
          description: "Limits of locked memory as set: users (KiB or unlimited, for everybody), services
            (systemd's default)."
          type: dict
          returned: always
        selinux: {description: "mode (enforcing, permissive or disabled), booleans, ours (those we set).", type: dict, returned: always}
        devices:
          description: "kfd: present, owner, group, gid, mode. render: the same, first (name) and count for
            each set of equal nodes."
          type: dict
          returned: always
        groups: {description: Group numbers of render and video., type: dict, returned: always}
        group_members: {description: Members of render and video., type: dict, returned: always}
        podman:
          description:
            - "version, init (bool), quadlet (the release whose keys its Quadlet knows, null without Quadlet),
              images (those of O(images)
              that root, or O(user), has stored), image_digests (for each of them), open_store (root's store,
              where others may look
              into it)."
          type: dict
          returned: always
        user:
          description:
            - "What rootless Podman needs of O(user): name, uid and home (null where there is none),
              subordinate_ids (bool), linger (bool),
              lowest_port (that it may listen on), commands (those of rootless Podman that the host has). null
              without O(user)."
          type: dict
          returned: always
        ports: {description: "For each of O(ports): listening, unit, process.", type: dict, returned: always}
        paths:
          description:
            - "For each of O(paths): exists, directory, model (has a config.json), model_type, quantization,
              fp8_scales (tensor, channel
              or block), weights_bytes (size of the weight files), missing (what of the weights is not there,
              null where they are whole),
              checked_by (the manifest it was checked against), place (where it is, whatever links lead
              there), elsewhere (folders
              outside of it in which files of it lie), barred (folders that its links lead to and that no server
              is given), astray (where the path leads if somebody other than root led it to a private
              place), shape (layers, heads, kv_heads, head_dim, hidden,
              vocabulary, context, dtype and
              what else its memory depends on; null where config.json does not say)."
          type: dict
          returned: always
        serve_units: {description: Files of the vLLM units that this collection wrote., type: list, elements:
          str, returned: always}
        environments:
          description: "For each of O(search_paths): python, vllm, torch (versions), checked (complete and
            built for this hardware)."
          type: dict
          returned: always
        venvs:
          description: "Virtual environments below C(/opt/vllm): found (of vLLM), current and previous (what
            the links name), uv."
          type: dict
          returned: always
        network:
          description:
            - "interfaces that have an address or an RDMA device: name, up, networks. rdma, for each port:
              name, port, up, link (Ethernet or
              InfiniBand), interface, roce_v2 (indexes of the GIDs of RoCE v2, those of an IPv4 address
              first). null unless O(network)."
          type: dict
          returned: always
        problems: {description: "What could not be read: path, problem, count.", type: list, elements: dict, returned: always}
"""

import functools
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import (
    _account,
    _boot,
    _driver,
    _host,
    _kernel_log,
    _model,
    _modprobe,
    _network,
    _next_boot,
    _packages,
    _processes,
    _rocm,
    _security,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._sysfs import Tree, memory_bytes
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import WriteError


def detect(module: AnsibleModule) -> dict:
    params = module.params
    tree = Tree(params["root"])

    def output(*command: str) -> str | None:
        """What a command printed; a command that is missing or fails is a problem, not an end."""
        path = module.get_bin_path(command[0])
        if not path:
            tree.problem(command[0], "is not installed")
            return None
        rc, out, err = module.run_command([path, *command[1:]], environ_update={"LC_ALL": "C"})
        if rc != 0:
            tree.problem(command[0], f"failed ({err.strip()[:80]})")
        return out.strip() or None if rc == 0 else None

    def modinfo(field: str, path: str) -> str | None:
        return output("modinfo", "-F", field, path)

    @functools.cache
    def rpm() -> str | None:
        # The database is binary: only the rpm of the running system reads it.
        if tree.root:
            return None
        return output("rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n")

    def rpm_time(package: str) -> str | None:
        return (
            None
            if tree.root or manager not in _packages.RPM_MANAGERS
            else output("rpm", "-q", "--qf", "%{INSTALLTIME}", package)
        )

    def dmesg() -> str | None:
        return output("dmesg")

    arguments = _host.command_line(tree)
    release = tree.word("proc/sys/kernel/osrelease", required=True)
    kernels = _host.installed_kernels(tree)
    os = _host.operating_system(tree)
    manager = os["package_manager"]
    packages = _packages.packages(tree, manager, rpm)
    secure_boot = _security.secure_boot(tree)
    try:
        loader = _boot.detect(params["root"])
    except WriteError as error:
        loader = "unknown"
        tree.problem("/boot", str(error))
    following = _next_boot.default_release(tree, loader)
    installations = _rocm.installations(tree, packages, params["search_paths"])
    legacy = [entry for entry in installations if entry["layout"] == "legacy"]
    users = _processes.users_of(tree, [entry["path"] for entry in legacy])
    numbers, members = _host.groups(tree)
    account = _account.account(tree, params["user"])
    mark = (tree.word("var/lib/amdgpu-fleet/rebooted", limit=1000) or "").partition(" ")
    unread: list[dict[str, str]] = []
    try:
        module_options = _modprobe.of_others(params["root"], unread)
    except WriteError as error:
        module_options, unread = [], [{"path": "/etc/modprobe.d", "problem": str(error)}]
    for entry in unread:
        tree.problem(entry["path"], entry["problem"])
    numa_balancing = tree.number("proc/sys/kernel/numa_balancing")
    flavour = re.search(r"-([a-z][a-z0-9+._]*)$", release or "")
    return {
        "installations": installations,
        "version": _rocm.current_version(installations),
        "legacy": {
            "packages": _packages.legacy_rocm(tree, manager, rpm, {entry["version"] for entry in legacy}),
            "used_by": sorted({user.units[-1] if user.units else user.process for user in users}),
        },
        "os": os,
        "memory_bytes": memory_bytes(tree),
        "cpu_vendor": _host.cpu_vendor(tree),
        "packages": packages,
        "held": _packages.held(tree, manager),
        "repositories": _packages.repositories(tree),
        "dnf_repositories": _packages.dnf_repositories(tree) if manager == "dnf" else [],
        "driver": _driver.driver(tree, release, following, arguments, modinfo, secure_boot),
        "firmware": _driver.firmware(tree, packages, rpm_time),
        "kernel": {
            "release": release,
            "flavour": flavour.group(1) if flavour else None,
            "command_line": arguments,
            "default_release": following,
            "installed": kernels,
            "headers": bool(release) and tree.exists("lib/modules", release, "build"),
            "modules": bool(release) and tree.exists("lib/modules", release, "kernel/drivers/gpu/drm/amd"),
            "without_headers": [name for name in kernels if not tree.exists("lib/modules", name, "build")],
            "module_options": module_options,
            "without_modules": [
                name for name in kernels if not tree.exists("lib/modules", name, "kernel/drivers/gpu/drm/amd")
            ],
            "trouble": _kernel_log.trouble(tree, dmesg),
        },
        "boot": {
            "loader": loader or "unknown",
            "secure_boot": secure_boot,
            "mok_enrolled": _security.mok_enrolled(tree),
            "bootc": tree.exists("run/ostree-booted"),
            "id": tree.word("proc/sys/kernel/random/boot_id"),
            # Where nobody saw the host come back, the mark names the boot that was to end.
            "rebooted_from": mark[0][5:] if mark[0].startswith("from:") else None,
            "rebooted_into": None if mark[0].startswith("from:") else mark[0] or None,
            "rebooted_for": mark[2] or None,
        },
        "iommu": _host.iommu(tree, arguments),
        "numa_nodes": _host.numa_nodes(tree),
        "numa_balancing": None if numa_balancing is None else numa_balancing > 0,
        "transparent_hugepages": _host.transparent_hugepages(tree),
        "memlock": _security.memlock(tree),
        "selinux": _security.selinux(tree),
        "devices": _host.devices(tree),
        "groups": numbers,
        "group_members": members,
        "podman": _host.podman(tree, packages, params["images"], account),
        "user": account,
        "ports": _host.ports(tree, params["ports"]),
        "paths": _model.paths(tree, params["paths"]),
        "serve_units": _host.serve_units(tree),
        "environments": _host.environments(tree, params["search_paths"]),
        "programs": _host.programs(tree, params["programs"]),
        "venvs": _host.venvs(tree),
        "network": _network.network(tree) if params["network"] else None,
        "problems": tree.problems,
    }


def main() -> None:
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "search_paths": names,
            "ports": {"type": "list", "elements": "int", "default": []},
            "paths": names,
            "images": names,
            "programs": names,
            "user": {"type": "str", "default": ""},
            "network": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    module.exit_json(changed=False, ansible_facts={"amd_rocm": detect(module)})


if __name__ == "__main__":
    main()
