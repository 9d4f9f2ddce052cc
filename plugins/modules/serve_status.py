#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: serve_status
short_description: Look whether wanted inference servers serve
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Reads the units of the servers from systemd, all in one call. Asks those that run for C(/health) and the
    names in C(/v1/models).
  - Waits for nothing, and changes nothing. M(amdgpu.fleet.inference_probe) is for a server that is coming up.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.info
options:
  servers:
    description: The servers that shall be there.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the instance., type: str, required: true}
      unit: {description: Its systemd unit., type: str, required: true}
      url: {description: "Base address. Empty asks systemd alone.", type: str, default: ""}
      model: {description: "Name that it must serve. Empty is content with C(/health).", type: str, default:
        ""}
      version: {description: "Its own version, V(0.33.0) of vLLM or the build V(b11669) of llama.cpp. Empty
          asks for none.", type: str, default: ""}
      completes: {description: Whether it answers completions., type: bool, default: true}
      question:
        description: What else it is asked, as M(amdgpu.fleet.inference_probe) does. V(health) asks nothing.
        type: str
        choices: [completion, health, embed, score, classify, pooling, transcription]
        default: completion
      api_key_file:
        description:
          - File on the host with a line C(VLLM_API_KEY=...) or C(LLAMA_API_KEY=...).
          - One that does not exist means that there is no key. Nothing of it is returned.
        type: path
  completion:
    description: Whether to ask for a completion of a few tokens too.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Look whether the server serves
  amdgpu.fleet.serve_status:
    servers:
      - {name: chat, unit: vllm-chat.service, url: "http://127.0.0.1:8000", model: chat}
"""

RETURN = r"""
servers:
  description: What was seen of each server, in the order of O(servers).
  type: list
  elements: dict
  returned: success
  contains:
    name: {description: Name of the instance., type: str, returned: always, sample: chat}
    unit: {description: Its unit., type: str, returned: always, sample: vllm-chat.service}
    url: {description: Its address., type: str, returned: always}
    verdict:
      description: V(ok), V(absent) (there is no unit), V(down), V(restarting), V(starting), V(deaf) (it runs
        and does not answer) or V(other_model).
      type: str
      returned: always
    reason: {description: What was seen; empty where all is well., type: str, returned: always}
    expected: {description: What should have been seen., type: str, returned: always}
    state:
      description: The unit - C(known), C(active), C(sub), C(result), C(exit_status), C(restarts) and
        C(since), in seconds.
      type: dict
      returned: always
    wanted_version: {description: "O(servers[].version).", type: str, returned: always}
    models: {description: Names that it serves., type: list, elements: str, returned: when it answers}
    version:
      description: The version that it says it is; null where it says none.
      type: str
      returned: when it answers and O(servers[].version) is given
      sample: 0.33.0+rocm723
    other_version:
      description: Whether that is another one than O(servers[].version).
      type: bool
      returned: when it says its version
    completion: {description: "Text, tokens and times, as M(amdgpu.fleet.inference_probe) returns them.",
      type: dict, returned: with O(completion)}
    answered: {description: "The path that answered, and C(seconds).", type: dict, returned: with another
      question}
    error: {description: Why it did not answer., type: str, returned: when it does not answer}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _serve_status as status
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import QUESTIONS, NoAnswer, api_key_of

SERVER = {
    "name": {"type": "str", "required": True},
    "unit": {"type": "str", "required": True},
    "url": {"type": "str", "default": ""},
    "model": {"type": "str", "default": ""},
    "version": {"type": "str", "default": ""},
    "completes": {"type": "bool", "default": True},
    "question": {"type": "str", "choices": ["completion", "health", *QUESTIONS], "default": "completion"},
    "api_key_file": {"type": "path", "no_log": False},
}


def api_key(module: AnsibleModule, path: str | None) -> str | None:
    try:
        key = api_key_of(path)
    except OSError as error:
        module.fail_json(
            msg=(
                f"api_key_file {path} cannot be read ({error.strerror}). Run with become, or correct "
                f"the path."
            )
        )
    if key:
        module.no_log_values.add(key)  # a server may repeat it in what it answers
    return key


def _question(each: dict[str, object]) -> str:
    """What a server is asked; empty where nothing is."""
    question = str(each["question"])
    asked = question != "health" and (question in QUESTIONS or bool(each["completes"]))
    return question if asked else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True, "options": SERVER},
            "completion": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    module.run_command_environ_update = {"LC_ALL": "C", "LANGUAGE": "C"}
    servers = module.params["servers"]
    names = list(dict.fromkeys(each["unit"] for each in servers))
    try:
        units = status.units(module.run_command, names, time.clock_gettime(time.CLOCK_MONOTONIC))
    except NoAnswer as error:
        module.fail_json(msg=f"The units of the servers cannot be read: {error}.")
    seen = []
    for each in servers:
        wanted = status.Wanted(
            each["name"], each["unit"], each["url"], each["model"],
            _question(each) if module.params["completion"] else "", api_key(module, each["api_key_file"]),
            each["version"],
        )  # fmt: skip
        seen.append(
            status.judge(wanted, units.get(each["unit"]), status.ask if each["url"] else lambda _wanted: {})
        )
    module.exit_json(changed=False, servers=seen)


if __name__ == "__main__":
    main()
