#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: acceptance_test
short_description: Run one acceptance test under a time limit and judge it
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Runs one program, reads the figures of its output and holds them to thresholds. The output is kept in
    C(/var/lib/amdgpu-fleet/acceptance/logs). At the end nothing of its process group is left.
  - A test that passed is not run again while GPUs, firmware, driver, modes, plan and command stay the same.
    One that was cut short is run again, and what it left is ended first.
  - Errors of the GPUs that rise during a test fail it.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
    details: Says whether the test would run.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: A test that did not pass runs again.
options:
  name:
    description: Name of the test.
    type: str
    required: true
  title:
    description: What to call it.
    type: str
    default: ""
  programs:
    description: The program, by name or by path. The first one that is there is taken.
    type: list
    elements: str
    required: true
  package:
    description: The package that has it, for the message where none is there.
    type: str
    default: ""
  command:
    description: Program and arguments. C({program}) is the program that was found, C({prefix}) the folder
      above its C(bin), C({output}) a folder for files, and a key of O(values) its value.
    type: list
    elements: str
    required: true
  values:
    description: More words for O(command).
    type: dict
    default: {}
  format:
    description: How the output is read.
    type: str
    required: true
    choices: [rvs, transferbench_a2a, transferbench_p2p, rocm_bandwidth_test, rccl_tests, babelstream, gemm,
      stream, mbw, agfhc, vllm_bench_serve, llama_bench, iperf3, perftest]
  output:
    description: A file below the folder of logs that is read instead of what the program prints.
    type: str
    default: ""
  timeout:
    description: Seconds that it may take.
    type: int
    required: true
  devices:
    description: How many GPUs the driver shows.
    type: int
    default: 0
  each:
    description: Whether it runs once for each device, which is then the only one that it sees.
    type: bool
    default: false
  repeat:
    description: How often it runs; the best figures count.
    type: int
    default: 1
  thresholds:
    description: The least that figures may be.
    type: list
    elements: dict
    default: []
    suboptions:
      metric: {description: Name of the figure., type: str, required: true}
      least: {description: The least that it may be., type: float, required: true}
      unit: {description: Its unit., type: str, default: ""}
      source: {description: Where the number is known from., type: str, default: ""}
  environment:
    description: Variables for the program.
    type: dict
    default: {}
  secret_file:
    description: File of root's with the key of the server that is asked, where it asks for one. The program
      has it as C(OPENAI_API_KEY).
    type: path
  plan:
    description: What of the plan the result holds for, in any word.
    type: str
    default: ""
  idle:
    description: Whether nobody else may use the GPUs.
    type: bool
    default: false
  again:
    description: Whether it runs although it passed.
    type: bool
    default: false
  max_age:
    description: Days after which a pass does not count any more; 0 is never.
    type: int
    default: 0
  root:
    description: The folder under which the host's files are.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: The memory of the host
  amdgpu.fleet.acceptance_test:
    name: host_memory
    programs: [mbw]
    command: ["{program}", -q, -n, "5", -t0, "512"]
    format: mbw
    timeout: 120
    thresholds:
      - {metric: memcpy, least: 5000}
"""

RETURN = r"""
result:
  description: What came of it.
  returned: success
  type: dict
  contains:
    name: {description: Name of the test., type: str}
    title: {description: What it is called., type: str}
    verdict:
      description: V(pass), V(fail), V(error) where nobody can tell, V(recorded) where nothing is asked of
        it, V(skip) where its program is not there, or V(would_run) in check mode.
      type: str
    reasons: {description: Why it did not pass., type: list, elements: str}
    warnings: {description: Figures that are far from those of others., type: list, elements: str}
    metrics: {description: "The figures: C(value), C(unit) and C(each), by device.", type: dict}
    thresholds: {description: What they were held to., type: list, elements: dict}
    seconds: {description: How long it took., type: float}
    started: {description: When it began., type: str}
    finished: {description: When it ended., type: str}
    command: {description: What was run., type: list, elements: str}
    log: {description: The file with its output., type: str}
    resumed: {description: Whether it is that of an earlier run., type: bool}
"""

import signal
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance import state, testing
from ansible_collections.amdgpu.fleet.plugins.module_utils._acceptance.formats import PARSERS
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._reader import Reader
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import WriteError

THRESHOLD = {
    "metric": {"type": "str", "required": True},
    "least": {"type": "float", "required": True},
    "unit": {"type": "str", "default": ""},
    "source": {"type": "str", "default": ""},
}
OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "title": {"type": "str", "default": ""},
    "programs": {"type": "list", "elements": "str", "required": True},
    "package": {"type": "str", "default": ""},
    "command": {"type": "list", "elements": "str", "required": True},
    "values": {"type": "dict", "default": {}},
    "format": {"type": "str", "required": True, "choices": list(PARSERS)},
    "output": {"type": "str", "default": ""},
    "timeout": {"type": "int", "required": True},
    "devices": {"type": "int", "default": 0},
    "each": {"type": "bool", "default": False},
    "repeat": {"type": "int", "default": 1},
    "thresholds": {"type": "list", "elements": "dict", "default": [], "options": THRESHOLD},
    "environment": {"type": "dict", "default": {}},
    "secret_file": {"type": "path", "no_log": False},
    "plan": {"type": "str", "default": ""},
    "idle": {"type": "bool", "default": False},
    "again": {"type": "bool", "default": False},
    "max_age": {"type": "int", "default": 0},
    "root": {"type": "path", "default": "/"},
}


def ended(number: int, _frame: object) -> None:
    """Ends it as the signal would."""
    raise SystemExit(128 + number)


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    hold_to_text(module)
    params = module.params
    wrong = testing.wrong(params)
    if wrong:
        module.fail_json(msg=wrong)
    # Ended from outside, it ends what it started.
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, ended)
    test = testing.Test(params, Reader(module).dmesg)
    if module.check_mode:
        before = test.known(test.wanted(), state.load(test.folder))
        verdict = "would_run" if test.program else "skip"
        result = {**before, "resumed": True} if before else {**test.empty(verdict), "resumed": False}
        module.exit_json(changed=not before and bool(test.program), result=result)
    try:
        result, changed = testing.perform(test)
    except BlockingIOError:
        module.fail_json(msg=f"{test.folder}/lock: another test runs and does not end. Wait for it.")
    except WriteError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or test.folder} cannot be used ({error.strerror or error}). "
            "Run it with become."
        )
    module.exit_json(changed=changed, result=result)


if __name__ == "__main__":
    main()
