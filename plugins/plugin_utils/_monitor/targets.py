# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus scrapes, from the inventory. Nothing is asked of a host, and nothing that a play found out
is read, so that ansible-pull and slices of a job give the same."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import servers
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.model import says_gguf

Vars = t.Mapping[str, t.Any]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, never listened on
UNITS = {"vllm": "vllm", "llama_cpp": "llama-cpp"}


class Target(t.NamedTuple):
    """One address to scrape. ``reason``: why it cannot be, where it cannot."""

    job: str
    host: str
    address: str
    labels: dict[str, str]
    key: str
    reason: str


class Seen(t.NamedTuple):
    """A host as the monitoring host sees it."""

    name: str
    variables: Vars
    itself: bool

    def value(self, name: str, default: t.Any) -> t.Any:
        value = self.variables.get(name)
        return default if value is None else value

    def place(self, address: str, port: t.Any, remedy: str) -> tuple[str, str]:
        """Where it is reached, and why it is not."""
        if address in LOOPBACK and not self.itself:
            return f"{address}:{port}", f"it listens on {address}. {remedy}"
        if address in EVERYWHERE:
            address = LOOPBACK[0] if self.itself else self.reached
        return f"{f'[{address}]' if ':' in address else address}:{port}", ""

    @property
    def reached(self) -> str:
        return str(self.value("monitor_scrape_address", "") or self.value("ansible_host", self.name))


def targets(hosts: t.Sequence[str], hostvars: Vars, own: str) -> list[Target]:
    """``own``: the monitoring host, which reaches its own loopback."""
    found: list[Target] = []
    for name in hosts:
        host = Seen(name, hostvars[name], name == own)
        if host.value("monitor_host", True):
            found += _of_host(host)
        if "gateway" in host.value("group_names", []) and host.value("gateway_metrics_port", 0):
            address = str(host.value("gateway_metrics_address", LOOPBACK[0]))
            remedy = "Set gateway_metrics_address to an address of it that the monitoring host reaches"
            where, why = host.place(address, host.value("gateway_metrics_port", 0), remedy)
            found.append(Target("haproxy", name, where, {"job": "haproxy", "host": name}, "", why))
        found += _of_instances(host)
    return found


def _of_host(host: Seen) -> list[Target]:
    address = str(host.value("monitor_address", LOOPBACK[0]))
    remedy = "Set monitor_address to an address of it that the monitoring host reaches"
    where, why = host.place(address, host.value("monitor_port", 9100), remedy)
    labels = {"job": "amdgpu_host", "host": host.name}
    found = [Target("amdgpu_host", host.name, where, labels, "", why)]
    if host.value("monitor_amd_exporter_image", ""):
        where, why = host.place(address, host.value("monitor_amd_exporter_port", 5000), remedy)
        found.append(Target("amd", host.name, where, {"job": "amd", "host": host.name}, "", why))
    return found


def _of_instances(host: Seen) -> list[Target]:
    key = str(host.value("serve_api_key", ""))
    found = []
    for instance in host.value("serve_instances", []):
        for server in servers(instance):
            engine = _engine(server)
            address = str(server.get("host") or LOOPBACK[0])
            remedy = f"Give {server['name']} in serve_instances host, an address of {host.name}"
            where, why = host.place(address, server.get("port", 8000), remedy)
            # vLLM asks for no key here, and is sent none.
            asks = engine == "llama_cpp" and (key or address not in LOOPBACK)
            if asks and not key and not why:
                why = "its key was made on the host. Set serve_api_key, best in a vault"
            labels = {
                "job": engine,
                "host": host.name,
                "unit": f"{UNITS[engine]}-{server['name']}.service",
                "model": _model(server),
            }
            found.append(Target(engine, host.name, where, labels, key if asks else "", why))
    return found


def _engine(server: Vars) -> str:
    """``auto`` is decided on the host, by the files of the model; their names say the same."""
    engine = str(server.get("engine") or "vllm")
    if engine == "auto":
        return "llama_cpp" if says_gguf(str(server.get("model", ""))) else "vllm"
    return engine


def _model(server: Vars) -> str:
    return str(server.get("served_name") or server.get("model") or server["name"])
