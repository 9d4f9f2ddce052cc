# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine of QEMU, for what containers cannot show: boot loaders, the kernel's command line, a
reboot, DKMS, udev."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from . import repository, vm_image
from .images import KEY
from .machine import BedError, exclusive, install_tools, run, step
from .vm_image import CACHE, GUEST

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "sfdisk": "fdisk",
    "mke2fs": "e2fsprogs",
    "apt-ftparchive": "apt-utils",
    "dpkg-deb": "dpkg",
    "gpg": "gnupg",
    "ssh-keygen": "openssh-client",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
}
FIRMWARE = (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd"))
DISK = CACHE / "vm.qcow2"
ESP_DISK = CACHE / "vm-esp.qcow2"
VARIABLES = CACHE / "vm-variables.fd"
CONSOLE = CACHE / "console.log"
MACHINE_PID = CACHE / "qemu.pid"
SERVER_PID = CACHE / "repository.pid"
SSH_CONFIG = CACHE / "ssh_config"
SSH_CONNECTIONS = Path("/tmp/amdgpu-fleet-vm-ssh")
REPOSITORY_URL = CACHE / "repository-url"
FOLDER = CACHE / "repository"
GATEWAY = "10.0.2.2"  # where QEMU's user network shows the loopback of the machine it runs on
READY_SECONDS = 300
MEMORY_MIB = 2048


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors a person can act on end in one sentence."""
    parser = argparse.ArgumentParser(
        prog="vm", description="One virtual machine with a real boot loader and kernel."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("check", check, "say why this machine cannot run it, if it cannot"),
        ("build", build, "make its disk image and package repository; what exists is kept"),
        ("up", up, "start it from a fresh disk: BIOS and GRUB"),
        ("up-efi", up_efi, "start it from a fresh disk: UEFI firmware and systemd-boot"),
        ("down", down, "end it and remove its disk; the image stays"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=lambda options, command=command: command())
    ssh = commands.add_parser("ssh", help="run a command in it: vm ssh -- COMMAND ...")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    ssh.set_defaults(
        run=lambda options: (
            subprocess.run(
                [*_ssh(), *options.command[options.command[:1] == ["--"] :]], check=False
            ).returncode
        )
    )
    options = parser.parse_args(arguments)
    try:
        if "command" in options:
            return int(options.run(options))
        with exclusive("amdgpu-fleet-vm"):
            options.run(options)
    except (BedError, ValueError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vm: interrupted; `vm down` ends what was started", file=sys.stderr)
        return 130
    return 0


def check() -> None:
    """QEMU and its firmware can be installed, and the guest's memory is free."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
    if free < MEMORY_MIB + 512:
        raise BedError(f"the virtual machine needs {MEMORY_MIB + 512} MiB of memory, and {free} MiB are free")
    install_tools(TOOLS)


def build() -> Path:
    """Disk image and package repository."""
    install_tools(TOOLS)
    base = vm_image.image(_first_boot)
    repository.build_for_vm(FOLDER, GUEST / "amdgpu", vm_image.kernel_files()[0])
    return base


def up_efi() -> None:
    """The same machine, started by UEFI firmware with systemd-boot on a second disk."""
    up(efi=True)


def up(*, efi: bool = False) -> None:
    """Start the machine from a fresh disk and wait until ssh would let Ansible in."""
    down()
    base = build()
    vm_image.overlay(base, DISK)
    if efi:
        vm_image.overlay(vm_image.esp_of(base), ESP_DISK)
        shutil.copy(FIRMWARE[1], VARIABLES)
    _serve()
    accelerator = _accelerator()
    with step(f"booting the virtual machine ({accelerator}, {'UEFI' if efi else 'BIOS'})"):
        _start(DISK, accelerator, ESP_DISK if efi else None, efi=efi)
        _wait()
    print(run([*_ssh(), "uname -sr; cat /proc/cmdline; lspci -D -nn -s 0001:"]).strip())


def down() -> None:
    """End the machine and its package server."""
    shutil.rmtree(SSH_CONNECTIONS, ignore_errors=True)
    for file in (MACHINE_PID, SERVER_PID):
        _end(file)
    for file in (DISK, ESP_DISK, VARIABLES):
        file.unlink(missing_ok=True)


def _accelerator() -> str:
    """`kvm` where a probe shows that it works, else `tcg`. The answer holds until this machine boots
    again."""
    memory, boot = (
        CACHE / "accelerator",
        Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip(),
    )
    known = memory.read_text(encoding="utf-8").split() if memory.exists() else []
    if known[:1] != [boot]:
        with step("probing KVM"):
            known = [boot, "kvm" if vm_image.boots_with_kvm() else "tcg"]
        memory.write_text(" ".join(known), encoding="utf-8")
    return known[1]


def _first_boot(disk: Path) -> None:
    """Let the machine install its own boot loader, then shut it down."""
    accelerator = _accelerator()
    try:
        with step(
            f"first boot ({accelerator}): grub-install, bootctl and kernel-install in the machine itself"
        ):
            _start(disk, accelerator, vm_image.esp_of(disk))
            _wait()
            script = "set -e; rm /boot/grub/core.img; grub-install /dev/vda; update-grub"
            run([*_ssh(), f"{script}\n{vm_image.INSTALL_SYSTEMD_BOOT}\nsystemctl poweroff"])
            deadline = time.monotonic() + READY_SECONDS
            while _runs(MACHINE_PID):
                if time.monotonic() > deadline:
                    raise BedError(f"the virtual machine did not power off; see {CONSOLE}")
                time.sleep(0.3)
    finally:
        _end(MACHINE_PID)


def _start(disk: Path, accelerator: str, esp: Path | None = None, *, efi: bool = False) -> None:
    port = _free_port()
    CONSOLE.unlink(missing_ok=True)
    cpu = {
        "kvm": ["-accel", "kvm", "-cpu", "host"],
        "tcg": ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
    }[accelerator]
    command = [
        "qemu-system-x86_64", *cpu, "-smp", "2", "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-vga", "none",
        "-drive", f"file={disk},if=virtio,format=qcow2,cache=unsafe", "-serial", f"file:{CONSOLE}", "-device", "virtio-rng-pci",
        "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=net,romfile=",
    ]  # fmt: skip
    if esp:
        command += ["-drive", f"file={esp},if=virtio,format=qcow2,cache=unsafe"]
    if efi:
        for file, rights in zip((FIRMWARE[0], VARIABLES), ("on", "off"), strict=True):
            command += ["-drive", f"if=pflash,format=raw,file={file},readonly={rights}"]
    with (CACHE / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    MACHINE_PID.write_text(f"{process.pid} {disk}", encoding="utf-8")
    keys = (CACHE / "known_host_keys").read_text(encoding="utf-8").splitlines()
    (CACHE / "known_hosts").write_text("".join(f"vm {key}\n" for key in keys), encoding="utf-8")
    options = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": "root",
        "IdentityFile": KEY,
        "IdentitiesOnly": "yes",
        "HostKeyAlias": "vm",
        "UserKnownHostsFile": CACHE / "known_hosts",
        "ConnectTimeout": 20,
        "ServerAliveInterval": 10,
        "ServerAliveCountMax": 3,
        "LogLevel": "ERROR",
    }
    SSH_CONFIG.write_text(
        "Host vm\n" + "".join(f"  {name} {value}\n" for name, value in options.items()), encoding="utf-8"
    )


def _wait() -> None:
    """Until systemd has finished starting."""
    deadline, state = time.monotonic() + READY_SECONDS, ""
    while time.monotonic() < deadline:
        if not _runs(MACHINE_PID):
            said = (CACHE / "qemu.log").read_text(encoding="utf-8", errors="replace").strip()
            raise BedError(f"QEMU ended: {said or 'it said nothing'}; the console is in {CONSOLE}")
        state = run([*_ssh(), "systemctl is-system-running --wait"], check=False).strip()
        if state == "running":
            return
        if state == "degraded":
            failed = run([*_ssh(), "systemctl --failed --plain --no-legend"]).strip().split("\n")[0]
            raise BedError(
                f"the virtual machine is degraded: {failed}; look with `vm ssh -- journalctl -b -p err`"
            )
        time.sleep(1)
    raise BedError(
        f"the virtual machine was not ready after {READY_SECONDS} s (systemd: {state or 'no answer'}); its "
        f"console is in {CONSOLE}"
    )


def _ssh() -> list[str]:
    return ["ssh", "-F", str(SSH_CONFIG), "vm"]


def _serve() -> None:
    """The package repository on the loopback, at a free port."""
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(FOLDER),
        str(port),
    ]
    with (CACHE / "repository.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    SERVER_PID.write_text(f"{process.pid} {FOLDER}", encoding="utf-8")
    REPOSITORY_URL.write_text(f"http://{GATEWAY}:{port}\n", encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _process(file: Path) -> int | None:
    """The process a pid file names, if it is still the one that was started: its command line holds the path
    noted beside the pid."""
    try:
        pid, _space, mark = file.read_text(encoding="utf-8").partition(" ")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        ended = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return None
    # A process that was just started has no command line yet.
    return int(pid) if (not command or mark.encode() in command) and not ended else None


def _runs(file: Path) -> bool:
    return _process(file) is not None


def _end(file: Path) -> None:
    """End a process that was started here, by its own id."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = _process(file)
        if pid is None:
            break
        os.kill(pid, number)
        for _attempt in range(50):
            if not _runs(file):
                break
            time.sleep(0.1)
    file.unlink(missing_ok=True)
