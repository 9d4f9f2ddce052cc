#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_server
short_description: Take a server of the gateway out of service and back, and wait until it is
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Sets the administrative state of one HAProxy server through the runtime socket and waits until it has an effect. A drained server is
    out of service when its last request ended; one that is ready is in service when its health check says so.
  - Refuses to take a server out of service where too few others would be left, and takes it back where its requests do not end in time.
  - Remembers the states in O(state_file), where HAProxy reads them when it is reloaded.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - The server must exist and enough others must take requests in check mode too. It does not wait.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  server:
    description: Name of the server.
    type: str
    required: true
  state:
    description:
      - V(drain) lets running requests end and gives it no new ones. A server that is in maintenance is left there.
      - V(maint) does the same and stops its health check.
      - V(ready) gives it requests as long as its health check is passed.
    type: str
    choices: [ready, drain, maint]
    required: true
  keep:
    description: How many other servers must take requests for this one to be taken out of service.
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
    description: HAProxy's name for the group of servers.
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
    server: "{{ inventory_hostname }}"
    state: drain
  delegate_to: gateway.example.net

- name: In service again, once it is healthy
  amdgpu.fleet.gateway_server:
    server: "{{ inventory_hostname }}"
    state: ready
    timeout: 60
  delegate_to: gateway.example.net
"""

RETURN = r"""
before:
  description: The server as it was.
  type: dict
  returned: success
  sample: {state: ready, health: UP, sessions: 3}
after:
  description: The server as it is; in check mode with the state it would have.
  type: dict
  returned: success
  sample: {state: drain, health: UP, sessions: 0}
waited_seconds: {description: Seconds until the state had its effect., type: float, returned: success, sample: 4.2}
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gateway as gateway
from ansible_collections.amdgpu.fleet.plugins.module_utils import _write as disk


def shown(server: gateway.Server) -> dict[str, object]:
    return {"state": server.state, "health": server.health, "sessions": server.sessions}


def in_effect(server: gateway.Server, wanted: str) -> bool:
    return server.takes_requests if wanted == "ready" else server.sessions == 0


class Gateway:
    def __init__(self, params: dict) -> None:
        self.ask = gateway.socket_at(params["socket"])
        self.params = params

    def look(self) -> tuple[gateway.Server, list[gateway.Server]]:
        return gateway.one(self.ask, self.params["backend"], self.params["server"])

    def set(self, state: str) -> None:
        gateway.set_state(self.ask, self.params["backend"], self.params["server"], state)
        path = self.params["state_file"]
        if path and os.path.isdir(os.path.dirname(path)):
            disk.write_text(path, self.ask("show servers state"))

    def check_others(self) -> None:
        if self.params["state"] != "ready":
            refusal = gateway.refusal(*self.look(), self.params["keep"])
            if refusal:
                raise gateway.GatewayError(refusal)

    def change(self, before: str) -> None:
        """Set the state, look again at the others (somebody else may drain one at the same time), and wait."""
        self.set(self.params["state"])
        try:
            _server, others = self.look()
            left = sum(other.takes_requests for other in others)
            if self.params["state"] != "ready" and before == "ready" and left < self.params["keep"]:
                raise gateway.GatewayError(f"Another server was taken out of service at the same time; {left} would be left.")
            self.wait()
        except gateway.GatewayError:
            if self.params["state"] != "ready":
                self.set(before)
            raise

    def wait(self) -> None:
        deadline = time.monotonic() + self.params["timeout"]
        server, _others = self.look()
        while not in_effect(server, self.params["state"]):
            if time.monotonic() >= deadline:
                raise gateway.GatewayError(self.too_late(server))
            time.sleep(self.params["interval"])
            server, _others = self.look()

    def too_late(self, server: gateway.Server) -> str:
        seconds = self.params["timeout"]
        if self.params["state"] == "ready":
            return f"{server.name} is {server.health} for the gateway after {seconds} s. Can the gateway reach its address and port?"
        return (
            f"{server.name} still has {server.sessions} requests after {seconds} s, so it was put back into service. "
            "Give it longer with timeout, or wait for a quieter hour."
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["ready", "drain", "maint"]},
            "keep": {"type": "int", "default": 1},
            "timeout": {"type": "int", "default": 600},
            "interval": {"type": "float", "default": 0.5},
            "backend": {"type": "str", "default": "replicas"},
            "socket": {"type": "path", "default": "/run/amdgpu-gateway/admin.sock"},
            "state_file": {"type": "path", "default": "/var/lib/amdgpu-gateway/server-state"},
        },
        supports_check_mode=True,
    )
    wanted = module.params["state"]
    start = time.monotonic()
    try:
        this = Gateway(module.params)
        before, _others = this.look()
        kept = wanted == "drain" and before.state == "maint"
        changed = before.state != wanted and not kept
        if changed:
            this.check_others()
        if not module.check_mode:
            if changed:
                this.change(before.state)
            else:
                this.wait()
        after, _others = this.look()
    except (gateway.GatewayError, disk.WriteError) as error:
        module.fail_json(msg=str(error))
    if module.check_mode and changed:
        after = after._replace(state=wanted)
    result = {"changed": changed, "before": shown(before), "after": shown(after), "waited_seconds": round(time.monotonic() - start, 1)}
    if changed:
        line = "{}: {}\n"
        result["diff"] = {"before": line.format(before.name, before.state), "after": line.format(after.name, after.state)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
