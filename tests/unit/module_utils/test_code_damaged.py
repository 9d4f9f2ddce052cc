# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged and hostile files: an entry in the problems, never a traceback, and no target that was not there."""

from __future__ import annotations

import functools
import os
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import code_builder as build
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils._code import (
    bundles,
    elf,
    kpack,
    msgpack,
    scan,
    summary,
    targets,
    verdict,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._code.blob import Bytes, Damaged
from ansible_collections.amdgpu.fleet.plugins.module_utils._code.places import Limits

LIMITS = Limits(files=1000, file_bytes=1 << 20)
PLAIN = build.library(build.bundle(["gfx942", "gfx90a:xnack-"]), build.bundle(["gfx942"]))
PACKED = build.library(
    build.compressed(build.bundle(["gfx942"])), build.compressed(build.bundle(["gfx942"]), 2)
)
SPLIT = build.split_library("lib/a.so", "a_@GFXARCH@.kpack")
ARCHIVE = build.kpack(["gfx942"], {"lib/a.so": ["gfx942"]})
OBJECT = build.code_object("gfx942")
LAYER = build.tar({"a.so": PLAIN, "b.hsaco": OBJECT})
IMAGE = build.docker_archive([LAYER])


@functools.cache
def whole_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.whl")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.so", PLAIN)
        return path.read_bytes()


WHOLE = {
    "plain": PLAIN,
    "packed": PACKED,
    "split": SPLIT,
    "archive": ARCHIVE,
    "object": OBJECT,
    "image": IMAGE,
}
EVERY = {**WHOLE, "wheel": whole_wheel()}


def look(data: bytes) -> scan.Found:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(data)
        found = scan.path(str(path), LIMITS)
    code = summary.short(found)
    for gfx in ("gfx942", "gfx1151"):
        verdict.judge(code, gfx, False)
    return found


def all_targets(found: scan.Found) -> set[str]:
    return {target for library in found.libraries for target in library.targets}


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_cut_off_is_never_taken_for_whole(name, data):
    whole = EVERY[name]
    length = data.draw(st.integers(0, len(whole) - 1))
    before, found = look(whole), look(whole[:length])
    assert all_targets(found) <= all_targets(before)
    if all_targets(found) < all_targets(before) and length >= 64:
        # Nothing else than the length says that something is missing.
        assert not found.complete or not found.libraries


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_bytes_that_changed_end_in_no_traceback(name, data):
    changed = bytearray(EVERY[name])
    for _time in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for target in all_targets(look(bytes(changed))):
        assert targets.normal(target) == target


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=600),
    st.sampled_from([b"", elf.MAGIC + b"\2\1\1", bundles.PLAIN, b"CCOB", kpack.MAGIC, b"PK\3\4"]),
)
def test_any_bytes_end_in_no_traceback(data, magic):
    assert all_targets(look(magic + data)) == set()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=4, max_size=12))
def test_tables_that_name_places_far_away(numbers):
    table = b"".join(struct.pack("<Q", number) for number in numbers)
    look(build.library(bundles.PLAIN + table))
    look(build.library(b"CCOB\3\0\0\0" + table))
    look(b"KPAK" + struct.pack("<I", 1) + table)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_table_of_contents_is_read_or_refused(data):
    try:
        msgpack.unpack(data)
    except Damaged as error:
        assert str(error)


def test_lists_that_say_they_are_endless_cost_nothing():
    tracemalloc.start()
    for data in (
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 100_000,
    ):
        with pytest.raises(Damaged):
            msgpack.unpack(data)
    section = struct.pack("<IIQQQQIIQQ", 0, 1, 0, 0, 1 << 62, 1 << 62, 0, 0, 0, 0)
    header = bytearray(build.elf({}))
    header[40:48] = struct.pack("<Q", len(header))
    with pytest.raises(Damaged):
        elf.sections(Bytes(bytes(header) + section), elf.header(Bytes(bytes(header))), (".hip_fatbin",))  # type: ignore[arg-type]
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_bundle_that_unpacks_to_more_than_it_says(monkeypatch):
    bomb = build.compressed(build.bundle(["gfx942"]) + b"\0" * (64 << 20), 1)
    lying = bomb[:8] + struct.pack("<I", 1 << 20) + bomb[12:]
    (problem,) = look(build.library(lying)).problems
    assert problem["problem"] == f"has a compressed bundle of more than the {1 << 20} bytes that it says"
    monkeypatch.setattr(bundles, "MOST_INFLATED", 32 << 20)
    found = look(build.library(bomb, build.bundle(["gfx1030"])))
    assert not found.complete
    assert "bytes are unpacked, not more" in found.libraries[0].unread[0]


def test_a_layer_of_more_files_than_are_read(tmp_path):
    base = tmp_path / "image"
    for name, data in build.layout([build.tar({f"{number}.txt": b"a" for number in range(20)})]).items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(data)
    found = scan.path(str(base), Limits(files=10))
    assert [entry["problem"] for entry in found.problems] == [
        "has a layer of more than 10 files or 1099511627776 bytes"
    ]


def test_a_name_of_a_gigabyte_in_a_layer_is_refused(tmp_path):
    member = tarfile.TarInfo("x" * 200)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT)[:512])
    header[124:136] = b"%011o\0" % (1 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    base = tmp_path / "image"
    for name, data in build.layout([bytes(header) + b"x" * 2048]).items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(data)
    found = scan.path(str(base), LIMITS)
    assert [entry["problem"] for entry in found.problems] == [f"has a name of {1 << 30} bytes"]


def test_names_in_an_index_lead_nowhere(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(LAYER)
    base = tmp_path / "image"
    base.mkdir()
    (base / "oci-layout").write_text("{}", encoding="utf-8")
    for digest in ("sha256:../../secret", "../secret", "sha256:" + "0" * 64, None, 7):
        index = f'{{"manifests": [{{"digest": {"null" if digest is None else repr(digest).replace(chr(39), chr(34))}}}]}}'
        (base / "index.json").write_text(index, encoding="utf-8")
        found = scan.path(str(base), LIMITS)
        assert all_targets(found) == set()
        assert not found.complete


def test_a_link_in_the_place_of_a_part_is_not_followed(tmp_path):
    files = build.layout([LAYER])
    outside = tmp_path / "outside"
    outside.write_bytes(LAYER)
    base = tmp_path / "image"
    for name, data in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        if data == LAYER:
            (base / name).symlink_to(outside)
        else:
            (base / name).write_bytes(data)
    found = scan.path(str(base), LIMITS)
    assert all_targets(found) == set()
    assert not found.complete


def test_a_name_that_is_no_text_is_said_and_hurts_nobody(tmp_path):
    (tmp_path / os.fsdecode(b"\xff\n\x1b[31m.so")).write_bytes(PLAIN[:-100])
    found = scan.path(str(tmp_path), LIMITS)
    (entry,) = found.problems
    assert "\n" not in entry["path"]
    assert "\x1b" not in entry["path"]
