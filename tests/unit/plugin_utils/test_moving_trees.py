# SPDX-License-Identifier: GPL-3.0-or-later
"""No tree makes the planner remove an argument whose replacement it does not write: whole trees, of every loader,
with and without what an option needs to take effect."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modules"))
from boot_hosts import LIMINE_CONF, entry, firmware, put, running
from test_boot_plan import without_grub
from unified_image import image

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline
from testbed.tree import load_host, write_tree

ROOT = "root=/dev/vda1 rw"
LIMITS = ("ttm.pages_limit", "amdgpu.gttsize")


def grub(root: Path, line: str) -> None:
    put(root, "boot/grub/grub.cfg", f"menuentry 'x' {{\n\tlinux /boot/vmlinuz-7.2 {line}\n}}\n")
    running(root, f"BOOT_IMAGE=/boot/vmlinuz-7.2 {line}")


def grub_without_grub_cfg(root: Path, line: str) -> None:
    shutil.rmtree(root / "boot/grub")
    running(root, line)


def systemd_boot(root: Path, line: str) -> None:
    without_grub(root, "ID=arch\nPRETTY_NAME=Arch\n")
    entry(root, "efi/loader/entries/arch.conf", line)
    entry(root, "efi/loader/entries/other.conf", "root=UUID=other quiet")
    firmware(root, "systemd-boot 258")
    running(root, line)


def images(root: Path, line: str) -> None:
    without_grub(root, "ID=arch\nPRETTY_NAME=Arch\n")
    for place in (root / "boot").glob("initrd*"):
        place.unlink()
    put(root, "efi/EFI/Linux/arch-linux.efi", image(line))
    put(root, "etc/kernel/cmdline", line + "\n")
    firmware(root, "systemd-boot 258", "systemd-stub 258")
    running(root, line)


def plain_limine(root: Path, line: str) -> None:
    without_grub(root, "ID=arch\nPRETTY_NAME=Arch\n")
    put(root, "boot/limine.conf", LIMINE_CONF.format(line=line))
    running(root, line)


def limine(root: Path, line: str) -> None:
    plain_limine(root, line)
    put(root, "etc/default/limine", f'KERNEL_CMDLINE[default]="{line}"\n')
    for name in ("limine-entry-tool", "limine-mkinitcpio"):
        put(root, f"usr/bin/{name}", "", 0o755)


def zfsbootmenu(root: Path, line: str) -> None:
    firmware(root, stub="systemd-stub 256", path=r"\EFI\ZBM\VMLINUZ.EFI")
    running(root, line.replace("root=/dev/vda1", "root=zfs:rpool/ROOT/a"))


def network(root: Path, line: str) -> None:
    running(root, "BOOT_IMAGE=kernel " + line.replace("root=/dev/vda1", "root=wwclient"))


def silverblue(root: Path, line: str) -> None:
    without_grub(root, "ID=fedora\nVARIANT_ID=silverblue\nPRETTY_NAME=Fedora\n")
    put(root, "run/ostree-booted")
    put(root, "usr/bin/rpm-ostree", "", 0o755)
    running(root, f"{line} ostree=/ostree/boot.1/x")


def nixos(root: Path, line: str) -> None:
    without_grub(root, "ID=nixos\nPRETTY_NAME=NixOS\n")
    entry(root, "boot/loader/entries/nixos-generation-1.conf", line)
    running(root, line)


LOADERS: dict[str, Callable[[Path, str], None]] = {
    make.__name__: make
    for make in (
        grub,
        grub_without_grub_cfg,
        systemd_boot,
        images,
        plain_limine,
        limine,
        zfsbootmenu,
        network,
        silverblue,
        nixos,
    )
}
TOOLS = {
    "initramfs-tools": "usr/sbin/update-initramfs",
    "dracut": "usr/bin/dracut",
    "dracut for this host": "usr/bin/dracut",
    "mkinitcpio": "usr/bin/mkinitcpio",
    "none": "",
}
PARAMETERS = {
    "as loaded": None,
    "without it": ["page_pool_size"],
    "with it": ["pages_limit", "page_pool_size"],
}


def run(command: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def make_tree(
    root: Path, loader: str, line: str, tool: str, parameters: list[str] | None, more: dict[str, str]
) -> None:
    write_tree(load_host("strix-halo-128"), root)
    shutil.rmtree(root / "etc/initramfs-tools")
    LOADERS[loader](root, line)
    if TOOLS[tool]:
        put(root, TOOLS[tool], "mkinitramfs" if tool == "initramfs-tools" else "", 0o755)
    if tool == "dracut for this host":
        put(root, "etc/dracut.conf", 'hostonly="yes"\n')
    if parameters is not None:
        shutil.rmtree(root / "sys/module/ttm/parameters", ignore_errors=True)
        for name in parameters:
            put(root, f"sys/module/ttm/parameters/{name}", "1\n")
    for path, text in more.items():
        put(root, path, text)


NO_MEMORY = {"proc/meminfo": "MemFree: 1 kB\n"}
MORE = [
    {},
    NO_MEMORY,
    {"run/systemd/container": "lxc\n"},
    {"etc/modprobe.d/zz.conf": "options ttm pages_limit=1000\n"},
]
LIMIT = ["ttm.pages_limit=25165824"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    loader=st.sampled_from(sorted(LOADERS)),
    tokens=st.lists(st.sampled_from([*LIMIT, "amdgpu.gttsize=98304", "quiet", "amd_iommu=off"]), unique=True),
    tool=st.sampled_from(sorted(TOOLS)),
    parameters=st.sampled_from(sorted(PARAMETERS)),
    more=st.sampled_from(MORE),
    gib=st.sampled_from([0, 64, 4000]),
)
@example(loader="grub", tokens=LIMIT, tool="dracut", parameters="with it", more={}, gib=0)
@example(loader="zfsbootmenu", tokens=LIMIT, tool="dracut", parameters="with it", more={}, gib=0)
@example(loader="grub", tokens=LIMIT, tool="dracut", parameters="with it", more=NO_MEMORY, gib=0)
@example(loader="grub", tokens=LIMIT, tool="none", parameters="with it", more={}, gib=0)
@example(loader="grub", tokens=LIMIT, tool="dracut", parameters="without it", more={}, gib=0)
@example(loader="images", tokens=LIMIT, tool="none", parameters="with it", more={}, gib=0)
@example(loader="systemd_boot", tokens=LIMIT, tool="mkinitcpio", parameters="with it", more=NO_MEMORY, gib=0)
@example(loader="systemd_boot", tokens=LIMIT, tool="dracut", parameters="as loaded", more={}, gib=0)
def test_no_tree_loses_an_argument_whose_replacement_is_not_written(
    plan_of_tree, loader, tokens, tool, parameters, more, gib
):
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        line = " ".join([ROOT, *tokens])
        make_tree(folder, loader, line, tool, PARAMETERS[parameters], more)
        kernel = plan_of_tree(folder, kernel_gtt_gib=gib)["kernel"]
        _hold(folder, kernel, PARAMETERS[parameters])
        _hold_what_is_written(folder, kernel)
    finally:
        shutil.rmtree(folder)


def _hold(root: Path, kernel: dict, parameters: list[str] | None) -> None:
    removed = [name for name in LIMITS if name in kernel["absent"]]
    written = any(each.startswith("ttm.pages_limit=") for each in kernel["present"])
    option = int(kernel["module_options"].get("ttm", {}).get("pages_limit", 0))
    images_there = any(root.glob("boot/initrd*")) or any(root.glob("efi/EFI/Linux/*.efi"))
    holds = boot.initramfs_of(str(root)).tool and boot.holds_options(str(root))
    effective = option > 0 and (holds or not images_there)
    effective = effective and (parameters is None or "pages_limit" in parameters)
    assert not removed or written or effective, kernel
    assert boot.detect(str(root)) or not (kernel["absent"] or kernel["present"])


def _hold_what_is_written(root: Path, kernel: dict) -> None:
    """What the next boot loses is what the plan names or gives another value, and what is refused is left."""
    host = boot.Host(str(root), run=run, find=lambda name: None)
    asked = cmdline.wanted(kernel["present"], kernel["absent"])
    try:
        decided = boot.plan(host, "auto", asked)
    except boot.BootError:
        return
    lost = [entry for entry in decided.before if entry not in decided.after]
    patterns = [*kernel["absent"], *(entry.partition("=")[0] for entry in kernel["present"])]
    assert all(any(cmdline.matches(entry, pattern) for pattern in patterns) for entry in lost)
    assert set(kernel["present"]) <= set(decided.after)
    assert not any("other.conf" in place and old != new for place, (old, new) in decided.files.items())
