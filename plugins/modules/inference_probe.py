#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inference_probe
short_description: Wait for an inference server and ask it for an answer
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Waits until C(/health) answers, checks the model name in C(/v1/models) and asks C(/v1/completions) for a
    few tokens.
  - Gives up at once when the systemd unit of the server has failed, with the last lines of its journal.
  - An open port is not enough. The server is ready when a completion came back, or what O(question) asks for.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
  - amdgpu.fleet.attributes.info
options:
  url:
    description: Base address of the server.
    type: str
    required: true
  model:
    description: Name that the server must serve.
    type: str
    required: true
  unit:
    description: Name of the systemd unit of the server.
    type: str
  api_key_file:
    description:
      - File on the host with a line C(VLLM_API_KEY=...) or C(LLAMA_API_KEY=...).
      - Nothing of it is returned or logged.
    type: path
  prompt:
    description: Text to complete.
    type: str
    default: The capital of France is
  completion:
    description: Whether to ask for an answer. Without one, C(/health) is enough.
    type: bool
    default: true
  question:
    description:
      - What the server is for. V(embed) asks C(/v1/embeddings), V(score) C(/score), V(classify) C(/classify),
        V(pooling) C(/pooling) and V(transcription) C(/v1/audio/transcriptions), with a second of silence.
      - A path that the server has not is no fault as long as it has another one of its task.
    type: str
    choices: [completion, embed, score, classify, pooling, transcription]
    default: completion
    version_added: 1.0.0
  max_tokens:
    description: Tokens to ask for.
    type: int
    default: 16
  timeout:
    description:
      - Seconds until the server must have answered. The first completion may compile kernels for minutes - it
        has what is left of them,
        and where the server came up late a minute more, if O(timeout) is as long as that.
    type: int
    default: 1800
  interval:
    description: Seconds between two attempts.
    type: float
    default: 1
  validate_certs:
    description: Whether the certificate of an C(https) server is checked.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Wait for the server and ask it something
  amdgpu.fleet.inference_probe:
    url: http://127.0.0.1:8000
    model: chat
    unit: vllm-chat.service
"""

RETURN = r"""
path: {description: The path that answered., type: str, returned: with O(question), sample: /v1/embeddings}
seconds: {description: Seconds that it took., type: float, returned: with O(question)}
text: {description: The completion., type: str, returned: with O(completion)}
tokens: {description: Tokens of the completion., type: int, returned: with O(completion), sample: 16}
models: {description: Names the server serves., type: list, elements: str, returned: with O(completion)}
waited_seconds: {description: Seconds until C(/health) answered., type: float, returned: success}
time_to_first_token_ms: {description: Milliseconds until the first token., type: float, returned: with
  O(completion)}
time_per_output_token_ms:
  description: Milliseconds for each further token; null for a single token.
  type: float
  returned: with O(completion)
"""

import re
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import (
    PROMPT,
    QUESTIONS,
    Broken,
    NoAnswer,
    Server,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._waiting import wrong_interval

# A server that ended this often while it was waited for will not come up.
MAX_RESTARTS = 3
# Seconds that a server which came up late has for its completion.
GRACE = 60


def api_key(module: AnsibleModule) -> str | None:
    path = module.params["api_key_file"]
    if not path:
        return None
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            match = re.search(r"^(?:VLLM|LLAMA)_API_KEY=[^\S\n]*(\S.*)$", file.read(), re.M)
    except OSError as error:
        module.fail_json(
            msg=(
                f"api_key_file {path} cannot be read ({error.strerror}). Run with become, or correct "
                f"the path."
            )
        )
    key = match.group(1).strip() if match else ""
    if not key:
        module.fail_json(
            msg=f"api_key_file {path} has no line VLLM_API_KEY=... Write one, or leave api_key_file out."
        )
    module.no_log_values.add(key)  # a server may repeat it in what it answers
    return key


def unit_failure(module: AnsibleModule) -> str | None:
    """Why the unit will not come up any more, or ``None`` while it still may."""
    unit = module.params["unit"]
    if not unit:
        return None
    command = ["systemctl", "show", "--property=ActiveState,SubState,Result,NRestarts,Job", unit]
    rc, out, _err = module.run_command(command, environ_update={"LC_ALL": "C"})
    state = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    restarts = state.get("NRestarts", "")
    gone = state.get("ActiveState") in ("failed", "inactive") or (
        restarts.isdigit() and int(restarts) >= MAX_RESTARTS
    )
    waiting = state.get("Job", "0") not in ("", "0")  # for the network, say, before it starts
    if rc != 0 or not gone or waiting:
        return None
    _rc, journal, _err = module.run_command(
        ["journalctl", "--no-pager", "--output=cat", "--lines=15", "--unit", unit]
    )
    return (
        f"{unit} is {state['ActiveState']} ({state.get('Result', 'unknown')}). Its last "
        f"lines:\n{journal.strip()}"
    )


def wait_for_health(module: AnsibleModule, server: Server, deadline: float) -> None:
    while True:
        try:
            server.healthy(timeout=max(deadline - time.monotonic(), 1))
            return
        except NoAnswer as error:
            seen = str(error)
        failure = unit_failure(module)
        if failure:
            module.fail_json(msg=f"{module.params['url']} does not serve: {failure}")
        if time.monotonic() >= deadline:
            module.fail_json(
                msg=f"{server.url} was not ready after {module.params['timeout']} s; "
                f"seen last: {seen}. Read the journal of {module.params['unit'] or 'the server'}, or "
                "give it longer with timeout."
            )
        time.sleep(module.params["interval"])


def models_of(module: AnsibleModule, server: Server, deadline: float) -> list[str]:
    """What it serves, once a server of several models has loaded them."""
    while True:
        models = server.models()
        try:
            server.settled()
            return models
        except Broken:
            raise
        except NoAnswer:
            if time.monotonic() >= deadline:
                raise
        time.sleep(module.params["interval"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "model": {"type": "str", "required": True},
            "unit": {"type": "str"},
            "api_key_file": {"type": "path", "no_log": False},
            "prompt": {"type": "str", "default": PROMPT},
            "completion": {"type": "bool", "default": True},
            "question": {"type": "str", "choices": ["completion", *QUESTIONS], "default": "completion"},
            "max_tokens": {"type": "int", "default": 16, "no_log": False},
            "timeout": {"type": "int", "default": 1800},
            "interval": {"type": "float", "default": 1},
            "validate_certs": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    hold_to_text(module)
    params = module.params
    wrong = wrong_interval(params["interval"])
    if wrong:
        module.fail_json(msg=wrong)
    start = time.monotonic()
    try:
        server = Server(params["url"], api_key(module), validate_certs=params["validate_certs"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    wait_for_health(module, server, start + params["timeout"])
    waited = round(time.monotonic() - start, 1)
    if not params["completion"]:
        module.exit_json(changed=False, waited_seconds=waited)
    try:
        models = models_of(module, server, start + params["timeout"])
        if params["model"] not in models:
            module.fail_json(
                msg=f"{server.url} serves {', '.join(models) or 'nothing'}, not {params['model']}. "
                "Another server may hold the port, or served-model-name differs."
            )
        left = max(start + params["timeout"] - time.monotonic(), min(GRACE, params["timeout"]))
        if params["question"] == "completion":
            result = server.completion(params["model"], params["prompt"], params["max_tokens"], timeout=left)
        else:
            result = server.ask(params["question"], params["model"], left)
    except NoAnswer as error:
        module.fail_json(msg=f"{server.url} is up but does not serve: {error}.")
    module.exit_json(changed=False, models=models, waited_seconds=waited, **result)


if __name__ == "__main__":
    main()
