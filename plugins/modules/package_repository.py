#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: package_repository
short_description: A Debian package repository whose key is pinned by its fingerprint
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Writes a deb822 source and the key that signs it.
  - The key must be the one with O(fingerprint), and alone in its file. A key that was issued again with a new expiry date
    has the same fingerprint and is accepted.
  - Before anything is written the repository must answer. A repository that cannot be reached leaves the host as it was.
  - A repository that is already in place is not asked for anything.
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
    description: Name of the files below C(/etc/apt/sources.list.d) and C(/etc/apt/keyrings).
    type: str
    required: true
  uri:
    description: Base address of the repository. Required when O(state=present).
    type: str
  suite:
    description: Suite of the repository. Required when O(state=present).
    type: str
  components:
    description: Components of the suite.
    type: list
    elements: str
    default: [main]
  key_url:
    description: Where the public key is fetched from, C(http), C(https) or C(file). Required when O(state=present).
    type: str
  fingerprint:
    description: Fingerprint of the key, 40 hexadecimal digits; spaces are ignored. Required when O(state=present).
    type: str
  timeout:
    description: Seconds to wait for the repository to answer.
    type: int
    default: 30
  state:
    description: Whether the repository is there.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The folder under which C(/etc/apt) is.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Add the driver repository
  amdgpu.fleet.package_repository:
    name: amdgpu-fleet-driver
    uri: https://repo.radeon.com/amdgpu/31.50/ubuntu
    suite: noble
    key_url: https://repo.radeon.com/rocm/rocm.gpg.key
    fingerprint: CA8BB4727A47B4D09B4EE8969386B48A1A693C5C

- name: Take it away again
  amdgpu.fleet.package_repository:
    name: amdgpu-fleet-driver
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  type: list
  elements: str
  returned: always
  sample: [write /etc/apt/sources.list.d/amdgpu-fleet-driver.sources]
"""

import os
import re
from http.client import HTTPException

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

from ansible_collections.amdgpu.fleet.plugins.module_utils import _write
from ansible_collections.amdgpu.fleet.plugins.module_utils._openpgp import NotAKey, dearmored, fingerprints


def fetch(module: AnsibleModule, url: str, what: str, remedy: str) -> bytes:
    """The content of an address, or one sentence that says what could not be had and what to do."""
    response, info = fetch_url(module, url, timeout=module.params["timeout"])
    reason = re.sub(r"<url\w+ error (\[Errno -?\d+\] )?(.*)>", r"\2", str(info.get("msg", "no answer")))
    data = None
    if response is not None and info.get("status") in (200, None):
        try:
            data = response.read()
        except (OSError, HTTPException) as error:
            reason = f"the answer broke off: {error}"
    if data is None:
        module.fail_json(msg=f"{what} at {url} cannot be had ({reason}). {remedy}; the host was left as it was.")
    return data


def checked_key(module: AnsibleModule, data: bytes, wanted: str, origin: str) -> bytes:
    try:
        found = fingerprints(data)
    except NotAKey as error:
        module.fail_json(msg=f"{origin} is no repository key: {error}. Correct key_url; the host was left as it was.")
    if found != [wanted]:
        module.fail_json(
            msg=f"{origin} holds the key {', '.join(found)}, not the pinned {wanted}. If the vendor announced a new key, give "
            "its fingerprint; otherwise somebody else signs this repository. The host was left as it was."
        )
    return dearmored(data)


def source_text(params: dict, keyring: str) -> str:
    return "\n".join(
        [
            "# Written by amdgpu.fleet",
            "Types: deb",
            f"URIs: {params['uri']}",
            f"Suites: {params['suite']}",
            f"Components: {' '.join(params['components'])}",
            "Architectures: amd64",
            f"Signed-By: {keyring}",
            "",
        ]
    )


def present(module: AnsibleModule, keyring: str, source: str) -> tuple[list[str], dict[str, bytes]]:
    """The actions, and the new content of each file that changes."""
    params = module.params
    wanted = re.sub(r"\s", "", params["fingerprint"]).upper()
    if not re.fullmatch(r"[0-9A-F]{40}", wanted):
        module.fail_json(msg=f"fingerprint must be 40 hexadecimal digits, not {params['fingerprint']!r}.")
    changes: dict[str, bytes] = {}
    key = _write.read_bytes(_write.below(params["root"], keyring))
    try:
        known = key is not None and fingerprints(key) == [wanted]
    except NotAKey:
        known = False
    if not known:
        data = fetch(module, params["key_url"], "The repository key", "Correct key_url or the network of the host")
        changes[keyring] = checked_key(module, data, wanted, params["key_url"])
    text = source_text(params, keyring).encode()
    if _write.read_bytes(_write.below(params["root"], source)) != text:
        changes[source] = text
    if changes:
        release = f"{params['uri'].rstrip('/')}/dists/{params['suite']}/InRelease"
        data = fetch(module, release, "The package repository", "Correct its address or the network of the host")
        if b"PGP SIGNED MESSAGE" not in data:
            module.fail_json(msg=f"{release} is not signed, so no package of it can be trusted. The host was left as it was.")
    return [f"write {path}" for path in changes], changes


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "uri": {"type": "str"},
            "suite": {"type": "str"},
            "components": {"type": "list", "elements": "str", "default": ["main"]},
            "key_url": {"type": "str", "no_log": False},
            "fingerprint": {"type": "str"},
            "timeout": {"type": "int", "default": 30},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "root": {"type": "path", "default": "/"},
        },
        required_if=[("state", "present", ["uri", "suite", "key_url", "fingerprint"])],
        supports_check_mode=True,
    )
    params = module.params
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", params["name"]):
        module.fail_json(msg=f"name may hold letters, digits, '.', '_' and '-' only, not {params['name']!r}.")
    keyring = f"/etc/apt/keyrings/{params['name']}.gpg"
    source = f"/etc/apt/sources.list.d/{params['name']}.sources"
    try:
        places = {path: _write.below(params["root"], path) for path in (keyring, source)}
        before = _write.shown(_write.read_text(places[source]))
        if params["state"] == "absent":
            actions = [f"remove {path}" for path, place in places.items() if os.path.lexists(place)]
            after = ""
            if not module.check_mode:
                for path in places.values():
                    _write.remove(path)
        else:
            actions, changes = present(module, keyring, source)
            after = source_text(params, keyring)
            if not module.check_mode:
                for path, content in changes.items():
                    _write.make_parents(places[path])
                    _write.write(places[path], content, mode=0o644)
    except _write.WriteError as error:
        module.fail_json(msg=str(error))
    header = {"before_header": source, "after_header": source}
    module.exit_json(changed=bool(actions), actions=actions, diff={"before": before, "after": after, **header})


if __name__ == "__main__":
    main()
