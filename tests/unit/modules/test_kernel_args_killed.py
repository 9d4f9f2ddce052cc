# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_args killed at every place where it changes a file or starts a program: the host boots, and the next
run finishes the work.

A process that is killed leaves what it has written until then. So one run shows what a kill at each place leaves,
and the next run begins from each of these states. Every few places the module is really killed, and leaves the same.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from killed import KILLED, tree
from module_server import MODULES, ModuleServer

REPOSITORY = Path(__file__).resolve().parents[3]
# Every which place is a real kill.
REAL = 8
ARGUMENTS = {"present": ["iommu=pt", "pci=realloc=off"], "absent": ["amdgpu.gttsize"]}
# grub-mkconfig writes beside grub.cfg and moves the file into its place when it is whole.
UPDATE_GRUB = """#!/bin/sh
set -e
cd "$FAKE_ROOT"
. ./etc/default/grub
for x in ./etc/default/grub.d/*.cfg; do if [ -e "$x" ]; then . "$x"; fi; done
cat > boot/grub/grub.cfg.new <<END
menuentry 'Debian' {
\tlinux	/vmlinuz-6.1 root=UUID=1-2 ro ${GRUB_CMDLINE_LINUX} ${GRUB_CMDLINE_LINUX_DEFAULT}
}
END
mv boot/grub/grub.cfg.new boot/grub/grub.cfg
"""
# Reads no drop-ins.
GRUB2_MKCONFIG = UPDATE_GRUB.replace(
    'for x in ./etc/default/grub.d/*.cfg; do if [ -e "$x" ]; then . "$x"; fi; done\n', ""
).replace("boot/grub/", "boot/grub2/")
# The shell that the tools of Limine read their settings with.
LIMINE_MKINITCPIO = """#!/bin/bash
set -e
cd "$FAKE_ROOT"
declare -A KERNEL_CMDLINE
for x in etc/limine-entry-tool.d/*.conf etc/default/limine; do if [ -f "$x" ]; then . "./$x"; fi; done
cat > boot/limine.conf.new <<END
/+Linux
//linux
    protocol: linux
    path: boot():/vmlinuz-linux
    cmdline: ${KERNEL_CMDLINE[default]}
END
mv boot/limine.conf.new boot/limine.conf
"""
LIMINE_CONF = "/+Linux\n//linux\n    protocol: linux\n    path: boot():/vmlinuz-linux\n    cmdline: root=UUID=1 quiet amdgpu.gttsize=1\n"
# Its partitions are not mounted, so a file stands for them.
PROXMOX_BOOT_TOOL = """#!/bin/sh
set -e
cd "$FAKE_ROOT"
head -n 1 etc/kernel/cmdline > partition.new
mv partition.new partition
"""
PROXMOX_GRUB = UPDATE_GRUB.replace("cat > boot/grub/grub.cfg.new", "cat > partition.new").replace(
    "mv boot/grub/grub.cfg.new boot/grub/grub.cfg", "mv partition.new partition"
)
SDBOOTUTIL = """#!/bin/sh
set -e
cd "$FAKE_ROOT"
line=$(cat etc/kernel/cmdline etc/kernel/cmdline.d/*.conf 2>/dev/null | grep -v '^#' | tr '\\n' ' ' || true)
printf 'title SUSE\\nlinux /vmlinuz-7.0\\noptions %s\\n' "$line" > entry.new
mv entry.new boot/efi/loader/entries/suse-7.0.conf
"""


def loader_info(text: str) -> dict[str, str]:
    name = "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    return {name: "\6\0\0\0" + "".join(f"{letter}\0" for letter in text) + "\0\0"}


FILES = {
    "limine appends": {
        "etc/default/limine": 'KERNEL_CMDLINE[default]+="root=UUID=1 quiet amdgpu.gttsize=1"\n',
        "boot/limine.conf": LIMINE_CONF,
        "usr/sbin/limine-mkinitcpio": LIMINE_MKINITCPIO,
    },
    "limine replaces": {
        "etc/default/limine": 'KERNEL_CMDLINE[default]="root=UUID=1 quiet amdgpu.gttsize=1"\n',
        "boot/limine.conf": LIMINE_CONF,
        "usr/sbin/limine-mkinitcpio": LIMINE_MKINITCPIO,
    },
    "proxmox": {
        **loader_info("systemd-boot 257"),
        "etc/kernel/proxmox-boot-uuids": "AAAA-0001\n",
        "etc/kernel/cmdline": "root=ZFS=rpool/ROOT/pve-1 boot=zfs amdgpu.gttsize=1\n# mine\n",
        "partition": "root=ZFS=rpool/ROOT/pve-1 boot=zfs amdgpu.gttsize=1\n",
        "usr/sbin/proxmox-boot-tool": PROXMOX_BOOT_TOOL,
    },
    "proxmox with GRUB": {
        "etc/kernel/proxmox-boot-uuids": "AAAA-0001\n",
        "etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet amdgpu.gttsize=1"\nGRUB_CMDLINE_LINUX=""\n',
        "etc/default/grub.d/proxmox-ve.cfg": "GRUB_DISTRIBUTOR=Proxmox\n",
        "partition": "menuentry 'Debian' {\n\tlinux\t/vmlinuz-6.1 root=UUID=1-2 ro  quiet amdgpu.gttsize=1\n}\n",
        "usr/sbin/grub-mkconfig": ". ${sysconfdir}/default/grub.d/*.cfg\n",
        "usr/sbin/proxmox-boot-tool": PROXMOX_GRUB,
    },
    "sdbootutil": {
        "etc/kernel/cmdline": "root=UUID=1 quiet amdgpu.gttsize=1\n",
        "boot/efi/loader/entries/suse-7.0.conf": "title SUSE\nlinux /vmlinuz-7.0\noptions root=UUID=1 quiet amdgpu.gttsize=1 \n",
        "usr/sbin/sdbootutil": SDBOOTUTIL,
    },
    "grub": {
        "etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet amdgpu.gttsize=1"\nGRUB_CMDLINE_LINUX=""\n',
        "boot/grub/grub.cfg": "menuentry 'Debian' {\n\tlinux /vmlinuz-6.1 root=UUID=1-2 ro  quiet amdgpu.gttsize=1\n}\n",
        "usr/sbin/update-grub": UPDATE_GRUB,
        "usr/sbin/grub-mkconfig": ". ${sysconfdir}/default/grub.d/*.cfg\n",
    },
    "systemd-boot": {
        "boot/loader/loader.conf": "default arch.conf\n",
        "boot/loader/entries/arch.conf": "title Arch\nlinux /vmlinuz-linux\noptions root=UUID=1 rw quiet amdgpu.gttsize=1\n",
        "boot/loader/entries/old.conf": "title Arch\nlinux /vmlinuz-lts\noptions root=UUID=1 rw amdgpu.gttsize=1\n",
        "etc/kernel/cmdline": "root=UUID=1 rw quiet amdgpu.gttsize=1\n",
    },
    "suse": {
        "etc/os-release": 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
        "etc/default/grub": '# mine\nGRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet amdgpu.gttsize=1"\nGRUB_CMDLINE_LINUX=""\n',
        "boot/grub2/grub.cfg": "menuentry 'SUSE' {\n\tlinux /vmlinuz-6.4 root=UUID=1-2 ro  quiet amdgpu.gttsize=1\n}\n",
        "usr/sbin/grub2-mkconfig": GRUB2_MKCONFIG,
    },
    # EL and Fedora, where grubby is missing or cannot be run.
    "bls": {
        "boot/grub2/grubenv": "# GRUB Environment Block\nsaved_entry=id-5.14\nkernelopts=root=UUID=1 ro quiet amdgpu.gttsize=1\n####",
        "boot/loader/entries/id-5.14.conf": "title EL\nlinux /vmlinuz-5.14\noptions root=UUID=1 ro quiet amdgpu.gttsize=1\n",
        "boot/loader/entries/id-5.13.conf": "title EL\nlinux /vmlinuz-5.13\noptions $kernelopts $tuned_params\n",
        "etc/kernel/cmdline": "root=UUID=1 ro quiet amdgpu.gttsize=1\n",
        "etc/default/grub": '# mine\nGRUB_CMDLINE_LINUX="quiet amdgpu.gttsize=1"\nGRUB_ENABLE_BLSCFG=true\n',
    },
}  # fmt: skip
# What the boot loader and the generators read. Each must be what it was or what it becomes, never a part of
# it.
LIMINE_FILES = ["boot/limine.conf", "etc/default/limine", "etc/limine-entry-tool.d/60-amdgpu-fleet.conf"]
# Whose drop-in holds all that was added.
WITH_DROPIN = ("grub", "limine appends", "proxmox with GRUB", "sdbootutil")
BOOT_FILES = {
    "limine appends": LIMINE_FILES,
    "limine replaces": LIMINE_FILES,
    "proxmox": ["etc/kernel/cmdline", "partition"],
    "proxmox with GRUB": ["etc/default/grub", "etc/default/grub.d/60-amdgpu-fleet.cfg", "partition"],
    "sdbootutil": [
        "etc/kernel/cmdline",
        "etc/kernel/cmdline.d/60-amdgpu-fleet.conf",
        "boot/efi/loader/entries/suse-7.0.conf",
    ],
    "grub": ["boot/grub/grub.cfg", "etc/default/grub", "etc/default/grub.d/60-amdgpu-fleet.cfg"],
    "systemd-boot": [
        "boot/loader/entries/arch.conf",
        "boot/loader/entries/old.conf",
        "boot/loader/loader.conf",
        "etc/kernel/cmdline",
    ],
    "suse": ["boot/grub2/grub.cfg", "etc/default/grub"],
    "bls": [
        *("boot/loader/entries/id-5.14.conf", "boot/loader/entries/id-5.13.conf", "boot/grub2/grubenv"),
        *("etc/kernel/cmdline", "etc/default/grub"),
    ],
}


class Host:
    def __init__(self, folder: Path, loader: str, server: ModuleServer):
        self.folder, self.loader, self.server = folder, loader, server
        self.root = folder / "root"
        self.reset()

    def reset(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in ("etc/default/grub.d", "proc") if self.loader == "grub" else ("proc",):
            (self.root / folder).mkdir(parents=True)
        for name, text in {**FILES[self.loader], "proc/cmdline": "ro quiet\n"}.items():
            place = self.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(0o755 if "/sbin/" in name else 0o644)
        (self.folder / "bin").mkdir()
        (self.folder / "bin/chroot").write_text('#!/bin/sh\nFAKE_ROOT="$1"; export FAKE_ROOT\nexec "$1$2"\n')
        (self.folder / "bin/chroot").chmod(0o755)

    def put(self, state: Path) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(state, self.root, symlinks=True)

    def run(
        self, place: int = 0, keep: Path | None = None, **arguments: object
    ) -> subprocess.CompletedProcess[str]:
        given = {
            "ANSIBLE_MODULE_ARGS": {
                **(arguments or ARGUMENTS),
                "root": str(self.root),
                "_ansible_remote_tmp": str(self.folder / "tmp"),
            }
        }
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        return self.server.run(
            f"{MODULES}.kernel_args", json.dumps(given), environment,
            kill_at=place, keep=(str(self.root), str(keep)) if keep else None,
        )  # fmt: skip

    def left_by_kills(self, **arguments: object) -> Iterator[int]:
        """Brings the host into every state in which a kill leaves it, and says of which place it is."""
        start, kept = self.folder / "start", self.folder / "kept"
        shutil.copytree(self.root, start, symlinks=True)
        kept.mkdir()
        assert self.run(keep=kept, **arguments).returncode == 0
        places = json.loads((kept / "places.json").read_text())
        assert len(places) > 20, "nothing was watched"
        tried = set()
        for place, name in enumerate(places, 1):
            real = name is None or place % REAL == 0
            if real:
                self.put(start)
                assert self.run(place, **arguments).returncode == KILLED
                assert name is None or content(self.root) == content(kept / name), f"killed at {place}"
            if name is None or name not in tried:
                if not real:
                    self.put(kept / name)
                tried.add(name)
                yield place
        assert tried >= set(places)

    def boot_files(self) -> dict[str, str | None]:
        places = {name: self.root / name for name in BOOT_FILES[self.loader]}
        return {name: place.read_text() if place.exists() else None for name, place in places.items()}


def content(root: Path) -> dict[str, tuple[object, ...]]:
    """A tree without its times, and without what is random in the names of temporary files."""
    return {
        re.sub(r"\.\w{8}\.new$", ".new", name): (mode, content)
        for name, (mode, content, _written) in tree(root).items()
    }


@pytest.mark.parametrize("loader", FILES)
def test_killed_at_every_place(tmp_path, module_server, loader):
    host = Host(tmp_path / "host", loader, module_server)
    before = host.boot_files()
    whole = host.run()
    assert whole.returncode == 0, whole.stdout + whole.stderr
    after = host.boot_files()
    assert json.loads(whole.stdout)["changed"] and after != before

    host.reset()
    for place in host.left_by_kills():
        for name, text in host.boot_files().items():
            assert text in (before[name], after[name]), (
                f"killed at {place}: {name} is neither the old nor the new one: {text!r}"
            )
        finished = host.run()
        assert finished.returncode == 0, f"after a kill at {place}: {finished.stdout}"
        assert host.boot_files() == after, f"after a kill at {place} the next run does not finish the work"


@pytest.mark.parametrize("present", [[], ["iommu=pt"]], ids=["everything", "a part"])
@pytest.mark.parametrize("loader", FILES)
def test_a_purge_killed_at_every_place_is_finished_by_the_next(tmp_path, module_server, loader, present):
    host = Host(tmp_path / "host", loader, module_server)
    record = host.root / "var/lib/amdgpu-fleet/kernel-arguments"
    purge = {"purge": True, "present": present}
    assert host.run().returncode == 0
    shutil.copytree(host.root, tmp_path / "site", symlinks=True)
    before = host.boot_files()
    whole = host.run(**purge)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    after = host.boot_files()
    assert json.loads(whole.stdout)["changed"] and after != before
    recorded = record.read_text() if record.exists() else None
    assert (recorded is None) == (loader in WITH_DROPIN or not present)

    host.put(tmp_path / "site")
    for place in host.left_by_kills(**purge):
        for name, text in host.boot_files().items():
            # An empty drop-in stands for none.
            comment = (
                name.endswith("60-amdgpu-fleet.cfg")
                and after[name] is None
                and (text or "").startswith("#")
                and text.count("\n") == 1
            )
            assert comment or text in (before[name], after[name]), (
                f"killed at {place}: {name} is neither the old nor the new: {text!r}"
            )
        finished = host.run(**purge)
        assert finished.returncode == 0, f"after a kill at {place}: {finished.stdout}"
        assert host.boot_files() == after, f"after a kill at {place} the next purge does not finish the work"
        assert (record.read_text() if record.exists() else None) == recorded, (
            f"after a kill at {place} the record is another"
        )
