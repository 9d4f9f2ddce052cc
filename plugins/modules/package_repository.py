#!/usr/bin/python
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: package_repository
short_description: A package repository of apt or dnf whose key is pinned by its fingerprint
version_added: 0.1.0
author:
  - The amdgpu.fleet authors (@amdgpu-fleet)
description:
  - Writes the source, deb822 for apt or a C(.repo) file for dnf, and the key that signs it. Either both files
    are written or none.
  - With dnf every package must be signed (C(gpgcheck=1)). A key that rpm has imported stays in its database
    when the repository goes.
  - The key must be the one with O(fingerprint), and alone in its file. A key that was issued again with a new
    expiry date
    has the same fingerprint and is accepted. One that has expired, or expires within two weeks, is fetched
    again.
  - Before anything is written the repository must answer. A repository that cannot be reached leaves the host
    as it was.
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
    description:
      - Name of the files below C(/etc/apt/sources.list.d) and C(/etc/apt/keyrings), or C(/etc/yum.repos.d)
        and C(/etc/pki/rpm-gpg).
    type: str
    required: true
  format:
    description: Kind of the repository. V(auto) takes the one of the distribution.
    type: str
    choices: [auto, deb, rpm]
    default: auto
  uri:
    description: Base address of the repository (C(baseurl) of dnf). Required when O(state=present).
    type: str
  suite:
    description: Suite of the repository. Required for Debian packages when O(state=present), not used for
      rpm.
    type: str
  components:
    description: Components of the suite. Not used for rpm.
    type: list
    elements: str
    default: [main]
  key_url:
    description: Where the public key is fetched from, C(http), C(https) or C(file). Required when
      O(state=present).
    type: str
  fingerprint:
    description: Fingerprint of the key, 40 hexadecimal digits, or 64 of a key of version 6; spaces
      are ignored. Required when O(state=present).
    type: str
  repo_gpgcheck:
    description:
      - Whether dnf demands a signature of the index (C(repodata/repomd.xml.asc)) as well. AMD's repositories
        are not known to have one;
        their packages are signed.
    type: bool
    default: false
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
    description: The folder under which C(/etc) is.
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

- name: The same on EL 9.6
  amdgpu.fleet.package_repository:
    name: amdgpu-fleet-driver
    uri: https://repo.radeon.com/amdgpu/31.50/el/9.6/main/x86_64/
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

import gzip
import io
import re
import zlib
from http.client import HTTPException

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

from ansible_collections.amdgpu.fleet.plugins.module_utils import _package_repository as package_repository
from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import read_all, within


def fetch(module: AnsibleModule, url: str, what: str, remedy: str) -> bytes:
    """The content of an address, or one sentence that says what could not be had and what to do."""
    data: bytes | None = None
    reason = "no answer"
    try:
        with within(module.params["timeout"]):
            response, info = fetch_url(module, url, timeout=module.params["timeout"], decompress=False)
            reason = re.sub(
                r"<url\w+ error (\[Errno -?\d+\] )?(.*)>", r"\2", str(info.get("msg", "no answer"))
            )
            if response is not None and info.get("status") in (200, None):
                data = read_all(response)
        if data is not None and info.get("content-encoding", "").lower() == "gzip":
            data = read_all(gzip.GzipFile(fileobj=io.BytesIO(data)))
    except (OSError, EOFError, zlib.error, HTTPException) as error:
        data, reason = None, f"the answer broke off: {error}"
    if data is not None:
        return data
    module.fail_json(msg=f"{what} at {url} cannot be had ({reason}). {remedy}; the host was left as it was.")
    raise AssertionError  # fail_json ends the module


def main() -> None:
    package_repository.run(AnsibleModule(**package_repository.ARGUMENTS, supports_check_mode=True), fetch)


if __name__ == "__main__":
    main()
