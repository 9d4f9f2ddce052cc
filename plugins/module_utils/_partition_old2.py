# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Partition modes of Instinct GPUs: what they are, what a wanted mode takes, and how it is carried out.

The driver takes a compute mode at once, if nobody has the GPU open. A memory mode is only a request: it is
for all GPUs that are linked (a hive), and the driver carries it out when it is loaded again. The compute mode
does not survive that. So memory goes first, then the driver, then compute, both up and back.
"""

from __future__ import annotations

import errno
import os
import shutil
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _kfd
from ansible_collections.amdgpu.fleet.plugins.module_utils._gpus import detect, pci_gpus
from ansible_collections.amdgpu.fleet.plugins.module_utils._processes import Holder
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

COMPUTE = ("SPX", "DPX", "TPX", "QPX", "CPX")
MEMORY = ("NPS1", "NPS2", "NPS4", "NPS8")
DEVICES = {"SPX": 1, "DPX": 2, "TPX": 3, "QPX": 4}
KFD_DEVICE = "/dev/kfd"
# The driver shows the devices of a new mode before the write returns; what is not there a little later will
# not come.
DEVICES_TIMEOUT = 20.0
INTERVAL = 0.2

Run = t.Callable[[t.List[str]], t.Tuple[int, str, str]]
Write = t.Callable[[str, str], None]


class PartitionError(Exception):
    """A mode that cannot be set; the text is whole sentences."""


class Gpu(t.NamedTuple):
    """One physical GPU as far as partitions matter. ``folder`` is below the root."""

    number: int
    address: str
    product: str
    folder: str
    compute: str | None
    memory: str | None
    computes: tuple[str, ...]
    memories: tuple[str, ...]
    virtual: bool
    xccs: int | None
    hive: int
    devices: int
    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.address} ({self.product})"

    @property
    def offers(self) -> bool:
        """Whether the driver offers any choice. It does on no Radeon, no APU for clients and no MI200."""
        return not self.virtual and bool(self.computes)

    def expected(self, compute: str | None) -> int | None:
        """KFD devices in a compute mode; ``None`` where that is not known."""
        return self.xccs if compute == "CPX" else DEVICES.get(compute or "")

    def state(self) -> dict[str, t.Any]:
        return {
            "address": self.address,
            "compute": self.compute,
            "memory": self.memory,
            "devices": self.devices,
        }


class Plan(t.NamedTuple):
    """What has to be done. ``compute`` is what each GPU is in afterwards, as far as this changes it or a
    reload would."""

    gpus: list[Gpu]
    memory: str | None
    hive: list[Gpu]
    compute: dict[str, str]

    @property
    def changed(self) -> bool:
        return bool(self.hive or self.compute)

    @property
    def reload(self) -> bool:
        """Whether the driver has to be loaded again."""
        return bool(self.hive)

    def after(self) -> list[dict[str, t.Any]]:
        changed = {gpu.address for gpu in self.hive}
        states = []
        for gpu in self.gpus:
            compute = self.compute.get(gpu.address, gpu.compute)
            expected = gpu.expected(compute) if compute != gpu.compute else None
            memory = self.memory if gpu.address in changed else gpu.memory
            states.append(
                {
                    "address": gpu.address,
                    "compute": compute,
                    "memory": memory,
                    "devices": gpu.devices if expected is None or not gpu.devices else expected,
                }
            )
        return states

    def actions(self) -> list[str]:
        lines = [f"ask {gpu.address} for memory mode {self.memory}" for gpu in self.hive]
        if self.reload:
            lines.append("load the driver amdgpu again")
        by_address = {gpu.address: gpu for gpu in self.gpus}
        for address, mode in self.compute.items():
            lines.append(
                f"set {address} to {mode}"
                if by_address[address].compute != mode
                else f"set {address} to {mode} again"
            )
        return lines


def read(tree: Tree) -> list[Gpu]:
    """Every AMD GPU of the host, in PCI order."""
    folders = {device.address: device.folder for device in pci_gpus(tree)}
    hives = {node.number: node.properties.get("hive_id", 0) for node in _kfd.gpu_nodes(tree)[0]}
    gpus = []
    for gpu in detect(tree, full=True)["gpus"]:
        address = gpu["pci_address"] or ""
        folder = folders.get(address, "")
        # Newer drivers list in available_compute_partition only what fits the present memory mode, and all of
        # it here.
        all_modes = tree.text(folder, "compute_partition_config/supported_xcp_configs") if folder else None
        own = (
            [f"/dev/dri/{name}" for name in tree.names(folder, "drm") if name.startswith(("card", "renderD"))]
            if folder
            else []
        )
        gpus.append(
            Gpu(
                number=gpu["index"],
                address=address,
                product=gpu["product"] or gpu["pci_id"] or "unknown GPU",
                folder=folder,
                compute=gpu["compute_partition"] if gpu["compute_partition"] in COMPUTE else None,
                memory=gpu["memory_partition"] if gpu["memory_partition"] in MEMORY else None,
                computes=_modes(
                    [*gpu["available_compute_partitions"], *(all_modes or "").replace(",", " ").split()],
                    COMPUTE,
                )
                if gpu["available_compute_partitions"]
                else (),
                memories=_modes(gpu["available_memory_partitions"], MEMORY),
                virtual=gpu["virtual_function"],
                xccs=gpu["xcc_count"],
                hive=max((hives.get(number, 0) for number in gpu["kfd_nodes"]), default=0),
                devices=gpu["partitions"],
                nodes=tuple(sorted({*own, *(f"/dev/dri/{name}" for name in gpu["render_nodes"])})),
            )
        )
    return gpus


def _modes(found: t.Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The known modes of a list, each once, in the order in which they divide more and more."""
    names = {name.upper() for name in found}
    return tuple(name for name in known if name in names)


def choose(gpus: list[Gpu], wanted: t.Sequence[str]) -> list[Gpu]:
    """The GPUs that are meant: by index or PCI address, or all that offer partitions."""
    if not wanted:
        chosen = [gpu for gpu in gpus if gpu.offers]
        if not chosen:
            raise PartitionError(_nothing(gpus))
        return chosen
    chosen = []
    for name in wanted:
        found = [
            gpu for gpu in gpus if name in (str(gpu.number), gpu.address) or f"0000:{name}" == gpu.address
        ]
        if not found:
            known = ", ".join(f"{gpu.number} ({gpu.address})" for gpu in gpus) or "none"
            raise PartitionError(f"gpus: there is no GPU {name} on this host. There are: {known}.")
        if found[0] not in chosen:
            chosen.append(found[0])
    refused = [gpu for gpu in chosen if not gpu.offers]
    if refused:
        raise PartitionError(_nothing(refused))
    return sorted(chosen, key=lambda gpu: gpu.number)


def _nothing(gpus: list[Gpu]) -> str:
    if not gpus:
        return "There is no AMD GPU on this host, so there is nothing to partition."
    reasons = {
        f"{gpu.name} is a virtual function, whose host decides about partitions"
        if gpu.virtual
        else f"{gpu.name} offers no partition modes (no available_compute_partition)"
        for gpu in gpus
    }
    text = "; ".join(sorted(reasons))
    return f"{text}. Only MI300 and later Instinct GPUs have them, with the amdgpu driver loaded; leave other hosts without a mode."


def plan(gpus: list[Gpu], compute: str | None, memory: str | None, wanted: t.Sequence[str] = ()) -> Plan:
    """What a wanted mode takes. Refuses what cannot be, before anything is touched."""
    chosen = choose(gpus, wanted)
    hive = [gpu for gpu in chosen if memory and gpu.memory != memory]
    for gpu in chosen:
        _refuse(gpu, compute, memory)
    if hive:
        _whole_hive(gpus, chosen, memory)
    modes: dict[str, str] = {}
    for gpu in gpus:
        mode = compute if compute and gpu in chosen else gpu.compute
        # A reload takes the mode from every GPU of the host, also from those that this is not about.
        if gpu.offers and mode and (mode != gpu.compute or hive):
            modes[gpu.address] = mode
    return Plan(
        gpus=[gpu for gpu in gpus if gpu.offers], memory=memory if hive else None, hive=hive, compute=modes
    )


def _refuse(gpu: Gpu, compute: str | None, memory: str | None) -> None:
    if gpu.compute is None or (memory and gpu.memories and gpu.memory is None):
        what = "compute" if gpu.compute is None else "memory"
        raise PartitionError(
            f"The {what} mode of {gpu.name} cannot be read (current_{what}_partition in /{gpu.folder}). The "
            f"GPU may be in a reset, or the"
            " driver did not come up: look at dmesg."
        )
    if compute and compute not in gpu.computes:
        # The list of some drivers depends on the memory mode, but one device is what every GPU can be.
        waits = memory is not None and memory != gpu.memory
        if not (waits and compute == "SPX"):
            hint = f" in {gpu.memory}. Set memory alone first if {memory} is needed for it" if waits else ""
            raise PartitionError(
                f"{gpu.name} does not offer {compute}; it offers {', '.join(gpu.computes)}{hint}."
            )
    if memory and memory not in gpu.memories and memory != gpu.memory:
        offers = (
            f"it offers {', '.join(gpu.memories)}"
            if gpu.memories
            else "it offers no memory modes (no available_memory_partition)"
        )
        raise PartitionError(f"{gpu.name} does not offer {memory}; {offers}.")
    mode, banks = compute or gpu.compute, memory or gpu.memory
    devices = gpu.expected(mode)
    if mode and banks and devices is not None and int(banks[3:]) > devices and (compute or memory):
        raise PartitionError(
            f"{banks} with {mode} is not possible on {gpu.name}: there would be more memory partitions "
            f"({banks[3:]}) than"
            f" compute partitions ({devices}). Give compute and memory together, for example SPX with NPS1 "
            f"or CPX with {banks}."
        )


def _whole_hive(gpus: list[Gpu], chosen: list[Gpu], memory: str | None) -> None:
    hives = {gpu.hive for gpu in chosen if gpu.hive}
    left = [gpu for gpu in gpus if gpu.hive in hives and gpu.offers and gpu not in chosen]
    if left:
        raise PartitionError(
            f"The memory mode is one for all GPUs that are linked by XGMI, and "
            f"{', '.join(gpu.address for gpu in left)} would be left"
            f" out of {memory}. Leave gpus empty, or name all of them."
        )


# --- who has the GPUs open


def devices_of(plan: Plan, tree: Tree) -> set[str]:
    """The device nodes that nobody may have open: those of the GPUs that change, or of all GPUs where the
    driver goes."""
    nodes = {KFD_DEVICE}
    for gpu in plan.gpus:
        if plan.reload or gpu.address in plan.compute:
            # A display on the card itself does not keep the compute mode from changing; an unloaded driver it
            # does.
            nodes.update(node for node in gpu.nodes if plan.reload or "/renderD" in node)
    if plan.reload:
        for device in pci_gpus(tree):
            if device.driver == "amdgpu":
                nodes.update(
                    f"/dev/dri/{name}"
                    for name in tree.names(device.folder, "drm")
                    if name.startswith(("card", "renderD"))
                )
        # amdgpu_xcp_0 is amdgpu_xcp.0 with newer drivers.
        for name in tree.names("sys/devices/platform"):
            if name.startswith("amdgpu_xcp"):
                nodes.update(f"/dev/dri/{node}" for node in tree.names("sys/devices/platform", name, "drm"))
    return nodes


def unit_name(name: str) -> str:
    """A unit as systemd lists it; ``docker`` is ``docker.service``."""
    return name if "." in name else f"{name}.service"


def refuse_holders(found: t.Iterable[Holder], told: t.Sequence[str], after: str = "") -> None:
    """Name those that nobody said may be stopped."""
    strangers = [holder for holder in found if not set(holder.units) & set(told)]
    if strangers:
        units = sorted({holder.units[-1] for holder in strangers if holder.units})
        remedy = f"add {', '.join(units)} to stop_services" if units else "end it"
        raise PartitionError(
            f"The GPUs are in use{after}: {'; '.join(str(holder) for holder in strangers)}. Nothing was "
            f"changed."
            f" Stop what uses them, or {remedy}."
        )


# --- carrying it out


def write_mode(path: str, mode: str) -> None:
    """One write of the whole text, as sysfs takes it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{mode}\n".encode())
    finally:
        os.close(descriptor)


def refused_write(gpu: Gpu, mode: str, error: OSError) -> str:
    """What the driver means by an error code, and what to do about it."""
    meaning = {
        errno.EBUSY: "the driver says that the GPU is in use. Stop what uses it (a process in a container counts as well)"
        " and name its unit in stop_services",
        errno.EINVAL: f"the driver does not take this mode while the memory mode is {gpu.memory or 'unknown'}. Give a memory mode that"
        " goes with it; docs/support-matrix.md lists the combinations",
        errno.EPERM: "the driver does not allow it. The GPU may be in a reset (see dmesg), or become is missing",
        errno.EACCES: "permission denied. Run with become; a container needs a writable /sys",
        errno.EROFS: "/sys is read-only. Run on the host itself, not in a container",
        errno.ENOENT: "the file is gone. The driver may have been unloaded; load it with modprobe amdgpu",
    }.get(error.errno or 0, f"{(error.strerror or str(error)).lower()}. Look at dmesg")
    return f"{gpu.name} was not set to {mode}: {meaning}."


class Work:
    """Carries out a plan. The write to sysfs, commands and the clock are given, so that a driver that refuses
    can be tested."""

    def __init__(self, tree: Tree, run: Run, clock: t.Any, timeout: float, write: Write = write_mode) -> None:
        self.tree = tree
        self.run = run
        self.clock = clock
        self.timeout = timeout
        self.write = write
        self.warnings: list[str] = []

    def carry_out(self, todo: Plan) -> list[Gpu]:
        """Returns what the GPUs show afterwards."""
        if todo.reload:
            self._memory(todo)
        self._compute(todo)
        return self._devices(todo)

    def _memory(self, todo: Plan) -> None:
        self._unused(todo)
        mode = todo.memory or ""
        for number, gpu in enumerate(todo.hive):
            try:
                self.write(self._file(gpu, "current_memory_partition"), mode)
            except OSError as error:
                pending = ", ".join(before.address for before in todo.hive[:number])
                kept = (
                    f" The request of {pending} stays with the driver until it is loaded again."
                    if pending
                    else " Nothing was changed."
                )
                raise PartitionError(refused_write(gpu, mode, error) + kept) from error
        for command in (["modprobe", "-r", "amdgpu"], ["modprobe", "amdgpu"]):
            rc, out, err = self.run(command)
            if rc != 0:
                said = (err or out).strip().splitlines()[-1:] or ["no reason given"]
                state = (
                    f"The GPUs keep their modes until the driver is loaded again; the request for {mode} "
                    f"stays."
                    if "-r" in command
                    else "The driver is not loaded now. Run modprobe amdgpu and look at dmesg."
                )
                raise PartitionError(f"{' '.join(command)} ended with {rc}: {said[0]}. {state}")
        seen = self._wait(self.timeout, lambda gpus: [gpu for gpu in gpus if gpu.memory != mode], todo.hive)
        if seen:
            shown = ", ".join(f"{gpu.address} shows {gpu.memory or 'no memory mode'}" for gpu in seen)
            raise PartitionError(
                f"The driver was loaded again, but {mode} did not come within {self.timeout:g} s: {shown}. "
                f"The GPUs stay as the driver"
                " left them. Look at dmesg, and check that the firmware of the board knows the mode."
            )

    def _unused(self, todo: Plan) -> None:
        """A request cannot be taken back, so make sure that the driver can go before there is one."""
        count = self.tree.number("sys/module/amdgpu/refcnt")
        if count:
            others = (
                ", ".join(self.tree.names("sys/module/amdgpu/holders"))
                or "something that is not a process, such as a console on the GPU"
            )
            raise PartitionError(
                f"The driver amdgpu cannot be unloaded: it is in use {count} times, by {others}. Nothing was "
                f"changed."
            )

    def _compute(self, todo: Plan) -> None:
        before = {gpu.address: gpu for gpu in todo.gpus}
        now = {gpu.address: gpu for gpu in read(self.tree)}
        done: list[Gpu] = []
        for address, mode in todo.compute.items():
            gpu = now.get(address, before[address])
            if gpu.compute == mode:
                continue
            try:
                self.write(self._file(gpu, "current_compute_partition"), mode)
            except OSError as error:
                raise PartitionError(f"{refused_write(gpu, mode, error)} {self._back(todo, done)}") from error
            done.append(before[address])
        wrong = self._wait(
            self.timeout,
            lambda gpus: [gpu for gpu in gpus if gpu.compute != todo.compute.get(gpu.address)],
            _named(todo),
        )
        if wrong:
            shown = ", ".join(f"{gpu.address} shows {gpu.compute or 'nothing'}" for gpu in wrong)
            wanted = ", ".join(sorted({todo.compute[gpu.address] for gpu in wrong}))
            raise PartitionError(
                f"{wanted} did not come within {self.timeout:g} s: {shown}. {self._back(todo, done)}"
            )

    def _back(self, todo: Plan, done: list[Gpu]) -> str:
        """Put compute modes back; says what the GPUs are in."""
        if todo.reload:
            return f"The memory mode is {todo.memory} now; run this again when the cause is gone, or ask for SPX with NPS1."
        kept = []
        for gpu in done:
            try:
                self.write(self._file(gpu, "current_compute_partition"), gpu.compute or "SPX")
            except OSError:
                kept.append(gpu)
        if kept:
            return f"{', '.join(gpu.address for gpu in kept)} could not be put back and keep the new mode."
        return "All GPUs are in the mode they had." if done else "Nothing was changed."

    def _devices(self, todo: Plan) -> list[Gpu]:
        """Wait for the devices of KFD. Some may never come: a display chip of the BMC takes a minor number of
        DRM."""
        had = {gpu.address for gpu in todo.gpus if gpu.devices}
        # From before the change: a GPU that lacks a device counts too few dies afterwards.
        wanted = {gpu.address: gpu.expected(todo.compute[gpu.address]) for gpu in _named(todo)}

        def short(gpus: list[Gpu]) -> list[Gpu]:
            return [
                gpu for gpu in gpus if gpu.address in had and wanted[gpu.address] not in (None, gpu.devices)
            ]

        lacking = self._wait(min(self.timeout, DEVICES_TIMEOUT), short, _named(todo))
        gone = [gpu.address for gpu in lacking if not gpu.devices]
        if gone:
            raise PartitionError(
                f"The mode was set, but the compute driver shows no device of {', '.join(gone)} any more. "
                f"Look at dmesg; a reboot brings"
                " the default mode back."
            )
        for gpu in lacking:
            self.warnings.append(
                f"{gpu.name} is in {gpu.compute} and shows {gpu.devices} of {wanted[gpu.address]} devices. "
                f"Where a display chip of the BMC"
                " takes a minor number, kernel_opt_in: [free_drm_minors] gives it back."
            )
        return read(self.tree)

    def _wait(
        self, seconds: float, wrong: t.Callable[[list[Gpu]], list[Gpu]], gpus: t.Sequence[Gpu]
    ) -> list[Gpu]:
        """Read the GPUs until nothing is wrong with these; returns what still is."""
        addresses = [gpu.address for gpu in gpus]
        deadline = self.clock.monotonic() + seconds
        while True:
            seen = {gpu.address: gpu for gpu in read(self.tree)}
            absent = [
                gpu._replace(compute=None, memory=None, devices=0) for gpu in gpus if gpu.address not in seen
            ]
            bad = wrong([seen[address] for address in addresses if address in seen] + absent)
            if not bad or self.clock.monotonic() >= deadline:
                return bad
            self.clock.sleep(INTERVAL)

    def _file(self, gpu: Gpu, name: str) -> str:
        return self.tree.path(gpu.folder, name)


def _named(todo: Plan) -> list[Gpu]:
    return [gpu for gpu in todo.gpus if gpu.address in todo.compute]


def below_root(root: str, command: list[str]) -> list[str]:
    """The command with its program below the root. For another tree than this machine's, its driver is not
    ours to unload."""
    if root.rstrip("/") == "":
        return command
    for folder in ("usr/sbin", "sbin", "usr/bin", "bin"):
        program = os.path.join(root, folder, command[0])
        if os.access(program, os.X_OK):
            return [program, *command[1:]]
    raise FileNotFoundError(errno.ENOENT, f"there is none below {root}")


def require_modprobe(root: str) -> None:
    """Before a memory mode is asked for: the request stays with the driver until it is loaded again."""
    try:
        found = shutil.which("modprobe") if root.rstrip("/") == "" else below_root(root, ["modprobe"])
    except FileNotFoundError:
        found = None
    if not found:
        raise PartitionError(
            "There is no modprobe to load the driver again with. Nothing was changed. Install kmod, and run "
            "with become."
        )


class Services:
    """The units that may be stopped for a change, and are started again whatever becomes of it."""

    def __init__(self, run: Run, names: t.Sequence[str]) -> None:
        self.run = run
        self.names = [unit_name(name) for name in names]
        self.stopped: list[str] = []

    def stop(self) -> None:
        for name in self.names:
            if self.run(["systemctl", "is-active", "--quiet", name])[0] != 0:
                continue
            # Counted as stopped before it is: a stop that fails half-way is made good by the start.
            self.stopped.append(name)
            rc, out, err = self.run(["systemctl", "stop", name])
            if rc != 0:
                said = (err or out).strip() or f"systemctl ended with {rc}"
                raise PartitionError(f"{name} could not be stopped: {said}. Nothing was changed.")

    def start(self) -> list[str]:
        """Returns what did not start, as sentences."""
        problems = []
        for name in reversed(self.stopped):
            rc, out, err = self.run(["systemctl", "start", name])
            if rc != 0:
                said = (err or out).strip() or f"systemctl ended with {rc}"
                problems.append(
                    f"{name} was stopped for the change and did not start again: {said}. Look at journalctl "
                    f"-u {name}."
                )
        return problems


def shown(states: t.Iterable[dict[str, t.Any]]) -> str:
    """The modes as text, for the diff."""
    return "".join(
        f"{state['address']} {state['compute']} {state['memory']} devices={state['devices']}\n"
        for state in states
    )
