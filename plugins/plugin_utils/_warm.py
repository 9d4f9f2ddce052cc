# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every host of a run needs, loaded once for all of them.

Ansible forks a process for each task of each host. The planner with its catalog takes such a process 0.7 s,
and is gone with it. Before it forks, the main process loads the class of the action plugin, and what that
file imports is there in all processes that are forked afterwards. So action plugins that stand at the
beginning of a run call this.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil

import yaml

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import catalog, checks

FILTERS = "ansible_collections.amdgpu.fleet.plugins.filter"
# What nearly every plan asks for.
PARTS = ("gpus", "releases", "vllm", "known_issues", "health")


def load() -> None:
    """Import and read what is kept for as long as the process lasts."""
    # Whoever asks for one filter of a collection makes Ansible load all of them. Then it names one that
    # cannot be imported.
    with contextlib.suppress(ImportError):
        for found in pkgutil.iter_modules(importlib.import_module(FILTERS).__path__, f"{FILTERS}."):
            importlib.import_module(found.name)
    # A file that cannot be read is a sentence of whoever needs it, for a host and in the report.
    with contextlib.suppress(OSError, yaml.YAMLError):
        checks.specification()
        for part in PARTS:
            catalog.read_part(part)
