# SPDX-License-Identifier: GPL-3.0-or-later
"""Host descriptions: what may stand in `tests/hosts/*.yml`, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .products import PRODUCTS

REPOSITORY = Path(__file__).resolve().parents[3]
HOSTS = REPOSITORY / "tests" / "hosts"

OPERATING_SYSTEMS = ("debian12", "debian13", "ubuntu2404", "ubuntu2604", "el9", "sles16")

Keys = dict[str, tuple[tuple[type, ...], Any]]

# Each section: key -> (accepted types, default); a default of `...` marks a key that must be given.
_HOST: Keys = {
    "description": ((str,), ...),
    "os": ((str,), ...),
    "kernel": ((dict,), ...),
    "memory_gib": ((int, float), ...),
    "numa_nodes": ((int,), 1),
    "driver": ((dict,), ...),
    "firmware": ((dict, type(None)), None),
    "gpus": ((list,), ...),
    "nics": ((list,), []),
    "rocm": ((list,), []),
    "packages": ((dict,), {}),
    "secure_boot": ((bool, type(None)), None),
    "numa_balancing": ((bool,), True),
    "transparent_hugepage": ((str,), "madvise"),
    "module_options": ((dict,), {}),
    "files": ((dict,), {}),
}
_KERNEL: Keys = {
    "release": ((str,), ...),
    "command_line": ((str,), "root=/dev/vda1 ro quiet"),
    "others": ((list,), []),
}
# How KFD names partitions: xcp_unique_ids is the id of the gpu, of each xcd (since Linux 6.18 and DKMS 6.16.13,
# one partition alone included) or none; xcp_location says whether the number of the partition is the PCI
# function or stands in the high bits.
_DRIVER: Keys = {
    "source": ((str,), ...),
    "version": ((str, type(None)), None),
    "xcp_unique_ids": ((str,), "gpu"),
    "xcp_location": ((str,), "function"),
}
_FIRMWARE: Keys = {"package": ((str,), ...), "version": ((str,), ...), "mes": ((str,), "0x80")}
_ROCM: Keys = {"version": ((str,), ...), "layout": ((str,), ...), "current": ((bool,), True)}
# rdma: name of the RDMA device; roce_v2: where in its table the addresses for RoCE v2 lie (link-local, IPv4),
# empty for InfiniBand.
_NIC: Keys = {
    "name": ((str,), ...),
    "address": ((str, type(None)), None),
    "up": ((bool,), True),
    "rdma": ((str, type(None)), None),
    "roce_v2": ((list,), [1, 3]),
}
_GPU: Keys = {
    "product": ((str,), ...),
    "count": ((int,), 1),
    "address": ((str, type(None)), None),
    "vram_gib": ((int, float, type(None)), None),
    "gtt_gib": ((int, float, type(None)), None),
    "pool_gib": ((int, float, type(None)), None),
    "compute_partition": ((str,), "SPX"),
    "memory_partition": ((str,), "NPS1"),
    "driver": ((str,), "amdgpu"),
    # What of its state is not that of an idle GPU that is well: FAULTS of health.py.
    "faults": ((dict,), {}),
}


def load_host(name_or_path: str | Path) -> dict[str, Any]:
    """Read a description by name (`mi300x-8`) or by path, with every default filled in."""
    path = Path(name_or_path)
    if path.suffix not in (".yml", ".yaml"):
        path = HOSTS / f"{name_or_path}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in HOSTS.glob("*.yml")))
        raise ValueError(f"no host description {path}; known ones: {known}")
    return complete(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))


def complete(description: Any, where: str = "description") -> dict[str, Any]:
    """Check a description and return a copy with defaults, so that the generator never has to guess."""
    host = _section(description, _HOST, where)
    _one_of(host["os"], OPERATING_SYSTEMS, f"{where}: os")
    host["kernel"] = _section(host["kernel"], _KERNEL, f"{where}: kernel")
    host["driver"] = _section(host["driver"], _DRIVER, f"{where}: driver")
    _one_of(host["driver"]["source"], ("inbox", "dkms", "none"), f"{where}: driver.source")
    _one_of(host["driver"]["xcp_unique_ids"], ("gpu", "xcd", "none"), f"{where}: driver.xcp_unique_ids")
    _one_of(host["driver"]["xcp_location"], ("function", "high"), f"{where}: driver.xcp_location")
    if (host["driver"]["source"] == "dkms") != (host["driver"]["version"] is not None):
        raise ValueError(f"{where}: driver.version belongs to source dkms, and only to it")
    if host["firmware"] is not None:
        host["firmware"] = _section(host["firmware"], _FIRMWARE, f"{where}: firmware")
    host["rocm"] = [_section(item, _ROCM, f"{where}: rocm[{n}]") for n, item in enumerate(host["rocm"])]
    for item in host["rocm"]:
        _one_of(item["layout"], ("legacy", "therock"), f"{where}: rocm layout")
    host["nics"] = [_section(item, _NIC, f"{where}: nics[{n}]") for n, item in enumerate(host["nics"])]
    host["gpus"] = [_gpu(item, f"{where}: gpus[{n}]") for n, item in enumerate(host["gpus"])]
    return host


def module_parameters(host: dict[str, Any]) -> dict[str, str]:
    """Parameters that somebody set, as `module.name`: modprobe options, then the kernel command line, which
    wins."""
    options = {
        f"{module}.{name}": str(v)
        for module, values in host["module_options"].items()
        for name, v in values.items()
    }
    words = (word.partition("=") for word in host["kernel"]["command_line"].split())
    return options | {name: value for name, _equals, value in words if "." in name}


def _gpu(item: Any, where: str) -> dict[str, Any]:
    gpu = _section(item, _GPU, where)
    _one_of(gpu["product"], tuple(PRODUCTS), f"{where}: product")
    product = PRODUCTS[gpu["product"]]
    _one_of(
        gpu["compute_partition"],
        product.compute_modes or ("SPX",),
        f"{where}: compute_partition of {gpu['product']}",
    )
    _one_of(
        gpu["memory_partition"],
        product.memory_modes or ("NPS1",),
        f"{where}: memory_partition of {gpu['product']}",
    )
    _one_of(gpu["driver"], ("amdgpu", "vfio-pci"), f"{where}: driver")
    return gpu


def _section(value: Any, keys: Keys, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a mapping, got {value!r}")
    unknown = sorted(set(value) - set(keys))
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; known keys: {', '.join(keys)}")
    filled = {}
    for key, (types, default) in keys.items():
        if key not in value and default is ...:
            raise ValueError(f"{where}: {key} is missing")
        filled[key] = value.get(key, default)
        if key in value and (
            not isinstance(value[key], types) or (isinstance(value[key], bool) and bool not in types)
        ):
            raise ValueError(f"{where}: {key} cannot be {value[key]!r}")
    return filled


def _one_of(value: str, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        raise ValueError(f"{where}: {value!r} is unknown; choose one of {', '.join(allowed)}")
