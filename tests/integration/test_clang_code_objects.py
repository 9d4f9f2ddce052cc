# SPDX-License-Identifier: GPL-3.0-or-later
"""What clang makes for AMD GPUs, and what gpu_code_objects reads of it: held to LLVM's own readers."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._code import scan, summary, targets, verdict
from ansible_collections.amdgpu.fleet.plugins.module_utils._code.places import Limits
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from testbed import compiler
from testbed.machine import podman

TARGETS = [
    "gfx906",
    "gfx908",
    "gfx90a:xnack-",
    "gfx942",
    "gfx950",
    "gfx1030",
    "gfx1100",
    "gfx1151",
    "gfx1201",
]
GENERIC = [
    "gfx9-generic",
    "gfx9-4-generic",
    "gfx10-1-generic",
    "gfx10-3-generic",
    "gfx11-generic",
    "gfx12-generic",
]
OBJECTS = [
    *TARGETS,
    *GENERIC,
    "gfx90a:xnack+",
    "gfx90a:sramecc+:xnack-",
    "gfx1013",
    "gfx1103",
    "gfx1153",
    "gfx1250",
]
IMAGE = "localhost/amdgpu-fleet/code-objects:test"


def found(path: Path) -> dict[str, list[str]]:
    seen = scan.path(str(path), Limits())
    assert seen.problems == []
    assert seen.complete
    return {library.path: targets.in_order(library.targets) for library in seen.libraries}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Libraries with one fat binary, with compressed ones, and with several kinds."""
    folder = tmp_path_factory.mktemp("made")
    compiler.library(folder, "plain.so", [*TARGETS, *GENERIC])
    compiler.library(folder, "packed.so", TARGETS, "--offload-compress")
    compiler.library(folder, "new.so", TARGETS, "--offload-new-driver", "--offload-compress")
    for name, words, environment in (
        ("one", ["--offload-arch=gfx942"], {}),
        (
            "two",
            ["--offload-compress", "--offload-arch=gfx1030", "-Dscale=two"],
            {"COMPRESSED_BUNDLE_FORMAT_VERSION": "2"},
        ),
        ("three", ["--offload-compress", "--offload-arch=gfx1201", "-Dscale=three"], {}),
    ):
        command = [
            "clang++",
            *compiler.BARE,
            "--no-offload-new-driver",
            "-fuse-cuid=none",
            *words,
            "-fPIC",
            "-c",
        ]
        compiler.BOX.run(
            folder,
            *command,
            f"-cuid={name}",
            "kernel.hip",
            "-o",
            f"{name}.o",
            environment=environment,
        )
    compiler.BOX.run(folder, "clang++", *compiler.SHARED, "one.o", "two.o", "three.o", "-o", "mixed.so")
    return folder


@pytest.mark.parametrize("name", ["plain.so", "packed.so", "new.so"])
def test_the_targets_are_those_that_llvm_lists(made: Path, name: str) -> None:
    shown = compiler.BOX.run(made, "llvm-readobj", "--offloading", name)
    expected = set(re.findall(r"amdgcn-amd-amdhsa--(\S+)", shown))
    assert len(expected) >= len(TARGETS)
    assert found(made / name) == {name: targets.in_order(expected)}


def test_bundles_of_all_kinds_in_one_library(made: Path) -> None:
    # LLVM's own readers stop at the first one of another kind: only the number that is registered is theirs.
    sections = compiler.BOX.run(made, "llvm-readelf", "-S", "-W", "mixed.so")
    size = re.search(r"\.hipFatBinSegment\s+PROGBITS\s+\w+\s+\w+\s+([0-9a-f]+)", sections)
    assert size
    seen = scan.path(str(made / "mixed.so"), Limits())
    assert seen.libraries[0].bundles == int(size.group(1), 16) // 24 == 3
    assert found(made / "mixed.so") == {"mixed.so": ["gfx942", "gfx1030", "gfx1201"]}


def test_code_objects_say_what_llvm_says(tmp_path: Path) -> None:
    for number, target in enumerate(OBJECTS):
        compiler.code_object(tmp_path, f"{number}.hsaco", target)
        assert found(tmp_path / f"{number}.hsaco") == {".": [target]}
        flags = compiler.BOX.run(tmp_path, "llvm-readelf", "-h", f"{number}.hsaco")
        assert re.search(rf"Flags:\s+0x\w+, {target.partition(':')[0]}\b", flags)
    (tmp_path / "kernel.hip").unlink()
    assert found(tmp_path) == {".": targets.in_order(OBJECTS)}


@pytest.fixture
def image(made: Path, tmp_path: Path) -> Iterator[str]:
    """An image whose lower layer has code for gfx942, and whose upper layer takes another library away."""
    folder = tmp_path / "build"
    (folder / "lib").mkdir(parents=True)
    for name in ("packed.so", "mixed.so"):
        (folder / "lib" / name).write_bytes((made / name).read_bytes())
    with tarfile.open(folder / "base.tar", "w") as archive:
        archive.add(folder / "lib", "opt/lib")
    podman("import", "--quiet", folder / "base.tar", f"{IMAGE}-base")
    (folder / "Containerfile").write_text(
        f"FROM {IMAGE}-base\nCOPY --from={compiler.BOX.prepare()} /etc/hostname /opt/lib/mixed.so\n",
        encoding="utf-8",
    )
    podman("build", "--quiet", "--tag", IMAGE, folder)
    yield IMAGE
    podman("rmi", "--force", IMAGE, f"{IMAGE}-base")


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive", "oci-dir"])
def test_an_image_as_podman_saves_it(image: str, tmp_path: Path, kind: str) -> None:
    podman("save", "--quiet", f"--format={kind}", "--output", tmp_path / "saved", image)
    assert found(tmp_path / "saved") == {"opt/lib/packed.so": targets.in_order(TARGETS)}
    code = summary.short(scan.path(str(tmp_path / "saved"), Limits()), ["*/packed.so"])
    answers = {gfx: verdict.judge(code, gfx, False).verdict for gfx in ("gfx942", "gfx90a", "gfx1150")}
    assert answers == {"gfx942": "served", "gfx90a": "served", "gfx1150": "missing"}


def test_an_image_in_podmans_own_store(image: str) -> None:
    seen = scan.image(Tree("/"), image, None, Limits())
    assert seen.identity == podman("image", "inspect", "--format={{.Id}}", image).strip()
    assert {library.path: targets.in_order(library.targets) for library in seen.libraries} == {
        "opt/lib/packed.so": targets.in_order(TARGETS)
    }
    assert seen.complete
