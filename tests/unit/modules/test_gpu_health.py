# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_health on trees that are damaged, odd or half there: what cannot be read is null and has a reason."""

from __future__ import annotations

import os
import random
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gpus, _health
from ansible_collections.amdgpu.fleet.plugins.module_utils._health import cper, link, log, metrics
from ansible_collections.amdgpu.fleet.plugins.module_utils._health.reading import Reading
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import health_judge
from testbed import gpu_metrics
from testbed import health as bed

GPU = "sys/bus/pci/devices/0000:05:00.0"
NULLS = ("ras", "bad_pages", "xgmi", "metrics", "replay_count", "busy_percent", "vbios", "serial_number")


@pytest.fixture
def read(run_module):
    def first(root: Path, **more: Any) -> dict[str, Any]:
        return run_module("gpu_health", root=str(root), **more)["ansible_facts"]["amd_health"]["gpus"][0]

    return first


def table(version: str, **faults: Any) -> bytes:
    return gpu_metrics.table(version, {**bed.FAULTS, "throttled": {"hbm_thm": 5e-6}, **faults})


def test_a_gpu_that_is_well(emulated, read):
    gpu = read(emulated())
    assert gpu["ras"]["blocks"]["umc"] == {"correctable": 0, "uncorrectable": 0, "deferred": 0}
    assert gpu["bad_pages"] == {"retired": 0, "pending": 0, "failed": 0, "threshold": None}
    assert gpu["xgmi"] == {
        "hive_id": str(bed.stable_number("hive", 64)), "nodes": 8, "error": None, "width": 16, "speed": 32,
        "links_up": 7, "links_down": 0,
    }  # fmt: skip
    assert gpu["power"] == {"watts": 150, "cap": 750, "cap_default": 750, "cap_max": 750}
    assert {"name": "junction", "celsius": 45, "critical": 100, "emergency": 105} in gpu["temperatures"]
    assert gpu["metrics"]["version"] == "1.7"
    assert gpu["clocks"] == {"gfx": 132, "memory": None}
    assert gpu["partitions"] == [{"kfd_node": 2, "render_node": "renderD128"}]


def test_partitions_are_listed_and_their_errors_are_the_gpus(emulated, run_module):
    found = run_module("gpu_health", root=str(emulated("mi300x-8-cpx")))["ansible_facts"]["amd_health"]
    assert len(found["gpus"]) == 8
    assert all(len(gpu["partitions"]) == 8 and gpu["ras"] for gpu in found["gpus"])


def test_check_mode_reads_the_same(emulated, read):
    root = emulated()
    assert read(root, _check=True) == read(root)


def test_what_is_not_there_is_null_with_a_reason(emulated, read):
    root = emulated()
    for name in ("gpu_metrics", "pcie_replay_count", "gpu_busy_percent", "vbios_version", "serial_number"):
        (root / GPU / name).unlink(missing_ok=True)
    for folder in ("ras", "xgmi_hive_info", "hwmon", "fw_version"):
        os.rename(root / GPU / folder, root / GPU / f"no-{folder}")
    (root / GPU / "xgmi_num_hops").unlink()
    gpu = read(root)
    for name in NULLS:
        assert gpu[name] is None and gpu["unread"][name], name
    assert gpu["temperatures"] == [] and gpu["power"]["watts"] is None
    assert gpu["unread"]["sensors"] == "no hwmon folder is called amdgpu"


@pytest.mark.parametrize(
    "text", ["", "Query currently inaccessible\n", "\0\0\0", "ue: many\nce: -1\n", "\xff\xfe"]
)
def test_a_damaged_counter_is_not_zero(emulated, read, text):
    root = emulated()
    (root / GPU / "ras/aca_umc").write_bytes(text.encode("latin-1"))
    gpu = read(root)
    assert "umc" not in gpu["ras"]["blocks"] and gpu["unread"]["ras.umc"]
    assert gpu["ras"]["blocks"]["gfx"]["uncorrectable"] == 0


def test_random_files_end_in_no_traceback(emulated, read):
    root, dice = emulated(), random.Random(14)
    for path in sorted((root / GPU).rglob("*")):
        if path.is_file() and path.name not in ("vendor", "device", "class", "uevent"):
            path.write_bytes(dice.randbytes(dice.choice([1, 7, 200, 5000])))
    gpu = read(root)
    assert gpu["ras"] is None or not gpu["ras"]["blocks"]
    assert gpu["power"]["watts"] is None and gpu["bad_pages"] is None and gpu["metrics"] is None
    assert gpu["unread"]


@pytest.mark.parametrize(("data", "retired"), [(b"", 0), (b"\0" * 28, None), (b"many\n", None)])
def test_no_bad_page_is_an_empty_file_and_nothing_else(emulated, read, data, retired):
    root = emulated()
    (root / GPU / "ras/gpu_vram_bad_pages").write_bytes(data)
    pages = read(root)["bad_pages"]
    assert (pages["retired"] if pages else None) == retired


def test_a_gpu_that_sleeps_is_not_woken(emulated, read):
    root = emulated()
    (root / GPU / "power/runtime_status").write_text("suspended\n")
    gpu = read(root)
    assert gpu["asleep"] and gpu["metrics"] is None and gpu["ras"] is None
    assert "sleeps" in gpu["unread"]["sensors"]


def test_the_threshold_of_bad_pages_is_the_drivers(emulated, read):
    root = emulated()
    debug = root / "sys/kernel/debug/dri/1/ras"
    debug.mkdir()
    for text, told in (("256\n", 256), ("4294967295\n", None), ("0\n", None)):
        (debug / "bad_page_cnt_threshold").write_text(text)
        assert read(root)["bad_pages"]["threshold"] == told
    parameters = root / "sys/module/amdgpu/parameters"
    parameters.mkdir(parents=True, exist_ok=True)
    (parameters / "bad_page_threshold").write_text("64\n")
    assert read(root)["bad_pages"]["threshold"] == 64


def test_a_container_that_has_drm_alone(emulated, read):
    root = emulated("rx9070xt")
    device = os.path.realpath(root / "sys/class/drm/card0/device")
    (root / "sys/class/drm/card0/device").unlink()
    os.rename(device, root / "sys/class/drm/card0/device")
    shutil.rmtree(root / "sys/bus/pci/devices")
    gpu = read(root)
    assert gpu["power"]["watts"] == 19 and "all" not in gpu["unread"]


def test_a_gpu_of_a_guest_says_why_nothing_is_read(emulated, read):
    gpu = read(emulated("mi300x-8-nodriver"))
    assert gpu["unread"] == {"all": "the GPU is driven by no driver, and only amdgpu tells"}


# --- the table gpu_metrics


@pytest.mark.parametrize(
    ("version", "name", "value"),
    [
        ("1.3", "gfxclk", 500),
        ("1.3", "throttle_bits", 0),
        ("1.3", "edge", None),
        ("1.7", "hbm_thm", 5),
        ("1.7", "xgmi_status", [1, 1, 1, 1, 1, 1, 1, 2]),
        ("1.9", "hotspot", 45),
        ("1.9", "hbm_thm", 5),
        ("1.9", "pcie_speed", 320),
        ("1.9", "gfxclk", [132] * 8),
        ("2.1", "edge", 41),
        ("3.0", "edge", 41),
        ("3.0", "power", 19),
        ("3.0", "thm_soc", 0),
    ],
)
def test_fields_of_each_version(version, name, value):
    found, fields = metrics.parse(table(version))
    assert found == version
    assert fields[name] == value


@pytest.mark.parametrize("version", gpu_metrics.TABLES)
def test_what_every_version_tells_of_a_gpu_that_works(version):
    found, fields = metrics.parse(table(version, busy=37, recoveries=4, replays=9, xgmi_down=2))
    number = partial(metrics.number, fields)
    assert found == version.removesuffix("-first")
    assert number("busy") == 37 and number("gfxclk") in (132, 500, 600, 800)
    if found.startswith("1.") and found != "1.3":
        assert [number(name) for name in ("hotspot", "power", "l0_to_recovery", "replay")] == [45, 151, 4, 9]
        assert [number(f"{bus}_{what}") for bus in ("pcie", "xgmi") for what in ("width", "speed")] == [
            16, 320, 16, 32,
        ]  # fmt: skip
    if "hbm_thm" in fields:
        assert (number("accumulation"), number("hbm_thm"), number("prochot")) == (1_000_000, 5, 0)
    if "xgmi_status" in fields:
        assert fields["xgmi_status"] == [0, 0, 1, 1, 1, 1, 1, 2]
    if "edge" in fields and found != "1.3":
        assert number("edge") == 41


@pytest.mark.parametrize("version", ["2.2", "2.3", "2.4"])
def test_an_apu_says_what_holds_its_clocks_down(version):
    _found, fields = metrics.parse(table(version, throttle_bits=1 << 36))
    assert metrics.causes(metrics.number(fields, "throttle_bits")) == ["temperature"]


@pytest.mark.parametrize("version", ["1.3", "1.6", "1.6-first", "1.7", "1.9", "2.1", "2.4", "3.0"])
def test_a_table_that_is_cut_off_anywhere_is_refused(version):
    data = table(version)
    for length in range(len(data)):
        with pytest.raises(metrics.TableError):
            metrics.parse(data[:length])


@pytest.mark.parametrize(
    ("known", "size"), [(known, size) for known, layouts in metrics.TABLES.items() for size in layouts]
)
def test_unset_fields_of_every_version_are_null(known, size):
    layout = metrics.TABLES[known][size]
    data = struct.pack("<HBB", size, *known) + b"\xff" * (size - 4)
    _version, fields = metrics.parse(data)
    assert all(value is None or set(value) == {None} for value in fields.values())
    assert len(fields) == len(layout)
    with pytest.raises(metrics.TableError, match="are known"):
        metrics.parse(struct.pack("<HBB", size - 8, *known) + b"\xff" * size)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "header"),
        (struct.pack("<HBB", 120, 1, 0) + bytes(116), "version 1.0"),
        (struct.pack("<HBBi", 8, 1, 9, -1), "-1 values"),
        (struct.pack("<HBBi", 8, 1, 9, 1 << 30), "values"),
        (struct.pack("<HBBiQ", 16, 1, 9, 1, 9 << 20 | 1), "unknown type"),
        (struct.pack("<HBBiQ", 16, 1, 9, 1, 6 << 20 | 1023), "cut off"),
    ],
)
def test_a_hostile_table_is_refused(data, words):
    with pytest.raises(metrics.TableError, match=words):
        metrics.parse(data)


def test_what_holds_the_clocks_down():
    assert metrics.causes(1 << 36 | 1 << 2) == ["power", "temperature"]
    assert metrics.causes(0) == []
    assert metrics.causes(None) is None


# The fields of the table of version 3.0 in the order of the kernel's header (kgd_pp_interface.h): how many
# of how many bytes each. C lays them out, and the offsets that are read must be those.
HALO = (
    "size:2 format:1 content:1 temperature_gfx:2 temperature_soc:2 temperature_core:2*16 temperature_skin:2 "
    "gfx_activity:2 vcn_activity:2 ipu_activity:2*8 core_c0:2*16 dram_reads:2 dram_writes:2 ipu_reads:2 "
    "ipu_writes:2 clock:8 socket_power:4 ipu_power:2 apu_power:4 gfx_power:4 dgpu_power:4 all_core_power:4 "
    "core_power:2*16 sys_power:2 stapm_limit:2 current_stapm_limit:2 gfxclk:2 socclk:2 vpeclk:2 ipuclk:2 fclk:2 "
    "vclk:2 uclk:2 mpipu:2 coreclk:2*16 core_maxfreq:2 gfx_maxfreq:2 prochot:4 spl:4 fppt:4 sppt:4 thm_core:4 "
    "thm_gfx:4 thm_soc:4 filter:4"
)
NAMES = {"edge_centi": "temperature_gfx", "soc_centi": "temperature_soc", "busy": "gfx_activity",
         "power_milli": "socket_power"}  # fmt: skip


def halo_offsets() -> dict[str, tuple[int, int]]:
    """Offset and bytes of each field, as a C compiler aligns it; the size under its name."""
    found, offset = {}, 0
    for field in HALO.split():
        name, _colon, shape = field.partition(":")
        width, _star, many = shape.partition("*")
        offset += -offset % int(width)
        found[name] = (offset, int(width))
        offset += int(width) * int(many or 1)
    return {**found, "end": (offset + -offset % 8, 0)}


def test_the_table_of_strix_is_read_where_the_header_lays_it_out():
    ((size, layout),) = metrics.TABLES[3, 0].items()
    header = halo_offsets()
    assert header["end"] == (size, 0)
    for name, (offset, kind, _count) in layout.items():
        assert (offset, struct.calcsize(f"<{kind}")) == header[NAMES.get(name, name)], name


def strix(monkeypatch, emulated, first: dict[str, float], second: bytes | None) -> dict[str, Any]:
    """The GPU of a Strix Halo whose table is another one when it is read again."""
    root = emulated("strix-halo-128")
    path = next((root / "sys/class/drm").glob("card*/device/gpu_metrics"))
    path.write_bytes(table("3.0", throttled=first))
    monkeypatch.setattr(
        _health.time,
        "sleep",
        lambda _seconds: path.write_bytes(second) if second is not None else path.unlink(),
    )
    tree = Tree(str(root))
    return _health.facts(tree, _gpus.detect(tree)["gpus"], lambda: "")["gpus"][0]


@pytest.mark.parametrize(
    ("more", "causes"),
    [
        ({}, []),
        ({"thm_gfx": 0.2}, ["temperature"]),
        ({"prochot": 0.2}, ["temperature"]),
        ({"spl": 0.2, "thm_core": 0.2}, ["power", "temperature"]),
        ({"fppt": 0.2}, ["power"]),
        # Counters that begin anew say nothing.
        ({"thm_soc": 0.0}, []),
    ],
)
def test_strix_tells_by_counters_that_rise_what_holds_its_clocks_down(monkeypatch, emulated, more, causes):
    first = dict.fromkeys(gpu_metrics.HALO_HEAT, 0.1)
    gpu = strix(monkeypatch, emulated, first, table("3.0", throttled={**first, **more}, clock=5_050_000_000))
    assert gpu["metrics"]["throttled_by"] == causes
    assert gpu["metrics"]["residencies"]["thm_gfx"] == 100_000
    assert "metrics.throttled_by" not in gpu["unread"]
    assert gpu["metrics"]["residencies"]["accumulation"] is None
    assert "accumulation" in gpu["unread"]["metrics.residencies"]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (table("3.0", throttled={"thm_gfx": 0.5}), "not written anew"),
        (table("3.0")[:100], "cut off"),
        (None, "is missing"),
    ],
)
def test_a_table_of_strix_that_cannot_be_read_twice_tells_nothing(monkeypatch, emulated, second, reason):
    gpu = strix(monkeypatch, emulated, {"thm_gfx": 0.1}, second)
    assert gpu["metrics"]["throttled_by"] is None
    assert reason in gpu["unread"]["metrics.throttled_by"]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.7", "throttle_bits not in tables of version 1.7"),
        ("2.1", "throttle_bits not in tables of version 2.1"),
    ],
)
def test_what_a_table_does_not_tell_has_its_reason(emulated, read, version, words):
    root = emulated("strix-halo-128")
    path = next((root / "sys/class/drm").glob("card*/device/gpu_metrics"))
    path.write_bytes(table(version))
    gpu = read(root)
    assert gpu["metrics"]["throttled_by"] is None and gpu["unread"]["metrics.throttled_by"] == words
    assert not health_judge.troubling(gpu)


def test_what_the_firmware_leaves_out_is_told():
    data = bytearray(table("3.0"))
    struct.pack_into("<I", data, 248, 0xFFFFFFFF)
    _version, fields = metrics.parse(bytes(data))
    assert metrics.missing("3.0", fields, ["thm_gfx", "thm_soc"]) == "thm_gfx not filled by the firmware"
    assert metrics.missing("3.0", fields, ["thm_soc"]) is None


# --- PCIe


def a_path(root: Path, *devices: tuple[str, dict[str, Any]]) -> None:
    """Devices from the root port to the GPU, as sysfs nests them."""
    folder = root / "sys/devices/pci0000:00"
    for address, files in devices:
        folder = folder / address
        folder.mkdir(parents=True)
        for name, value in files.items():
            (folder / name).write_text(f"{value}\n")
    (root / "sys/bus/pci/devices").mkdir(parents=True)
    (root / GPU).symlink_to(folder)


def port(vendor: str, width: int, most: int, speed: str, fastest: str) -> dict[str, Any]:
    return {
        "vendor": vendor,
        "class": "0x060400",
        "current_link_width": width,
        "max_link_width": most,
        "current_link_speed": f"{speed} GT/s PCIe",
        "max_link_speed": f"{fastest} GT/s PCIe",
    }


def hops(root: Path) -> list[dict[str, Any]]:
    tree = Tree(str(root))
    return link.links(tree, Reading(tree, GPU))


def test_the_link_of_a_card_is_that_above_its_own_switch(tmp_path):
    a_path(
        tmp_path,
        ("0000:00:01.1", port("0x1022", 4, 16, "16.0", "16.0")),
        ("0000:03:00.0", port("0x1002", 4, 16, "16.0", "32.0")),
        ("0000:04:00.0", port("0x1002", 16, 16, "32.0", "32.0")),
        ("0000:05:00.0", {**port("0x1002", 16, 16, "32.0", "32.0"), "class": "0x030000"}),
    )
    found = hops(tmp_path)
    assert [hop["device"] for hop in found] == ["0000:05:00.0", "0000:04:00.0", "0000:03:00.0"]
    assert (found[-1]["width"], found[-1]["max_width"], found[-1]["max_speed"]) == (4, 16, 16.0)
    assert [hop["width"] == hop["max_width"] for hop in found[:2]] == [True, True]


def test_a_slot_that_has_four_lanes_is_full(tmp_path):
    a_path(
        tmp_path,
        ("0000:00:01.1", port("0x1022", 4, 4, "16.0", "16.0")),
        ("0000:05:00.0", {**port("0x1002", 4, 16, "16.0", "32.0"), "class": "0x030000"}),
    )
    (hop,) = hops(tmp_path)
    assert hop == {
        "device": "0000:05:00.0", "partner": "0000:00:01.1", "width": 4, "max_width": 4, "speed": 16.0,
        "max_speed": 16.0,
    }  # fmt: skip


@pytest.mark.parametrize("width", ["0", "255", "x", ""])
def test_a_link_that_nobody_knows_is_null(emulated, read, width):
    root = emulated()
    (root / GPU / "current_link_width").write_text(width)
    gpu = read(root)
    assert gpu["links"][0]["width"] is None
    assert gpu["unread"]["link.current_link_width"]


# --- the kernel log and error records


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("amdgpu 0000:05:00.0: 3 uncorrectable hardware errors detected in total in umc block", "uncorrectable"),
        ("amdgpu 0000:05:00.0: {7}socket: 1, die: 0, 2 correctable hardware errors detected in umc block", "correctable"),
        ("amdgpu 0000:05:00.0: 0 uncorrectable hardware errors detected in umc block", None),
        ("amdgpu 0000:05:00.0: 1 new deferred hardware errors detected in umc block", "deferred"),
        ("amdgpu 0000:05:00.0: RAS records:118 exceeds 90% of threshold:128", "bad_pages_near"),
        ("amdgpu 0000:05:00.0: RAS records:130 exceed threshold:128", "bad_pages"),
        ("amdgpu 0000:05:00.0: Saved bad pages 130 reaches threshold value 128", "bad_pages"),
        ("amdgpu 0000:05:00.0: GPU reset end with ret = -62", "reset_failed"),
        ("amdgpu 0000:05:00.0: GPU reset end with ret = 0", None),
        ("pcieport 0000:04:00.0: pciehp: Slot(1): Card not present", "lost"),
        ("usb 1-1: GPU reset(2) failed", None),
        ("amdgpu 0000:05:00.0: amdgpu: GPU reset begin!. Source:  1", "reset_begun"),
        ("amdgpu 0000:05:00.0: [drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx timeout, signaled seq=2", "ring"),
        ("amdgpu 0000:05:00.0: amdgpu: MES failed to respond to msg=REMOVE_QUEUE", "hang"),
        ("amdgpu 0000:05:00.0: amdgpu: SMU: No response msg_reg: 1 resp_reg: 0", "power_firmware"),
    ],
)  # fmt: skip
def test_lines_of_the_log(line, kind):
    found = log.hardware(f"[    1.5] {line}\n", ["0000:05:00.0"])
    assert [each["kind"] for each in found] == ([kind] if kind else [])


def test_a_reset_that_ended_is_not_one_that_hangs():
    begin = "amdgpu 0000:05:00.0: amdgpu: GPU reset begin!"
    end = "amdgpu 0000:05:00.0: amdgpu: GPU reset(1) succeeded!"
    other = end.replace("05", "06")
    known = ["0000:05:00.0", "0000:06:00.0"]

    def kinds(*lines: str) -> list[str]:
        return [each["kind"] for each in log.hardware("\n".join(lines), known) if each["gpu"] == known[0]]

    assert kinds(begin, end) == ["reset"]
    assert kinds(begin, other) == ["reset_begun"]
    assert kinds(begin, end, begin) == ["reset", "reset_begun"]
    assert kinds(begin, "amdgpu 0000:05:00.0: amdgpu: GPU reset end with ret = -62") == ["reset_failed"]


def test_lines_are_counted_for_each_gpu():
    text = "\n".join(f"amdgpu 0000:0{gpu}:00.0: GPU reset({n}) failed" for gpu in (5, 6) for n in range(3))
    found = log.hardware(text, ["0000:05:00.0"])
    assert [(each["gpu"], each["count"]) for each in found] == [("0000:05:00.0", 3), (None, 3)]


def test_error_records_that_cannot_be_read_have_a_reason(emulated, read):
    root = emulated()
    debug = root / "sys/kernel/debug/dri"
    shutil.rmtree(debug, ignore_errors=True)
    gpu = read(root)
    assert gpu["records"] is None and gpu["unread"]["records"] == "/sys/kernel/debug/dri is missing"
    debug.mkdir(parents=True)
    assert read(root)["unread"]["records"] == "/sys/kernel/debug/dri has no folder of this GPU"
    (debug / "0000:05:00.0").mkdir()
    missing = "/sys/kernel/debug/dri/0000:05:00.0/amdgpu_ring_cper is missing"
    assert read(root)["unread"]["records"] == missing
    ring = debug / "0000:05:00.0/amdgpu_ring_cper"
    ring.write_bytes(bed.ring(0))
    gpu = read(root)
    assert gpu["records"]["fatal"] == 0 and "records.afid" not in gpu["unread"]
    # A ring may be longer than any other file; AMD's field id is not in it.
    ring.write_bytes(bed.ring(1200))
    gpu = read(root)
    assert gpu["records"]["fatal"] == 1200 and gpu["records"]["afid"] is None
    assert "amd-smi ras --afid" in gpu["unread"]["records.afid"]


def test_error_records_are_counted_by_severity():
    when = "2026-11-27T10:02:03Z"
    two = {"uncorrected": 0, "fatal": 2, "corrected": 0, "latest": when, "afid": None}
    assert cper.count(bed.ring(2)) == two
    assert cper.count(bed.ring(2)[:-10])["fatal"] == 1
    nothing = {"uncorrected": 0, "fatal": 0, "corrected": 0, "latest": None, "afid": None}
    assert cper.count(b"\xff" * 500) == cper.count(b"") == nothing
    damaged = bed.ring(1).replace(bytes((27, 11, 26, 20)), b"\xff" * 4)
    assert cper.count(damaged) == {**nothing, "fatal": 1}
