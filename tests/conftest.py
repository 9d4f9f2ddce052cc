# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every test: collections are imported in Ansible's way, nothing is compiled or parsed slower than
it can be, and no test fails because the machine is busy."""

from __future__ import annotations

import compiled  # noqa: F401 - before anything else is; pylint: disable=unused-import

# isort: split
import gc
import os
import shutil
from pathlib import Path

import yaml
from ansible.plugins.loader import init_plugin_loader
from hypothesis import HealthCheck, settings

# What tests read themselves: the same results as those of the loader in pure Python, in a tenth of the time.
if yaml.__with_libyaml__:

    class _Loader(yaml.CSafeLoader):
        def __init__(self, stream: object) -> None:
            # libyaml takes no text that Ansible marked.
            super().__init__(str(stream) if isinstance(stream, str) else stream)

    yaml.SafeLoader = _Loader  # type: ignore[misc, assignment]

# Once and before any test imports a collection: afterwards it refuses.
init_plugin_loader()

# How long an example takes says how busy the machine is, and nothing of what is tested. The examples are the same in
# every run, so that a change is judged by what it changed; `FLEET_EXPLORE=1 make unit` looks for others.
_PROFILE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fleet", derandomize=True, **_PROFILE)
settings.register_profile("explore", **_PROFILE)
settings.load_profile("explore" if os.environ.get("FLEET_EXPLORE") else "fleet")

# Tests write whole hosts, a thousand files each. On a busy disk that takes seconds, in memory 25 milliseconds.
MEMORY, ENOUGH = Path("/dev/shm"), 4 << 30


def _memory_holds_programs() -> bool:
    """Whether files in memory can be as large and run as programs as on a disk."""
    return (
        MEMORY.is_dir()
        and os.access(MEMORY, os.W_OK)
        and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(MEMORY).free > ENOUGH
    )


if _memory_holds_programs():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish() -> None:
    """What was imported lives as long as the tests, and need not be looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
