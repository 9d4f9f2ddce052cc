# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who this run is, for the lock of a host."""

from __future__ import annotations

import os

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.run import local_folder


def this_run() -> dict[str, str]:
    """``run``, which all steps of a run have in common and no other run has, and ``who``, for a message."""
    node = os.uname().nodename
    # Each call of ansible-playbook works in processes of its own, whose parent is the same for all of them.
    parent = os.getppid()
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or f"user {os.getuid()}"
    return {
        "run": f"{node}:{parent}:{local_folder().name}",
        "who": f"{user} on {node} (process {parent})",
    }


def has_ended(run: str) -> bool:
    """Whether a run was of this controller and its process is gone: it was killed, and gave nothing back."""
    where, _colon, rest = run.partition(":")
    process = rest.partition(":")[0]
    if where != os.uname().nodename or not process.isdecimal() or len(process) > 10:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
