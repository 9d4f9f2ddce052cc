# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_args on a host of unified kernel images whose kernel-install really builds them from
/etc/kernel/cmdline."""

from __future__ import annotations

import os
import sys

import pytest
from unified_image import image, pe

from ansible_collections.amdgpu.fleet.plugins.module_utils._boot import uki

IMAGES = "efi/EFI/Linux"
CMDLINE = "etc/kernel/cmdline"


INSTALL = """#!{python} -IS
import os, sys
sys.path.insert(0, {here!r})
from unified_image import image
root = os.environ["FAKE_ROOT"]
with open(root + "/runs", "a") as stream:
    stream.write(" ".join(sys.argv[1:]) + "\\n")
if os.path.exists(root + "/break-it"):
    sys.exit("ukify: error: no stub")
if not os.path.exists(root + "/does-nothing"):
    with open(root + "/etc/kernel/cmdline") as source, open(root + "/efi/EFI/Linux/id-" + sys.argv[2] + ".efi", "wb") as stream:
        stream.write(image(source.read().strip()))
"""


@pytest.fixture
def host(tmp_path, run_module):
    class Host:
        root = tmp_path / "root"

        def put(self, path, content, mode=0o644):
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
            place.chmod(mode)

        def text(self, path):
            return (self.root / path).read_text() if (self.root / path).exists() else None

        def holds(self, release="6.12"):
            return uki.arguments(str(self.root / IMAGES / f"id-{release}.efi")).split()

        def runs(self):
            return (self.text("runs") or "").splitlines()

        def __call__(self, _check=False, **arguments):
            env = {"PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"}
            return run_module("kernel_args", _check=_check, _env=env, root=str(self.root), **arguments)

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/chroot").write_text(
        '#!/bin/sh\nFAKE_ROOT="$1"; export FAKE_ROOT\nprogram="$1$2"; shift 2\nexec "$program" "$@"\n'
    )
    (tmp_path / "bin/chroot").chmod(0o755)
    made = Host()
    for release in ("6.11", "6.12"):
        made.put(f"{IMAGES}/id-{release}.efi", image("root=UUID=1 quiet iommu=off"))
        made.put(f"lib/modules/{release}/vmlinuz", "")
    made.put("lib/modules/6.10/modules.dep", "")
    made.put("efi/loader/loader.conf", "timeout 3\n")
    made.put(CMDLINE, "root=UUID=1 quiet iommu=off\n")
    made.put("etc/kernel/install.conf", "# x\nlayout=uki\n")
    made.put("proc/cmdline", "root=UUID=1 quiet iommu=off\n")
    made.put(
        "usr/bin/kernel-install", INSTALL.format(python=sys.executable, here=os.path.dirname(__file__)), 0o755
    )
    return made


def test_the_images_are_built_again(host):
    asked = {"present": ["iommu=pt"], "absent": ["quiet"]}
    checked = host(_check=True, **asked)
    assert checked["changed"] and host.runs() == [] and "iommu=off" in host.text(CMDLINE)
    real = host(**asked)
    for key in ("before", "after", "actions", "boot_loader", "reboot_required", "diff"):
        assert checked[key] == real[key], key
    assert real["before"] == ["root=UUID=1", "quiet", "iommu=off"] and real["after"] == [
        "root=UUID=1",
        "iommu=pt",
    ]
    assert (
        host.holds("6.12") == host.holds("6.11") == real["after"] == host.text(CMDLINE).split()
        and real["reboot_required"]
    )
    assert host.runs() == [f"add {release} /lib/modules/{release}/vmlinuz" for release in ("6.11", "6.12")]
    for check in (True, False):
        assert not host(_check=check, **asked)["changed"]
    back = host(purge=True)
    assert (
        back["changed"]
        and sorted(host.holds()) == ["iommu=off", "quiet", "root=UUID=1"]
        and not back["reboot_required"]
    )
    assert not host(purge=True)["changed"] and len(host.runs()) == 4
    assert not (host.root / "var/lib/amdgpu-fleet/kernel-arguments").exists()


def test_without_a_file_the_line_of_the_image_is_what_later_ones_are_built_from(host):
    (host.root / CMDLINE).unlink()
    assert host(present=["iommu=pt"])["changed"] and host.text(CMDLINE) == "root=UUID=1 quiet iommu=pt\n"
    assert not host(present=["iommu=pt"])["changed"]


def test_a_run_that_was_killed_before_the_images_were_built_is_finished(host):
    stale = (host.root / IMAGES / "id-6.12.efi").read_bytes()
    host(present=["iommu=pt", "nosmt"])
    new, record = (
        (host.root / IMAGES / "id-6.12.efi").read_bytes(),
        host.text("var/lib/amdgpu-fleet/kernel-arguments"),
    )
    host.put(f"{IMAGES}/id-6.12.efi", stale)
    assert host(present=["iommu=pt", "nosmt"])["changed"] and "nosmt" in host.holds()
    host(present=["iommu=pt"], purge=True)
    host.put(f"{IMAGES}/id-6.12.efi", new)
    host.put("var/lib/amdgpu-fleet/kernel-arguments", record)
    assert host(present=["iommu=pt"], purge=True)["changed"] and "nosmt" not in host.holds()
    assert not host(present=["iommu=pt"], purge=True)["changed"]


@pytest.mark.parametrize(
    ("broken", "word"), [("break-it", "no stub"), ("does-nothing", "does not show iommu=pt")]
)
def test_a_tool_that_fails_puts_the_file_back_and_says_so(host, broken, word):
    host.put(broken, "")
    result = host(present=["iommu=pt"])
    assert (
        result["failed"] and word in result["msg"] and host.text(CMDLINE) == "root=UUID=1 quiet iommu=off\n"
    )
    assert not (host.root / "var/lib/amdgpu-fleet/kernel-arguments").exists()
    assert ("images may hold" in result["msg"]) == (broken == "break-it")


@pytest.mark.parametrize("missing", ["etc/kernel/install.conf", "usr/bin/kernel-install"])
def test_where_nothing_is_known_to_build_them_nothing_is_written(host, missing):
    (host.root / missing).unlink()
    for check in (True, False):
        result = host(_check=check, present=["iommu=pt"])
        assert (
            result["failed"]
            and "id-6.12.efi" in result["msg"]
            and "layout=uki" in result["msg"]
            and "iommu=pt" in result["msg"]
        )
    assert host.text(CMDLINE) == "root=UUID=1 quiet iommu=off\n" and host.runs() == []
    assert not host(present=["iommu=off"])["changed"], "what the images hold already needs no tool"


def test_where_no_image_is_to_be_seen_no_reboot_is_asked_for(host):
    for release in ("6.11", "6.12"):
        (host.root / IMAGES / f"id-{release}.efi").unlink()
    first = host(present=["iommu=pt"])
    assert (
        first["changed"]
        and not first["reboot_required"]
        and "No reboot is asked for" in str(first["warnings"])
    )
    again = host(present=["iommu=pt"])
    assert not again["changed"] and not again["reboot_required"]


def test_presets_of_mkinitcpio(host):
    (host.root / "etc/kernel/install.conf").unlink()
    host.put(
        "etc/mkinitcpio.d/linux.preset",
        "PRESETS=('default')\n#x_uki=1\ndefault_uki=/efi/EFI/Linux/id-6.12.efi\n",
    )
    host.put(
        "usr/bin/mkinitcpio",
        (host.root / "usr/bin/kernel-install").read_text().replace("sys.argv[2]", "'6.12'"),
        0o755,
    )
    assert host(present=["iommu=pt"])["changed"] and host.runs() == ["-P"] and "iommu=pt" in host.holds()


@pytest.mark.parametrize("default", ["id-6.11.efi", "id-6.11*"])
def test_the_image_that_is_named_counts(host, default):
    host.put("efi/loader/loader.conf", f"default {default}\n")
    host.put(f"{IMAGES}/id-6.11.efi", image("root=UUID=1 iommu=pt"))
    host.put(CMDLINE, "root=UUID=1 iommu=pt\n")
    assert not host(present=["iommu=pt"])["changed"]


def test_loader_entries_count_unless_an_image_is_named(host):
    host.put("efi/loader/entries/debian.conf", "title Debian\nlinux /vmlinuz\noptions root=UUID=1 iommu=pt\n")
    host.put(CMDLINE, "root=UUID=1 iommu=pt\n")
    assert not host(present=["iommu=pt"])["changed"]
    host.put("efi/loader/loader.conf", "default id-*.efi\n")
    assert host(present=["iommu=pt"])["changed"] and "iommu=pt" in host.holds()


@pytest.mark.parametrize("content", [b"", b"MZ", b"MZ" + b"\xff" * 100, image("a")[:90], b"\0" * 200])
def test_what_is_no_image_is_one_sentence(host, content):
    for release in ("6.11", "6.12"):
        host.put(f"{IMAGES}/id-{release}.efi", content)
    result = host(present=["iommu=pt"])
    assert (
        result["failed"]
        and "id-6.12.efi" in result["msg"]
        and host.text(CMDLINE) == "root=UUID=1 quiet iommu=off\n"
    )


def test_sections_are_found_by_their_whole_name(tmp_path):
    place = tmp_path / "x.efi"
    place.write_bytes(pe({".cmd": b"no", ".cmdline": b"a=1 b=\xff\n\0\0"}))
    assert uki.arguments(str(place)) == "a=1 b=\udcff" and uki.section(str(place), ".linux") is None
    assert uki.default(["/e/a-9+0-3.efi", "/e/a-8+2-1.efi", "/e/a-10-fallback.efi"], "") == "/e/a-8+2-1.efi"
    assert uki.image_id("/e/a-8+2-1.efi") == "a-8.efi"
