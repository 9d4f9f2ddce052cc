# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print the AMD GPUs that the tables of this machine know and catalog/gpus.yml does not, or names differently.

The tables are those that Debian ships: libdrm's amdgpu.ids (packages libdrm-common) says which board an id and a
revision are, pci.ids (package pci.ids) says which chip. Nothing is written: the architecture of an id stands in
neither, so a person adds the entry. The exit code is 1 when there is something to look at.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
CATALOG = ROOT / "roles/plan/files/catalog" / "gpus.yml"
LIBDRM = Path("/usr/share/libdrm/amdgpu.ids")
PCI_IDS = Path("/usr/share/misc/pci.ids")
VENDOR = "1002"

# Functions of a GPU, and parts of a board, that are no GPU.
_NO_GPU = re.compile(
    r"audio|hdmi|usb|ucsi|bridge|pci|switch|upstream|downstream|sound|hub|root|crypto|smbus|serial|sata|ide\b|playstation|lite",
    re.I,
)
# pci.ids holds chips back to 1991. amdgpu drives what has one of these names, and what comes after them.
_CHIPS = re.compile(
    r"Tahiti|Malta|Pitcairn|Curacao|Cape Verde|Venus|Oland|Hainan|Kaveri|Kabini|Mullins|Bonaire|Hawaii|Carrizo|Stoney|Tonga|Topaz"
    r"|Fiji|Polaris|Ellesmere|Baffin|Lexa|Vega|Navi|Arcturus|Aldebaran|Aqua Vanjaram|Raven|Picasso|Renoir|Lucienne|Cezanne|Barcelo"
    r"|Van ?Gogh|Sephiroth|Cyan Skillfish|Rembrandt|Raphael|Mendocino|Phoenix|Hawk Point|Strix|Krackan|Gorgon|Granite Ridge|Medusa|Instinct"
)
# What two tables spell differently and what names no other board: the chip in brackets, and words.
_BRACKETS = re.compile(r"\([^)]*\)")
_NOISE = re.compile(r"\b(amd|ati|graphics|series|gpu|embedded|vf)\b|[^a-z0-9]+")


# A name without a number, as Radeon PRO WX Series, says less than any of ours.
_NUMBER = re.compile(r"[0-9]")
# Names that the catalog keeps general on purpose.
_GENERAL = re.compile(r" or | / |Graphics \(")


class Board(NamedTuple):
    """What libdrm calls a PCI id with a revision."""

    pci_id: str
    revision: str
    name: str


def boards_of(text: str) -> Iterator[Board]:
    """The lines ``device,revision,name`` of amdgpu.ids."""
    for line in text.splitlines():
        match = re.match(r"([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{1,2}),\s*(\S.*)", line)
        if match:
            device, revision, name = match.groups()
            yield Board(f"{VENDOR}:{device.lower()}", revision.lower().zfill(2), name.strip())


def chips_of(text: str) -> dict[str, str]:
    """The GPUs of AMD in pci.ids: id -> name."""
    chips, own = {}, False
    for line in text.splitlines():
        if line and not line.startswith(("\t", "#")):
            own = line.startswith(f"{VENDOR} ")
        match = re.match(r"\t([0-9a-f]{4})\s+(\S.*)", line)
        if own and match and _CHIPS.search(match.group(2)) and not _NO_GPU.search(match.group(2)):
            chips[f"{VENDOR}:{match.group(1)}"] = match.group(2)
    return chips


def same(one: str, other: str) -> bool:
    """Whether two names mean one board: the words are the same, however they are spelt."""
    first, second = (_NOISE.sub("", _BRACKETS.sub(" ", name.lower())) for name in (one, other))
    return first == second


def differences(catalog: dict[str, Any], libdrm: str, pci_ids: str) -> list[str]:
    """What to look at, one line an id or a revision."""
    known = {entry["pci_id"]: entry for entry in catalog["products"]}
    names: dict[tuple[str, str], list[str]] = {}
    for board in boards_of(libdrm):
        names.setdefault((board.pci_id, board.revision), []).append(board.name)
    named = {pci_id for pci_id, _revision in names}
    lines = [
        f"{pci_id} is not in the catalog. pci.ids calls it {name}."
        for pci_id, name in sorted(chips_of(pci_ids).items())
        if pci_id not in known and pci_id not in named
    ]
    for (pci_id, revision), theirs in sorted(names.items()):
        ours = _ours(known.get(pci_id), revision)
        said = f"libdrm calls it {' or '.join(theirs)}."
        if ours is None:
            lines.append(f"{pci_id} revision {revision} is not in the catalog. {said}")
        elif not _GENERAL.search(ours) and not any(
            same(ours, name) or not _NUMBER.search(name) for name in theirs
        ):
            lines.append(f"{pci_id} revision {revision} is {ours} in the catalog. {said}")
    return lines


def _ours(entry: dict[str, Any] | None, revision: str) -> str | None:
    """What the catalog calls a revision, None where it does not know it."""
    if entry is None or (entry.get("revisions") and revision not in entry["revisions"]):
        return None
    return entry.get("revisions", {}).get(revision, entry["product"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="the catalog's gpus.yml")
    parser.add_argument("--libdrm", type=Path, default=LIBDRM, help="amdgpu.ids of libdrm")
    parser.add_argument("--pci-ids", type=Path, default=PCI_IDS, help="pci.ids")
    options = parser.parse_args()
    texts = []
    for path, package in ((options.libdrm, "libdrm-common"), (options.pci_ids, "pci.ids")):
        if not path.is_file():
            print(f"{path} is missing: install the package {package}, or name the file.", file=sys.stderr)
            return 2
        texts.append(path.read_text(encoding="utf-8", errors="replace"))
    found = differences(yaml.safe_load(options.catalog.read_text(encoding="utf-8")), *texts)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
