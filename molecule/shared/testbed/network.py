# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and RDMA devices of a described host. A host without `nics` keeps those that the machine gives
it."""

from __future__ import annotations

import ipaddress
from typing import Any

from .writer import Writer

ROUTES = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
UNUSED = ":".join(["0000"] * 8)
ENTRIES = 8


def write_network(out: Writer, host: dict[str, Any]) -> None:
    """Write /proc/net and what sysfs shows of interfaces and of the ports of RDMA devices."""
    if not host["nics"]:
        return
    lines = []
    for nic in host["nics"]:
        out.file(f"sys/class/net/{nic['name']}/operstate", "up" if nic["up"] else "down")
        if nic["address"]:
            network = ipaddress.ip_interface(nic["address"]).network
            lines.append(
                f"{nic['name']}\t{_hex(network.network_address)}\t00000000\t0001\t0\t0\t0\t{_hex(network.netmask)}\t0\t0\t0\n"
            )
        if nic["rdma"]:
            _write_rdma(out, nic)
    first = host["nics"][0]
    gateway = _hex(ipaddress.ip_interface(first["address"]).network.network_address + 1)
    lines.insert(0, f"{first['name']}\t00000000\t{gateway}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
    out.file("proc/net/route", ROUTES + "".join(lines))
    out.file("proc/net/if_inet6", f"fe800000000000000000000000000001 02 40 20 80 {first['name']}")


def _hex(address: Any) -> str:
    return address.packed[::-1].hex().upper()


def _write_rdma(out: Writer, nic: dict[str, Any]) -> None:
    folder = f"sys/class/infiniband/{nic['rdma']}"
    out.folder(f"{folder}/device/net/{nic['name']}")
    port = f"{folder}/ports/1"
    out.files(
        port,
        {
            "state": "4: ACTIVE" if nic["up"] else "1: DOWN",
            "link_layer": "Ethernet" if nic["roce_v2"] else "InfiniBand",
        },
    )
    local = "fe80:0000:0000:0000:0000:00ff:fe00:0001"
    used = dict.fromkeys(nic["roce_v2"], local)
    if nic["address"] and nic["roce_v2"]:
        packed = ipaddress.ip_interface(nic["address"]).ip.packed.hex()
        used[nic["roce_v2"][-1]] = f"0000:0000:0000:0000:0000:ffff:{packed[:4]}:{packed[4:]}"
    for index in range(ENTRIES):
        out.file(f"{port}/gids/{index}", used.get(index, local if index == 0 else UNUSED))
        if index in used:
            out.file(f"{port}/gid_attrs/types/{index}", "RoCE v2")
    out.file(f"{port}/gid_attrs/types/0", "IB/RoCE v1")
