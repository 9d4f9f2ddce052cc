# SPDX-License-Identifier: GPL-3.0-or-later
"""What the amdgpu driver does when partition modes change, for an emulated host.

    python3 -m testbed.partitions watch                  # on a host of the test bed: follow
    current_compute_partition python3 -m testbed.partitions modprobe -r amdgpu     # the driver goes, and
    takes the compute modes along

A write to current_compute_partition changes how many devices KFD shows. A write to current_memory_partition
is there at once, while a real driver shows it when it is loaded again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .descriptions import complete
from .devices import PCI, gpus_of
from .topology import TOPOLOGY, write_topology
from .writer import Writer

SEED = Path("/bed/description.json")
COMPUTE, MEMORY = "current_compute_partition", "current_memory_partition"


def as_shown(description: dict[str, Any], root: Path) -> dict[str, Any]:
    """The description with the modes that the files below `root` show, GPU by GPU."""
    host = complete(description)
    single = [{**item, "count": 1} for item in host["gpus"] for _each in range(item["count"])]
    # The dies of a GPU are partitions of their own on no product that has modes.
    for item, gpu in zip(single, gpus_of({**host, "gpus": single})):
        folder = root / PCI / gpu.address
        if (folder / COMPUTE).exists():
            item["compute_partition"] = (folder / COMPUTE).read_text(encoding="utf-8").strip() or item[
                "compute_partition"
            ]
            item["memory_partition"] = (folder / MEMORY).read_text(encoding="utf-8").strip() or item[
                "memory_partition"
            ]
    return {**host, "gpus": single}


def modes(description: dict[str, Any], root: Path) -> list[str]:
    """The compute mode of every GPU."""
    return [item["compute_partition"] for item in as_shown(description, root)["gpus"]]


def redraw(description: dict[str, Any], root: Path) -> None:
    """Write the KFD topology that belongs to the modes of now; readers find the old nodes or the new ones."""
    host = complete(as_shown(description, root))
    nodes = root / TOPOLOGY / "nodes"
    with tempfile.TemporaryDirectory(dir=root / TOPOLOGY, ignore_cleanup_errors=True) as folder:
        write_topology(Writer(Path(folder)), host, gpus_of(host))
        try:
            nodes.rename(Path(folder) / "old")
        except OSError:  # the lower layer of an overlay cannot be renamed
            shutil.rmtree(nodes, ignore_errors=True)
        (Path(folder) / TOPOLOGY / "nodes").rename(nodes)


def watch(description: dict[str, Any], root: Path, interval: float = 0.1) -> None:
    """Follow the files for ever."""
    drawn = modes(description, root)
    while True:
        time.sleep(interval)
        try:
            seen = modes(description, root)
            if seen != drawn:
                redraw(description, root)
                drawn = seen
        except ValueError:  # read in the middle of a write
            continue


def unload(root: Path) -> None:
    """What remains of the modes when the driver goes: the memory mode."""
    for path in (root / PCI).glob(f"*/{COMPUTE}"):
        path.write_text("SPX\n", encoding="utf-8")


def main() -> int:
    """Entry of the commands above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--description", type=Path, default=SEED)
    parser.add_argument("what", choices=["watch", "modprobe"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    description = json.loads(options.description.read_text(encoding="utf-8"))
    if options.what == "watch":
        watch(description, options.root)
    elif options.arguments == ["-r", "amdgpu"]:
        unload(options.root)
    elif options.arguments == ["amdgpu"]:
        redraw(description, options.root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
