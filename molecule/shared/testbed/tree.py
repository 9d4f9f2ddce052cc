# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn a host description into the files a module finds on that host.

from testbed.tree import load_host, write_tree
write_tree(load_host("mi300x-8"), tmp_path)      # then run the module with root=tmp_path
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .descriptions import complete, load_host
from .devices import PCI, gpus_of, has_bmc, write_device_nodes, write_devices
from .distribution import write_distribution
from .health import write_all
from .kernel import write_kernel
from .network import write_network
from .topology import write_topology
from .writer import Writer

__all__ = ["load_host", "write_tree"]


def write_tree(description: dict[str, Any], root: Path, *, devices: bool = False) -> None:
    """Write everything detection reads below `root`, an empty folder.

    `devices=True` makes real device nodes, for which one must be root.
    """
    host = complete(description)
    out = Writer(Path(root))
    gpus = gpus_of(host)
    if any(gpu.driver == "amdgpu" for gpu in gpus):
        write_topology(out, host, gpus)
    write_devices(out, host, gpus, mes=host["firmware"]["mes"] if host["firmware"] else "0x0")
    write_all(out, gpus, first_card=1 if has_bmc(host) else 0)
    write_device_nodes(out, host, gpus, real=devices)
    write_kernel(out, host, [path.name for path in (out.root / PCI).iterdir()])
    write_network(out, host)
    write_distribution(out, host)
