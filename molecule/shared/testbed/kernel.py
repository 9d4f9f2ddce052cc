# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running kernel of a described host says of itself: /proc, loaded modules, and the rest of /sys."""

from __future__ import annotations

from typing import Any

from .descriptions import module_parameters
from .devices import CORES, PCI, gtt_of, mem_total
from .distribution import SRCVERSIONS
from .products import PAGE
from .writer import Writer

SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

_AMDGPU_PARAMETERS = {
    "gttsize": "-1",
    "cwsr_enable": "1",
    "noretry": "-1",
    "vm_size": "-1",
    "ip_block_mask": "4294967295",
    "ppfeaturemask": "0xfff7bfff",
}


def write_kernel(out: Writer, host: dict[str, Any], pci_devices: list[str]) -> None:
    """Write /proc and the parts of /sys that do not belong to one device."""
    release = host["kernel"]["release"]
    arguments = host["kernel"]["command_line"].split()
    out.files(
        "proc",
        {
            "cmdline": f"BOOT_IMAGE=/boot/vmlinuz-{release} {host['kernel']['command_line']}",
            "version": f"Linux version {release} (test@bed) (gcc) #1 SMP PREEMPT_DYNAMIC",
            "meminfo": _meminfo(mem_total(host)),
            "sys/kernel/osrelease": release,
            "sys/kernel/numa_balancing": int(host["numa_balancing"] and host["numa_nodes"] > 1),
        },
    )
    _write_modules(out, host)
    for node in range(host["numa_nodes"]):
        out.file(f"sys/devices/system/node/node{node}/cpulist", f"{node * CORES}-{(node + 1) * CORES - 1}")
    out.file(
        "sys/kernel/mm/transparent_hugepage/enabled",
        _selected(host["transparent_hugepage"], ("always", "madvise", "never")),
    )
    for number, address in enumerate(sorted(pci_devices)):
        out.link(f"sys/kernel/iommu_groups/{number}/devices/{address}", f"{PCI}/{address}")
        out.file(
            f"sys/kernel/iommu_groups/{number}/type", "identity" if "iommu=pt" in arguments else "DMA-FQ"
        )
    if host["secure_boot"] is not None:
        out.file(SECURE_BOOT, bytes([6, 0, 0, 0, int(host["secure_boot"])]))


def _write_modules(out: Writer, host: dict[str, Any]) -> None:
    source = host["driver"]["source"]
    loaded = []
    if source != "none":
        dkms = source == "dkms"
        given = module_parameters(host)
        parameters = {key: given.get(f"amdgpu.{key}", value) for key, value in _AMDGPU_PARAMETERS.items()}
        out.files("sys/module/amdgpu", {"srcversion": SRCVERSIONS[source], "initstate": "live", "refcnt": 0})
        out.files("sys/module/amdgpu/parameters", parameters)
        if dkms:
            out.file("sys/module/amdgpu/version", host["driver"]["version"])
        ttm = "amdttm" if dkms else "ttm"
        default_pages = (
            max((gtt_of(host, gpu)[0] for gpu in host["gpus"]), default=mem_total(host) // 2) // PAGE
        )
        pages = given.get(f"{ttm}.pages_limit", str(default_pages))
        out.files(f"sys/module/{ttm}", {"initstate": "live", "refcnt": 1})
        out.files(f"sys/module/{ttm}/parameters", {"pages_limit": pages, "page_pool_size": pages})
        loaded = ["amdgpu", "amdxcp", "drm_buddy"] + (
            ["amdttm", "amdkcl", "amd_sched"] if dkms else ["ttm", "gpu_sched"]
        )
    lines = [
        f"{name} 16384 0 - Live 0x0000000000000000{' (OE)' if source == 'dkms' else ''}" for name in loaded
    ]
    out.file("proc/modules", "\n".join([*lines, "nvme 65536 1 - Live 0x0000000000000000"]))


def _selected(value: str, choices: tuple[str, ...]) -> str:
    return " ".join(f"[{choice}]" if choice == value else choice for choice in choices)


def _meminfo(total: int) -> str:
    kib = total // 1024
    values = {
        "MemTotal": kib,
        "MemFree": kib * 9 // 10,
        "MemAvailable": kib * 95 // 100,
        "SwapTotal": 0,
        "SwapFree": 0,
    }
    lines = [f"{key + ':':<16}{value:>10} kB\n" for key, value in values.items()]
    return "".join([*lines, "HugePages_Total:       0\n", "Hugepagesize:       2048 kB\n"])
