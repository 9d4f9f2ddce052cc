# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying a plan out: memory mode, driver, compute mode, and back where something fails."""

from __future__ import annotations

import errno
import os
import shutil
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.gpus import Gpu, PartitionError, read
from ansible_collections.amdgpu.fleet.plugins.module_utils._partition.wanted import Plan
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

# The driver shows the devices of a new mode before the write returns. A device that is still missing after
# this time does not come.
DEVICES_TIMEOUT = 20.0
INTERVAL = 0.2

Run = t.Callable[[t.List[str]], t.Tuple[int, str, str]]
Write = t.Callable[[str, str], None]


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
        errno.EBUSY: "the driver says that the GPU is in use. Stop what uses it (a process in a container "
        "counts as well) and name its unit in stop_services",
        errno.EINVAL: "the driver does not take this mode while the memory mode is "
        f"{gpu.memory or 'unknown'}. Give a memory mode "
        "that goes with it; docs/support-matrix.md lists the combinations",
        errno.EPERM: "the driver does not allow it. The GPU may be in a reset (see dmesg), or become is "
        "missing",
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
            return (
                f"The memory mode is {todo.memory} now; run this again when the cause is gone, or "
                f"ask for SPX with NPS1."
            )
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
