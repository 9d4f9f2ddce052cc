# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One model on several hosts: who belongs together, and over which interfaces they talk."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

MASTER_PORT = 29501
ROUTES = "/proc/net/route and /proc/net/if_inet6"
GIDS = "/sys/class/infiniband/*/ports/*/gid_attrs"


class Nodes(t.NamedTuple):
    """The hosts of one instance, in the order of their group. The first one answers requests, the others
    compute for it."""

    group: str
    hosts: list[str]
    addresses: list[str]
    rank: int
    master_port: int

    @property
    def worker(self) -> bool:
        return self.rank > 0

    @property
    def last(self) -> bool:
        return self.rank == len(self.hosts) - 1

    @property
    def ports(self) -> tuple[int, int]:
        return ports(self.master_port)


def ports(master_port: int) -> tuple[int, int]:
    """What the first host listens on for the others: vLLM's own port, and that of the unit that ends them
    together."""
    return master_port, master_port + 1


def master_port(wants: dict[str, t.Any], wanted: dict[str, t.Any]) -> int:
    asked = {**wants["vllm_options"], **wanted["options"]}.get("master-port")
    return int(str(asked)) if str(asked).isdecimal() else MASTER_PORT


def of_instance(host: Host, wanted: dict[str, t.Any]) -> Nodes | None:
    """``None`` where the instance is served by this host alone, or the group does not fit (a finding says
    so)."""
    group = wanted["nodes"]
    if not group:
        return None
    members = host.wants["inventory_nodes"].get(group, [])
    names = [member["name"] for member in members]
    if host.name not in names:
        seen = f"{host.name} in none" if not names else f"{group} of {', '.join(names)}"
        host.findings.add(
            "vllm.nodes", seen, f"a group {group} with {host.name}", instance=wanted["name"], group=group
        )
        return None
    bad = [
        f"{member['address']} for {member['name']}" for member in members if not _numeric(member["address"])
    ]
    if bad:
        host.findings.add("vllm.node_address", ", ".join(bad), "an IP address that the other hosts reach")
        return None
    if len(members) == 1:
        return None
    addresses = [str(ipaddress.ip_address(member["address"])) for member in members]
    twice = [
        f"{address} for {name}" for name, address in zip(names, addresses) if addresses.count(address) > 1
    ]
    if twice:
        host.findings.add("vllm.node_address", ", ".join(twice), "an address of its own for each host")
        return None
    return Nodes(group, names, addresses, names.index(host.name), master_port(host.wants, wanted))


def _numeric(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def options(host: Host, wanted: dict[str, t.Any], nodes: Nodes, devices: int) -> dict[str, t.Any]:
    """Tensor parallelism inside a host, where the links are fast, and a pipeline over the hosts."""
    result: dict[str, t.Any] = {
        "nnodes": len(nodes.hosts),
        "node-rank": nodes.rank,
        "master-addr": nodes.addresses[0],
        "master-port": nodes.master_port,
        # vLLM chooses it by itself on CUDA alone.
        "distributed-executor-backend": "mp",
        "pipeline-parallel-size": len(nodes.hosts),
    }
    if devices > 1:
        result["tensor-parallel-size"] = devices
    if nodes.worker:
        result["headless"] = True
    reason = (
        f"host {nodes.rank + 1} of {len(nodes.hosts)} in the group {nodes.group}: {', '.join(nodes.hosts)}"
    )
    host.note(
        "serve",
        f"{wanted['name']} nodes",
        "answers requests" if not nodes.worker else "computes for the first",
        reason,
        INVENTORY,
    )
    return result


def check_split(host: Host, wanted: dict[str, t.Any], nodes: Nodes, options: dict[str, t.Any]) -> None:
    """vLLM starts equally many workers on each host."""
    sizes = [options.get(name, 1) for name in ("tensor-parallel-size", "pipeline-parallel-size")]
    if all(isinstance(size, int) for size in sizes) and sizes[0] * sizes[1] % len(nodes.hosts):
        seen = f"{sizes[0]} x {sizes[1]} devices over {len(nodes.hosts)} hosts"
        host.findings.add(
            "vllm.nodes_split", seen, f"a multiple of {len(nodes.hosts)}", instance=wanted["name"]
        )


def environment(host: Host, wanted: dict[str, t.Any], nodes: Nodes, rocm: bool) -> dict[str, str]:
    """What vLLM, Gloo and RCCL talk over. Left to themselves they take the first interface, and wait for each
    other for ever."""
    mine = ipaddress.ip_address(nodes.addresses[nodes.rank])
    found = _interface(host, mine)
    result = {"VLLM_HOST_IP": str(mine)}
    if found is None:
        there = (
            ", ".join(
                f"{entry['name']} {' '.join(entry['networks'])}"
                for entry in host.rocm["network"]["interfaces"]
            )
            or "none"
        )
        host.findings.add(
            "vllm.node_address",
            f"{mine} for {host.name}, whose interfaces are {there}",
            "an address of the host",
        )
        return result
    if not found["up"]:
        host.findings.add(
            "vllm.node_link",
            f"{found['name']} of {host.name} is down",
            "an interface that is up",
            instance=wanted["name"],
        )
    result["GLOO_SOCKET_IFNAME"] = found["name"]
    sources = dict.fromkeys(("VLLM_HOST_IP", "GLOO_SOCKET_IFNAME"), ROUTES)
    if rocm:
        result["NCCL_SOCKET_IFNAME"] = found["name"]
        sources["NCCL_SOCKET_IFNAME"] = ROUTES
        own = _rdma(host, wanted, found["name"])
        result |= own
        sources |= dict.fromkeys(own, GIDS)
    for name, value in result.items():
        known = host.catalog.vllm["environment"].get(name) or host.catalog.vllm["other_environment"][name]
        host.note(
            "serve", f"{wanted['name']} environment", f"{name}={value}", known["meaning"], sources[name]
        )
    return result


def _interface(host: Host, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> dict[str, t.Any] | None:
    """The interface in whose network the address is; the narrowest network where there are several."""
    fitting = [
        (ipaddress.ip_network(network).prefixlen, entry)
        for entry in host.rocm["network"]["interfaces"]
        for network in entry["networks"]
        if address in ipaddress.ip_network(network)
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _rdma(host: Host, wanted: dict[str, t.Any], management: str) -> dict[str, str]:
    """The RDMA devices that can be used, and the entry of their tables that means RoCE v2 on all of them."""
    ports = host.rocm["network"]["rdma"]
    if not ports:
        host.note(
            "serve",
            f"{wanted['name']} network",
            f"TCP over {management}",
            "the host has no RDMA device",
            "/sys/class/infiniband",
        )
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


def _names(ports: list[dict[str, t.Any]]) -> str:
    return ", ".join(f"{port['name']}:{port['port']}" for port in ports)
