# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One model on several hosts: who belongs together, and over which interfaces they talk."""

from __future__ import annotations

import ipaddress
import typing as t

from ...facts import Interface, Network, RdmaPort
from ...host import Host
from ...wants import INVENTORY, Server, Wants
from ..protocol import Together
from .checkpoint import Vllm

MASTER_PORT = 29501
# GPUs whose pipelines over several hosts fail with captured graphs.
GRAPHS_FAIL, PAIRS = ("gfx1151",), "amd/playbooks#195; ROCm/rccl#2075"
ROUTES = "/proc/net/route and /proc/net/if_inet6"
GIDS = "/sys/class/infiniband/*/ports/*/gid_attrs"


def ports(first: int) -> list[int]:
    """What the first host listens on for the others: vLLM's port, and that of the unit that ends them
    together."""
    return [first, first + 1]


def master_port(wants: Wants, server: Server) -> int:
    asked = {**wants.vllm_options, **server.options}.get("master-port")
    return int(str(asked)) if str(asked).isdecimal() else MASTER_PORT


def together(host: Host, server: Server) -> Together | None:
    """``None`` where this host serves it alone, or the group does not fit (a finding says so)."""
    group = server.nodes
    if not group:
        return None
    members = host.wants.inventory_nodes.get(group, [])
    names = [member.name for member in members]
    if host.name not in names:
        seen = f"{host.name} in none" if not names else f"{group} of {', '.join(names)}"
        expected = f"a group {group} with {host.name}"
        host.findings.add("vllm.nodes", seen, expected, instance=server.name, group=group)
        return None
    bad = [f"{member.address} for {member.name}" for member in members if not _numeric(member.address)]
    if bad:
        host.findings.add("vllm.node_address", ", ".join(bad), "an IP address that the other hosts reach")
        return None
    if len(members) == 1:
        return None
    addresses = [str(ipaddress.ip_address(member.address)) for member in members]
    twice = [
        f"{address} for {name}" for name, address in zip(names, addresses) if addresses.count(address) > 1
    ]
    if twice:
        host.findings.add("vllm.node_address", ", ".join(twice), "an address of its own for each host")
        return None
    rank, own = names.index(host.name), ports(master_port(host.wants, server))
    return Together(group, names, addresses, rank, rank == len(names) - 1, own, own[1])


def _network(host: Host) -> Network:
    """What the facts are asked for where a server has ``nodes``."""
    return host.system["network"] or {"interfaces": [], "rdma": []}


def _numeric(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def options(instance: Vllm, nodes: Together) -> dict[str, t.Any]:
    """Tensor parallelism inside a host, where the links are fast, and a pipeline over the hosts; a width that
    the inventory asks for may span hosts of one GPU each."""
    each, total = instance.devices.number, instance.devices.number * len(nodes.hosts)
    width = {**instance.host.wants.vllm_options, **instance.server.options}.get("tensor-parallel-size")
    spans = each == 1 and isinstance(width, int) and 1 < width <= total and total % width == 0
    result: dict[str, t.Any] = {
        "nnodes": len(nodes.hosts),
        "node-rank": nodes.rank,
        "master-addr": nodes.addresses[0],
        "master-port": nodes.ports[0],
        # vLLM chooses it by itself on CUDA alone.
        "distributed-executor-backend": "mp",
        "pipeline-parallel-size": total // t.cast(int, width) if spans else len(nodes.hosts),
    }
    if each > 1:
        result["tensor-parallel-size"] = instance.devices.number
    if nodes.worker:
        result["headless"] = True
    if result["pipeline-parallel-size"] > 1 and instance.gfx in GRAPHS_FAIL:
        result["enforce-eager"] = True
        instance.note(
            "option", "enforce-eager=True", "a pipeline over two of these hosts fails with graphs", PAIRS
        )
    hosts = ", ".join(nodes.hosts)
    reason = f"host {nodes.rank + 1} of {len(nodes.hosts)} in the group {nodes.group}: {hosts}"
    role = "answers requests" if not nodes.worker else "computes for the first"
    instance.note("nodes", role, reason, INVENTORY)
    return result


def check_split(instance: Vllm, nodes: Together, options: dict[str, t.Any]) -> None:
    """vLLM starts equally many workers on each host."""
    sizes = [options.get(name, 1) for name in ("tensor-parallel-size", "pipeline-parallel-size")]
    if all(isinstance(size, int) for size in sizes) and sizes[0] * sizes[1] % len(nodes.hosts):
        seen = f"{sizes[0]} x {sizes[1]} devices over {len(nodes.hosts)} hosts"
        expected = f"a multiple of {len(nodes.hosts)}"
        instance.host.findings.add("vllm.nodes_split", seen, expected, instance=instance.name)


def environment(instance: Vllm, nodes: Together) -> dict[str, str]:
    """What vLLM, Gloo and RCCL talk over. Left to themselves they take the first interface, and wait for each
    other for ever."""
    host = instance.host
    mine = ipaddress.ip_address(nodes.addresses[nodes.rank])
    found = _interface(host, mine)
    result = {"VLLM_HOST_IP": str(mine)}
    if found is None:
        interfaces = _network(host)["interfaces"]
        listed = ", ".join(f"{entry['name']} {' '.join(entry['networks'])}" for entry in interfaces)
        seen = f"{mine} for {host.name}, whose interfaces are {listed or 'none'}"
        host.findings.add("vllm.node_address", seen, "an address of the host")
        return result
    if not found["up"]:
        seen = f"{found['name']} of {host.name} is down"
        host.findings.add("vllm.node_link", seen, "an interface that is up", instance=instance.name)
    result["GLOO_SOCKET_IFNAME"] = found["name"]
    sources = dict.fromkeys(("VLLM_HOST_IP", "GLOO_SOCKET_IFNAME"), ROUTES)
    if instance.build.rocm:
        result["NCCL_SOCKET_IFNAME"] = found["name"]
        sources["NCCL_SOCKET_IFNAME"] = ROUTES
        own = _rdma(instance, found["name"])
        result |= own
        sources |= dict.fromkeys(own, GIDS)
    for name, value in result.items():
        known = host.catalog.vllm["environment"].get(name) or host.catalog.vllm["other_environment"][name]
        instance.note("environment", f"{name}={value}", known["meaning"], sources[name])
    return result


def _interface(host: Host, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Interface | None:
    """The interface in whose network the address is; the narrowest network where there are several."""
    fitting = [
        (ipaddress.ip_network(network).prefixlen, entry)
        for entry in _network(host)["interfaces"]
        for network in entry["networks"]
        if address in ipaddress.ip_network(network)
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _rdma(instance: Vllm, management: str) -> dict[str, str]:
    """The RDMA devices that can be used, and the entry of their tables that means RoCE v2 on all of them."""
    host = instance.host
    ports = _network(host)["rdma"]
    if not ports:
        reason, source = "the host has no RDMA device", "/sys/class/infiniband"
        instance.note("network", f"TCP over {management}", reason, source)
        return {}
    # Where there are others, the interface that people and downloads use is not one for RCCL.
    ports = [port for port in ports if port["interface"] != management] or ports
    down = [port for port in ports if not port["up"]]
    blind = [port for port in ports if port["up"] and port["link"] == "Ethernet" and not port["roce_v2"]]
    usable = [port for port in ports if port["up"] and port not in blind]
    left = (
        f"RCCL uses {_names(usable)}" if usable else f"RCCL talks over TCP on {management}, many times slower"
    )
    if down:
        host.findings.add("vllm.rdma_down", f"{_names(down)} down", "links that are up", left=left)
    if blind:
        host.findings.add(
            "vllm.rdma_gid", f"no GID of RoCE v2 on {_names(blind)}", "one on each port", left=left
        )
    if not usable:
        return {"NCCL_IB_DISABLE": "1"}
    result = {"NCCL_IB_HCA": f"={_names(usable).replace(' ', '')}"}
    ethernet = [port["roce_v2"] for port in usable if port["link"] == "Ethernet"]
    if ethernet:
        common = [index for index in ethernet[0] if all(index in indexes for indexes in ethernet)]
        if common:
            result["NCCL_IB_GID_INDEX"] = str(common[0])
        else:
            seen = "; ".join(f"{port['name']}: {', '.join(map(str, port['roce_v2']))}" for port in usable)
            host.findings.add(
                "vllm.rdma_gid",
                f"GIDs of RoCE v2 at {seen}",
                "one index for all, RCCL takes no other",
                left=left,
            )
    return result


def _names(ports: list[RdmaPort]) -> str:
    return ", ".join(f"{port['name']}:{port['port']}" for port in ports)
