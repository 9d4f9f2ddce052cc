# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts ``amd_rocm`` and ``amd_host``, as the modules rocm_facts and host_facts return them.

A key that may be null is ``... | None`` here. tests/unit/modules/test_fact_types.py holds RETURN to it.
"""

from __future__ import annotations

import typing as t

from .facts_acceptance import Acceptance
from .facts_boot import Boot
from .facts_engines import CodeObjects, Environment, Venvs
from .facts_model import ModelPath


class Problem(t.TypedDict):
    path: str  # File or program.
    problem: str  # What is wrong with it.
    count: int  # How many files have it.


# --- amd_rocm


class Installation(t.TypedDict):
    version: str | None  # Release of ROCm.
    path: str  # Folder.
    layout: str  # legacy, therock, distribution or wheel.
    current: bool  # Whether programs find it by default.


class Legacy(t.TypedDict):
    packages: list[str]  # Names of the packages of ROCm before 7.14.
    used_by: list[str]  # Units, and processes that belong to none, which run code of it.


class Build(t.TypedDict):
    version: str  # Version of the module.
    kernel: str | None  # Release of the kernel.
    state: str  # added, built or installed.


class Driver(t.TypedDict):
    loaded: bool  # Whether the module amdgpu is loaded.
    source: str | None  # Where the loaded module comes from, dkms or inbox.
    version: str | None  # Version of the loaded module, which DKMS modules alone have.
    release: str | None  # Release of the driver (31.50.0).
    dkms: list[Build]  # Every build that DKMS knows.
    build_log: str | None  # Log of a build that failed.
    built_for_running_kernel: bool  # Whether the running kernel has a module.
    next_module: str | None  # What the next boot would load, dkms or inbox.
    reload_needed: bool  # Whether the running module is not the installed one.
    signer: str | None  # Signer of the module, under Secure Boot.
    blacklisted_by: list[str]  # Files and kernel arguments that keep it from loading.
    owners: list[Owner]  # Who else looks after the driver.


class Owner(t.TypedDict):
    name: str  # gpu_operator, gim, amdgpu_install or runfile.
    signs: list[str]  # What shows it.


class Firmware(t.TypedDict):
    package: str | None  # Name of the package that wins.
    version: str | None  # Its version.
    newer_than_boot: bool | None  # Whether it was installed after this boot began.
    mes: str | None  # Loaded MES version, hexadecimal.
    vbios: str | None  # VBIOS of the first card.


class AmdRocm(t.TypedDict):
    installations: list[Installation]  # Every installation.
    version: str | None  # Release of the current installation.
    legacy: Legacy  # What is left of ROCm before 7.14.
    driver: Driver  # The kernel driver.
    firmware: Firmware  # The firmware of the GPUs.
    problems: list[Problem]  # What could not be read.


# --- amd_host


class Os(t.TypedDict):
    id: str | None  # ID of os-release.
    version: str | None  # VERSION_ID of os-release.
    codename: str | None  # VERSION_CODENAME of os-release.
    name: str | None  # PRETTY_NAME of os-release.
    like: list[str]  # ID_LIKE of os-release.
    ubuntu_codename: str | None  # UBUNTU_CODENAME of os-release, of a derivative.
    debian_codename: str | None  # DEBIAN_CODENAME of os-release, of a derivative.
    platform: str | None  # PLATFORM_ID of os-release.
    variant: str | None  # VARIANT_ID of os-release.
    package_manager: str | None  # apt, dnf, zypper or pacman.
    machine: str | None  # Machine (x86_64); known of the running system only.
    glibc: str | None  # Version of glibc; known of the running system only.
    init: str | None  # What starts services (systemd, runit).


class Place(t.TypedDict):
    kind: str  # host, guest (a virtual machine), container or wsl.
    container: str | None  # Manager of the container (lxc, podman).
    machine: str | None  # Kind of the virtual machine (kvm, hyperv).
    signs: list[str]  # What shows that it is a container.


class Unfinished(t.TypedDict):
    name: str  # Package.
    version: str  # Its version.
    state: str  # Its state, as dpkg names it (half-configured).


class PackageState(t.TypedDict):
    unfinished: list[Unfinished]  # Packages of dpkg that were begun and not finished.
    interrupted: bool  # Whether dpkg was stopped while it wrote its status.
    duplicates: list[str]  # Packages of rpm of which two versions are installed.
    on_hold: list[str]  # Packages that a plan can need and that somebody holds.
    busy: str | None  # Who holds the lock of the package manager.


class Room(t.TypedDict):
    boot: int | None  # Bytes free in /boot; known of the running system only.
    modules: int | None  # Bytes free in /lib/modules; known of the running system only.
    var: int | None  # Bytes free in /var; known of the running system only.
    image: int | None  # Size of the largest image of an initramfs in bytes.
    esp: int | None  # Bytes free on the EFI system partition; known of the running system only.
    esp_path: str | None  # An EFI system partition that images lie on.


class Repository(t.TypedDict):
    path: str  # File.
    uri: str  # Address.
    signed: bool  # Whether a key is named.
    mixed: bool  # Whether the file holds repositories of others too.


class ModuleOption(t.TypedDict):
    path: str  # File.
    module: str  # Module.
    parameter: str  # Parameter.
    value: str  # Value.


class LogLine(t.TypedDict):
    line: str  # The latest line of its kind.
    count: int  # How many there were.


class Kernel(t.TypedDict):
    release: str | None  # Release of the running kernel.
    flavour: str | None  # Last part of its name (generic, amd64).
    command_line: list[str]  # Arguments that it was started with.
    default_release: str | None  # Release that the next boot starts.
    installed: list[str]  # Releases that have modules and an image.
    headers: bool  # Whether the running one has headers.
    modules: bool  # Whether the running one has GPU modules of its own.
    without_headers: list[str]  # Releases without headers.
    without_modules: list[str]  # Releases without GPU modules.
    module_options: list[ModuleOption]  # Options of amdgpu and TTM in files that we did not write.
    builtin: list[str]  # GPU drivers that are a part of the kernel and no modules.
    module_parameters: dict[str, list[str]]  # Parameters that TTM has, where it is loaded.
    unknown_parameters: list[str]  # Arguments and options that the loaded module has no parameter for.
    trouble: list[LogLine]  # Lines of the kernel log about GPUs that are not well.


class Iommu(t.TypedDict):
    mode: str  # off, pt or remap.
    groups: int  # Number of groups.


class Memlock(t.TypedDict):
    users: str | None  # Limit for everybody, in KiB or unlimited.
    services: str | None  # Default of systemd.


class Selinux(t.TypedDict):
    mode: str  # enforcing, permissive or disabled.
    booleans: dict[str, bool]  # Whether containers may use devices.
    ours: list[str]  # Booleans that this collection set.


class Kfd(t.TypedDict):
    present: bool  # Whether /dev/kfd is there.
    owner: int | None  # Number of the owner.
    group: str | None  # Name of the group.
    gid: int | None  # Number of the group.
    mode: str | None  # Mode, octal.


class Render(t.TypedDict):
    first: str  # Name of the first of equal nodes.
    count: int  # How many are equal.
    owner: int  # Number of the owner.
    group: str | None  # Name of the group.
    gid: int  # Number of the group.
    mode: str  # Mode, octal.


class Devices(t.TypedDict):
    kfd: Kfd  # The device file of KFD.
    render: list[Render]  # The render nodes, one entry for each set of equal ones.


class Groups(t.TypedDict):
    render: int | None  # Number of the group render.
    video: int | None  # Number of the group video.


class Members(t.TypedDict):
    render: list[str]  # Members of render.
    video: list[str]  # Members of video.


class Podman(t.TypedDict):
    version: str | None  # Release.
    init: bool  # Whether it has an init for containers.
    quadlet: str | None  # Release whose keys its Quadlet knows.
    images: list[str]  # Those asked for that are stored.
    image_digests: dict[str, list[str]]  # Digests of each of them.
    open_store: str | None  # Root's store, where others may look into it.


class User(t.TypedDict):
    name: str  # Name of the account.
    uid: int | None  # Its number.
    home: str | None  # Its folder.
    subordinate_ids: bool  # Whether it has subordinate ids.
    linger: bool  # Whether its services run without a login.
    lowest_port: int  # Lowest port that it may listen on.
    commands: list[str]  # Commands of rootless Podman that the host has.


class Port(t.TypedDict):
    listening: bool  # Whether something listens.
    unit: str | None  # Unit of systemd that holds it.
    process: str | None  # Process that holds it.


class Interface(t.TypedDict):
    name: str  # Name.
    up: bool  # Whether it is up.
    networks: list[str]  # Networks that it is in.


class RdmaPort(t.TypedDict):
    name: str  # Device.
    port: int  # Number of the port.
    up: bool  # Whether it is up.
    link: str | None  # Ethernet or InfiniBand.
    interface: str | None  # Network interface.
    roce_v2: list[int]  # Indexes of the GIDs of RoCE v2, those of an IPv4 address first.


class Network(t.TypedDict):
    interfaces: list[Interface]  # Interfaces that have an address or an RDMA device.
    rdma: list[RdmaPort]  # Ports of RDMA devices.


class AmdHost(t.TypedDict):
    os: Os  # The distribution.
    place: Place  # Where the system runs.
    memory_bytes: int | None  # Memory in bytes (MemTotal, without the carve-out of an APU).
    cpu_vendor: str | None  # amd or intel.
    packages: dict[str, str]  # Versions of the installed packages that a plan can need.
    package_state: PackageState  # What would stop the package manager.
    room: Room  # Room where kernels and modules are written.
    held: list[str]  # Packages that this collection keeps from being upgraded.
    repositories: list[Repository]  # Repositories of AMD that somebody else configured.
    dnf_repositories: list[str]  # Names of the enabled repositories of dnf.
    kernel: Kernel  # The running kernel and those that are installed.
    boot: Boot  # How the system starts.
    iommu: Iommu  # The IOMMU.
    numa_nodes: dict[str, str]  # CPUs of each node of memory, as a list of ranges.
    numa_balancing: bool | None  # Whether automatic NUMA balancing is on.
    transparent_hugepages: str | None  # always, madvise or never.
    memlock: Memlock  # Limits of locked memory.
    selinux: Selinux  # SELinux.
    devices: Devices  # Device files of the GPUs.
    groups: Groups  # Numbers of the groups that own GPU devices.
    group_members: Members  # Their members.
    podman: Podman  # Podman.
    user: User | None  # The account that was asked for.
    ports: dict[str, Port]  # Who holds each port that was asked for.
    paths: dict[str, ModelPath]  # What each model folder that was asked for holds.
    serve_units: list[str]  # Files of the units that this collection wrote.
    acceptance: Acceptance | None  # What the host passed, where the role acceptance recorded it.
    environments: dict[str, Environment]  # What each virtual environment that was asked for holds.
    code_objects: dict[str, CodeObjects]  # What images and virtual environments have code for.
    programs: dict[str, str | None]  # Where each program that was asked for is.
    venvs: Venvs  # Virtual environments below /opt/vllm.
    network: Network | None  # Interfaces and RDMA devices, where they were asked for.
    problems: list[Problem]  # What could not be read.
