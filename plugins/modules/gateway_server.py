#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_server
short_description: Take servers of the gateway out of service and back, and wait until they are
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Sets the administrative state of HAProxy servers through the runtime socket and waits until it has an
    effect. A drained server is
    out of service when its last request ended; one that is ready is in service when its health check says so.
  - Refuses to take servers out of service where too few others would be left, and takes them back where their
    requests do not end in time.
  - Remembers the states in O(state_file), where HAProxy reads them when it is reloaded.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - A server must exist and enough others must take requests in check mode too. It does not wait.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  servers:
    description: Names of servers. Those that HAProxy does not know are passed over.
    type: list
    elements: str
    required: true
  must_exist:
    description: Whether it is an error when HAProxy knows none of them.
    type: bool
    default: true
  state:
    description:
      - V(drain) lets running requests end and gives the servers no new ones.
      - V(maint) does the same and stops the health check.
      - V(ready) gives them requests as long as the health check is passed.
    type: str
    choices: [ready, drain, maint]
    required: true
  leave_maintenance:
    description: Whether a server that is in maintenance is left there, whatever O(state) says.
    type: bool
    default: false
  keep:
    description: How many other servers of the same model must take requests for these to be taken out of
      service.
    type: int
    default: 1
  timeout:
    description: Seconds until the last request must have ended, or the health check must be passed.
    type: int
    default: 600
  interval:
    description: Seconds between two looks.
    type: float
    default: 0.5
  backend:
    description: HAProxy's name for the group of servers. Those that it has for each model (C(replicas.NAME))
      belong to it.
    type: str
    default: replicas
  socket:
    description: The runtime socket.
    type: path
    default: /run/amdgpu-gateway/admin.sock
  state_file:
    description: File for the states of all servers. Empty writes none.
    type: path
    default: /var/lib/amdgpu-gateway/server-state
"""

EXAMPLES = r"""
- name: No new requests for this host, and wait for those that run
  amdgpu.fleet.gateway_server:
    servers: ["{{ inventory_hostname }}"]
    state: drain
  delegate_to: gateway.example.net

- name: In service again, once it is healthy
  amdgpu.fleet.gateway_server:
    servers: ["{{ inventory_hostname }}"]
    state: ready
    timeout: 60
  delegate_to: gateway.example.net
"""

RETURN = r"""
before:
  description: The servers as they were, by name.
  type: dict
  returned: success
  sample: {gpu-01: {state: ready, health: UP, sessions: 3}}
after:
  description: The servers as they are; in check mode with the state they would have.
  type: dict
  returned: success
  sample: {gpu-01: {state: drain, health: UP, sessions: 0}}
waited_seconds: {description: Seconds until the state had its effect., type: float, returned: success, sample:
  4.2}
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gateway as gateway
from ansible_collections.amdgpu.fleet.plugins.module_utils import _write as disk
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._waiting import wrong_interval


def shown(servers: list[gateway.Server]) -> dict[str, dict[str, object]]:
    return {
        server.name: {"state": server.state, "health": server.health, "sessions": server.sessions}
        for server in servers
    }


def lines(servers: list[gateway.Server]) -> str:
    return "".join(f"{server.name}: {server.state}\n" for server in servers)


class Gateway:
    """One backend of HAProxy and what is wanted of it."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.ask = gateway.socket_at(params["socket"])
        self.params = params
        self.wanted = params["state"]

    def look(self) -> tuple[list[gateway.Server], dict[str, gateway.Server]]:
        """The servers that are meant, and all of the backend."""
        known = gateway.servers(self.ask, self.params["backend"])
        return gateway.chosen(
            known, self.params["servers"], self.params["backend"], self.params["must_exist"]
        ), known

    def left_alone(self, server: gateway.Server) -> bool:
        return self.params["leave_maintenance"] and server.state == "maint"

    def to_change(self, servers: list[gateway.Server]) -> list[gateway.Server]:
        return [server for server in servers if server.state != self.wanted and not self.left_alone(server)]

    def set(self, servers: list[gateway.Server]) -> None:
        for server in servers:
            gateway.set_state(self.ask, server, self.wanted)
        path = self.params["state_file"]
        if path and os.path.isdir(os.path.dirname(path)):
            disk.write_text(path, self.ask("show servers state"))

    def put_back(self, servers: list[gateway.Server]) -> list[str]:
        """Every server gets its state again, whatever becomes of the others; returns what could not be done,
        as sentences."""
        problems = []
        for server in servers:
            try:
                gateway.set_state(self.ask, server, server.state)
            except gateway.GatewayError as error:
                problems.append(f"{error}.")
        try:
            self.set([])
        except (gateway.GatewayError, disk.WriteError) as error:
            problems.append(str(error))
        return problems

    def check_others(self) -> None:
        servers, known = self.look()
        refusal = gateway.refusal(known, [server.name for server in servers], self.params["keep"])
        if self.wanted != "ready" and refusal:
            raise gateway.GatewayError(refusal)

    def change(self, servers: list[gateway.Server]) -> None:
        """Set the state, look again at the others (somebody else may drain one at the same time), and
        wait."""
        missed = {server.backend for server in servers if server.takes_requests}
        try:
            self.set(servers)
            mine, known = self.look()
            others = [server for server in known.values() if server not in mine and server.takes_requests]
            left = min((sum(each.backend == backend for each in others) for backend in missed), default=0)
            if self.wanted != "ready" and missed and left < self.params["keep"]:
                raise gateway.GatewayError(
                    f"Another server was taken out of service at the same time; {left} would be left."
                )
            self.wait()
        except (gateway.GatewayError, disk.WriteError) as error:
            problems = self.put_back(servers) if self.wanted != "ready" else []
            said = str(error).rstrip(".") + "."
            raise gateway.GatewayError(
                " ".join([said, *(problem for problem in problems if problem != said)])
            ) from error

    def late(self) -> list[gateway.Server]:
        """The servers that the state has no effect on yet."""
        servers = [server for server in self.look()[0] if not self.left_alone(server)]
        return [
            server
            for server in servers
            if (not server.takes_requests if self.wanted == "ready" else server.sessions)
        ]

    def wait(self) -> None:
        deadline = time.monotonic() + self.params["timeout"]
        late = self.late()
        while late:
            if time.monotonic() >= deadline:
                raise gateway.GatewayError(self.too_late(late[0]))
            time.sleep(self.params["interval"])
            late = self.late()

    def too_late(self, server: gateway.Server) -> str:
        seconds = self.params["timeout"]
        if self.wanted == "ready":
            return (
                f"{server.name} is {server.health} for the gateway after {seconds} s. Can the "
                f"gateway reach its address and port?"
            )
        return (
            f"{server.name} still has {server.sessions} requests after {seconds} s, so it was put back into "
            f"service. "
            "Give it longer with timeout, or wait for a quieter hour."
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "str", "required": True},
            "must_exist": {"type": "bool", "default": True},
            "state": {"type": "str", "required": True, "choices": ["ready", "drain", "maint"]},
            "leave_maintenance": {"type": "bool", "default": False},
            "keep": {"type": "int", "default": 1},
            "timeout": {"type": "int", "default": 600},
            "interval": {"type": "float", "default": 0.5},
            "backend": {"type": "str", "default": "replicas"},
            "socket": {"type": "path", "default": "/run/amdgpu-gateway/admin.sock"},
            "state_file": {"type": "path", "default": "/var/lib/amdgpu-gateway/server-state"},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    wrong = wrong_interval(module.params["interval"])
    if wrong:
        module.fail_json(msg=wrong)
    start = time.monotonic()
    try:
        this = Gateway(module.params)
        before = this.look()[0]
        change = this.to_change(before)
        if change:
            this.check_others()
        if not module.check_mode:
            if change:
                this.change(change)
            else:
                this.wait()
        after = this.look()[0]
    except (gateway.GatewayError, disk.WriteError) as error:
        module.fail_json(msg=str(error))
    if module.check_mode:
        after = [
            server._replace(state=this.wanted) if server in this.to_change(after) else server
            for server in after
        ]
    result = {
        "changed": bool(change),
        "before": shown(before),
        "after": shown(after),
        "waited_seconds": round(time.monotonic() - start, 1),
    }
    if change:
        result["diff"] = {"before": lines(before), "after": lines(after)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
