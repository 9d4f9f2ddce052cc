# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and RDMA devices: what the hosts of one model talk over."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, natural

NET = "sys/class/net"
RDMA = "sys/class/infiniband"
ACTIVE = "4: ACTIVE"
# Beyond what any host has; damaged tables must not make a large fact.
MOST = 64


def network(tree: Tree) -> dict[str, t.Any]:
    """``interfaces`` with an address or an RDMA device, and the ports of ``rdma`` devices."""
    rdma = _rdma(tree)
    networks = _networks(tree)
    names = [
        name
        for name in tree.names(NET)
        if name != "lo" and (name in networks or any(name == port["interface"] for port in rdma))
    ]
    return {
        "interfaces": [
            {
                "name": name,
                "up": tree.text(NET, name, "operstate") in ("up", "unknown"),
                "networks": networks.get(name, []),
            }
            for name in names[:MOST]
        ],
        "rdma": rdma[:MOST],
    }


def _networks(tree: Tree) -> dict[str, list[str]]:
    """The networks that each interface is in: routes without a gateway, and addresses of IPv6."""
    found: dict[str, list[str]] = {}
    base = "proc/net" if tree.bare else "proc/self/net"
    for line in (tree.text(base, "route") or "").splitlines()[1:]:
        fields = line.split()
        try:
            name, destination, gateway, mask = fields[0], fields[1], fields[2], fields[7]
            if int(gateway, 16) == 0 and int(mask, 16) != 0:
                text = f"{_address(destination)}/{_address(mask)}"
                found.setdefault(name, []).append(str(ipaddress.ip_network(text, strict=False)))
        except (IndexError, ValueError):
            tree.problem(tree.host_path(tree.path(base, "route")), "has a line that is no route")
    for line in (tree.text(base, "if_inet6") or "").splitlines():
        fields = line.split()
        try:
            # Scope 00: addresses that other hosts reach without naming an interface.
            if fields[3] == "00":
                address = ipaddress.IPv6Address(int(fields[0], 16))
                found.setdefault(fields[5], []).append(
                    str(ipaddress.ip_network(f"{address}/{int(fields[2], 16)}", strict=False))
                )
        except (IndexError, ValueError):
            tree.problem(tree.host_path(tree.path(base, "if_inet6")), "has a line that is no address")
    return found


def _address(text: str) -> str:
    """An address of /proc/net/route: hexadecimal, in the byte order of x86."""
    return str(ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(text), "little")))


def _rdma(tree: Tree) -> list[dict[str, t.Any]]:
    found = []
    for device in tree.names(RDMA):
        for number in natural(tree.names(RDMA, device, "ports")):
            folder = f"{RDMA}/{device}/ports/{number}"
            found.append(
                {
                    "name": device,
                    "port": int(number),
                    "up": tree.text(folder, "state") == ACTIVE,
                    "link": tree.word(folder, "link_layer"),
                    "interface": next(iter(tree.names(RDMA, device, "device/net")), None),
                    "roce_v2": _roce_v2(tree, folder),
                }
            )
    return found


def _roce_v2(tree: Tree, folder: str) -> list[int]:
    """Indexes of the entries for RoCE v2, those of an IPv4 address first: they are routed, link-local ones
    are not."""
    routed: list[int] = []
    others: list[int] = []
    for index in natural(tree.names(folder, "gids")):
        gid = tree.text(folder, "gids", index) or ""
        # The type of an entry that is not in use cannot be read.
        if gid.strip("0:") and tree.text(folder, "gid_attrs/types", index) == "RoCE v2":
            (routed if gid.startswith("0000:0000:0000:0000:0000:ffff:") else others).append(int(index))
    return [*routed, *others]
