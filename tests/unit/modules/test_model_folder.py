# SPDX-License-Identifier: GPL-3.0-or-later
"""Model folders from archives, and what is refused. The Hub's own client is run in the scenario `model`."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import random
import struct
import tarfile
import zlib
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_store

MODEL = "/srv/models/tiny"


def safetensors(size: int = 16) -> bytes:
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\1" * size


FILES = {"config.json": b'{"num_hidden_layers": 2}', "model.safetensors": safetensors()}


def pack(
    path: Path, files: dict[str, bytes], mode: str = "w:gz", prefix: str = "packed/", **fields: object
) -> str:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{prefix}{name}")
            member.size, member.mode, member.uid = len(content), 0o600, 1234
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def unpack(tmp_path, run_module):
    """unpack(files, ...) -> result, and the folder of the model."""
    folder = tmp_path / "host" / MODEL.lstrip("/")
    (tmp_path / "host").mkdir()

    def run(files=None, _check=False, mode="w:gz", prefix="packed/", fields=(), **options):
        archive = tmp_path / "model.tar"
        known = pack(archive, FILES if files is None else files, mode, prefix, **dict(fields))
        options = {"archive": str(archive), "sha256": known, **options}
        return run_module(
            "model_folder", _check=_check, path=MODEL, root=str(tmp_path / "host"), **options
        ), folder

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("prefix", ["", "./", "packed/", "a/b/"])
def test_check_real_check_again_real_again(unpack, mode, prefix):
    result, folder = unpack(_check=True, mode=mode, prefix=prefix)
    assert result["changed"] and not folder.parent.exists()
    result, _folder = unpack(mode=mode, prefix=prefix)
    assert result["changed"] and result["bytes"] == sum(len(content) for content in FILES.values())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    # Whatever user packed it: the server is another one.
    assert (folder / "config.json").stat().st_mode & 0o777 == 0o644
    assert names(folder.parent) == ["tiny"]
    for check in (True, False):
        assert not unpack(_check=check, mode=mode, prefix=prefix)[0]["changed"]


def test_what_was_only_a_part_is_replaced(unpack):
    _result, folder = unpack()
    (folder / "model.safetensors").write_bytes(safetensors()[:-1])
    result, folder = unpack()
    assert (
        result["changed"]
        and (folder / "model.safetensors").read_bytes() == safetensors()
        and names(folder.parent) == ["tiny"]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sha256": "0" * 64}, "not " + "0" * 64),
        ({"archive": "/nowhere/model.tar"}, "/nowhere/model.tar cannot be read"),
        ({"files": {"model.safetensors": safetensors()}}, "holds no config.json"),
        ({"files": {"config.json": b"{}"}}, "is not whole: it lacks the weights"),
        ({"files": {**FILES, "model.safetensors": safetensors()[:-1]}}, "the end of model.safetensors"),
        ({"prefix": "../"}, "would lie outside"),
        ({"prefix": "/etc/"}, "would lie outside"),
        ({"fields": {"type": tarfile.SYMTYPE, "linkname": "/etc/shadow"}.items()}, "no regular file"),
        ({"manifest": "SHA256SUMS"}, "SHA256SUMS cannot be read"),
        ({"files": {**FILES, "SHA256SUMS": b"0" * 64 + b"  config.json\n"}, "manifest": "SHA256SUMS"}, "config.json in "),
        ({"files": {**FILES, "SHA256SUMS": b"0" * 64 + b"  ../../etc/passwd\n"}, "manifest": "SHA256SUMS"}, "sha256sum did not write"),
        ({"files": {**FILES, "SHA256SUMS": b"0" * 64 + b"  a\0b\n"}, "manifest": "SHA256SUMS"}, "sha256sum did not write"),
        ({"files": {**FILES, "SHA256SUMS": b""}, "manifest": "SHA256SUMS"}, "is empty"),
    ],
)  # fmt: skip
def test_bad_input_leaves_nothing(unpack, options, said):
    result, folder = unpack(**options)
    assert result["failed"] and said in result["msg"], result["msg"]
    assert not folder.parent.exists() or names(folder.parent) == []


def test_a_failure_keeps_the_model_that_was_there(unpack):
    _result, folder = unpack()
    (folder / "model.safetensors").unlink()
    result, folder = unpack(sha256="0" * 64)
    assert result["failed"] and names(folder) == ["config.json"] and names(folder.parent) == ["tiny"]


def test_a_checksum_in_capitals(unpack, tmp_path):
    known = pack(tmp_path / "model.tar", FILES)
    assert unpack(sha256=known.upper())[0]["changed"]


@pytest.mark.parametrize("kind", ["gzip", "xz"])
def test_an_archive_that_was_damaged_before_its_checksum_was_taken(tmp_path, kind):
    archive = tmp_path / "model.tar"
    pack(archive, {**FILES, "noise": random.Random(1).randbytes(200000)}, "w")
    data = archive.read_bytes()
    if kind == "gzip":
        packer = zlib.compressobj(wbits=31)
        archive.write_bytes(packer.compress(data[:100000]) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 100)
    else:
        packed = lzma.compress(data)
        archive.write_bytes(packed[:100000] + b"\xff" * 1000 + packed[101000:])
    known = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(_model_store.StoreError, match="unpacked"):
        _model_store.unpack(str(archive), known, str(tmp_path / "out"))


def test_a_link_to_a_larger_disk_stays(unpack, tmp_path):
    disk = tmp_path / "host/disk"
    disk.mkdir()
    folder = tmp_path / "host" / MODEL.lstrip("/")
    folder.parent.mkdir(parents=True)
    folder.symlink_to("../../disk/tiny")
    (disk / "tiny").mkdir()
    assert unpack()[0]["changed"] and folder.is_symlink() and names(disk / "tiny") == sorted(FILES)
    (disk / "tiny/model.safetensors").unlink()
    assert unpack()[0]["changed"] and folder.is_symlink() and not unpack()[0]["changed"]
    assert names(disk) == ["tiny"] and names(folder.parent) == ["tiny"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"root": "nowhere"}, "root: nowhere is not a directory."),
        ({"path": "/"}, "path must be a folder of its own"),
        ({"path": ""}, "path must be a folder of its own"),
    ],
)
def test_a_place_that_is_none(run_module, tmp_path, options, said):
    known = pack(tmp_path / "model.tar", FILES)
    arguments = {
        "path": MODEL,
        "root": str(tmp_path),
        "archive": str(tmp_path / "model.tar"),
        "sha256": known,
        **options,
    }
    assert said in run_module("model_folder", **arguments)["msg"]
    assert names(tmp_path) == ["model.tar"]


def test_a_client_that_is_not_there(run_module, tmp_path):
    arguments = {"path": MODEL, "root": str(tmp_path), "hub": "a/b", "client": "/nonexistent/hf"}
    assert (
        "client /nonexistent/hf cannot be run: no such file or directory"
        in run_module("model_folder", **arguments)["msg"]
    )


def test_a_link_that_leads_nowhere_has_a_remedy(tmp_path, run_module):
    folder = tmp_path / MODEL.lstrip("/")
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "README.md").symlink_to("nowhere")
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in FILES.items()]
    (tmp_path / "sums").write_text("".join(sums))
    result = run_module("model_folder", path=MODEL, manifest="/sums", root=str(tmp_path))
    assert "README.md cannot be looked at" in result["msg"] and "remove it" in result["msg"]
    assert not list(tmp_path.rglob("*.new"))


def test_no_archive_at_all(unpack, tmp_path):
    (tmp_path / "model.tar").write_bytes(b"x" * 2000)
    known = hashlib.sha256(b"x" * 2000).hexdigest()
    with pytest.raises(_model_store.StoreError, match="Pack it as tar"):
        _model_store.unpack(str(tmp_path / "model.tar"), known, str(tmp_path / "out"))


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    known = pack(tmp_path / "model.tar", FILES)
    monkeypatch.setattr(_model_store.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1 << 30}))
    with pytest.raises(
        _model_store.StoreError, match=r"needs 0\.0 GiB and 1\.0 GiB to spare, and .* has 1\.0 GiB free"
    ):
        _model_store.unpack(str(tmp_path / "model.tar"), known, str(tmp_path / "out/model"))
    assert not (tmp_path / "out").exists()


def test_a_manifest_of_a_folder_is_checked_once_and_after_a_change(tmp_path, run_module):
    folder = tmp_path / MODEL.lstrip("/")
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in FILES.items())
    (tmp_path / "sums").write_text(sums)

    def check(_check=False):
        return run_module("model_folder", _check=_check, path=MODEL, manifest="/sums", root=str(tmp_path))

    def facts():
        found = run_module("host_facts", root=str(tmp_path), paths=[MODEL])["ansible_facts"]["amd_host"][
            "paths"
        ][MODEL]
        return found["checked_by"], found["missing"]

    assert facts() == (None, None)
    assert [check(True)["changed"], check()["changed"], check(True)["changed"], check()["changed"]] == [
        True,
        True,
        False,
        False,
    ]
    assert facts() == ("/sums", None)
    (folder / "model.safetensors").write_bytes(safetensors()[:-1] + b"\2")
    assert facts() == (None, None)
    assert "model.safetensors in" in check()["msg"] and facts() == (None, None)


def test_weights_in_a_format_of_their_own_are_held_to_a_manifest_too(tmp_path, run_module):
    folder = tmp_path / MODEL.lstrip("/")
    folder.mkdir(parents=True)
    contents = {"config.json": b"{}", "part.own": b"1"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    (tmp_path / "sums").write_text(sums)
    arguments = {"path": MODEL, "manifest": "/sums", "root": str(tmp_path)}
    assert "it lacks the weights" in run_module("model_folder", **arguments)["msg"]
    assert run_module("model_folder", weights=False, **arguments)["changed"]
    (folder / "part.own").write_bytes(b"2")
    assert "part.own in" in run_module("model_folder", weights=False, **arguments)["msg"]


def test_the_line_of_the_client_that_says_why():
    text = "Traceback (most recent call last):\n  File x\n\x1b[1mError: Model 'a/b' not found.\x1b[0m\nHint: set HF_DEBUG=1\n"
    assert _model_store.hub_failure(text) == "Error: Model 'a/b' not found"
    assert _model_store.hub_failure("Traceback\nhttpx2.ConnectError: [Errno 111] Connection refused\n") == (
        "httpx2.ConnectError: [Errno 111] Connection refused"
    )
    assert _model_store.hub_failure("") == "no reason given"
    # As the client prints what a mirror without room answers.
    full = "\x1b[31mError: Local entry not found. Server error '507 Insufficient Storage' for url 'http://m/hub/a'\n"
    full += "For more information check: https://example.org/507\n\nThe disk is full.\x1b[0m\nHint: set HF_DEBUG=1.\n"
    assert _model_store.hub_failure(full).endswith("'http://m/hub/a' The disk is full")


def test_what_is_not_downloaded_takes_no_space():
    listing = [
        {"path": "model.safetensors", "size": 5},
        {"path": "original/a.pth", "size": 7},
        {"path": "x/original/b", "size": 1},
    ]
    assert _model_store.listed_bytes(listing, ["original/*", "*.gguf"]) == 6


def test_what_a_manifest_does_not_name_is_refused(tmp_path):
    """An engine would load it all the same; what people read needs no line."""
    names = ["config.json", "model.safetensors", "sub/x.json"]
    for name in [*names, "README.md", "LICENSE", ".gitattributes", ".cache/x", "NOTICE.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    sums = "".join(f"{_model_store.sha256(str(tmp_path / name))}  {name}\n" for name in names)
    (tmp_path / "SHA256SUMS").write_text(sums)
    _model_store.check_manifest(str(tmp_path), "SHA256SUMS")
    for name in ("modeling_x.py", "sub/pytorch_model.bin", "README.py", "tokenizer.json"):
        (tmp_path / name).write_text("x")
        with pytest.raises(_model_store.StoreError, match=f"holds {name}, which .* does not name. Remove"):
            _model_store.check_manifest(str(tmp_path), "SHA256SUMS")
        (tmp_path / name).unlink()
    _model_store.check_manifest(str(tmp_path), str(tmp_path / "SHA256SUMS"))


def test_pickled_weights_are_not_fetched_beside_safetensors():
    def left_out(*paths: str) -> list[str]:
        return _model_store.pickled([{"path": path, "size": 1} for path in paths])

    safe = ("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json")
    pickled = ("pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.pt", "adapter_model.bin")
    assert left_out(*safe, *pickled) == list(pickled)
    # The only weights that there are, and parts that exist in this form alone.
    assert left_out("config.json", *pickled) == []
    assert left_out(*safe, "2_Dense/pytorch_model.bin", "spk_dict.pt", "tokenizer.bin") == []
    assert left_out("config.json", "training_args.bin", "optimizer.pt", "rng_state_0.pth") == [
        *("training_args.bin", "optimizer.pt", "rng_state_0.pth"),
    ]
    for wrong in ({}, [{"name": "x"}], [1], None):
        if wrong:
            with pytest.raises(_model_store.StoreError, match="not a list of files"):
                _model_store.pickled(wrong)


def test_a_commit_that_was_asked_for_is_held():
    asked, other = "a" * 40, "b" * 40
    assert _model_store.commit("x/y", {"sha": asked}, asked) == asked
    assert _model_store.commit("x/y", {"sha": asked}, asked.upper()) == asked
    # A branch may mean any commit.
    assert _model_store.commit("x/y", {"sha": other}, "main") == other
    with pytest.raises(_model_store.StoreError, match=f"commit {other} of x/y, not with {asked}"):
        _model_store.commit("x/y", {"sha": other}, asked)
    for wrong in ({}, [], None, {"sha": 7}, {"sha": ""}, {"sha": "--local-dir"}, {"sha": "main"}):
        with pytest.raises(_model_store.StoreError, match="Correct model_hub"):
            _model_store.commit("x/y", wrong, asked)
