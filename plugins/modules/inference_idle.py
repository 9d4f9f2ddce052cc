#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inference_idle
short_description: Wait until a server computes nothing
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Waits until no request runs or waits in the server, as its C(/metrics) say. vLLM and llama.cpp's server
    break off what runs when they are stopped.
  - A server that does not answer has nothing to wait for. That is no error; RV(reachable) says so.
  - One that takes the request and is silent is waited for up to a minute, since it may compute a long prompt.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.info
options:
  url:
    description: Base address of the server.
    type: str
    required: true
  api_key_file:
    description: File of variables on the host that has the key, for a server that shows its metrics to nobody
      else, as llama.cpp's does. One that is not there is as good as none.
    type: path
  timeout:
    description: Seconds until it must be idle.
    type: int
    default: 600
  interval:
    description: Seconds between two looks.
    type: float
    default: 0.5
  validate_certs:
    description: Whether the certificate of an C(https) server is checked.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Let what runs come to its end
  amdgpu.fleet.inference_idle:
    url: http://127.0.0.1:8000
"""

RETURN = r"""
reachable: {description: Whether the server answered., type: bool, returned: success}
seen: {description: What stood in the way of an answer; null where there was one., type: str, returned:
  success}
requests: {description: Requests that were seen first; null where the server does not answer., type: int,
  returned: success, sample: 3}
waited_seconds: {description: Seconds until it was idle., type: float, returned: success, sample: 4.2}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import (
    Server,
    api_key_of,
    wait_until_idle,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._waiting import wrong_interval


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "api_key_file": {"type": "path", "no_log": False},
            "timeout": {"type": "int", "default": 600},
            "interval": {"type": "float", "default": 0.5},
            "validate_certs": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    params = module.params
    wrong = wrong_interval(params["interval"])
    if wrong:
        module.fail_json(msg=wrong)
    try:
        key = api_key_of(params["api_key_file"])
        module.no_log_values.update({key} if key else ())  # a server may repeat it in what it answers
        server = Server(params["url"], key, timeout=10, validate_certs=params["validate_certs"])
    except OSError as error:
        module.fail_json(
            msg=f"api_key_file {params['api_key_file']} cannot be read ({error.strerror}). Run with become, "
            "or correct the path."
        )
    except ValueError as error:
        module.fail_json(msg=str(error))
    idle = wait_until_idle(server, params["timeout"], params["interval"])
    if idle.last:
        module.fail_json(
            msg=f"{server.url} still computes {idle.last} requests after {params['timeout']} s. "
            "They do not come through the gateway, or do not end: find who sends them, "
            "or give it longer with timeout."
        )
    module.exit_json(
        changed=False,
        reachable=idle.last is not None,
        seen=idle.seen,
        requests=idle.first,
        waited_seconds=idle.waited_seconds,
    )


if __name__ == "__main__":
    main()
