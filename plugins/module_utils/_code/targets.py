# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of targets: what code was compiled for, and which GPU runs it."""

from __future__ import annotations

import re
import typing as t

# EF_AMDGPU_MACH of e_flags. Source: LLVM, BinaryFormat/ELF.h and AMDGPUUsage.
MACHINES = {
    0x20: "gfx600", 0x21: "gfx601", 0x3A: "gfx602", 0x22: "gfx700", 0x23: "gfx701", 0x24: "gfx702",
    0x25: "gfx703", 0x26: "gfx704", 0x3B: "gfx705", 0x28: "gfx801", 0x29: "gfx802", 0x2A: "gfx803",
    0x3C: "gfx805", 0x2B: "gfx810", 0x2C: "gfx900", 0x2D: "gfx902", 0x2E: "gfx904", 0x2F: "gfx906",
    0x30: "gfx908", 0x31: "gfx909", 0x3F: "gfx90a", 0x32: "gfx90c", 0x40: "gfx940", 0x4B: "gfx941",
    0x4C: "gfx942", 0x4F: "gfx950", 0x33: "gfx1010", 0x34: "gfx1011", 0x35: "gfx1012", 0x42: "gfx1013",
    0x36: "gfx1030", 0x37: "gfx1031", 0x38: "gfx1032", 0x39: "gfx1033", 0x3E: "gfx1034", 0x3D: "gfx1035",
    0x45: "gfx1036", 0x41: "gfx1100", 0x46: "gfx1101", 0x47: "gfx1102", 0x44: "gfx1103", 0x43: "gfx1150",
    0x4A: "gfx1151", 0x55: "gfx1152", 0x58: "gfx1153", 0x48: "gfx1200", 0x4E: "gfx1201", 0x49: "gfx1250",
    0x5A: "gfx1251", 0x51: "gfx9-generic", 0x5F: "gfx9-4-generic", 0x52: "gfx10-1-generic",
    0x53: "gfx10-3-generic", 0x54: "gfx11-generic", 0x59: "gfx12-generic",
    0x5B: "gfx12-5-generic", 0x5C: "gfx1172", 0x5D: "gfx1170", 0x5E: "gfx1171", 0x62: "gfx11-7-generic",
    0x63: "gfx13-generic",
}  # fmt: skip
# What the HIP runtime takes for a GPU where there is no code of its own. Source: clr, the
# map of generic targets beside its loader of fat binaries.
GENERIC = {
    "gfx9-generic": ("gfx900", "gfx902", "gfx904", "gfx906", "gfx909", "gfx90c"),
    "gfx9-4-generic": ("gfx940", "gfx941", "gfx942", "gfx950"),
    "gfx10-1-generic": ("gfx1010", "gfx1011", "gfx1012", "gfx1013"),
    "gfx10-3-generic": ("gfx1030", "gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"),
    "gfx11-generic": (
        "gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153",
    ),
    "gfx12-generic": ("gfx1200", "gfx1201"),
    "gfx12-5-generic": ("gfx1250", "gfx1251"),
}  # fmt: skip
# Code for every GPU, which the runtime compiles when it is loaded.
PORTABLE = "amdgcnspirv"
# GPUs whose memory has error correction, always. Radeon VII (gfx906) and MI100 (gfx908) may be without.
ALWAYS_ECC = ("gfx90a", "gfx940", "gfx941", "gfx942", "gfx950")

NAME = r"gfx[1-9][0-9]{0,2}[0-9a-f]{1,2}|gfx[1-9][0-9]?(?:-[1-9])?-generic"
TARGET = re.compile(rf"(?P<gfx>{NAME}|amdgcnspirv)(?P<features>(?::[a-z][a-z0-9-]{{0,30}}[+-]){{0,4}})")
# In names of files: the longest name that is one, and xnack behind a hyphen.
IN_NAME = re.compile(r"gfx(?:[1-9][0-9]?-(?:[1-9]-)?generic|[0-9]{1,3}[0-9a-f])(?![0-9a-z])(?:-(xnack[+-]))?")
FAMILY = re.compile(r"gfx[0-9]{1,3}x{1,2}")

EXACT, BY_GENERIC, BY_FAMILY, MISMATCH, UNKNOWN = "exact", "generic", "family", "mismatch", "not known"


def normal(text: str) -> str | None:
    """A target as it is written here, features in their order; ``None`` where it is no target."""
    match = TARGET.fullmatch(text)
    if not match:
        return None
    features = sorted(word for word in match["features"].split(":") if word)
    return ":".join([match["gfx"], *features])


def of_bundle(identifier: str) -> str | None:
    """``hipv4-amdgcn-amd-amdhsa--gfx942:xnack-`` -> ``gfx942:xnack-``; ``None`` for any other text."""
    if not identifier.startswith(("hip-", "hipv4-")):
        return None
    _head, separator, target = identifier.rpartition("--")
    return normal(target if separator else identifier.rpartition("-")[2])


def of_flags(flags: int, abi: int) -> str | None:
    """The target that ``e_flags`` of a code object name; ``None`` for a machine that is not known here.

    ``abi``: EI_ABIVERSION, 1 for version 3 of code objects, 2 and more for versions 4 and later.
    """
    name = MACHINES.get(flags & 0xFF)
    if name is None or abi < 2:
        return name
    words = []
    for word, mask in (("sramecc", 0xC00), ("xnack", 0x300)):
        setting = (flags & mask) // (mask // 3)
        if setting >= 2:
            words.append(f"{word}{'+' if setting == 3 else '-'}")
    return ":".join([name, *words])


def in_name(name: str) -> list[str]:
    """The targets that the name of a file has in it (``TensileLibrary_gfx90a-xnack+.co``)."""
    found = []
    for match in IN_NAME.finditer(name):
        bare = match.group(0).partition("-xnack")[0]
        target = normal(f"{bare}:{match.group(1)}" if match.group(1) else bare)
        if target and (bare in MACHINES.values() or bare in GENERIC):
            found.append(target)
    return found


def gfx(target: str) -> str:
    return target.partition(":")[0]


def serves(target: str, wanted: str, xnack: bool) -> str | None:
    """How code for ``target`` serves the GPU ``wanted``; ``None`` where it does not. ``xnack``: whether the
    GPU retries page faults, which HSA_XNACK=1 asks for.
    """
    name = gfx(target)
    if name == PORTABLE or (name.endswith("-generic") and name not in GENERIC):
        return UNKNOWN
    if FAMILY.fullmatch(name):
        stem = name.rstrip("x")
        return BY_FAMILY if wanted.startswith(stem) and len(wanted) == len(name) else None
    if name == wanted:
        how = EXACT
    elif wanted in GENERIC.get(name, ()):
        how = BY_GENERIC
    else:
        return None
    for feature in target.split(":")[1:]:
        word, setting = feature[:-1], feature[-1] == "+"
        if word == "xnack":
            how = how if setting == xnack else MISMATCH
        elif word == "sramecc" and wanted in ALWAYS_ECC:
            how = how if setting else MISMATCH
        elif how != MISMATCH:
            how = UNKNOWN
    return how


def best(found: t.Iterable[str], wanted: str, xnack: bool) -> tuple[str | None, str | None]:
    """The target that serves best, and how; nothing where none does."""
    order = [EXACT, BY_GENERIC, BY_FAMILY, UNKNOWN, MISMATCH]
    ways = [(how, target) for target in found if (how := serves(target, wanted, xnack))]
    if not ways:
        return None, None
    how, target = min(ways, key=lambda way: (order.index(way[0]), way[1]))
    return target, how


def in_order(found: t.Iterable[str]) -> list[str]:
    """Targets sorted as people expect: gfx90a before gfx1100."""

    def rank(target: str) -> tuple[int, str, str]:
        digits = re.match(r"gfx([0-9]{1,2}(?=[0-9a-fx]{2})|[0-9]{1,2})", target)
        return (int(digits.group(1)) if digits else 99, gfx(target), target)

    return sorted(set(found), key=rank)
