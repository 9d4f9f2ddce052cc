#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: A container image, built by Podman when an input of it changed
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Builds an image from the text of a Containerfile, and says the inputs in its labels. An image that has the
    same ones is not built again.
  - A build gets as many jobs as the memory lasts for, and a limit of memory, so that it never takes the host
    down. No GPU is needed, and none is handed to it.
  - Finished steps and the caches of compilers and of pip are kept. A build that failed or was stopped goes on
    behind them.
  - Lists the packages that the image holds (CycloneDX), pushes it to a registry, and writes it as an archive
    that keeps its id.
requirements:
  - Podman 4.3 or newer on the host
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name and tag that the image gets.
    type: str
    required: true
  state:
    description: Whether the image shall be there. V(absent) also takes its archives, record and log away.
    type: str
    choices: [present, absent]
    default: present
  containerfile:
    description: Text of the Containerfile. It begins from O(base), and each of its steps reads
      C(/run/amdgpu-fleet/env) for its jobs (C(JOBS_STEP)) and O(exports). Needed where O(state=present).
    type: str
    default: ""
  base:
    description: Local name of the image that it begins from.
    type: str
    default: ""
  base_pull:
    description: What is pulled and given the name O(base), where there is none.
    type: str
    default: ""
  labels:
    description: Labels that the image gets, besides its inputs.
    type: dict
    default: {}
  exports:
    description: Variables of every step that are no input of the image, such as the address of a mirror.
    type: dict
    default: {}
  mounts:
    description: Files and folders of the host that the build can read. What they hold is no input.
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Path on the host.
        type: path
        required: true
      target:
        description: Path in the build.
        type: path
        required: true
  steps:
    description: GiB that one job of each step takes, by the name of the step.
    type: dict
    default: {}
  reserve_gib:
    description: GiB that are left to everything else on the host.
    type: float
    default: 4
  memory_gib:
    description: GiB that are taken as free. V(0) asks the kernel, and the cgroup that the module runs in.
    type: float
    default: 0
  jobs:
    description: The most jobs of a step. V(0) sets no bound besides memory and processors.
    type: int
    default: 0
  folder:
    description: Folder for Containerfile, log, record and list of packages. The log is C(build.log) in it.
    type: path
    required: true
  arguments:
    description: More arguments for C(podman build).
    type: list
    elements: str
    default: []
  run_arguments:
    description: More arguments for C(podman run), which lists the packages.
    type: list
    elements: str
    default: []
  push:
    description: Where the image is pushed to, as C(registry/repository:tag). Empty pushes nothing.
    type: str
    default: ""
  push_arguments:
    description: More arguments for C(podman push).
    type: list
    elements: str
    default: []
  auth_file:
    description: File on the host with the credentials for registries, as C(podman login) writes it.
    type: path
    default: ""
  archive:
    description: Archive on the host that the image is written to. Empty writes none.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Build an image
  amdgpu.fleet.image_build:
    name: localhost/fleet/vllm:0.33.0-gfx1151
    containerfile: "{{ lookup('ansible.builtin.file', 'Containerfile') }}"
    base: localhost/fleet/base:1
    base_pull: docker.io/library/ubuntu:24.04
    steps: {vllm: 3}
    folder: /var/lib/amdgpu-fleet/builds/vllm
    push: registry.example.net/vllm:0.33.0-gfx1151
  async: 43200
  poll: 0
  register: job

- name: Wait for it
  amdgpu.fleet.await_job:
    jid: "{{ job.ansible_job_id }}"
    folder: /var/lib/amdgpu-fleet/builds/vllm
    log: /var/lib/amdgpu-fleet/builds/vllm/build.log
    what: vllm for gfx1151
"""

RETURN = r"""
image:
  description: Name and tag of the image.
  type: str
  returned: always
  sample: localhost/fleet/vllm:0.33.0-gfx1151
image_id:
  description: Its id, which it keeps in an archive. Not known before it is built.
  type: str
  returned: always
  sample: sha256:05c2...
inputs:
  description: Digest of all inputs but the base.
  type: str
  returned: always
  sample: 8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92
reference:
  description: Where it was pushed to, by its digest there.
  type: str
  returned: always
  sample: registry.example.net/vllm@sha256:6ac3...
archive:
  description: Path, bytes and sha256 of its archive.
  type: dict
  returned: always
  sample: {path: /srv/images/vllm.tar, bytes: 9124125184, sha256: 3b5d...}
sbom:
  description: File with the list of packages, on the host.
  type: str
  returned: always
  sample: /var/lib/amdgpu-fleet/builds/vllm/sbom.json
packages:
  description: How many packages the list has.
  type: int
  returned: always
  sample: 412
labels:
  description: Labels of the image that is there.
  type: dict
  returned: always
  sample: {org.opencontainers.image.title: vllm-strix}
steps:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
  sample: [build, sbom, push]
reason:
  description: Why it was built.
  type: str
  returned: always
  sample: it was built from other inputs
jobs:
  description: Jobs of each step.
  type: dict
  returned: where it is built
  sample: {vllm: 7}
memory_bytes:
  description: The limit of the build. Null where the kernel has no memory controller for containers; then the
    number of jobs alone keeps it from taking more.
  type: int
  returned: where it is built
  sample: 25769803776
"""

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _build_size, _image_build
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import WriteError

SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "containerfile": {"type": "str", "default": ""},
    "base": {"type": "str", "default": ""},
    "base_pull": {"type": "str", "default": ""},
    "labels": {"type": "dict", "default": {}},
    "exports": {"type": "dict", "default": {}},
    "mounts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "source": {"type": "path", "required": True},
            "target": {"type": "path", "required": True},
        },
    },
    "steps": {"type": "dict", "default": {}},
    "reserve_gib": {"type": "float", "default": 4},
    "memory_gib": {"type": "float", "default": 0},
    "jobs": {"type": "int", "default": 0},
    "folder": {"type": "path", "required": True},
    "arguments": {"type": "list", "elements": "str", "default": []},
    "run_arguments": {"type": "list", "elements": "str", "default": []},
    "push": {"type": "str", "default": ""},
    "push_arguments": {"type": "list", "elements": "str", "default": []},
    "auth_file": {"type": "path", "default": "", "no_log": False},
    "archive": {"type": "path", "default": ""},
}


def wanted(params: dict[str, Any]) -> _image_build.Wanted:
    names = {
        name: params[name]
        for name in _image_build.Wanted._fields
        if name not in ("mounts", "labels", "exports")
    }
    return _image_build.Wanted(
        **names,
        mounts=[(mount["source"], mount["target"]) for mount in params["mounts"]],
        labels={name: str(value) for name, value in params["labels"].items()},
        exports={name: str(value) for name, value in params["exports"].items()},
    )


def runner(module: AnsibleModule) -> _image_build.Run:
    def run(words: Sequence[str], log: str = "") -> tuple[int, str, str]:
        if not log:
            rc, out, err = module.run_command(list(words), environ_update={"LC_ALL": "C.UTF-8"})
            return rc, out, err
        # As it comes, for whoever waits to see how far it is.
        with open(log, "w", encoding="utf-8") as file:
            environment = {**os.environ, "LC_ALL": "C.UTF-8"}
            done = subprocess.run(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                check=False,
            )
        return done.returncode, "", ""

    return run


def size(module: AnsibleModule) -> _build_size.Size:
    params = module.params
    free = int(params["memory_gib"] * _build_size.GIB) or _build_size.free_memory(Tree())
    if free is None:
        module.fail_json(
            msg="How much memory is free is not known: /proc/meminfo has no MemAvailable. Set "
            "build_memory_gib."
        )
        raise AssertionError  # fail_json ends the module
    steps = {name: float(gib) for name, gib in params["steps"].items()}
    # A number that was given is the limit itself.
    reserve = 0.0 if params["memory_gib"] else params["reserve_gib"]
    found = _build_size.size(free, len(os.sched_getaffinity(0)), steps, reserve, params["jobs"])
    return found._replace(limited=_build_size.can_limit(Tree()))


def present(module: AnsibleModule) -> None:
    want, run = wanted(module.params), runner(module)
    state = _image_build.look(want, run)
    result: dict[str, Any] = {"steps": state.steps, "reason": state.why}
    record, image = state.record, state.image
    limits = _build_size.Size({}, 0)
    if "build" in state.steps:
        limits = size(module)
        result |= {"jobs": limits.jobs, "memory_bytes": limits.memory_bytes if limits.limited else None}
    if state.steps and not module.check_mode:
        record = _image_build.make(want, state, limits, run)
        image = _image_build.Podman(run).image(want.name)
    before = state.image.labels if state.image else {}
    after = {**want.labels, _image_build.INPUTS: want.inputs} if state.steps else before
    module.exit_json(
        changed=bool(state.steps),
        diff={"before": _text(before), "after": _text(after if "build" in state.steps else before)},
        **result,
        **_image_build.answer(want, image, record),
    )


def _text(labels: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in sorted(labels.items()))


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_if=[("state", "present", ("containerfile", "base", "base_pull"))],
        supports_check_mode=True,
    )
    hold_to_text(module)
    module.get_bin_path("podman", required=True)
    try:
        if module.params["state"] == "present":
            present(module)
        want = wanted(module.params)
        gone = _image_build.remove(want, runner(module), module.check_mode)
        module.exit_json(
            changed=bool(gone),
            steps=gone,
            reason="",
            diff={"before": "".join(f"{each}\n" for each in gone), "after": ""},
            **_image_build.answer(want, None, {}),
        )
    except (_image_build.ImageError, _build_size.SizeError, WriteError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['folder']}: {error.strerror or error}.")


if __name__ == "__main__":
    main()
