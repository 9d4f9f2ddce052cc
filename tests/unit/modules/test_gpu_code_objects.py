# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_code_objects as a process: what it answers, remembers and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "module_utils"))
import code_builder as build

from ansible_collections.amdgpu.fleet.plugins.module_utils._code import record
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

ROCM_C = "opt/vllm/_rocm_C.abi3.so"
LAYERS = [{ROCM_C: build.library(build.bundle(["gfx942", "gfx1201"]))}]
REQUIRED = ["*/vllm/_rocm_C*.so"]


@pytest.fixture
def ask(run_module, tmp_path):
    def ask(**options):
        return run_module("gpu_code_objects", root=str(tmp_path), **options)

    return ask


def records(root: Path) -> list[Path]:
    return sorted((root / record.RECORDS.lstrip("/")).glob("*"))


def test_an_image_and_its_verdicts(ask, tmp_path):
    image = build.store(tmp_path, "localhost/vllm:1", LAYERS)
    result = ask(image="localhost/vllm:1", gfx=["gfx942", "gfx1151"], required=REQUIRED)
    assert not result["changed"]
    (place,) = result["places"]
    assert (place["identity"], place["kind"], place["complete"]) == (image, "image", True)
    assert place["targets"] == ["gfx942", "gfx1201"]
    assert [each["verdict"] for each in place["verdicts"]] == ["served", "missing"]
    assert place["verdicts"][1]["reason"] == f"{ROCM_C} has code for gfx942, gfx1201"
    assert place["libraries"][0]["serves"] == {"gfx942": "exact", "gfx1151": None}
    assert records(tmp_path) == []


def test_an_image_is_read_once(ask, tmp_path):
    build.store(tmp_path, "localhost/vllm:1", LAYERS)
    asked = {"image": "localhost/vllm:1", "gfx": ["gfx1151"], "required": REQUIRED, "record": True}
    first = ask(**asked, _check=True)
    assert first["changed"]
    assert records(tmp_path) == []
    assert ask(**asked)["changed"]
    again = ask(**asked)
    assert not again["changed"]
    assert again["places"][0]["remembered"]
    assert again["places"][0]["verdicts"] == first["places"][0]["verdicts"]
    assert not ask(**asked, _check=True)["changed"]


def test_an_image_of_an_account(ask, tmp_path):
    home = tmp_path / "home/fleet"
    image = build.store(home, "localhost/vllm:1", LAYERS, ".local/share/containers/storage")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("fleet:x:1001:1001::/home/fleet:/bin/sh\n", encoding="utf-8")
    (place,) = ask(image="localhost/vllm:1", user="fleet")["places"]
    assert (place["identity"], place["targets"]) == (image, ["gfx942", "gfx1201"])
    (roots,) = ask(image="localhost/vllm:1")["places"]
    assert roots["identity"] == ""


def test_an_image_under_the_same_name_is_another_one(ask, tmp_path):
    build.store(tmp_path, "localhost/vllm:1", LAYERS)
    asked = {"image": "localhost/vllm:1", "gfx": ["gfx1151"], "record": True}
    ask(**asked)
    listed = tmp_path / "var/lib/containers/storage/overlay-images/images.json"
    other = json.loads(listed.read_text(encoding="utf-8"))
    other[0]["id"] = "a" * 64
    listed.write_text(json.dumps(other), encoding="utf-8")
    assert not ask(**asked)["places"][0]["remembered"]


def venv(root: Path) -> Path:
    packages = root / "opt/vllm/0.33.0-rocm100/lib/python3.12/site-packages"
    (packages / "vllm").mkdir(parents=True)
    (packages / "vllm-0.33.0.dist-info").mkdir()
    (packages / "vllm/_rocm_C.abi3.so").write_bytes(LAYERS[0][ROCM_C])
    return packages


def test_a_virtual_environment_is_remembered_until_its_packages_change(ask, tmp_path):
    packages, tree = venv(tmp_path), Tree(str(tmp_path))
    path = "/opt/vllm/0.33.0-rocm100"
    assert record.recall_all(tree, {}, [path]) == {}
    assert ask(path=[path], record=True, required=REQUIRED)["changed"]
    known = record.recall_all(tree, {}, [path])[path]
    assert [each["targets"] for each in known["required"]] == [["gfx942", "gfx1201"]]
    assert known["sets"] == []
    assert not ask(path=[path], record=True, required=REQUIRED)["changed"]
    (packages / "torch-2.13.0.dist-info").mkdir()
    assert record.recall_all(tree, {}, [path]) == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "identity": "IMAGE", "mark": "", "code": {"complete": 1}}',
             '{"version": 9, "identity": "IMAGE", "mark": "", "code": {}}', "[" * 100_000]
)  # fmt: skip
def test_a_record_that_is_damaged_is_none(tmp_path, text):
    image = "b" * 64
    path = tmp_path / record.name(image).lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("IMAGE", image), encoding="utf-8")
    assert record.recall_all(Tree(str(tmp_path)), {"a:1": [f"sha256:{image}"]}, []) == {}


def test_a_damaged_library_is_a_problem(ask, tmp_path):
    (tmp_path / "a.so").write_bytes(LAYERS[0][ROCM_C][:-10])
    result = ask(path=["/a.so"], gfx=["gfx942"])
    (place,) = result["places"]
    assert not place["complete"]
    assert place["verdicts"][0]["verdict"] == "not_known"
    assert "is cut off" in place["problems"][0]["problem"]


def test_an_image_that_is_not_there_is_said(ask, tmp_path):
    result = ask(image="localhost/none:1", gfx=["gfx942"], record=True)
    assert not result["changed"]
    assert result["places"][0]["verdicts"][0]["verdict"] == "not_known"
    assert "pull it first" in result["places"][0]["reasons"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Nothing is asked: give path, or the name of an image."),
        ({"path": ["/none"]}, "path: there is no /none; correct it, or make it first."),
        (
            {"image": "a", "gfx": ["mi300x"]},
            "gfx: 'mi300x' is no architecture; write it as in gfx942 or gfx1151.",
        ),
        ({"image": "a", "max_files": 0}, "max_files: 0 is less than 1."),
    ],
)
def test_what_cannot_be_meant_is_refused(ask, options, message):
    result = ask(**options)
    assert result["failed"]
    assert result["msg"] == message
