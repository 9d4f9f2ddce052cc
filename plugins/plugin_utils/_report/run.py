# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which call of ansible-playbook this is. All its processes share one folder, which Ansible makes for each
call."""

from __future__ import annotations

import os
import shlex
import time
import typing as t
from pathlib import Path

from ansible import constants, context

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Run
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.words import STAMP

Vars = t.Mapping[str, t.Any]


def local_folder() -> Path:
    return Path(constants.DEFAULT_LOCAL_TMP)


def this_run(variables: Vars) -> Run:
    started = local_folder() / "amdgpu-fleet-started"
    now = time.strftime(STAMP, time.gmtime())
    at = time.strftime(STAMP, time.gmtime(started.stat().st_mtime)) if started.exists() else now
    return Run(
        id=local_folder().name,
        at=now,
        started=at,
        command=command(),
        limit=str(_option("subset") or ""),
        check=bool(variables.get("ansible_check_mode")),
        inventory=[shorter(str(each)) for each in variables.get("ansible_inventory_sources") or []],
    )


def begin() -> None:
    (local_folder() / "amdgpu-fleet-started").touch()


def _option(name: str) -> t.Any:
    return context.CLIARGS.get(name)


def shorter(path: str) -> str:
    """A path as it was most likely typed."""
    if not path.startswith("/"):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def command() -> str:
    """The command that was typed, as far as it says what was done to which hosts. No variables: they may be
    secret."""
    words = ["ansible-playbook", *(shorter(str(each)) for each in _option("args") or ())]
    default = list(constants.DEFAULT_HOST_LIST)
    for source in _option("inventory") or ():
        if source not in default:
            words += ["-i", shorter(str(source))]
    if _option("subset"):
        words += ["--limit", str(_option("subset"))]
    for name, tags, left in (("--tags", _option("tags"), ["all"]), ("--skip-tags", _option("skip_tags"), [])):
        if tags and list(tags) != left:
            words += [name, ",".join(tags)]
    words += ["--check"] if _option("check") else []
    words += ["--ask-become-pass"] if _option("become_ask_pass") else []
    return shlex.join(words)
