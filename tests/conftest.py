# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every test: collections are imported in Ansible's way, and no test fails because the machine is
busy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader
from hypothesis import HealthCheck, settings

# Once and before any test imports a collection: afterwards it refuses.
init_plugin_loader()

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("fleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fleet")

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
