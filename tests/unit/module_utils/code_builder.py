# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with code for GPUs, built byte by byte: what compilers and packagers write, without them."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

MACHINES = {"gfx90a": 0x3F, "gfx908": 0x30, "gfx942": 0x4C, "gfx1030": 0x36, "gfx1100": 0x41, "gfx1151": 0x4A,
            "gfx1201": 0x4E, "gfx11-generic": 0x54, "gfx9-4-generic": 0x5F}  # fmt: skip
SETTING = {"": 1, "-": 2, "+": 3}


def flags(target: str) -> int:
    """``e_flags`` as LLVM writes them: every GPU with the feature has "any" where the name is silent."""
    name, *features = target.split(":")
    value = MACHINES[name] | (0x01000000 if name.endswith("generic") else 0)
    settings = {word[:-1]: word[-1] for word in features}
    if name in ("gfx90a", "gfx908", "gfx942", "gfx9-4-generic"):
        value |= SETTING[settings.get("xnack", "")] << 8 | SETTING[settings.get("sramecc", "")] << 10
    return value


def elf(
    sections: Mapping[str, bytes], machine: int = 62, ident: tuple[int, int] = (0, 0), flag: int = 0
) -> bytes:
    """An ELF file of 64 bit with these sections."""
    names, body, table = b"\0", b"", [b"\0" * 64]
    for name, data in {**sections, ".shstrtab": b""}.items():
        place = len(names)
        names += name.encode() + b"\0"
        data = names if name == ".shstrtab" else data
        table.append(struct.pack("<IIQQQQIIQQ", place, 1, 0, 0, 64 + len(body), len(data), 0, 0, 8, 0))
        body += data
    header = b"\x7fELF\x02\x01\x01" + bytes(ident) + b"\0" * 7
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, 64 + len(body), flag, 64, 56, 0, 64, len(table), len(table) - 1
    )
    return header + body + b"".join(table)


def code_object(target: str, text: bytes = b"\x7e" * 64, abi: int = 4) -> bytes:
    return elf({".text": text}, 224, (64, abi), flags(target))


def bundle(targets: Sequence[str], kind: str = "hipv4", objects: Mapping[str, bytes] | None = None) -> bytes:
    """What clang-offload-bundler writes: the host's empty entry, then one for each target."""
    code = {f"{kind}-amdgcn-amd-amdhsa--{target}": (objects or {}).get(target) for target in targets}
    entries = {"host-x86_64-unknown-linux-gnu-": b""}
    entries |= {
        name: data if data is not None else code_object(name.rpartition("--")[2])
        for name, data in code.items()
    }
    table = 32 + sum(24 + len(name) for name in entries)
    head, body = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", len(entries)), b""
    for name, data in entries.items():
        head += struct.pack("<QQQ", table + len(body), len(data), len(name)) + name.encode()
        body += data
    return head + body


def zstd(data: bytes) -> bytes:
    """A frame whose blocks are not compressed, which every decoder takes."""
    pieces = [data[at : at + 0x10000] for at in range(0, len(data), 0x10000)] or [b""]
    blocks = [struct.pack("<I", len(piece) << 3 | (piece is pieces[-1]))[:3] + piece for piece in pieces]
    return b"\x28\xb5\x2f\xfd\x80\x38" + struct.pack("<I", len(data)) + b"".join(blocks)


def compressed(data: bytes, version: int = 3, method: int = 0) -> bytes:
    payload = zlib.compress(data) if method == 0 else zstd(data)
    check = hashlib.md5(data, usedforsecurity=False).digest()[:8]
    if version == 1:
        return b"CCOB" + struct.pack("<HHI", 1, method, len(data)) + check + payload
    layout = "<II" if version == 2 else "<QQ"
    total = 16 + struct.calcsize(layout) + len(payload)
    return (
        b"CCOB"
        + struct.pack("<HH", version, method)
        + struct.pack(layout, total, len(data))
        + check
        + payload
    )


def aligned(bundles: Sequence[bytes]) -> bytes:
    return b"".join(each + b"\0" * (-len(each) % 4096) for each in bundles)


def library(*bundles: bytes, more: Mapping[str, bytes] | None = None) -> bytes:
    """A shared library with one fat binary for each of its source files."""
    registered = struct.pack("<IIQQ", 0x48495046, 1, 0, 0) * len(bundles)
    return elf(
        {
            ".text": b"\xc3" * 16,
            ".hip_fatbin": aligned(bundles),
            ".hipFatBinSegment": registered,
            **(more or {}),
        }
    )


def msgpack(value: object) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xd9" + bytes([len(data)])) + data
    if isinstance(value, list):
        return b"\xdc" + struct.pack(">H", len(value)) + b"".join(map(msgpack, value))
    assert isinstance(value, dict)
    return (
        b"\xde"
        + struct.pack(">H", len(value))
        + b"".join(msgpack(each) for pair in value.items() for each in pair)
    )


def kpack(gfx: Sequence[str], libraries: Mapping[str, Sequence[str]]) -> bytes:
    """An archive of kernels: what it says that it is for, and the targets of each library in it."""
    blob = b"\x7e" * 256
    listed = {f"{name}#0": {each: {"type": "hsaco", "ordinal": 0, "original_size": 256} for each in found}
              for name, found in libraries.items()}  # fmt: skip
    contents = {"format_version": 1, "group_name": "t", "gfx_arch_family": gfx[0], "gfx_arches": list(gfx),
                "compression_scheme": "none", "blobs": [{"offset": 16, "size": 256}], "toc": listed}  # fmt: skip
    return b"KPAK" + struct.pack("<IQ", 1, 16 + len(blob)) + blob + msgpack(contents)


def split_library(name: str, path: str) -> bytes:
    """A library of which the code was moved into archives of kernels."""
    return elf(
        {
            ".text": b"\xc3" * 16,
            ".rocm_kpack_ref": msgpack({"kernel_name": name, "kpack_search_paths": [path]}),
        }
    )


def tar(files: Mapping[str, bytes | None], mode: str = "w") -> bytes:
    """A layer; a folder where there are no bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type = tarfile.DIRTYPE
            member.size = len(data or b"")
            archive.addfile(member, io.BytesIO(data or b""))
    return stream.getvalue()


def layout(layers: Sequence[bytes]) -> dict[str, bytes]:
    """The files of an image in OCI's layout."""
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    parts = [put(layer) for layer in layers]
    manifest = put(json.dumps({"schemaVersion": 2, "config": put(b"{}"), "layers": parts}).encode())
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    return files


def docker_archive(layers: Sequence[bytes]) -> bytes:
    names = {f"{hashlib.sha256(layer).hexdigest()}.tar": layer for layer in layers}
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["t:1"], "Layers": list(names)}]).encode()
    return tar({**names, "manifest.json": manifest})


STORE = "var/lib/containers/storage"


def store(root: Path, name: str, layers: Sequence[Mapping[str, bytes | None]], place: str = STORE) -> str:
    """An image in Podman's store below ``root``; its id."""
    base = root / place
    ids = [hashlib.sha256(f"{name} {index}".encode()).hexdigest() for index in range(len(layers))]
    for identifier, files in zip(ids, layers, strict=True):
        for path, data in files.items():
            place = base / "overlay" / identifier / "diff" / path
            (place if data is None else place.parent).mkdir(parents=True, exist_ok=True)
            if data is not None:
                place.write_bytes(data)
    image = hashlib.sha256(name.encode()).hexdigest()
    parents = [{"id": each, "parent": ids[index - 1] if index else ""} for index, each in enumerate(ids)]
    for path, data in (
        ("overlay-layers/layers.json", parents),
        (
            "overlay-images/images.json",
            [{"id": image, "names": [name], "layer": ids[-1], "digest": f"sha256:{image}"}],
        ),
    ):
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(json.dumps(data), encoding="utf-8")
    return image
