# SPDX-License-Identifier: GPL-3.0-or-later
"""What ukify, ostree and dracut of Debian 13 make, and what is read of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _boot as boot
from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as cmdline
from ansible_collections.amdgpu.fleet.plugins.module_utils._boot import entries, uki
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from testbed import boot_tools

KERNEL = "6.12.48+deb13-amd64"
LINE = "root=UUID=1 ro quiet ttm.pages_limit=25165824"
LIMIT = "options ttm pages_limit=25165824"
ASKED = cmdline.wanted(["iommu=pt"], ["ttm.pages_limit"])


def put(root: Path, path: str, text: str = "", mode: int = 0o644) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    place.chmod(mode)


def test_an_image_of_ukify_tells_its_line_and_its_kernel(tmp_path: Path) -> None:
    put(tmp_path, "k", "kernel")
    put(tmp_path, "i", "initramfs")
    put(tmp_path, "lib/modules/" + KERNEL + "/modules.dep")
    put(tmp_path, "proc/cmdline", LINE + "\n")
    (tmp_path / "efi/EFI/Linux").mkdir(parents=True)
    words = f"--linux=k --initrd=i --stub={boot_tools.STUB} --cmdline='{LINE}' --uname={KERNEL}"
    boot_tools.tool(tmp_path, f"ukify build {words} --output=efi/EFI/Linux/debian.efi")
    image = str(tmp_path / "efi/EFI/Linux/debian.efi")
    assert (uki.arguments(image), uki.release(image)) == (LINE, KERNEL)
    assert boot.default_release(Tree(str(tmp_path)), "systemd-boot") == KERNEL
    host = boot.Host(str(tmp_path), run=lambda command: (1, "", ""), find=lambda name: None)
    with pytest.raises(boot.BootError, match="boots unified kernel images"):
        boot.plan(host, "systemd-boot", ASKED)


DEPLOY = """
root=$PWD/root tree=$PWD/tree release={kernel}
mkdir -p $root $tree/usr/lib/modules/$release $tree/usr/etc
echo kernel > $tree/usr/lib/modules/$release/vmlinuz
echo initramfs > $tree/usr/lib/modules/$release/initramfs.img
cp os-release $tree/usr/lib/os-release
ostree admin init-fs $root
ostree admin stateroot-init --sysroot=$root eos
ostree --repo=$root/ostree/repo commit -b os/eos --tree=dir=$tree
ostree admin deploy --sysroot=$root --stateroot=eos --karg=root=UUID=1 --karg=rw os/eos
"""


def test_a_deployment_of_ostree_is_read_and_its_owner_told_what_works(tmp_path: Path) -> None:
    put(tmp_path, "os-release", 'ID=endless\nNAME="Endless OS"\nPRETTY_NAME="Endless OS 6"\nVERSION_ID=6\n')
    boot_tools.tool(tmp_path, DEPLOY.format(kernel=KERNEL))
    root = tmp_path / "root"
    (before,) = entries.entry_lines(str(root))
    assert before[:2] == ["root=UUID=1", "rw"] and before[2].startswith("ostree=/ostree/boot.")
    put(root, f"lib/modules/{KERNEL}/modules.dep")
    put(root, "etc/os-release", "ID=endless\n")
    put(root, "run/ostree-booted")
    put(root, "proc/cmdline", " ".join(before) + "\n")
    assert boot.default_release(Tree(str(root)), "rpm-ostree") == KERNEL
    refused = boot.find(str(root)).refused
    assert refused is not None and refused.system == "Endless OS"
    # The command that the refusal names.
    boot_tools.tool(tmp_path, f"{refused.where} --sysroot=root --append=iommu=pt")
    (after,) = entries.entry_lines(str(root))
    assert after[:2] == before[:2] and after[-1] == "iommu=pt"


DRACUT = """
mkdir -p /lib/modules/{kernel}/kernel
touch /lib/modules/{kernel}/modules.order /lib/modules/{kernel}/modules.builtin
depmod {kernel}
echo '{limit}' > /etc/modprobe.d/amdgpu-fleet.conf
echo '{configuration}' > /etc/dracut.conf.d/test.conf
{command} >log 2>&1
lsinitrd -f etc/modprobe.d/amdgpu-fleet.conf /boot/initrd.img-{kernel} || true
"""
# What a test of the options needs of an image, and no more.
FEW = 'dracutmodules="base kernel-modules"'


@pytest.mark.parametrize("configuration", [FEW, f'{FEW}\nhostonly="yes"'], ids=["generic", "for this host"])
def test_an_image_of_dracut_holds_the_options_in_host_only_mode_alone(
    tmp_path: Path, configuration: str
) -> None:
    for path in (f"boot/initrd.img-{KERNEL}", f"lib/modules/{KERNEL}/modules.dep"):
        put(tmp_path, path)
    put(tmp_path, "usr/bin/dracut", "", 0o755)
    put(tmp_path, "etc/dracut.conf.d/test.conf", configuration + "\n")
    (command,) = boot.initramfs_of(str(tmp_path)).commands
    script = DRACUT.format(
        kernel=KERNEL, limit=LIMIT, configuration=configuration, command=cmdline.join(command)
    )
    seen = boot_tools.tool(tmp_path, script)
    assert (LIMIT in seen) is boot.holds_options(str(tmp_path)), (tmp_path / "log").read_text()


def test_modprobe_takes_options_from_the_command_line_whatever_folder_it_is_given(tmp_path: Path) -> None:
    """As the GPU operator calls it, in a container with modules of its own and none of the host's files."""
    put(tmp_path, "cmdline", LINE + " amdttm.pages_limit=134217728\n")
    script = """
    mkdir -p /opt/lib/modules
    mount --bind cmdline /proc/cmdline
    modprobe -d /opt -c
    """
    assert "options amdttm pages_limit=134217728" in boot_tools.tool(tmp_path, script).splitlines()
