# SPDX-License-Identifier: GPL-3.0-or-later
"""Code for GPUs in each of its formats, built byte by byte. The integration test has clang's own."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import code_builder as build
import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._code import (
    scan,
    summary,
    targets,
    unzstd,
    verdict,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._code.places import Limits
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

# Stands in for the program: it decodes frames whose blocks are not compressed.
DECODER = """#!{python}
import sys
data, at = sys.stdin.buffer.read(), 10
assert data[:4] == bytes.fromhex("28b52ffd")
while at + 3 <= len(data):
    header = int.from_bytes(data[at : at + 3], "little")
    piece = data[at + 3 : at + 3 + (header >> 3)]
    sys.stdout.buffer.write(piece)
    at += 3 + (header >> 3)
    if header & 1 and len(piece) == header >> 3:
        sys.exit(0)
sys.exit(1)
"""


@pytest.fixture
def zstd(tmp_path, monkeypatch):
    program = tmp_path / "bin/zstd"
    program.parent.mkdir()
    program.write_text(DECODER.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(unzstd, "_zstd", None)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


@pytest.fixture
def no_zstd(tmp_path, monkeypatch):
    monkeypatch.setattr(unzstd, "_zstd", None)
    monkeypatch.setenv("PATH", str(tmp_path))


def put(base: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(data)
    return base


def look(base: Path, **files: bytes) -> scan.Found:
    """A folder with these libraries, ``lib`` for lib.so."""
    return scan.path(str(put(base / "t", {f"{name}.so": data for name, data in files.items()})), Limits())


def of(found: scan.Found) -> dict[str, list[str]]:
    return {library.path: targets.in_order(library.targets) for library in found.libraries}


def problems(found: scan.Found) -> list[str]:
    return [entry["problem"] for entry in found.problems]


def test_a_fat_binary_has_an_entry_for_each_target(tmp_path):
    names = ["gfx90a:xnack-", "gfx942", "gfx1151", "gfx11-generic"]
    found = look(tmp_path, lib=build.library(build.bundle(names)))
    assert of(found) == {"lib.so": ["gfx90a:xnack-", "gfx942", "gfx11-generic", "gfx1151"]}
    assert found.complete
    assert [library.bundles for library in found.libraries] == [1]


def test_bundles_of_several_files_and_kinds_lie_in_one_section(tmp_path):
    bundles = [
        build.bundle(["gfx942"]),
        build.compressed(build.bundle(["gfx1100"]), 3),
        build.compressed(build.bundle(["gfx1201"], kind="hip"), 2),
    ]
    found = look(tmp_path, lib=build.library(*bundles))
    assert of(found) == {"lib.so": ["gfx942", "gfx1100", "gfx1201"]}
    assert (found.libraries[0].bundles, found.libraries[0].compressed) == (3, 2)
    assert found.complete


def test_a_compressed_bundle_is_never_searched_for(tmp_path):
    # The magic within what is compressed is no bundle: zlib leaves what it cannot shrink as it is.
    inner = build.code_object("gfx942", b"CCOB\1\0\0\0" * 4 + os.urandom(4096))
    one = build.compressed(build.bundle(["gfx942"], objects={"gfx942": inner}))
    found = look(tmp_path, lib=build.library(one, build.bundle(["gfx1030"])))
    assert of(found) == {"lib.so": ["gfx942", "gfx1030"]}
    assert found.libraries[0].bundles == 2


def test_version_1_does_not_say_where_it_ends(tmp_path):
    found = look(
        tmp_path, lib=build.library(build.compressed(build.bundle(["gfx942"]), 1), build.bundle(["gfx1030"]))
    )
    assert of(found) == {"lib.so": ["gfx942", "gfx1030"]}
    assert found.complete


@pytest.mark.usefixtures("zstd")
def test_zstd_is_decoded_by_the_program(tmp_path):
    big = build.code_object("gfx942", os.urandom(700_000))
    bundles = [
        build.compressed(build.bundle(["gfx942", "gfx1151"], objects={"gfx942": big}), method=1),
        build.compressed(build.bundle(["gfx1030"]), method=1),
    ]
    found = look(tmp_path, lib=build.library(*bundles))
    assert of(found) == {"lib.so": ["gfx942", "gfx1030", "gfx1151"]}
    assert found.complete


@pytest.mark.usefixtures("no_zstd")
def test_without_a_decoder_nothing_is_known_and_nothing_is_claimed(tmp_path):
    packed = build.compressed(build.bundle(["gfx942"]), method=1)
    found = look(tmp_path, lib=build.library(packed, packed, build.bundle(["gfx1030"])))
    assert of(found) == {"lib.so": ["gfx1030"]}
    assert not found.complete
    (why,) = found.libraries[0].unread
    assert why.startswith("is compressed with zstd")
    assert why.endswith("2 bundles")
    code = summary.short(found)
    assert verdict.judge(code, "gfx1030", False).verdict == "served"
    answer = verdict.judge(code, "gfx942", False)
    assert answer.verdict == "not_known"
    assert "zstd" in answer.reason


@pytest.mark.parametrize("abi", [2, 3, 4])
@pytest.mark.parametrize(
    "target", ["gfx90a", "gfx90a:xnack+", "gfx90a:sramecc+:xnack-", "gfx942", "gfx1151", "gfx9-4-generic"]
)
def test_a_code_object_says_its_target_in_its_flags(tmp_path, target, abi):
    put(tmp_path / "t", {"k.hsaco": build.code_object(target, abi=abi)})
    found = scan.path(str(tmp_path / "t"), Limits())
    assert of(found) == {".": [target]}
    assert found.libraries[0].kind == "kernels"


def test_the_flags_are_those_that_llvm_writes():
    known = {"gfx942": 0x54C, "gfx90a:xnack-": 0x63F, "gfx90a:xnack+": 0x73F, "gfx908": 0x530,
             "gfx9-4-generic": 0x100055F, "gfx11-generic": 0x1000054}  # fmt: skip
    for target, flags in known.items():
        assert targets.of_flags(flags, 4) == target
        assert build.flags(target) == flags
    assert targets.of_flags(0xFF, 4) is None


def test_a_name_that_is_not_what_the_code_says_is_no_claim(tmp_path):
    wrong = build.bundle(["gfx942", "gfx1151"], objects={"gfx1151": build.code_object("gfx1100")})
    found = look(tmp_path, lib=build.library(wrong))
    assert of(found) == {"lib.so": ["gfx942"]}
    assert problems(found) == ["has code for gfx1100 that is named gfx1151"]


@pytest.mark.parametrize(
    ("inner", "problem"),
    [
        (b"", "has an empty entry for gfx942"),
        (b"BC\xc0\xde" * 64, "has something for gfx942 that is no code object"),
    ],
)
def test_an_entry_without_code_is_no_claim(tmp_path, inner, problem):
    found = look(tmp_path, lib=build.library(build.bundle(["gfx942"], objects={"gfx942": inner})))
    assert of(found) == {"lib.so": []}
    assert problems(found) == [problem]
    assert verdict.judge(summary.short(found), "gfx942", False).verdict == "not_known"


def test_a_bundle_that_is_registered_and_gone_is_a_problem(tmp_path):
    data = build.elf({".hip_fatbin": b"\0" * 4096, ".hipFatBinSegment": b"\1" * 48})
    found = look(tmp_path, lib=data)
    assert problems(found) == ["has 0 bundles of code, and registers 2"]


def test_libraries_without_code_are_not_listed(tmp_path):
    found = look(tmp_path, host=build.elf({".text": b"\xc3"}), nvidia=build.elf({".nv_fatbin": b"\1" * 64}))
    assert of(found) == {}
    assert found.complete
    answer = verdict.judge(summary.short(found), "gfx942", False)
    assert (answer.verdict, answer.reason) == ("missing", "it has code for GPUs of NVIDIA alone")


KPACK_LIBRARY = build.split_library("torch/lib/libtorch_hip.so", "../.kpack/torch_@GFXARCH@.kpack")


def test_code_in_archives_of_kernels_counts_for_its_library(tmp_path):
    base = put(
        tmp_path / "t",
        {
            "torch/lib/libtorch_hip.so": KPACK_LIBRARY,
            "torch/.kpack/torch_gfx942.kpack": build.kpack(
                ["gfx942"], {"torch/lib/libtorch_hip.so": ["gfx942"]}
            ),
            # For another library, although the name fits.
            "torch/.kpack/torch_gfx1100.kpack": build.kpack(["gfx1100"], {"torch/lib/other.so": ["gfx1100"]}),
        },
    )
    found = scan.path(str(base), Limits())
    assert of(found)["torch/lib/libtorch_hip.so"] == ["gfx942"]
    code = summary.short(found, ["*/libtorch_hip.so"])
    assert verdict.judge(code, "gfx942", False).verdict == "served"
    assert verdict.judge(code, "gfx1100", False).verdict == "missing"


def test_a_name_that_no_archive_has_is_not_known(tmp_path):
    archive = build.kpack(["gfx942"], {"lib/libtorch_hip.so.2": ["gfx942"]})
    base = put(
        tmp_path / "t",
        {"torch/lib/libtorch_hip.so": KPACK_LIBRARY, "torch/.kpack/torch_gfx942.kpack": archive},
    )
    code = summary.short(scan.path(str(base), Limits()), ["*/libtorch_hip.so"])
    assert verdict.judge(code, "gfx942", False).verdict == "not_known"


def test_a_dropped_folder_of_archives_is_seen(tmp_path):
    found = scan.path(str(put(tmp_path / "t", {"torch/lib/libtorch_hip.so": KPACK_LIBRARY})), Limits())
    assert problems(found) == [
        "has its code in ../.kpack/torch_@GFXARCH@.kpack, and there is no such archive of kernels"
    ]
    # A wheel of its own has the archives: of the library alone nothing is known.
    alone = scan.path(str(tmp_path / "t/torch/lib/libtorch_hip.so"), Limits())
    assert problems(alone) == []
    assert not alone.complete


def test_an_empty_archive_of_kernels_is_a_problem(tmp_path):
    put(tmp_path / "t", {"t_gfx90a.kpack": build.kpack(["gfx90a:xnack-"], {})})
    found = scan.path(str(tmp_path / "t"), Limits())
    assert of(found) == {"t_gfx90a.kpack": []}
    assert problems(found) == ["says that it is for gfx90a:xnack-, and holds no kernel"]


def test_kernels_of_rocblas_are_one_entry_for_their_folder(tmp_path):
    folder = "lib/rocblas/library"
    put(
        tmp_path / "t",
        {
            f"{folder}/Kernels.so-000-gfx90a-xnack+.hsaco": build.code_object("gfx90a:xnack+"),
            f"{folder}/TensileLibrary_gfx1100.co": build.compressed(build.bundle(["gfx1100"])),
            f"{folder}/TensileLibrary_lazy_gfx1201.dat": b"\x93" * 64,
            "cache/" + "a" * 64 + "/add.hsaco": build.code_object("gfx942"),
            "cache/" + "b" * 64 + "/mul.hsaco": build.code_object("gfx942"),
        },
    )
    found = scan.path(str(tmp_path / "t"), Limits())
    # A list of solutions (.dat) is no code.
    assert of(found) == {folder: ["gfx90a:xnack+", "gfx1100"], "cache": ["gfx942"]}
    assert [library.files for library in found.libraries] == [2, 2]


@pytest.mark.usefixtures("no_zstd")
def test_names_of_files_say_what_cannot_be_read(tmp_path):
    put(
        tmp_path / "t",
        {"TensileLibrary_Type_HH_gfx942.co": build.compressed(build.bundle(["gfx942"]), method=1)},
    )
    found = scan.path(str(tmp_path / "t"), Limits())
    assert of(found) == {".": ["gfx942"]}
    assert found.libraries[0].source == "names"


def test_kernels_of_aotriton_are_for_families_too(tmp_path):
    base = "torch/lib/aotriton.images"
    put(
        tmp_path / "t",
        {f"{base}/amd-{gfx}/flash/k.aks2": b"AKS2" * 20 for gfx in ("gfx942", "gfx11xx", "gfx120x")},
    )
    found = scan.path(str(tmp_path / "t"), Limits())
    assert of(found) == {base: ["gfx942", "gfx11xx", "gfx120x"]}
    ways = {
        gfx: targets.best(found.libraries[0].targets, gfx, False)[1]
        for gfx in ("gfx942", "gfx1151", "gfx950")
    }
    assert ways == {"gfx942": "exact", "gfx1151": "family", "gfx950": None}


@pytest.mark.parametrize(
    ("target", "gfx", "xnack", "how"),
    [
        ("gfx942", "gfx942", False, "exact"),
        ("gfx942", "gfx950", False, None),
        ("gfx1150", "gfx1151", False, None),
        ("gfx9-4-generic", "gfx950", False, "generic"),
        ("gfx9-generic", "gfx90a", False, None),
        ("gfx9-generic", "gfx908", False, None),
        ("gfx11-generic", "gfx1151", False, "generic"),
        ("gfx12-generic", "gfx1250", False, None),
        ("gfx90a:xnack+", "gfx90a", False, "mismatch"),
        ("gfx90a:xnack+", "gfx90a", True, "exact"),
        ("gfx90a:xnack-", "gfx90a", True, "mismatch"),
        ("gfx942:sramecc-", "gfx942", False, "mismatch"),
        ("gfx942:sramecc+:xnack-", "gfx942", False, "exact"),
        ("gfx1250:gfx1250-b0-specific+", "gfx1250", False, "not known"),
        ("amdgcnspirv", "gfx942", False, "not known"),
        ("gfx12-5-generic", "gfx1250", False, "generic"),
        # What a generic target covers that came later.
        ("gfx13-generic", "gfx942", False, "not known"),
    ],
)
def test_what_runs_on_what(target, gfx, xnack, how):
    assert targets.serves(target, gfx, xnack) == how


@pytest.mark.parametrize(
    ("identifier", "target"),
    [
        ("hipv4-amdgcn-amd-amdhsa--gfx942:sramecc+:xnack-", "gfx942:sramecc+:xnack-"),
        ("hip-amdgcn-amd-amdhsa--gfx1151", "gfx1151"),
        ("hip-amdgcn-amd-amdhsa-gfx906", "gfx906"),
        ("hip-spirv64-amd-amdhsa--amdgcnspirv", "amdgcnspirv"),
        ("host-x86_64-unknown-linux-gnu-", None),
        ("openmp-amdgcn-amd-amdhsa--gfx942", None),
        ("hipv4-amdgcn-amd-amdhsa--gfx942; rm", None),
    ],
)
def test_names_in_bundles(identifier, target):
    assert targets.of_bundle(identifier) == target


def test_one_library_is_enough_unless_some_are_required(tmp_path):
    base = put(
        tmp_path / "t",
        {"vllm/_rocm_C.abi3.so": build.library(build.bundle(["gfx942", "gfx1201"])),
         "mori/libmori_io.so": build.library(build.bundle(["gfx942", "gfx1151"]))},
    )  # fmt: skip
    found = scan.path(str(base), Limits())
    any_of = verdict.judge(summary.short(found), "gfx1151", False)
    assert (any_of.verdict, any_of.lacking) == ("served", ["vllm/_rocm_C.abi3.so"])
    needed = verdict.judge(summary.short(found, ["*/vllm/_rocm_C*.so"]), "gfx1151", False)
    assert (needed.verdict, needed.reason) == ("missing", "vllm/_rocm_C.abi3.so has code for gfx942, gfx1201")
    # Where the engine has none of these libraries, one that has the code is enough.
    assert verdict.judge(summary.short(found, ["*/libggml-hip.so"]), "gfx1151", False).verdict == "served"


def test_a_mismatch_of_xnack_is_a_word_of_its_own(tmp_path):
    found = look(tmp_path, lib=build.library(build.bundle(["gfx90a:xnack+"])))
    for patterns in ([], ["*/lib.so"]):
        code = summary.short(found, patterns)
        assert verdict.judge(code, "gfx90a", False).verdict == "mismatch"
        assert verdict.judge(code, "gfx90a", True).verdict == "served"


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_the_libraries_of_a_wheel(tmp_path):
    path = wheel(
        tmp_path / "t.whl",
        {"vllm/_rocm_C.abi3.so": build.library(build.bundle(["gfx942"])), "vllm/__init__.py": b"\x7fELF" * 40,
         "../../etc/x.so": build.library(build.bundle(["gfx1151"]))},
    )  # fmt: skip
    found = scan.path(str(path), Limits())
    assert found.kind == "wheel"
    assert of(found) == {"vllm/_rocm_C.abi3.so": ["gfx942"]}
    assert problems(found) == ["is named outside of its archive, and was not read"]


def test_a_wheel_that_unpacks_to_more_than_it_may(tmp_path):
    path = wheel(tmp_path / "t.whl", {"a.so": build.library(build.bundle(["gfx942"])) + b"\0" * (8 << 20)})
    assert path.stat().st_size < 100_000
    found = scan.path(str(path), Limits(file_bytes=1 << 20))
    assert of(found) == {}
    assert problems(found) == [f"has more than the {1 << 20} bytes that are read of one file"]


def test_links_are_not_followed_and_dot_folders_are_entered(tmp_path):
    base = put(tmp_path / "t", {".hidden/a.so": build.library(build.bundle(["gfx942"]))})
    outside = put(tmp_path / "o", {"b.so": build.library(build.bundle(["gfx1151"]))})
    (base / "loop").symlink_to(base)
    (base / "away").symlink_to(outside)
    (base / "b.so").symlink_to(outside / "b.so")
    os.mkfifo(base / "pipe.so")
    found = scan.path(str(base), Limits())
    assert of(found) == {".hidden/a.so": ["gfx942"]}
    assert found.complete


LOWER = {"opt/a.so": build.library(build.bundle(["gfx942"])), "opt/b.so": build.library(build.bundle(["gfx942"])),
         "opt/old/c.so": build.library(build.bundle(["gfx1030"])), "lib/d.so": build.library(build.bundle(["gfx1100"]))}  # fmt: skip
UPPER = {
    "opt/a.so": build.library(build.bundle(["gfx1151"])),
    "opt/.wh.b.so": b"",
    "opt/old/.wh..wh..opq": b"",
}
SHOWN = {"opt/a.so": ["gfx1151"], "lib/d.so": ["gfx1100"]}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("kind", ["folder", "oci", "docker"])
def test_an_image_shows_what_its_layers_leave(tmp_path, kind, mode):
    layers = [build.tar(LOWER, mode), build.tar(UPPER, mode)]
    place = tmp_path / "image"
    if kind == "folder":
        put(place, build.layout(layers))
    else:
        place.write_bytes(
            build.docker_archive(layers) if kind == "docker" else build.tar(build.layout(layers))
        )
    found = scan.path(str(place), Limits())
    assert found.kind == "image"
    assert found.problems == []
    assert of(found) == {name: SHOWN[name] for name in sorted(SHOWN)}


@pytest.mark.usefixtures("zstd")
@pytest.mark.parametrize("archive", [True, False])
def test_layers_that_are_compressed_with_zstd(tmp_path, archive):
    files = build.layout([build.zstd(build.tar(LOWER)), build.zstd(build.tar(UPPER))])
    place = tmp_path / "image"
    place.write_bytes(build.tar(files)) if archive else put(place, files)
    assert of(scan.path(str(place), Limits())) == {name: SHOWN[name] for name in sorted(SHOWN)}


@pytest.mark.usefixtures("no_zstd")
def test_layers_that_cannot_be_decoded_are_said(tmp_path):
    put(tmp_path / "image", build.layout([build.zstd(build.tar(LOWER))]))
    found = scan.path(str(tmp_path / "image"), Limits())
    assert of(found) == {}
    assert problems(found)[0].startswith("is compressed with zstd")


def test_a_layer_that_is_cut_off_is_never_whole(tmp_path):
    layer = build.tar(LOWER)
    for length in (len(layer) - 10240, 700, 512 * 20):
        put(tmp_path / str(length), build.layout([layer[:length]]))
        found = scan.path(str(tmp_path / str(length)), Limits())
        assert not found.complete


def test_an_image_in_podmans_store(tmp_path):
    image = build.store(tmp_path, "docker.io/t:1", [LOWER, {**UPPER, "opt/old/e.so": LOWER["opt/a.so"]}])
    for name in ("docker.io/t:1", image, f"sha256:{image}"):
        found = scan.image(Tree(str(tmp_path)), name, None, Limits())
        assert found.identity == image
        assert of(found) == {**{name: SHOWN[name] for name in sorted(SHOWN)}, "opt/old/e.so": ["gfx942"]}
    absent = scan.image(Tree(str(tmp_path)), "docker.io/other:1", None, Limits())
    assert problems(absent) == ["is not in Podman's store /var/lib/containers/storage; pull it first"]


def test_an_image_in_a_store_that_is_read_beside_the_own(tmp_path):
    image = build.store(tmp_path / "srv/shared", "docker.io/t:1", [LOWER, UPPER])
    settings = tmp_path / "etc/containers/storage.conf"
    settings.parent.mkdir(parents=True)
    shared = "/srv/shared/var/lib/containers/storage"
    settings.write_text(f'[storage.options]\nadditionalimagestores = ["{shared}"]\n', encoding="utf-8")
    found = scan.image(Tree(str(tmp_path)), "docker.io/t:1", None, Limits())
    assert found.identity == image
    assert of(found) == {name: SHOWN[name] for name in sorted(SHOWN)}


def test_layers_that_are_each_others_parents_end(tmp_path):
    build.store(tmp_path, "t:1", [LOWER, UPPER])
    listed = tmp_path / "var/lib/containers/storage/overlay-layers/layers.json"
    layers = json.loads(listed.read_text(encoding="utf-8"))
    layers[0]["parent"] = layers[1]["id"]
    listed.write_text(json.dumps(layers), encoding="utf-8")
    (problem,) = problems(scan.image(Tree(str(tmp_path)), "t:1", None, Limits()))
    assert problem.endswith("that Podman's store does not list")


def test_a_layer_of_another_name_than_an_id_leads_nowhere(tmp_path):
    image = build.store(tmp_path, "t:1", [LOWER])
    listed = tmp_path / "var/lib/containers/storage/overlay-images/images.json"
    listed.write_text(
        f'[{{"id": "{image}", "names": ["t:1"], "layer": "../../../../../../etc"}}]', encoding="utf-8"
    )
    found = scan.image(Tree(str(tmp_path)), "t:1", None, Limits())
    assert problems(found) == ["has a layer ../../../../../../etc that Podman's store does not list"]


def test_only_so_many_files_are_looked_at(tmp_path):
    base = put(tmp_path / "t", {f"{number}.so": build.elf({}) for number in range(9)})
    found = scan.path(str(base), Limits(files=5))
    assert found.files == 5
    assert problems(found) == ["is beyond the 5 files that are read"]


def test_what_the_program_cannot_decode_is_damaged(tmp_path, zstd):
    broken = bytearray(build.compressed(build.bundle(["gfx942"]), method=1))
    broken[32] ^= 0xFF
    found = look(tmp_path, lib=build.library(bytes(broken), build.bundle(["gfx1030"])))
    assert of(found) == {"lib.so": ["gfx1030"]}
    assert problems(found) == ["holds zstd that does not decode"]


def test_a_few_bytes_that_stand_for_gigabytes_cost_little(tmp_path):
    code = build.code_object("gfx942", b"\0" * (64 << 20))
    found = look(
        tmp_path, lib=build.library(build.compressed(build.bundle(["gfx942"], objects={"gfx942": code})))
    )
    assert of(found) == {"lib.so": ["gfx942"]}
