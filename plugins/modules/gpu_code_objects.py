#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_code_objects
short_description: Which GPU architectures a library, a wheel, a folder or a container image has code for
version_added: 1.0.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - A library without code for a GPU loads, and fails at its first kernel. This module tells it before, with
    no GPU and no ROCm.
  - Reads HIP fat binaries, plain and compressed, code objects that lie as files (rocBLAS, hipBLASLt, caches
    of Triton), archives of kernels (C(.kpack)) and the folders of AOTriton.
  - "What could not be read is said in RV(places[].reasons), and RV(places[].complete) is then V(false). A
    verdict is V(not_known) where it could be in what was not read."
  - Code that is compressed with zstd needs Python 3.14 or the program C(zstd).
  - What a program compiles when it runs (Triton, AITER) and static libraries are not looked at.
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  path:
    description:
      - Files and folders of the host - a library, a code object, a wheel, a virtual environment, an unpacked
        or mounted image, a layout of OCI in a folder, or an archive that C(podman save) or C(docker save)
        wrote.
      - Links in a folder are not followed.
    type: list
    elements: path
    default: []
  image:
    description:
      - Name or id of an image in Podman's store. Its layers are read as they lie there (storage driver
        overlay); nothing is mounted.
    type: str
  user:
    description: The account whose store has O(image). Not given, it is that of root.
    type: str
    default: ""
  gfx:
    description: Architectures of GPUs that verdicts are given for, as in V(gfx942).
    type: list
    elements: str
    default: []
  xnack:
    description: Whether the GPUs retry page faults, which E(HSA_XNACK=1) asks for.
    type: bool
    default: false
  required:
    description:
      - Patterns of the paths of libraries, each of which must have the code. V(*) stands for folders too,
        and every path begins with a slash.
      - Where none of them is found, one library that has the code is enough.
    type: list
    elements: str
    default: []
  record:
    description:
      - Remember the answer below C(/var/lib/amdgpu-fleet/code-objects), for M(amdgpu.fleet.host_facts) and
        for the next time. An image or environment that is still the same is not read again.
    type: bool
    default: false
  max_files:
    description: How many files of one place are looked at.
    type: int
    default: 1000000
  max_file_bytes:
    description: How large a file of an archive or wheel may be, unpacked.
    type: int
    default: 17179869184
  root:
    description: The folder under which O(path) and Podman's store are.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: See what a wheel was built for
  amdgpu.fleet.gpu_code_objects:
    path: /srv/wheels/vllm-0.33.0+rocm100-cp312-cp312-linux_x86_64.whl

- name: Refuse an image whose vLLM has no code for Strix Halo
  amdgpu.fleet.gpu_code_objects:
    image: docker.io/vllm/vllm-openai-rocm:v0.33.0
    gfx: [gfx1151]
    required: ["*/vllm/_rocm_C*.so"]
  register: code
  failed_when: code.places[0].verdicts[0].verdict == 'missing'
"""

RETURN = r"""
places:
  description: "One entry for each of O(path), in their order, then one for O(image)."
  returned: always
  type: list
  elements: dict
  contains:
    path: {description: The path that was asked for., type: str, returned: for a path}
    image: {description: The image that was asked for., type: str, returned: for an image}
    identity: {description: Id of the image; empty where it is not in the store., type: str, returned: for an
      image}
    kind: {description: "V(file), V(wheel), V(folder) or V(image); empty where it could not be read.", type:
      str, returned: when it was read now}
    complete: {description: Whether everything could be read., type: bool}
    reasons: {description: The first reasons why not., type: list, elements: str}
    targets: {description: "What there is code for, as in V(gfx90a:xnack-) or V(gfx11-generic).", type: list,
      elements: str}
    nvidia: {description: How many libraries have code for GPUs of NVIDIA., type: int}
    files: {description: How many files were looked at., type: int, returned: when it was read now}
    remembered: {description: Whether it was read earlier and is remembered., type: bool}
    recorded: {description: Whether it is remembered from now on., type: bool}
    verdicts:
      description: "How each of O(gfx) is served."
      type: list
      elements: dict
      contains:
        gfx: {description: The architecture., type: str}
        verdict: {description: "V(served), V(missing), V(mismatch) (code for another setting of XNACK or
            SRAM-ECC alone) or V(not_known).", type: str}
        how: {description: "V(exact), V(generic) (a generic target covers it), V(family), V(mismatch), V(not
            known) or null. Where several libraries are required, the worst of them.", type: str}
        target: {description: "The target that serves it, or null.", type: str}
        lacking: {description: Libraries that have code and none for it., type: list, elements: str}
        reason: {description: Why it is not served., type: str}
    required:
      description: "The libraries that O(required) names."
      type: list
      elements: dict
      contains:
        path: {description: Path., type: str}
        targets: {description: What it has code for., type: list, elements: str}
        unread: {description: "Why not all of it is known, or null.", type: str}
    sets:
      description: Libraries by what they have code for, the largest group first.
      type: list
      elements: dict
      contains:
        targets: {description: What they have code for., type: list, elements: str}
        count: {description: How many there are., type: int}
        names: {description: The first of them., type: list, elements: str}
    libraries:
      description: Everything that has code.
      type: list
      elements: dict
      returned: when it was read now
      contains:
        path: {description: "Path; of code objects that lie as files, their folder.", type: str}
        kind: {description: "V(library), V(kernels) (code objects as files), V(kpack) or V(aotriton).", type:
          str}
        targets: {description: What it has code for., type: list, elements: str}
        serves: {description: "How it serves each of O(gfx), as in RV(places[].verdicts[].how).", type: dict}
        source: {description: "What says so, V(code), V(kpack) (an archive of kernels) or V(names) of files.",
          type: str}
        files: {description: Of how many files., type: int}
        bundles: {description: Of how many fat binaries., type: int}
        compressed: {description: How many of these are compressed., type: int}
        unread: {description: Why not all of it is known., type: list, elements: str}
        problems: {description: What is damaged., type: list, elements: str}
    libraries_left_out: {description: How many more there are., type: int, returned: when it was read now}
    problems:
      description: What is damaged or could not be read.
      type: list
      elements: dict
      returned: when it was read now
      contains:
        path: {description: Path., type: str}
        problem: {description: What is wrong with it., type: str}
    problems_left_out: {description: How many more there are., type: int, returned: when it was read now}
  sample:
    - path: /srv/wheels/amd_mori-1.0.0-cp312-cp312-linux_x86_64.whl
      kind: wheel
      complete: true
      targets: [gfx942]
      verdicts:
        - {gfx: gfx1151, verdict: missing, how: null, target: null, lacking: [mori/libmori_io.so], reason: it
            has code for gfx942}
"""

import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import _code_objects
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._code.places import Limits
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import WriteError

TEXTS = {"type": "list", "elements": "str", "default": []}
SPEC: dict[str, Any] = {
    "path": {"type": "list", "elements": "path", "default": []},
    "image": {"type": "str"},
    "user": {"type": "str", "default": ""},
    "gfx": TEXTS,
    "xnack": {"type": "bool", "default": False},
    "required": TEXTS,
    "record": {"type": "bool", "default": False},
    "max_files": {"type": "int", "default": Limits.files},
    "max_file_bytes": {"type": "int", "default": Limits.file_bytes},
    "root": {"type": "path", "default": "/"},
}
GFX = re.compile(r"gfx[1-9][0-9]{1,3}[0-9a-f]")


def check(module: AnsibleModule, tree: Tree) -> None:
    """Refuse what cannot be meant."""
    params = module.params
    if not params["path"] and not params["image"]:
        module.fail_json(msg="Nothing is asked: give path, or the name of an image.")
    if not os.path.isdir(params["root"]):
        module.fail_json(msg=f"root: {params['root']} is not a directory.")
    for path in params["path"]:
        if not tree.exists(path):
            module.fail_json(msg=f"path: there is no {path}; correct it, or make it first.")
    for gfx in params["gfx"]:
        if not GFX.fullmatch(gfx):
            module.fail_json(msg=f"gfx: {gfx!r} is no architecture; write it as in gfx942 or gfx1151.")
    for name in ("max_files", "max_file_bytes"):
        if params[name] < 1:
            module.fail_json(msg=f"{name}: {params[name]} is less than 1.")


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    hold_to_text(module)
    params = module.params
    tree = Tree(params["root"])
    check(module, tree)
    asked = _code_objects.Asked(
        gfx=params["gfx"],
        xnack=params["xnack"],
        required=params["required"],
        remember=params["record"],
        check=module.check_mode,
        limits=Limits(params["max_files"], params["max_file_bytes"]),
    )
    try:
        places = [_code_objects.of_path(tree, path, asked) for path in params["path"]]
        if params["image"]:
            places.append(_code_objects.of_image(tree, params["image"], params["user"], asked))
    except WriteError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'record'}: {error.strerror or error}.")
    module.exit_json(changed=any(place["recorded"] for place in places), places=places)


if __name__ == "__main__":
    main()
