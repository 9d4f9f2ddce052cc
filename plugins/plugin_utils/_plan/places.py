# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and ports of servers: each is one server's alone, and can be had on this host."""

from __future__ import annotations

import ipaddress
import re

from .engines.protocol import Engine, Together
from .facts import Port
from .host import Host
from .wants import Server

EVERYWHERE = ("*", "")
NOBODY: Port = {"listening": False, "unit": None, "process": None}
INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


class Places:
    """Names, addresses and ports, held against the host and the other servers."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._names: set[str] = set()
        self._ports: dict[int, str] = {}

    def check(self, server: Server, engine: Engine, together: Together | None) -> None:
        """Findings where one of them cannot be had."""
        name = server.name
        if name in self._names or not INSTANCE_NAME.fullmatch(name):
            self.host.findings.add("serve.name", name, "a name of its own")
        self._names.add(name)
        if _everywhere(server.host):
            seen = server.host or "an empty host"
            self.host.findings.add("serve.address", seen, "one address", instance=name)
        if self.host.wants.serve_kind == "kubernetes":
            return  # A pod has a network of its own.
        # Requests go to the first host, and there the others report.
        worker = bool(together and together.worker)
        for port in [] if worker else [server.port, *(together.ports if together else [])]:
            self._check_port(name, f"{engine.unit_prefix}-{name}.service", port)

    def _check_port(self, name: str, unit: str, port: int) -> None:
        findings = self.host.findings
        holder = self.host.system["ports"].get(str(port), NOBODY)
        own = (unit, f"amdgpu-lifeline-{name}.service")
        if port in self._ports:
            other = self._ports[port]
            findings.add("serve.port", f"{port}, twice", "one instance a port", instance=name, holder=other)
        elif not 0 < port < 65536:
            findings.add("serve.port", port, "1 to 65535", instance=name, holder="nothing")
        elif holder["listening"] and holder["unit"] not in own:
            process = holder["unit"] or holder["process"] or "the program that listens on it"
            seen = f"{port} held by {process}"
            findings.add("serve.port", seen, "a free port", instance=name, holder=process)
        self._ports[port] = unit


def _everywhere(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        # "0" and "0.0" are 0.0.0.0 for the C library.
        return address in EVERYWHERE or not address.strip("0.")
