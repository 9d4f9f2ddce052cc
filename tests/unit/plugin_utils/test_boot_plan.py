# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose boot configuration is not ours to write, and the rule that an argument goes only where what takes
its place is written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))
from boot_hosts import LIMINE_CONF, entry, firmware, put, running

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline
from testbed.tree import load_host, write_tree

HALO = "root=UUID=1 quiet ttm.pages_limit=25165824"


def without_grub(root: Path, identity: str) -> None:
    for path in (
        "etc/default/grub",
        "boot/grub",
        "boot/grub2",
        "boot/loader",
        "etc/kernel",
        "etc/initramfs-tools",
    ):
        place = root / path
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    put(root, "etc/os-release", identity)


def nixos(root: Path) -> None:
    without_grub(root, "ID=nixos\nVERSION_ID=26.05\nPRETTY_NAME=NixOS\n")
    entry(root, "boot/loader/entries/nixos-generation-42.conf", HALO, "/EFI/nixos/a-linux-7.1-bzImage.efi")
    firmware(root, "systemd-boot 258")
    running(root, HALO)


def image_mode(root: Path) -> None:
    without_grub(root, 'ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.6"\nPRETTY_NAME="RHEL 9.6"\n')
    put(root, "run/ostree-booted")
    put(root, "usr/bin/bootc", "", 0o755)
    line = "root=UUID=1 rw ostree=/ostree/boot.1/default/1/0"
    release = (root / "proc/sys/kernel/osrelease").read_text().strip()
    put(
        root,
        "boot/loader/entries/ostree-1.conf",
        f"title RHEL\nversion 1\nlinux /boot/ostree/default-1/vmlinuz-{release}\noptions {line}\n",
    )
    running(root, line)


def silverblue(root: Path) -> None:
    without_grub(root, 'ID=fedora\nVERSION_ID="43"\nVARIANT_ID=silverblue\nPRETTY_NAME=Fedora\n')
    put(root, "run/ostree-booted")
    put(root, "usr/bin/rpm-ostree", "", 0o755)
    running(root, f"BOOT_IMAGE=/ostree/vmlinuz {HALO} amdgpu.gttsize=9 ostree=/ostree/boot.1/x")


def plain_limine(root: Path) -> None:
    without_grub(root, "ID=arch\nPRETTY_NAME=Arch\n")
    put(root, "usr/bin/mkinitcpio", "", 0o755)
    put(root, "boot/limine.conf", LIMINE_CONF.format(line=HALO))
    running(root, HALO)


def unknown_initramfs(root: Path) -> None:
    shutil.rmtree(root / "etc/initramfs-tools")
    line = "BOOT_IMAGE=/boot/vmlinuz root=UUID=1 quiet ttm.pages_limit=1000 amdgpu.gttsize=9"
    running(root, line)
    put(
        root,
        "boot/grub/grub.cfg",
        f"menuentry 'x' {{\n\tlinux /boot/vmlinuz-7.0 {line.partition(' ')[2]}\n}}\n",
    )


def make_tree(root: Path, host: str, change) -> Path:
    write_tree(load_host(host), root)
    change(root)
    return root


def finding(plan: dict, identifier: str) -> dict:
    return next(each for each in plan["findings"] if each["id"] == identifier)


def test_nixos_is_told_what_to_write_and_nothing_is_planned(tmp_path, plan_of_tree):
    """H3: the limit was removed from the entry, and half of the memory with it."""
    plan = plan_of_tree(
        make_tree(tmp_path, "strix-halo-128", nixos), kernel_arguments_present=["amd_iommu=off"]
    )
    seen = finding(plan, "host.declarative")
    assert seen["severity"] == "fail" and seen["seen"] == "NixOS"
    assert 'boot.kernelParams = [ "amd_iommu=off" ];' in seen["remedy"]
    assert "boot.extraModprobeConfig = ''\n  options ttm pages_limit=" in seen["remedy"]
    kernel = plan["kernel"]
    assert (kernel["present"], kernel["absent"], kernel["module_options"], kernel["sysctl"]) == (
        [],
        [],
        {},
        {},
    )


def test_image_mode_gets_the_file_of_its_image(tmp_path, plan_of_tree):
    """H4: the release is that of the kernel file, and the remedy lies in the image."""
    root = make_tree(tmp_path, "mi300x-8-el9", image_mode)
    plan = plan_of_tree(root, driver_release="31.60.0")
    remedy = finding(plan, "host.declarative")["remedy"]
    assert "/usr/lib/bootc/kargs.d/60-amdgpu-fleet.toml" in remedy
    assert 'kargs = ["pci=realloc=off", "iommu=pt"]' in remedy and "RUN dnf install -y amdgpu-dkms" in remedy
    assert plan["driver"]["install"] == plan["rocm"]["install"] == plan["kernel"]["present"] == []
    assert plan["driver"]["repository"] is None


def test_on_rpm_ostree_an_option_is_a_kernel_argument(tmp_path, plan_of_tree):
    """The initramfs of an image does not hold /etc/modprobe.d."""
    plan = plan_of_tree(make_tree(tmp_path, "strix-halo-128", silverblue))
    kernel = plan["kernel"]
    assert kernel["module_options"] == {}
    assert [each.partition("=")[0] for each in kernel["present"]] == ["ttm.pages_limit"]
    assert "amdgpu.gttsize" in kernel["absent"] and "ttm.pages_limit" not in kernel["absent"]
    assert _cmdline.wanted(kernel["present"], kernel["absent"])


def endless(root: Path) -> None:
    without_grub(root, 'ID=endless\nPRETTY_NAME="Endless OS 6"\n')
    put(root, "run/ostree-booted")
    running(root, f"{HALO} ostree=/ostree/boot.1/eos/0/0")


def zfsbootmenu(root: Path) -> None:
    firmware(root, stub="systemd-stub 256", path=r"\EFI\ZBM\VMLINUZ.EFI")
    running(root, HALO.replace("root=UUID=1", "root=zfs:zroot/ROOT/void"))


def test_endless_is_told_the_command_of_ostree(tmp_path, plan_of_tree):
    asked = {"kernel_arguments_present": ["amd_iommu=off"]}
    plan = plan_of_tree(make_tree(tmp_path, "strix-halo-128", endless), **asked)
    seen = finding(plan, "host.declarative")
    assert seen["seen"] == "Endless OS" and "kargs.d" not in seen["remedy"]
    assert "ostree admin instutil set-kargs --merge --append=amd_iommu=off" in seen["remedy"]
    assert plan["kernel"]["present"] == plan["kernel"]["absent"] == []


def test_zfsbootmenu_is_told_the_command_of_its_property(tmp_path, plan_of_tree):
    asked = {"kernel_arguments_present": ["amd_iommu=off"]}
    plan = plan_of_tree(make_tree(tmp_path, "strix-halo-128", zfsbootmenu), **asked)
    seen = finding(plan, "host.boot_loader")
    assert seen["seen"] == "ZFSBootMenu" and "zbm-kcl -r ttm.pages_limit" in seen["remedy"]
    assert "-a amd_iommu=off" in seen["remedy"] and plan["kernel"]["absent"] == []


def test_plain_limine_keeps_its_line(tmp_path, plan_of_tree):
    plan = plan_of_tree(make_tree(tmp_path, "strix-halo-128", plain_limine))
    seen = finding(plan, "host.boot_loader")
    assert seen["seen"] == "Limine" and "remove: ttm.pages_limit=25165824" in seen["remedy"]
    assert "limine.conf" in seen["remedy"] and plan["kernel"]["absent"] == []


def test_without_a_known_initramfs_tool_an_argument_stays(tmp_path, plan_of_tree):
    plan = plan_of_tree(make_tree(tmp_path, "strix-halo-128", unknown_initramfs))
    assert plan["kernel"]["absent"] == ["amdgpu.cwsr_enable=0"]
    remedy = finding(plan, "kernel.outdated_argument")["remedy"]
    assert "It stays, because the tool that builds the initramfs of this host is not known" in remedy


def generic_dracut(root: Path) -> None:
    """A fresh Debian 14 or Ubuntu 25.10: images that fit every machine, and hold no /etc/modprobe.d."""
    shutil.rmtree(root / "etc/initramfs-tools")
    put(root, "usr/bin/dracut", "", 0o755)
    line = "root=UUID=1 quiet ttm.pages_limit=1000 amdgpu.gttsize=9"
    running(root, f"BOOT_IMAGE=/boot/vmlinuz {line}")
    put(root, "boot/grub/grub.cfg", f"menuentry 'x' {{\n\tlinux /boot/vmlinuz-7.0 {line}\n}}\n")


def test_where_an_initramfs_holds_no_options_they_are_kernel_arguments(tmp_path, plan_of_tree):
    kernel = plan_of_tree(make_tree(tmp_path, "strix-halo-128", generic_dracut))["kernel"]
    assert kernel["module_options"] == {}
    assert [each.partition("=")[0] for each in kernel["present"]] == ["ttm.pages_limit"]
    assert "amdgpu.gttsize" in kernel["absent"] and "ttm.pages_limit" not in kernel["absent"]


def test_dracut_in_host_only_mode_takes_the_options(tmp_path, plan_of_tree):
    root = make_tree(tmp_path, "strix-halo-128", generic_dracut)
    put(root, "etc/dracut.conf.d/host.conf", 'hostonly="yes"\n')
    kernel = plan_of_tree(root)["kernel"]
    assert kernel["present"] == [] and "pages_limit" in kernel["module_options"]["ttm"]


def test_a_module_without_the_parameter_keeps_the_argument(make_plan):
    def change(_gpus, rocm):
        rocm["kernel"]["module_parameters"] = {"ttm": ["page_pool_size"]}

    assert make_plan("strix-halo-128", change)["kernel"]["absent"] == ["amdgpu.cwsr_enable=0"]


REFUSED = {"system": "x", "reason": "y", "where": "z", "whole": True, "units": True}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    loader=st.sampled_from(["grub", "limine", "rpm-ostree", "proxmox", None]),
    refused=st.sampled_from([None, REFUSED, {**REFUSED, "whole": False}]),
    tool=st.sampled_from(["dracut", None]),
    images=st.booleans(),
    parameters=st.sampled_from([{}, {"ttm": []}, {"ttm": ["pages_limit"]}]),
    state=st.sampled_from(["present", "absent"]),
    gib=st.sampled_from([0, 64, 4000]),
    line=st.lists(st.sampled_from(["ttm.pages_limit=9", "amdgpu.gttsize=9", "quiet"]), unique=True),
)
def test_no_argument_is_removed_whose_replacement_is_not_written(
    make_plan, loader, refused, tool, images, parameters, state, gib, line
):
    def change(_gpus, rocm):
        rocm["boot"] |= {"loader": None if refused else loader, "refused": refused}
        rocm["boot"] |= {"initramfs": tool, "initramfs_images": images}
        rocm["kernel"] |= {"module_parameters": parameters, "command_line": line}

    kernel = make_plan("strix-halo-128", change, kernel_state=state, kernel_gtt_gib=gib)["kernel"]
    removed = [name for name in ("ttm.pages_limit", "amdgpu.gttsize") if name in kernel["absent"]]
    written = [each for each in kernel["present"] if each.startswith("ttm.pages_limit=")]
    option = "pages_limit" in kernel["module_options"].get("ttm", {})
    effective = option and (tool or not images) and "pages_limit" in parameters.get("ttm", ["pages_limit"])
    assert not removed or written or effective
