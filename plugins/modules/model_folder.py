#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_folder
short_description: The folder of a model, from an archive or from a Hub, whole or not at all
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Makes the folder beside its place and moves it there with one rename, when nothing is missing and every
    checksum is right.
  - Space is looked at before anything is unpacked or downloaded.
  - A folder that is whole already, and was checked against O(manifest) where one is given, is left alone.
  - A GGUF model comes as the files of one quantization, with the projector beside them.
  - From a Hub pickled weights are left out where the same folder has safetensors, as loading them would run
    what they hold.
  - From a Hub the work is done by huggingface_hub's own C(hf). An interrupted download goes on where it was,
    in C(PATH.partial).
extends_documentation_fragment:
  - amdgpu.fleet.attributes
attributes:
  check_mode:
    support: partial
    details:
      - Says that it would change; neither the Hub nor the archive is asked.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  path:
    description: The folder of the model.
    type: path
    required: true
  archive:
    description: A tar on the host, plain or compressed, that holds the model, at its top or in a folder.
      Needs O(sha256).
    type: path
  sha256:
    description: SHA-256 of O(archive).
    type: str
  hub:
    description: Name of the model on the Hub. Needs O(client).
    type: str
  format:
    description:
      - What the model must be. C(safetensors) takes the whole repository but O(exclude), C(gguf) the files of
        one quantization alone.
    type: str
    choices: [safetensors, gguf]
    default: safetensors
  quantization:
    description: Which quantization of a GGUF model, such as C(Q4_K_M), or the name of its file. Not given,
      the only one, else C(Q4_K_M), else C(Q8_0).
    type: str
    default: ""
  revision:
    description: Branch, tag or commit on the Hub. A commit is held to; a Hub that answers another one is
      refused.
    type: str
    default: main
  endpoint:
    description: Address of the Hub. Not given, the client takes its own default.
    type: str
  client:
    description: The program C(hf) of huggingface_hub.
    type: path
  token_file:
    description: File with the token for the Hub, readable by root alone.
    type: path
  exclude:
    description: Patterns of files that are not downloaded.
    type: list
    elements: str
    default: []
  manifest:
    description:
      - File with checksums as C(sha256sum) writes them, with names relative to the model; itself relative to
        O(path), or absolute.
      - It must name every file that an engine could load. Documents such as C(README.md) need no line.
    type: str
  weights:
    description: Whether the weights must be whole. Of those that vLLM loads with a C(load-format) of their
      own only a manifest tells.
    type: bool
    default: true
  root:
    description: The folder under which O(path), an absolute O(manifest) and the memory of checks are.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: A model that came on a disk
  amdgpu.fleet.model_folder:
    path: /srv/models/Qwen3-14B-AWQ
    archive: /media/Qwen3-14B-AWQ.tar
    sha256: 3b5d5c3712955042212316173ccf37be8001f2c0c9d5a1b0b3f2f6a1c2c1a6b4

- name: A commit from a Hub inside the network
  amdgpu.fleet.model_folder:
    path: /srv/models/Qwen/Qwen3-14B-AWQ
    hub: Qwen/Qwen3-14B-AWQ
    revision: 31c69efc29464b6bb0aee1398b5a7b50a99340c3
    endpoint: https://hub.example.net
    client: /opt/amdgpu-fleet/hub/bin/hf
  async: 86400
  poll: 30

- name: One quantization of a GGUF model
  amdgpu.fleet.model_folder:
    path: /srv/models/unsloth/Qwen3-14B-GGUF+Q4_K_M
    hub: unsloth/Qwen3-14B-GGUF
    format: gguf
    quantization: Q4_K_M
    client: /opt/amdgpu-fleet/hub/bin/hf
"""

RETURN = r"""
commit:
  description: The commit that was downloaded.
  type: str
  returned: when it came from a Hub
  sample: 31c69efc29464b6bb0aee1398b5a7b50a99340c3
bytes:
  description: Size of the folder.
  type: int
  returned: when it was made
  sample: 9962004480
"""

import json
import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.amdgpu.fleet.plugins.module_utils import (
    _gguf_hub,
    _model_record,
    _model_store,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._answer import hold_to_text
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_store import StoreError
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import WriteError, follow, why

# The client brings certificates of its own, and knows nothing of an authority that the host trusts.
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


class Hub:
    """huggingface_hub's command line."""

    def __init__(self, module: AnsibleModule, partial: str) -> None:
        params = module.params
        self._module = module
        self._client = params["client"]
        self._name = params["hub"]
        self.environment = {
            "LC_ALL": "C.UTF-8",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
            # A path that does not exist keeps the client from the token of the user who runs this.
            "HF_TOKEN_PATH": params["token_file"] or "/nonexistent",
            "HF_HOME": f"{partial}/.cache/home",
        }
        if params["endpoint"]:
            self.environment["HF_ENDPOINT"] = params["endpoint"]
        certificates = next((path for path in CERTIFICATES if os.path.exists(path)), None)
        if certificates and "SSL_CERT_FILE" not in os.environ:
            self.environment["SSL_CERT_FILE"] = certificates

    def run(self, *words: str) -> str:
        try:
            rc, out, err = self._module.run_command(
                [self._client, *words], environ_update=self.environment, handle_exceptions=False
            )
        except OSError as error:
            raise StoreError(
                f"client {self._client} cannot be run: {why(error)}. Install huggingface_hub there, or "
                f"correct client."
            ) from error
        if rc != 0:
            where = self.environment.get("HF_ENDPOINT", "the Hub")
            raise StoreError(
                f"{self._name} could not be fetched from {where}: {_model_store.hub_failure(err or out)}. "
                f"Correct model or revision, give "
                "model_hf_token where the model is private or gated, or set model_hub to a Hub that the host "
                "reaches."
            )
        return str(out)

    def ask(self, *words: str) -> object:
        text = self.run(*words, "--format", "json")
        try:
            return json.loads(text)
        except ValueError as error:
            raise StoreError(
                f"{self._client} {' '.join(words)} answered {text.strip()[:80]!r}, which is not JSON."
            ) from error


def download(module: AnsibleModule, partial: str) -> str:
    """Fetch the files of one commit, and hold each to the checksum that the Hub has for it."""
    params = module.params
    hub, name, excluded = Hub(module, partial), params["hub"], list(params["exclude"])
    info = hub.ask("models", "info", name, "--revision", params["revision"], "--expand", "sha")
    commit = _model_store.commit(name, info, params["revision"])
    listing = hub.ask("models", "list", name, "--revision", commit, "--recursive")
    chosen: list[str] = []
    if params["format"] == "gguf":
        found = _gguf_hub.choose(name, listing, params["quantization"])
        # What an earlier run fetched of another quantization would be a second model.
        _gguf_hub.clear(partial, found.all)
        chosen, listing, excluded = found.all, found.entries, []
    elif params["weights"]:  # a format of its own may need them
        excluded += _model_store.pickled(listing)
    expected = _model_store.listed_bytes(listing, excluded)
    _model_store.require_space(partial, expected, _model_store.size_of(partial))
    _model_store.expect(partial, expected)
    patterns = [word for pattern in excluded for word in ("--exclude", pattern)]
    words = [*patterns, *(["--", *chosen] if chosen else [])]
    hub.run("download", name, "--revision", commit, "--local-dir", partial, "--quiet", *words)
    hub.run("cache", "verify", name, "--revision", commit, "--local-dir", partial)
    shutil.rmtree(f"{partial}/.cache", ignore_errors=True)
    return commit


def make(module: AnsibleModule, path: str, manifest: str | None) -> dict[str, Any]:
    params = module.params
    partial = _model_store.partial(path)
    result: dict[str, Any] = {}
    os.umask(0o022)
    source = params["archive"] or params["hub"]
    try:
        if params["archive"]:
            _model_store.unpack(params["archive"], params["sha256"].lower(), partial)
        else:
            result["commit"] = download(module, partial)
        _model_store.check_whole(partial, source, params["weights"], params["format"])
        if manifest:
            _model_store.check_manifest(partial, manifest)
        _model_store.put_in_place(partial, path)
    except (StoreError, OSError):
        # What was downloaded is worth keeping: the next run goes on with it.
        if params["archive"]:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return {**result, "bytes": _model_store.size_of(path)}


SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "archive": {"type": "path"},
    "sha256": {"type": "str", "no_log": False},
    "hub": {"type": "str"},
    "format": {"type": "str", "choices": ["safetensors", "gguf"], "default": "safetensors"},
    "quantization": {"type": "str", "default": ""},
    "revision": {"type": "str", "default": "main"},
    "endpoint": {"type": "str"},
    "client": {"type": "path"},
    "token_file": {"type": "path", "no_log": False},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "manifest": {"type": "str"},
    "weights": {"type": "bool", "default": True},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        mutually_exclusive=[("archive", "hub")],
        required_by={"archive": "sha256", "hub": "client"},
        required_one_of=[("archive", "hub", "manifest")],
        supports_check_mode=True,
    )
    hold_to_text(module)
    params, result = module.params, {}
    if not os.path.isdir(params["root"]):
        module.fail_json(msg=f"root: {params['root']} is not a directory.")
    if not params["path"].startswith("/") or not params["path"].strip("/."):
        module.fail_json(
            msg=(
                f"path must be a folder of its own, given from the top as in /srv/models/NAME, not "
                f"{params['path']!r}."
            )
        )
    tree, manifest = Tree(params["root"]), params["manifest"]
    try:
        # It may be a link to a larger disk: that stays, and the model is made where it leads.
        place = follow(params["root"], params["path"])
    except WriteError as error:
        module.fail_json(msg=str(error))
    if manifest and manifest.startswith("/"):
        manifest = tree.path(manifest)
    whole = not _model_store.lacking(tree, params["path"], params["weights"], params["format"])
    make_it = not whole and (params["archive"] or params["hub"])
    check_it = params["manifest"] and (
        make_it or _model_record.checked_by(tree, params["path"]) != params["manifest"]
    )
    if (make_it or check_it) and not module.check_mode:
        try:
            if make_it:
                result = make(module, place, manifest)
            else:
                _model_store.check_whole(place, params["path"], params["weights"], params["format"])
                _model_store.check_manifest(place, manifest)
            if check_it:
                _model_store.remember(tree, params["path"], params["manifest"])
        except StoreError as error:
            module.fail_json(msg=str(error))
        except OSError as error:
            module.fail_json(msg=f"{error.filename or params['path']}: {error.strerror or error}.")
    module.exit_json(changed=bool(make_it or check_it), **result)


if __name__ == "__main__":
    main()
