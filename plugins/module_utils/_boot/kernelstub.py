# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pop!_OS: kernelstub writes the entries of systemd-boot."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .base import Host

CONFIGURATION = "/etc/kernelstub/configuration"


def commands(host: Host, asked: Wanted, before: Sequence[str], after: Sequence[str]) -> list[list[str]]:
    new = [entry for entry in after if entry not in before] or cmdline.missing(before, asked)
    old = [entry for entry in before if entry not in after]
    tool = host.tool("kernelstub")
    if not tool:
        return []
    return [[*tool, "--delete-options", entry] for entry in old] + [
        [*tool, "--add-options", entry] for entry in new
    ]
