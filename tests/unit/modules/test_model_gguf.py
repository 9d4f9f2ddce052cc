# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF models from a Hub and from an archive. The client is a stand-in that copies from a folder; the real one
is run in the scenario `llama_cpp`."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from pathlib import Path

import pytest
import tiny_gguf as tiny

MODEL = "/srv/models/a/b+Q4_1"
CLIENT = """#!{python}
import json, os, shutil, sys
hub, words = {hub!r}, sys.argv[1:]
files = sorted(os.path.relpath(os.path.join(at, name), hub) for at, _, names in os.walk(hub) for name in names)
with open({log!r}, "a") as log:
    log.write(" ".join(words) + "\\n")
if words[:2] == ["models", "info"]:
    print(json.dumps({{"sha": "c" * 40}}))
elif words[:2] == ["models", "list"]:
    print(json.dumps([{{"path": name, "size": os.path.getsize(os.path.join(hub, name))}} for name in files]))
elif words[0] == "download":
    folder = words[words.index("--local-dir") + 1]
    for at, name in enumerate(words[words.index("--") + 1:]):
        if at and os.path.exists({log!r} + ".break"):
            sys.exit("Error: the line broke")
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        shutil.copy(os.path.join(hub, name), os.path.join(folder, name))
"""


@pytest.fixture
def hub(tmp_path):
    """A repository with three quantizations, one of them in parts, and a projector."""
    folder = tmp_path / "hub"
    for kind in ("Q4_1", "Q8_0"):
        tiny.write(folder / f"x-{kind}.gguf", tiny.llama(layers=2), tiny.layers_of(2, kind))
    for part in (1, 2):
        values = tiny.llama(layers=2) if part == 1 else {}
        tensors = {f"blk.{part - 1}.attn_q.weight": ("BF16", [256, 256])}
        tiny.write(folder / f"BF16/x-BF16-{part:05}-of-00002.gguf", {**values, "split.count": 2}, tensors)
    tiny.write(folder / "mmproj-F16.gguf", {"general.architecture": "clip"}, {"v": ("F16", [64, 2])})
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def fetch(tmp_path, run_module, hub):
    """fetch(quantization="Q4_1", ...) -> the result, and the folder of the model."""
    client = tmp_path / "hf"
    client.write_text(CLIENT.format(python=sys.executable, hub=str(hub), log=str(tmp_path / "log")))
    client.chmod(0o755)
    (tmp_path / "host").mkdir()

    def run(path=MODEL, _check=False, **options):
        wanted = {"hub": "a/b", "client": str(client), "format": "gguf", "root": str(tmp_path / "host")}
        result = run_module("model_folder", _check=_check, path=path, **{**wanted, **options})
        return result, tmp_path / "host" / path.lstrip("/")

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_check_real_check_again_real_again(fetch, hub, tmp_path):
    result, folder = fetch(quantization="Q4_1", _check=True)
    assert result["changed"] and not folder.parent.exists()
    result, _folder = fetch(quantization="Q4_1")
    assert result["changed"] and result["commit"] == "c" * 40
    assert files(folder) == ["mmproj-F16.gguf", "x-Q4_1.gguf"]
    assert (folder / "x-Q4_1.gguf").read_bytes() == (hub / "x-Q4_1.gguf").read_bytes()
    for check in (True, False):
        assert not fetch(quantization="Q4_1", _check=check)[0]["changed"]
    # Every file was held to the checksum that the Hub has for it.
    asked = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["models", "models", "download", "cache"]
    assert f"cache verify a/b --revision {'c' * 40}" in asked[3]


def test_parts_in_a_folder_of_their_own(fetch):
    result, folder = fetch(quantization="BF16")
    assert result["changed"]
    assert files(folder) == [
        *("BF16/x-BF16-00001-of-00002.gguf", "BF16/x-BF16-00002-of-00002.gguf", "mmproj-F16.gguf")
    ]
    assert not fetch(quantization="BF16")[0]["changed"]
    (folder / "BF16/x-BF16-00002-of-00002.gguf").unlink()
    assert fetch(quantization="BF16")[0]["changed"]


def test_a_quantization_that_is_not_there_leaves_nothing(fetch):
    result, folder = fetch(quantization="Q5_K_M")
    assert result["failed"] and "a/b has no Q5_K_M: there is BF16, Q4_1, Q8_0." in result["msg"]
    assert not folder.parent.exists()


def test_what_an_earlier_run_began_of_another_quantization_is_no_second_model(fetch, tmp_path):
    (tmp_path / "log.break").touch()
    result, folder = fetch(quantization="Q8_0")
    assert result["failed"] and "the line broke" in result["msg"]
    assert not folder.exists() and files(Path(f"{folder}.partial")) == [
        ".cache/expected_bytes",
        "x-Q8_0.gguf",
    ]
    (tmp_path / "log.break").unlink()
    assert fetch(quantization="Q4_1")[0]["changed"]
    assert files(folder) == ["mmproj-F16.gguf", "x-Q4_1.gguf"]


def test_a_file_that_is_no_model_is_not_put_in_its_place(fetch, hub):
    (hub / "x-Q4_1.gguf").write_bytes(b"<html>")
    result, folder = fetch(quantization="Q4_1")
    assert result["failed"] and "is no GGUF file. Fetch it again" in result["msg"]
    assert not folder.exists()


def test_a_repository_of_safetensors_is_refused_before_anything_is_fetched(fetch, hub):
    for path in hub.rglob("*.gguf"):
        path.unlink()
    (hub / "model.safetensors").write_bytes(b"x")
    result, folder = fetch()
    assert result["failed"] and "no GGUF file of a model" in result["msg"] and "a/b-GGUF:" in result["msg"]
    assert not folder.parent.exists()


def test_an_archive_of_gguf(tmp_path, run_module, hub):
    archive = tmp_path / "model.tar"
    with tarfile.open(archive, "w") as file:
        file.add(hub / "x-Q8_0.gguf", "packed/x-Q8_0.gguf")
        file.add(hub / "mmproj-F16.gguf", "packed/mmproj-F16.gguf")
    (tmp_path / "host").mkdir()
    wanted = {"path": MODEL, "archive": str(archive), "format": "gguf", "root": str(tmp_path / "host")}
    wanted["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert run_module("model_folder", **wanted)["changed"]
    assert files(tmp_path / "host" / MODEL[1:]) == ["mmproj-F16.gguf", "x-Q8_0.gguf"]
    assert not run_module("model_folder", **wanted)["changed"]
