# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module package_repository does; compare asks the same code in check mode."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _repository, _write
from ._answer import hold_to_text

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Reads an address; where that fails the module ends with what it was for and the remedy.
Fetch = Callable[["AnsibleModule", str, str, str], bytes]


def present(
    module: AnsibleModule, wanted: _repository.Repository, before: bytes | None, fetch: Fetch
) -> dict[str, bytes | None]:
    """The new content of each file that changes."""
    params = module.params
    wanted.check_source()
    changes: dict[str, bytes | None] = {}
    there, now = _write.read_bytes(_write.below(params["root"], wanted.key_path)), time.time()
    if not wanted.key_in_place(there, now):
        data = fetch(
            module, params["key_url"], "The repository key", "Correct key_url or the network of the host"
        )
        key = wanted.key(data, params["key_url"], now)
        # One that is about to expire may not have been issued again yet.
        if key != there:
            changes[wanted.key_path] = key
    if before != wanted.text().encode():
        changes[wanted.path] = wanted.text().encode()
    if changes:
        wanted.check_index(
            fetch(
                module,
                wanted.index_url,
                "The package repository",
                "Correct its address or the network of the host",
            )
        )
    return changes


ARGUMENTS: dict[str, Any] = {
    "argument_spec": {
        "name": {"type": "str", "required": True},
        "format": {"type": "str", "choices": ["auto", "deb", "rpm"], "default": "auto"},
        "uri": {"type": "str"},
        "suite": {"type": "str"},
        "components": {"type": "list", "elements": "str", "default": ["main"]},
        "key_url": {"type": "str", "no_log": False},
        "fingerprint": {"type": "str"},
        "repo_gpgcheck": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 30},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "root": {"type": "path", "default": "/"},
    },
    "required_if": [("state", "present", ["uri", "key_url", "fingerprint"])],
}


def run(module: AnsibleModule, fetch: Fetch) -> None:
    """All of the module; it ends in ``exit_json`` or ``fail_json``."""
    hold_to_text(module)
    params = module.params
    if params["timeout"] < 1:
        module.fail_json(msg=f"timeout must be at least 1 second, not {params['timeout']}.")
    try:
        kind = params["format"]
        if kind == "auto":
            kind = _repository.format_of(params["root"], wanted=params["state"] == "present")
        wanted = _repository.Repository(
            kind=kind,
            name=params["name"],
            uri=params["uri"] or "",
            suite=params["suite"] or "",
            components=tuple(params["components"]),
            fingerprint=re.sub(r"\s", "", params["fingerprint"] or "").upper(),
            repo_gpgcheck=params["repo_gpgcheck"],
        )
        wanted.check()
        places = {path: _write.below(params["root"], path) for path in (wanted.key_path, wanted.path)}
        before = _write.read_bytes(places[wanted.path])
        if params["state"] == "absent":
            changes: dict[str, bytes | None] = {
                path: None for path, place in places.items() if os.path.lexists(place)
            }
        else:
            changes = present(module, wanted, before, fetch)
        if changes and not module.check_mode:
            _repository.change(params["root"], changes)
    except (_repository.RepositoryError, _write.WriteError) as error:
        module.fail_json(msg=str(error))
    diff = {
        "before": (before or b"").decode("utf-8", "replace"),
        "after": wanted.text() if params["state"] == "present" else "",
        "before_header": wanted.path,
        "after_header": wanted.path,
    }
    actions = [f"{'remove' if content is None else 'write'} {path}" for path, content in changes.items()]
    module.exit_json(changed=bool(changes), actions=actions, diff=diff)
