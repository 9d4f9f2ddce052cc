# SPDX-License-Identifier: GPL-3.0-or-later
"""The KFD topology: CPU nodes first, then one node per GPU partition, with memory banks, caches and links."""

from __future__ import annotations

from typing import Any

from .devices import CORES, RENDER_BASE, Gpu, mem_total, stable_number
from .writer import Writer

TOPOLOGY = "sys/class/kfd/kfd/topology"
PCIE, XGMI = 2, 11

_KEYS = """
    cpu_cores_count simd_count mem_banks_count caches_count io_links_count p2p_links_count cpu_core_id_base simd_id_base
    max_waves_per_simd lds_size_in_kb gds_size_in_kb num_gws wave_front_size array_count simd_arrays_per_engine
    cu_per_simd_array simd_per_cu max_slots_scratch_cu gfx_target_version vendor_id device_id location_id domain
    drm_render_minor hive_id num_sdma_engines num_sdma_xgmi_engines num_sdma_queues_per_engine num_cp_queues
"""


def write_topology(out: Writer, host: dict[str, Any], gpus: list[Gpu]) -> None:
    """Write `/sys/class/kfd`; only GPUs that amdgpu drives are in it."""
    gpus = [gpu for gpu in gpus if gpu.driver == "amdgpu"]
    cpu_nodes = range(host["numa_nodes"])
    partitions = [(gpu, index) for gpu in gpus for index in range(gpu.partitions)]
    first_gpu_node = len(cpu_nodes)
    hive = stable_number(host["description"], 64) if sum(gpu.product.xgmi for gpu in gpus) > 1 else 0

    out.file("sys/class/kfd/kfd/dev", "236:0")
    out.file("sys/class/kfd/kfd/uevent", "MAJOR=236\nMINOR=0\nDEVNAME=kfd")
    out.file(f"{TOPOLOGY}/generation_id", 2)
    out.properties(
        f"{TOPOLOGY}/system_properties",
        {"platform_oem": 3624065389891439937, "platform_id": 87232116311372, "platform_rev": 2},
    )

    for node in cpu_nodes:
        gpu_nodes = [
            first_gpu_node + n for n, (gpu, _index) in enumerate(partitions) if gpu.numa_node == node
        ]
        links = [(other, XGMI, 32) for other in cpu_nodes if other != node] + [
            (other, PCIE, 20) for other in gpu_nodes
        ]
        _write_cpu_node(out, node, mem_total(host) // len(cpu_nodes), links)
    for number, (gpu, index) in enumerate(partitions):
        node = first_gpu_node + number
        # The CPU of an MI300A is on the same module.
        links = [(gpu.numa_node, XGMI if gpu.product.apu and gpu.product.instinct else PCIE, 20)]
        if gpu.product.xgmi:
            links += [
                (first_gpu_node + n, XGMI, 13 if other is gpu else 15)
                for n, (other, _index) in enumerate(partitions)
                if n != number and other.product.xgmi
            ]
        _write_gpu_node(out, node, gpu, index, hive if gpu.product.xgmi else 0, links)


def _write_cpu_node(out: Writer, node: int, memory: int, links: list[tuple[int, int, int]]) -> None:
    folder = f"{TOPOLOGY}/nodes/{node}"
    values = dict.fromkeys(_KEYS.split(), 0)
    values |= {
        "cpu_cores_count": CORES,
        "mem_banks_count": 1,
        "io_links_count": len(links),
        "cpu_core_id_base": node * CORES,
        "max_engine_clk_ccompute": 3700,
    }
    out.files(folder, {"gpu_id": 0, "name": "\n"})
    out.properties(f"{folder}/properties", values)
    _write_bank(out, folder, heap_type=0, size=memory, width=32, clock=4800)
    _write_links(out, folder, node, links)


def _write_gpu_node(
    out: Writer, node: int, gpu: Gpu, index: int, hive: int, links: list[tuple[int, int, int]]
) -> None:
    product, folder = gpu.product, f"{TOPOLOGY}/nodes/{node}"
    units = product.compute_units // gpu.partitions
    xccs = product.xccs // gpu.partitions
    values = dict.fromkeys(_KEYS.split(), 0)
    values |= {
        "simd_count": units * product.simd_per_cu,
        "mem_banks_count": 1,
        "caches_count": 3,
        "io_links_count": len(links),
        "simd_id_base": 2147487744 + 8 * node,
        "max_waves_per_simd": 8 if product.instinct else 16,
        "lds_size_in_kb": product.lds_kib,
        "num_gws": 64,
        "wave_front_size": product.wave_size,
        "array_count": 4 * xccs,
        "simd_arrays_per_engine": 1 if product.instinct else 2,
        "cu_per_simd_array": -(-units // (4 * xccs)),
        "simd_per_cu": product.simd_per_cu,
        "max_slots_scratch_cu": 32,
        "gfx_target_version": product.gfx_target_version,
        "vendor_id": 0x1002,
        "device_id": product.device,
        "location_id": gpu.location_of(index),
        "domain": gpu.domain,
        "drm_render_minor": RENDER_BASE + gpu.minors[index],
        "hive_id": hive,
        "num_sdma_engines": 2 * xccs,
        "num_sdma_queues_per_engine": 8,
        "num_cp_queues": 24 if product.instinct else 8,
        "max_engine_clk_fcompute": 2100 if product.instinct else 2900,
        "local_mem_size": 0,
        "fw_version": product.mec_firmware,
        "capability": product.capability,
        "debug_prop": product.debug_prop,
        "sdma_fw_version": 24,
        "unique_id": gpu.unique_id_of(index),
        "num_xcc": xccs,
        "max_engine_clk_ccompute": 3700,
    }
    out.files(
        folder,
        {
            "gpu_id": stable_number(f"{gpu.address} {gpu.unique_id} {index}", 16) | 1,
            "name": product.node_name,
        },
    )
    out.properties(f"{folder}/properties", values)
    _write_bank(
        out,
        folder,
        heap_type=1,
        size=gpu.pool // gpu.partitions,
        width=8192 if product.instinct else 256,
        clock=2600,
    )
    for cache, (level, size) in enumerate(((1, 32), (1, 16), (2, 4096))):
        out.properties(
            f"{folder}/caches/{cache}/properties",
            {
                "processor_id_low": 2147487744 + 8 * node,
                "level": level,
                "size": size,
                "cache_line_size": 128,
                "type": 9,
            },
        )
    _write_links(out, folder, node, links)


def _write_bank(out: Writer, folder: str, *, heap_type: int, size: int, width: int, clock: int) -> None:
    out.properties(
        f"{folder}/mem_banks/0/properties",
        {"heap_type": heap_type, "size_in_bytes": size, "flags": 0, "width": width, "mem_clk_max": clock},
    )


def _write_links(out: Writer, folder: str, node: int, links: list[tuple[int, int, int]]) -> None:
    for number, (other, kind, weight) in enumerate(links):
        out.properties(
            f"{folder}/io_links/{number}/properties",
            {
                "type": kind,
                "version_major": 0,
                "version_minor": 0,
                "node_from": node,
                "node_to": other,
                "weight": weight,
                "min_latency": 0,
                "max_latency": 0,
                "min_bandwidth": 0,
                "max_bandwidth": 64000,
                "recommended_transfer_size": 0,
                "recommended_sdma_engine_id_mask": 1,
                "flags": 1,
            },
        )
